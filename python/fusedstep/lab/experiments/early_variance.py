"""Adam's first steps, of which it knows little, and what is done about them: warm-up, Adam-2k, Adam-eps, RAdam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure

from ...measurement.table import Table
from ...schedules import linear_warmup
from .. import Unavailable, settings
from ..averages import Averages
from ..classifier import Classifier
from ..figure import figure, finish, look
from ..histogram import LOWEST, RANGE, Beginning, heat
from ..method import Methods, documented
from ..page import Page
from ..protocol import Course, compare
from ..rectification import Rectification
from ..settings import Count, Counts, Fraction, Number, Positive

WARM, LATER, LARGE = CURES = "Adam + warm-up", "Adam-2k", "Adam-eps"

VARIANCE = (
    "Left: the variance of ψ at length ρ. Middle: RAdam's steps, as long as momentum's while ρ_t ≤ 4. "
    "Right: the variance of what multiplies the steps."
)

#: Of each seed: a method's course.
Runs = Sequence[Mapping[str, Course]]


@dataclass(frozen=True)
class Settings(settings.Settings):
    epochs: Count = 100
    seeds: Count = 3
    batch: Count = 32
    hidden: Counts = (64, 64, 64, 64, 64, 64)
    warmup_steps: Count = 2000
    large_eps: Number = 1e-4
    high_lr: Positive = 1e-2
    early_steps: Count = 100
    variance_steps: Count = 4000
    draws: Count = 400_000
    average_beta: Fraction = 0.9
    methods: Methods = field(default_factory=lambda: documented("Adam", "RAdam"))

    quick: ClassVar[Mapping[str, Any]] = {"epochs": 10, "seeds": 1, "warmup_steps": 200, "draws": 100_000}

    def all(self, lr: float) -> Methods:
        adam = self.methods["Adam"].having(lr=lr)
        return {
            "Adam": adam,
            WARM: adam.having(lr=linear_warmup(lr, steps=self.warmup_steps)),
            LATER: adam.having(variance_warmup=self.warmup_steps),
            LARGE: adam.having(eps=self.large_eps, eps_place="hat"),
            "RAdam": self.methods["RAdam"].having(lr=lr),
        }


def run(told: Settings, page: Page) -> None:
    task = Classifier(told.hidden, told.batch, told.seed)
    steps = told.epochs * sum(1 for _ in task.batches(np.random.default_rng(0)))
    # What a step moves is seen before the next one.
    if steps < told.warmup_steps + 2:
        raise Unavailable(f"epochs must make two steps more than warmup_steps, {told.warmup_steps}, got {steps} steps")
    page.expect(2 * 5 * told.seeds * told.epochs + 1)
    theory(told, page)
    page.advance("Var[ψ]")
    for words, lr in (("documented", told.methods["Adam"].options["lr"]), ("high", told.high_lr)):
        practice(words, lr, told, page)
    page.note(
        "Gradients change with the weights: whoever moves these less distorts their distribution less, for whatever "
        f"reason. {LATER} does not move the weights for its first {told.warmup_steps} steps, "
        "so that it trains for fewer steps than the others."
    )


def theory(told: Settings, page: Page) -> None:
    """Var[ψ], the rectifier, and the averages behind ρ."""
    adam, radam = told.methods["Adam"], told.methods["RAdam"]
    averages = Averages(told.average_beta, told.seed)
    page.draw("averages", averages.draw(), "Left: how much each step counts. Right: what both make of a noisy sine.")
    averages.judge(page)
    found = Rectification(
        adam, radam, steps=told.variance_steps, draws=told.draws, seed=told.seed, convention=told.convention
    )
    page.draw("variance", found.draw(), VARIANCE)
    page.series("variance", found.columns, found.rows())
    page.table(found.table())
    found.judge(page)


def practice(words: str, lr: float, told: Settings, page: Page) -> None:
    """On the digits, with one learning rate, several seeds; the first seed's beginning is shown."""
    methods, beginning, runs = told.all(lr), Beginning(told.early_steps), []
    for seed in range(told.seed, told.seed + told.seeds):
        runs.append(
            compare(
                Classifier(told.hidden, told.batch, seed),
                methods,
                epochs=told.epochs,
                seed=seed,
                convention=told.convention,
                page=page,
                name=f"digits-{words}-{seed}",
                watch=beginning if seed == told.seed else None,
            )
        )
    title = f"The first {told.early_steps} steps on the digits, {words} learning rate {lr:g}"
    page.draw(
        f"first-steps-{words}",
        maps(title, beginning, runs[0]),
        f"From the first step that moves the weights: with {LATER} that is after {told.warmup_steps} others. "
        f"The lowest row, 2^{LOWEST}, has the zeros too. White: less than {RANGE[0]} %.",
    )
    page.draw(
        f"losses-{words}", losses(runs, f"All steps, {words} learning rate {lr:g}"), "Geometric mean over the seeds."
    )
    page.table(ranking(runs, f"The ranking at the end, {words} learning rate {lr:g}"))
    judge(words, beginning, runs, page)


