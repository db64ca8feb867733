"""Linear regression with noise: what a least-squares fit can do at best is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .batch import Examples, batches
from .network import Weights
from .protocol import Errors


class Regression:
    """Normal inputs, targets that are linear in them, and normal noise on the targets.

    Args:
        examples, features: how many.
        noise: its standard deviation; that of the targets without it is about 1.
        batch: examples in a step.
        seed: of the examples.
    """

    def __init__(self, examples: int, features: int, noise: float, batch: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 2])
        self.inputs = rng.standard_normal((examples, features))
        self.truth = rng.standard_normal(features) / np.sqrt(features)
        self.targets = self.inputs @ self.truth + noise * rng.standard_normal(examples)
        self.best = np.linalg.lstsq(self.inputs, self.targets, rcond=None)[0]
        self.batch = batch

    def weights(self, rng: np.random.Generator) -> Weights:
        return {"w": rng.standard_normal(len(self.truth)) / np.sqrt(len(self.truth))}

    def batches(self, rng: np.random.Generator) -> Iterator[Examples]:
        return batches((self.inputs, self.targets), self.batch, rng)

    def gradient(self, weights: Weights, batch: Examples, out: Weights) -> float:
        """Of half the mean square."""
        inputs, targets = batch
        rest = inputs @ weights["w"] - targets
        np.matmul(rest, inputs, out=out["w"])
        out["w"] /= len(targets)
        return float(rest @ rest) / len(targets) / 2

    def errors(self, weights: Weights) -> Errors:
        """The loss of all examples, how much of it the best weights would not have, and the way to the true weights."""
        rest = self.inputs @ weights["w"] - self.targets
        least = self.inputs @ self.best - self.targets
        loss, lowest = (float(values @ values) / len(values) / 2 for values in (rest, least))
        return {"loss": loss, "excess": loss - lowest, "distance": float(np.linalg.norm(weights["w"] - self.truth))}
