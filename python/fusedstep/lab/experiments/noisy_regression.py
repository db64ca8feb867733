"""Linear regression whose targets are mostly noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .. import race, settings
from ..method import Methods, documented
from ..page import Page
from ..protocol import compare
from ..race import Courses
from ..regression import Regression
from ..settings import Count, Number

NAMES = ("SGD", "momentum", "AdaGrad", "RMSProp", "Adadelta", "Adam", "RAdam")

#: A loss is at its least when it is that much above it, as a part of it.
NEAR = 0.01

#: The share of the epochs, the last ones, over which unrest is measured.
LATE = 0.25


@dataclass(frozen=True)
class Settings(settings.Settings):
    epochs: Count = 250
    batch: Count = 16
    examples: Count = 4096
    features: Count = 20
    noise: Number = 3.0
    methods: Methods = field(default_factory=lambda: documented(*NAMES))

    quick: ClassVar[Mapping[str, Any]] = {"examples": 1024, "epochs": 400}


def run(told: Settings, page: Page) -> None:
    page.expect(len(told.methods) * told.epochs)
    task = Regression(told.examples, told.features, told.noise, told.batch, told.seed)
    courses = compare(
        task, told.methods, epochs=told.epochs, seed=told.seed, convention=told.convention, page=page, name="regression"
    )
    least = task.errors({"w": task.best})
    errors = {
        "excess": "loss above the least possible (no unit)",
        "distance": "distance from the true weights (no unit)",
    }
    made = race.draw(f"Linear regression, noise of σ = {told.noise:g}", courses, errors)
    made.axes[1].axhline(least["distance"], color="black", linewidth=0.8)
    page.draw("regression", made, "The black line: as far from the truth as the least-squares fit is.")
    page.table(race.table(courses, ["loss", "excess", "distance"]))
    judge(courses, least, page)


def judge(courses: Courses, least: Mapping[str, float], page: Page) -> None:
    excess = {name: value / least["loss"] for name, value in race.ends(courses, "excess").items()}
    page.claim(
        f"Few parameters: SGD is enough. It ends within {NEAR:.0%} of the least possible loss.",
        excess["SGD"] < NEAR,
        loss_above_the_least_as_a_part_of_it=excess["SGD"],
    )
    adaptive = {name: excess[name] for name in ("AdaGrad", "RMSProp", "Adadelta", "Adam", "RAdam")}
    page.claim(
        f"Adaptive methods cope with strong noise: each ends within {NEAR:.0%} of the least possible loss.",
        max(adaptive.values()) < NEAR,
        loss_above_the_least_as_a_part_of_it=adaptive,
    )
    late = {name: course.over_epochs("excess") for name, course in courses.items()}
    unrest = {name: float(np.std(values[-max(round(LATE * len(values)), 2) :])) for name, values in late.items()}
    page.claim(
        "Momentum, whose steps are 1/(1 − γ) times SGD's, passes on more noise: its loss varies more at the end.",
        unrest["momentum"] > unrest["SGD"],
        standard_deviation_of_the_loss=unrest,
    )
    distances = race.ends(courses, "distance")
    page.claim(
        "Nobody gets below the noise of the data: to the truth remains at least 0.9 of the least-squares fit's way.",
        min(distances.values()) > 0.9 * least["distance"],
        least_squares=least["distance"],
        methods=distances,
    )
