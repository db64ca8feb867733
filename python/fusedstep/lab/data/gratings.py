"""A stand-in for CIFAR-10: stripes of ten kinds, in its format."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..batch import Examples
from . import cifar
from .images import Images

#: A class is an angle and a number of periods across the image.
ANGLES = np.pi / 5 * np.arange(5)
PERIODS = (3.0, 6.0)

#: Bytes; the stripes go up to CONTRAST[1] from the ground.
CONTRAST, NOISE = (20.0, 60.0), 30.0


def gratings(count: int, seed: int) -> Images:
    """So many images for training and a quarter as many for the test, written and read like the real ones."""
    rng = np.random.default_rng([seed, 2])
    with TemporaryDirectory() as folder:
        for name, images in (("data_batch_1.bin", count), (cifar.TEST, max(count // 4, 1))):
            cifar.write(Path(folder) / name, draw(images, rng))
        return cifar.read(Path(folder), "synthetic stripes in CIFAR-10's format")


def draw(count: int, rng: np.random.Generator) -> Examples:
    """Phase, colours and noise are random, so that no single pixel tells the class."""
    labels = rng.integers(0, Images.classes, count)
    angle, periods = ANGLES[labels % 5], np.take(PERIODS, labels // 5)
    along = np.arange(32) / 32
    x, y = along[None, None, :], along[None, :, None]
    way = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    phase = rng.uniform(0, 1, (count, 1, 1))
    stripes = np.sin(2 * np.pi * (periods[:, None, None] * way + phase))
    colour = rng.choice([-1.0, 1.0], (count, 3, 1, 1)) * rng.uniform(*CONTRAST, (count, 3, 1, 1))
    ground = rng.uniform(80, 175, (count, 3, 1, 1))
    noisy = ground + colour * stripes[:, None] + NOISE * rng.standard_normal((count, *cifar.SHAPE))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), labels
