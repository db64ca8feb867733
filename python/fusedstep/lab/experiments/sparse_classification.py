"""Logistic regression where most features are rare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure

from .. import race, settings
from ..figure import figure, finish, look
from ..logistic import Logistic
from ..method import Methods, documented
from ..page import Page
from ..protocol import Course, compare
from ..race import Courses
from ..settings import Count, Rates

PLAIN, ADAPTIVE = ("SGD", "momentum"), ("AdaGrad", "RMSProp", "Adam", "RAdam")

ERRORS = {
    "loss": "training loss (nats)",
    "test loss": "test loss (nats)",
    "rare": "mean weight of rare features (no unit)",
}

#: A method -> learning rate -> how it went.
Grid = Mapping[str, Mapping[float, Course]]


@dataclass(frozen=True)
class Settings(settings.Settings):
    epochs: Count = 8
    batch: Count = 32
    examples: Count = 16_000
    features: Count = 2000
    rates: Rates = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    methods: Methods = field(default_factory=lambda: documented(*PLAIN, *ADAPTIVE))

    quick: ClassVar[Mapping[str, Any]] = {"examples": 8_000, "epochs": 4}


def run(told: Settings, page: Page) -> None:
    page.expect(len(told.methods) * told.epochs * (1 + len(told.rates)))
    task = Logistic(told.examples, told.features, told.batch, told.seed)
    page.note(f"{told.examples} × {told.features} features, of which {task.density:.1%} are there and stored.")
    courses = learn(task, told.methods, told, page, "documented")
    title = "Logistic regression on sparse features, documented learning rates"
    page.draw(
        "documented", race.draw(title, courses, ERRORS), "Rare: the tenth of the features that is least frequent."
    )
    page.table(race.table(courses, ["loss", "test loss", "test error", "frequent", "rare"]))
    page.tables[-1].notes.append("Frequent, rare: mean size of the weights of the tenth of the features that is so.")
    at_documented_rates(courses, page)
    tried = grid(task, told, page)
    page.draw("rates", over_rates(tried), "After the last epoch, each method with each learning rate.")
    for error, words in (("loss", "training"), ("test loss", "test")):
        at_best_rates(tried, error, words, page)


def learn(task: Logistic, methods: Methods, told: Settings, page: Page, name: str) -> Courses:
    return compare(task, methods, epochs=told.epochs, seed=told.seed, convention=told.convention, page=page, name=name)


def grid(task: Logistic, told: Settings, page: Page) -> Grid:
    """Every method with every learning rate."""
    pairs = {f"{name}, η = {rate:g}": (name, rate) for name in told.methods for rate in told.rates}
    methods = {label: told.methods[name].having(lr=rate) for label, (name, rate) in pairs.items()}
    courses = learn(task, methods, told, page, "rates")
    return {
        name: {rate: courses[label] for label, (owner, rate) in pairs.items() if owner == name} for name in told.methods
    }


def over_rates(tried: Grid) -> Figure:
    made = figure("Logistic regression on sparse features, by learning rate")
    for axes, (error, label) in zip(made.subplots(1, 2), list(ERRORS.items())[:2], strict=True):
        for name, courses in tried.items():
            finals = [course.final(error) for course in courses.values()]
            axes.plot(list(courses), finals, marker="o", markersize=4, linewidth=1.6, **look(name))
        finish(axes, xlabel="learning rate η", ylabel=label, xscale="log", yscale="log")
    return made


def at_documented_rates(courses: Courses, page: Page) -> None:
    losses = race.ends(courses, "loss")
    page.claim(
        "At the documented learning rates the adaptive methods win: one of them has the lowest training loss.",
        min(losses, key=lambda name: losses[name]) in ADAPTIVE,
        training_loss=losses,
    )
    part = {name: growth(course, "rare") / growth(course, "frequent") for name, course in courses.items()}
    page.claim(
        "Adaptive methods give rare features a larger rate: their weights keep up with those of frequent ones better.",
        bool(np.min([part[name] for name in ADAPTIVE]) > np.max([part[name] for name in PLAIN])),
        growth_of_rare_weights_as_a_part_of_that_of_frequent_ones=part,
    )


def growth(course: Course, kind: str) -> np.float64:
    """Of the weights' mean size; without what they began with, of which rare ones have as much as frequent ones."""
    sizes = course.over_epochs(kind)
    return sizes[-1] - sizes[0]


def at_best_rates(tried: Grid, error: str, words: str, page: Page) -> None:
    """Each method with the learning rate that makes this error the lowest."""
    rates = {name: min(those, key=lambda rate: those[rate].final(error)) for name, those in tried.items()}
    courses = {name: tried[name][rate] for name, rate in rates.items()}
    page.table(race.table(courses, ["loss", "test loss", "test error"], {"learning rate": rates}))
    page.tables[-1].notes.append(f"Each method with the learning rate of the lowest {words} loss.")
    lowest = race.ends(courses, error)
    page.claim(
        f"Each with its best learning rate, AdaGrad and Adam have a lower {words} loss than SGD and momentum.",
        max(lowest["AdaGrad"], lowest["Adam"]) < min(lowest[name] for name in PLAIN),
        lowest_loss=lowest,
        learning_rate=rates,
    )
