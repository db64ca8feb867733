"""Handwritten digits: 1797 images of 8 × 8 pixels, from scikit-learn, which brings them along."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

#: One image in five is kept back for the test.
TEST = 0.2

Examples = tuple[np.ndarray, np.ndarray]


class Digits:
    """Images with pixels in 0 … 1 and their labels, in two parts that a seed draws."""

    classes = 10

    def __init__(self, dtype: Any, rng: np.random.Generator) -> None:
        images, labels = load_digits(return_X_y=True)
        images = (images / 16).astype(dtype)
        order = rng.permutation(len(labels))
        kept = round(TEST * len(labels))
        self.test: Examples = images[order[:kept]], labels[order[:kept]]
        self.train: Examples = images[order[kept:]], labels[order[kept:]]

    @property
    def pixels(self) -> int:
        return self.train[0].shape[1]

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[Examples]:
        """The training part once, in an order of its own."""
        images, labels = self.train
        order = rng.permutation(len(labels))
        for first in range(0, len(order), size):
            chosen = order[first : first + size]
            yield images[chosen], labels[chosen]
