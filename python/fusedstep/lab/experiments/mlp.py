"""Two hidden layers of a thousand units on images of digits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .. import race, settings
from ..classifier import Classifier
from ..data import mnist
from ..data.digits import digits
from ..data.images import Images
from ..data.place import Source, choose
from ..method import Methods, documented
from ..page import Page
from ..protocol import compare
from ..settings import Count, Counts


@dataclass(frozen=True)
class Settings(settings.Settings):
    epochs: Count = 15
    batch: Count = 32
    hidden: Counts = (1000, 1000)
    images: Count = 8_000
    data: Source = "any"
    methods: Methods = field(default_factory=lambda: documented("momentum", "AdaGrad", "RMSProp", "Adam"))

    quick: ClassVar[Mapping[str, Any]] = {"epochs": 4, "images": 1_500}


def run(told: Settings, page: Page) -> None:
    page.expect(len(told.methods) * told.epochs)
    images = choose(told.data, "MNIST", lambda: find(told), lambda: digits(np.float32, drawing(told)))
    page.note(f"Data: {images.source}.")
    task = Classifier(told.hidden, told.batch, told.seed, images=images)
    courses = compare(
        task, told.methods, epochs=told.epochs, seed=told.seed, convention=told.convention, page=page, name="mlp"
    )
    race.show(courses, "-".join(f"{units}fc" for units in told.hidden), images.source, page)


def find(told: Settings) -> Images | None:
    found = mnist.find()
    return found and found.drawn(told.images, drawing(told)).flat(np.float32)


def drawing(told: Settings) -> np.random.Generator:
    return np.random.default_rng([told.seed, 2])
