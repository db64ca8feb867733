"""Three convolutions and a thousand units on small colour images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .. import race, settings
from ..convnet import ConvNet, torch
from ..data import cifar
from ..data.gratings import gratings
from ..data.place import Source, choose
from ..method import Methods, documented
from ..page import Page
from ..protocol import compare
from ..settings import Count, Counts


@dataclass(frozen=True)
class Settings(settings.Settings):
    epochs: Count = 6
    batch: Count = 16
    channels: Counts = (64, 64, 128)
    units: Count = 1000
    images: Count = 1_600
    data: Source = "any"
    methods: Methods = field(default_factory=lambda: documented("momentum", "AdaGrad", "RMSProp", "Adam"))

    quick: ClassVar[Mapping[str, Any]] = {"channels": (16, 16, 32), "units": 250, "images": 640}


def run(told: Settings, page: Page) -> None:
    torch()  # before anything is read
    page.expect(len(told.methods) * told.epochs)
    found = choose(told.data, "CIFAR-10", cifar.find, lambda: gratings(told.images, told.seed))
    images = found.drawn(told.images, np.random.default_rng([told.seed, 2])).standard(np.float32)
    net = "-".join([*(f"c{channels}" for channels in told.channels), f"{told.units}fc"])
    page.note(f"Data: {images.source}.")
    page.note(f"Net: {net}. Torch computes its gradients in the memory that the steps read: nothing is copied.")
    task = ConvNet(images, told.channels, told.units, told.batch)
    courses = compare(
        task, told.methods, epochs=told.epochs, seed=told.seed, convention=told.convention, page=page, name="cifar"
    )
    race.show(courses, net, images.source, page)