def maps(title: str, beginning: Beginning, courses: Mapping[str, Course]) -> Figure:
    """A column for each method: |g|, |Δθ| and the loss."""
    made = figure(title, 15, 8.6)
    rows = made.subplots(3, len(courses), sharex=True, sharey="row")
    for index, (method, (first, second, third)) in enumerate(zip(courses, rows.T, strict=True)):
        image = heat(first, beginning.gradients[method], title=method)
        heat(second, beginning.moves[method])
        loss = courses[method].losses[beginning.idle[method] :][: beginning.steps]
        third.plot(np.arange(1, len(loss) + 1), loss, linewidth=1.4, **look(method, index))
        finish(third, xlabel="step")
        third.get_legend().remove()  # the column's title says it
    for axes, label in zip(rows[:, 0], ("log₂ |g|", "log₂ |Δθ|", "loss of the batch (nats)"), strict=True):
        axes.set_ylabel(label)
    made.colorbar(image, ax=rows[:2], label="share of the weights (%)", pad=0.01)
    return made


def losses(runs: Runs, title: str) -> Figure:
    made = figure(title, 8, 4.4)
    axes = made.subplots()
    for index, method in enumerate(runs[0]):
        means = mean([courses[method].over_epochs("loss") for courses in runs])
        axes.plot(means, linewidth=1.6, **look(method, index))
    finish(axes, xlabel="epoch", ylabel="training loss (nats)", yscale="log")
    return made


def mean(losses: Sequence[np.ndarray]) -> np.ndarray:
    """The geometric mean over the seeds, because losses differ by powers of ten."""
    return np.exp(np.mean(np.log(losses), axis=0))


def final(runs: Runs) -> dict[str, float]:
    """The mean of the losses at the end, by method, the least first."""
    means = {method: float(mean([courses[method].over_epochs("loss") for courses in runs])[-1]) for method in runs[0]}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def ranking(runs: Runs, title: str) -> Table:
    table = Table(title, ["method", "training loss", "least", "largest", "test error"])
    for method, middle in final(runs).items():
        ends = [courses[method].final("loss") for courses in runs]
        wrong = float(np.mean([courses[method].final("test error") for courses in runs]))
        table.rows.append([method, *(f"{end:.2e}" for end in (middle, min(ends), max(ends))), f"{100 * wrong:.1f} %"])
    table.notes.append(f"Geometric mean, least and largest of {len(runs)} seeds; the test error is their mean.")
    return table


def judge(words: str, beginning: Beginning, runs: Runs, page: Page) -> None:
    drift = {method: beginning.drift(method) for method in runs[0]}
    ends = final(runs)
    for cure in (*CURES, "RAdam"):
        page.claim(
            f"At a {words} learning rate the gradients' distribution is less distorted in the first steps by {cure} "
            "than by Adam.",
            drift[cure] < drift["Adam"],
            share_that_lies_elsewhere={name: drift[name] for name in (cure, "Adam")},
        )
    for cure in (*CURES, "RAdam"):
        page.claim(
            f"At a {words} learning rate {cure} ends lower than Adam.",
            ends[cure] < ends["Adam"],
            training_loss={name: ends[name] for name in (cure, "Adam")},
        )
    page.claim(
        f"At a {words} learning rate {LARGE} ends worse than {LATER} and warm-up.",
        ends[LARGE] > max(ends[LATER], ends[WARM]),
        training_loss={name: ends[name] for name in (LARGE, LATER, WARM)},
    )
