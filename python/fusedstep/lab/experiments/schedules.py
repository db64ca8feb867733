"""A constant learning rate, one that falls in pieces, and one that falls steadily."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure

from ...measurement.table import Table
from ...schedules import inverse_time, per_epoch, piecewise_constant
from .. import settings
from ..classifier import Classifier
from ..figure import curves, figure
from ..method import Method
from ..page import Page
from ..protocol import Course, Task, compare
from ..regression import Regression
from ..settings import Count, Counts, Number, Rates

#: The last epochs, over which the unrest of the loss is measured.
LATE = 10

Courses = Mapping[str, Course]


@dataclass(frozen=True)
class Settings(settings.Settings):
    epochs: Count = 35
    boundaries: Counts = (10, 20)
    rates: Rates = (0.1, 0.05, 0.01)
    batch: Count = 16
    examples: Count = 1024
    features: Count = 20
    noise: Number = 1.0
    hidden: Counts = (32,)

    quick: ClassVar[Mapping[str, Any]] = {"batch": 32}

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self.rates) - 1
        if len(self.boundaries) != count or sorted(set(self.boundaries)) != list(self.boundaries):
            expected = f"{count} rising epochs, one fewer than rates"
            raise ValueError(f"{self.experiment}: boundaries must be {expected}, got {self.boundaries}")

    def by_epoch(self) -> dict[str, Callable[[int], float]]:
        """The schedules. κ of the continuous one is such that its last epoch has the last piece's rate."""
        first, last = self.rates[0], self.rates[-1]
        fall = (first / last - 1) / max(self.epochs - 1, 1)
        return {
            "constant": piecewise_constant([], [first]),
            "piecewise": piecewise_constant(self.boundaries, self.rates),
            "continuous": inverse_time(first, decay_rate=max(fall, 0.0)),
        }


def run(told: Settings, page: Page) -> None:
    schedules = told.by_epoch()
    page.expect(2 * len(schedules) * told.epochs)
    page.draw(
        "rates", rates(told), "Continuous: η/(1 + κt), with κ such that the last epoch has the last piece's rate."
    )
    tasks: dict[str, Task] = {
        "noisy regression": Regression(told.examples, told.features, told.noise, told.batch, told.seed),
        "digits": Classifier(told.hidden, told.batch, told.seed),
    }
    found = {name: learn(task, told, page, name) for name, task in tasks.items()}
    page.draw("errors", errors(found), "Left: the part of the loss that a least-squares fit would not have.")
    page.table(ends(found))
    judge(found, page)


def learn(task: Task, told: Settings, page: Page, name: str) -> Courses:
    """By plain SGD, once with each schedule."""
    steps = sum(1 for _ in task.batches(np.random.default_rng(0)))
    methods = {
        label: Method("SGD", {"lr": per_epoch(schedule, steps_per_epoch=steps)})
        for label, schedule in told.by_epoch().items()
    }
    file = name.replace(" ", "-")
    return compare(task, methods, epochs=told.epochs, seed=told.seed, convention=told.convention, page=page, name=file)


def rates(told: Settings) -> Figure:
    made = figure("Learning rates", 7, 3.6)
    # The last epoch's rate twice: it holds until the epoch ends.
    epochs = [*range(told.epochs), told.epochs - 1]
    lines = {name: np.array([at(t) for t in epochs]) for name, at in told.by_epoch().items()}
    axes = made.subplots()
    curves(axes, lines, xlabel="epoch", ylabel="learning rate η", ylim=(0, None))
    for line in axes.lines:
        line.set_drawstyle("steps-post")
    return made


def errors(found: Mapping[str, Courses]) -> Figure:
    made = figure("SGD with three schedules")
    words = {
        "noisy regression": ("excess", "loss above the least possible (no unit)"),
        "digits": ("loss", "training loss (nats)"),
    }
    for axes, (name, courses) in zip(made.subplots(1, 2), found.items(), strict=True):
        key, label = words[name]
        lines = {schedule: course.over_epochs(key) for schedule, course in courses.items()}
        curves(axes, lines, xlabel="epoch", ylabel=label, yscale="log", title=name)
    return made


def ends(found: Mapping[str, Courses]) -> Table:
    regression, digits = found.values()
    table = Table(
        "After the last epoch",
        ["learning rate", "regression: excess loss", "distance to the truth", "digits: training loss", "test error"],
    )
    for name in regression:
        noisy, net = regression[name], digits[name]
        row = [f"{noisy.final('excess'):.2e}", f"{noisy.final('distance'):.4f}", f"{net.final('loss'):.2e}"]
        table.rows.append([name, *row, f"{100 * net.final('test error'):.1f} %"])
    return table


def judge(found: Mapping[str, Courses], page: Page) -> None:
    regression, digits = found.values()
    excess = {name: course.final("excess") for name, course in regression.items()}
    losses = {name: course.final("loss") for name, course in digits.items()}
    for name in ("piecewise", "continuous"):
        page.claim(
            f"Where gradients stay noisy, the {name} fall ends lower than the constant rate.",
            excess[name] < excess["constant"],
            loss_above_the_least_possible={key: excess[key] for key in ("constant", name)},
        )
    unrest = {name: float(np.std(course.over_epochs("excess")[-LATE:])) for name, course in regression.items()}
    page.claim(
        "The constant rate never comes to rest: its loss varies most in the last epochs.",
        unrest["constant"] > max(unrest["piecewise"], unrest["continuous"]),
        standard_deviation_of_the_loss=unrest,
    )
    page.claim(
        "On the digits, too, a falling rate ends lower.",
        min(losses["piecewise"], losses["continuous"]) < losses["constant"],
        training_loss=losses,
    )
