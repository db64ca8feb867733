"""Adam with and without the correction of its averages, and the example on which it diverges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .. import settings
from ..classifier import Classifier
from ..figure import curves, figure, finish, look
from ..method import Methods, documented
from ..moments import Moments
from ..page import Page
from ..protocol import compare
from ..reddi import EXAMPLES, Example
from ..settings import Count, Counts, Number, Positive

#: A run's beginning, in steps.
FIRST = 10

CORRECTED, RAW = "with correction", "without correction"


@dataclass(frozen=True)
class Settings(settings.Settings):
    epochs: Count = 20
    batch: Count = 32
    hidden: Counts = (64, 64)
    noise: Number = 0.5
    high_lr: Positive = 1e-2
    reddi_steps: Count = 300_000
    methods: Methods = field(default_factory=lambda: documented("Adam"))

    quick: ClassVar[Mapping[str, Any]] = {"epochs": 5, "reddi_steps": 100_000}

    def both(self, **options: Any) -> Methods:
        adam = self.methods["Adam"].having(**options)
        return {CORRECTED: adam.having(bias_correction=True), RAW: adam.having(bias_correction=False)}


def run(told: Settings, page: Page) -> None:
    page.expect(4 * told.epochs + 2 * len(EXAMPLES))
    adam = told.methods["Adam"]
    moments = Moments(adam, told.noise, told.seed, told.convention)
    page.draw("moments", moments.draw(), "Gradients of mean 1 with normal noise, and Adam's averages of them.")
    page.series("moments", moments.columns, moments.rows())
    page.table(moments.table())
    moments.judge(page)
    for words, lr in (("documented", adam.options["lr"]), ("high", told.high_lr)):
        training(words, lr, told, page)
    divergence(told, page)


def training(words: str, lr: float, told: Settings, page: Page) -> None:
    """On the digits, with one learning rate."""
    task = Classifier(told.hidden, told.batch, told.seed)
    courses = compare(
        task,
        told.both(lr=lr),
        epochs=told.epochs,
        seed=told.seed,
        convention=told.convention,
        page=page,
        name=f"digits-{words}",
    )
    made = figure(f"Adam on the digits, {words} learning rate {lr:g}")
    early, late = made.subplots(1, 2)
    losses = {name: np.array(course.losses[: 10 * FIRST]) for name, course in courses.items()}
    curves(early, losses, first=1, xlabel="step", ylabel="loss of the mini-batch (nats)", title="the first steps")
    by_epoch = {name: course.over_epochs("loss") for name, course in courses.items()}
    curves(late, by_epoch, xlabel="epoch", ylabel="training loss (nats)", yscale="log", title="all epochs")
    page.draw(f"digits-{words}", made, "The same first weights and the same batches.")
    begin = {name: float(np.max(course.losses[:FIRST])) for name, course in courses.items()}
    page.claim(
        f"Without the correction the first {FIRST} steps go too far at a {words} learning rate: the loss rises higher.",
        begin[RAW] > begin[CORRECTED],
        highest_loss_of_a_batch=begin,
    )
    ends = {name: course.final("loss") for name, course in courses.items()}
    page.claim(
        f"With the correction training ends lower at a {words} learning rate.",
        ends[CORRECTED] < ends[RAW],
        training_loss=ends,
    )


def divergence(told: Settings, page: Page) -> None:
    """Adam and AMSGrad on Reddi's examples."""
    made = figure("Where every step's loss is a line and −1 is best", 10, 7.2)
    for name, example, axes in zip(EXAMPLES, EXAMPLES.values(), made.subplots(2, 2), strict=True):
        places = {}
        for label, amsgrad in (("Adam", False), ("AMSGrad", True)):
            places[label] = example.follow(example.method(amsgrad), told.reddi_steps, told.convention)
            page.advance(f"{name}, {label}")
        plot(example, places, axes)
        page.claim(
            f"Adam goes to the worst place, +1, and AMSGrad to the best, −1 ({example.title}).",
            last(places["Adam"], example) > 0.9 and last(places["AMSGrad"], example) < -0.9,
            x_at_the_end={label: last(those, example) for label, those in places.items()},
            regret={label: float(example.regret(those)[-1]) for label, those in places.items()},
        )
    page.draw("reddi", made, "Left: where the methods go. Right: what they lose beside −1, on average over the steps.")


def last(places: np.ndarray, example: Example) -> float:
    """The mean place of the last period."""
    return float(places[-example.period :].mean())


def plot(example: Example, places: Mapping[str, np.ndarray], axes: Any) -> None:
    steps = np.unique(np.geomspace(1, len(next(iter(places.values()))), 400).astype(int))
    for index, (label, those) in enumerate(places.items()):
        for one, values in zip(axes, (those, example.regret(those)), strict=True):
            one.plot(steps, values[steps - 1], linewidth=1.6, **look(label, index))
    finish(axes[0], xlabel="step", ylabel="x", xscale="log", ylim=(-1.1, 1.1), title=example.title)
    finish(axes[1], xlabel="step", ylabel="mean regret", xscale="log", yscale="log", title=example.title)
