"""Images with labels, in two parts, one for training and one for the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..batch import Examples, batches
from . import Malformed


@dataclass(frozen=True)
class Images:
    """Both parts, and what they are."""

    train: Examples
    test: Examples
    source: str

    classes: ClassVar[int] = 10

    @property
    def pixels(self) -> int:
        """Numbers in an image."""
        return int(np.prod(self.train[0].shape[1:]))

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[Examples]:
        """The training part once."""
        return batches(self.train, size, rng)

    def drawn(self, count: int, rng: np.random.Generator) -> Images:
        """At most so many for training and a quarter as many for the test, at random."""
        train = next(batches(self.train, count, rng))
        test = next(batches(self.test, max(count // 4, 1), rng))
        of = f"{len(train[1])} of its {len(self.train[1])} images for training, {len(test[1])} for the test"
        return Images(train, test, f"{self.source}: {of}")

    def each(self, change: Callable[[np.ndarray], np.ndarray]) -> Images:
        """With all images changed in the same way."""
        train, test = ((change(images), labels) for images, labels in (self.train, self.test))
        return Images(train, test, self.source)

    def flat(self, dtype: Any) -> Images:
        """Bytes as rows of numbers in 0 … 1."""
        return self.each(lambda images: (images.reshape(len(images), -1) / np.float32(255)).astype(dtype))

    def standard(self, dtype: Any) -> Images:
        """Every channel with mean 0 and variance 1 in training; channels come first."""
        images = self.train[0]
        mean, deviation = (f(images, axis=(0, 2, 3), keepdims=True, dtype=np.float32) for f in (np.mean, np.std))
        # A channel that is the same everywhere becomes 0.
        divisor = np.where(deviation > 0, deviation, np.float32(1))
        return self.each(lambda images: ((images - mean) / divisor).astype(dtype))


def paired(images: np.ndarray, labels: np.ndarray, path: Path) -> Examples:
    """Images with the labels that a file gave, as unsigned bytes, if they belong together."""
    if not len(images):
        raise Malformed(path, "at least one image", "none")
    if len(labels) != len(images):
        raise Malformed(path, f"{len(images)} labels, one for each image", len(labels))
    wrong = labels[labels >= Images.classes]
    if wrong.size:
        raise Malformed(path, f"labels from 0 to {Images.classes - 1}", wrong[0])
    return images, labels.astype(np.int64)
