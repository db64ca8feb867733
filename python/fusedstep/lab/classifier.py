"""A fully connected network that learns to tell images apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .batch import Examples
from .data.digits import digits
from .data.images import Images
from .network import Weights, evaluate, gradient, random_weights
from .protocol import Errors


class Classifier:
    """A network on scikit-learn's digits, or on other images.

    Args:
        hidden: units of each hidden layer.
        batch: images in a step.
        seed: of the digits' parts, for training and for the test.
        dtype: of weights and images.
        images: the others, as rows of numbers.
    """

    def __init__(
        self, hidden: Sequence[int], batch: int, seed: int, dtype: Any = np.float32, images: Images | None = None
    ) -> None:
        self.data = images or digits(dtype, np.random.default_rng([seed, 2]))
        self.sizes = (self.data.pixels, *hidden, self.data.classes)
        self.batch = batch
        self.dtype = dtype

    def weights(self, rng: np.random.Generator) -> Weights:
        return random_weights(self.sizes, self.dtype, rng)

    def batches(self, rng: np.random.Generator) -> Iterator[Examples]:
        return self.data.batches(self.batch, rng)

    def gradient(self, weights: Weights, batch: Examples, out: Weights) -> float:
        return gradient(weights, *batch, out=out)

    def errors(self, weights: Weights) -> Errors:
        """The loss in training and in the test, and the share of wrong answers in the test."""
        test, right = evaluate(weights, *self.data.test)
        return {"loss": evaluate(weights, *self.data.train)[0], "test loss": test, "test error": 1 - right}
