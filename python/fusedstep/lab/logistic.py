"""Logistic regression on sparse features, few of which are frequent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array
from scipy.special import expit

from .batch import Examples, batches
from .network import Weights
from .protocol import Errors

#: Of the features, the most frequent and the rarest, whose weights are looked at.
SHARE = 0.1

#: Features of the most frequent kind, which half of the examples have.
COMMON = 10


class Logistic:
    """Examples have or lack each of many features, as texts do words; the k-th most frequent in a share ∝ 1/k.

    A feature's weight does not depend on its frequency: the rare ones tell as much, where they occur.

    Args:
        examples, features: how many; a quarter as many examples again are for the test.
        batch: examples in a step.
        seed: of the examples.
    """

    def __init__(self, examples: int, features: int, batch: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 2])
        self.truth = rng.standard_normal(features)
        self.batch = batch
        self.train = self.draw(examples, rng)
        self.test = self.draw(max(examples // 4, 1), rng)
        count = max(round(SHARE * features), 1)
        self.parts = {"frequent": slice(count), "rare": slice(-count, None)}

    def draw(self, examples: int, rng: np.random.Generator) -> Examples:
        """Features as sparse rows, and labels that the true weights make likely."""
        shares = np.minimum(0.5, COMMON / 2 / np.arange(1, len(self.truth) + 1))
        columns = [np.flatnonzero(rng.random(examples) < share) for share in shares]
        rows, features = np.concatenate(columns), np.repeat(np.arange(len(shares)), list(map(len, columns)))
        inputs = csr_array((np.ones(len(rows)), (rows, features)), shape=(examples, len(shares)))
        return inputs, (rng.random(examples) < expit(inputs @ self.truth)).astype(float)

    @property
    def density(self) -> float:
        """Share of the entries that are stored."""
        inputs = self.train[0]
        return float(inputs.nnz / np.prod(inputs.shape))

    def weights(self, rng: np.random.Generator) -> Weights:
        return {"w": 0.01 * rng.standard_normal(len(self.truth))}

    def batches(self, rng: np.random.Generator) -> Iterator[Examples]:
        return batches(self.train, self.batch, rng)

    def gradient(self, weights: Weights, batch: Examples, out: Weights) -> float:
        """Only stored entries are multiplied; the gradient is dense, with zeros where no example has the feature."""
        inputs, labels = batch
        sums = inputs @ weights["w"]
        out["w"][:] = (expit(sums) - labels) / len(labels) @ inputs
        return cross_entropy(sums, labels)

    def errors(self, weights: Weights) -> Errors:
        """Losses, the share of wrong answers, and the mean size of frequent and of rare features' weights."""
        sums, labels = self.test[0] @ weights["w"], self.test[1]
        return {
            "loss": cross_entropy(self.train[0] @ weights["w"], self.train[1]),
            "test loss": cross_entropy(sums, labels),
            "test error": float(np.mean((sums > 0) != labels)),
            **{name: float(np.abs(weights["w"][part]).mean()) for name, part in self.parts.items()},
        }


def cross_entropy(sums: np.ndarray, labels: np.ndarray) -> float:
    """Mean of log(1 + eˢ) − y s."""
    return float(np.mean(np.logaddexp(0, sums) - labels * sums))
