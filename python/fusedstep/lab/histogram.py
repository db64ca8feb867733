"""Histograms by powers of two, step by step, as heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from .network import Weights

#: Exponents of the bins' lower edges. What is nearer to 0, and 0 itself, goes to the lowest bin.
LOWEST, HIGHEST = -36, 3

#: Even steps for every eye; its ends are told apart in grey, too.
COLOURS = "viridis"

#: Least and largest share that the colours tell apart, in per cent.
RANGE = (0.01, 100)


def shares(arrays: Weights) -> np.ndarray:
    """The share of all values whose size is in [2ᵏ, 2ᵏ⁺¹), for each k."""
    values = np.concatenate([array.ravel() for array in arrays.values()])
    _, exponents = np.frexp(values)
    exponents[values == 0] = LOWEST
    bins = np.clip(exponents - 1, LOWEST, HIGHEST) - LOWEST
    return np.bincount(bins, minlength=HIGHEST - LOWEST + 1) / values.size


class Beginning:
    """Looks on at the first steps that move something: a histogram of |g| for each, and one of |Δθ|.

    Args:
        steps: how many.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.gradients: dict[str, list[np.ndarray]] = {}
        self.moves: dict[str, list[np.ndarray]] = {}
        #: By method: steps before the first that moved something.
        self.idle: dict[str, int] = {}
        self._before: Weights = {}

    def __call__(self, method: str, weights: Weights, grads: Weights) -> None:
        gradients, moves = self.gradients.setdefault(method, []), self.moves.setdefault(method, [])
        self.idle.setdefault(method, 0)
        if gradients and len(moves) < self.steps:
            moved = {name: weights[name] - self._before[name] for name in weights}
            if moves or any(move.any() for move in moved.values()):
                moves.append(shares(moved))
            else:
                gradients.clear()
                self.idle[method] += 1
        if len(gradients) < self.steps:
            gradients.append(shares(grads))
            self._before = {name: array.copy() for name, array in weights.items()}

    def drift(self, method: str) -> float:
        """How much of the gradients' histogram lies elsewhere than in the first step, on average over the steps."""
        columns = np.array(self.gradients[method])
        return float(np.abs(columns - columns[0]).sum(axis=1).mean() / 2)


def heat(axes: Axes, columns: Sequence[np.ndarray], **words: Any) -> Any:
    """A histogram for each step from step 1 on; the image, for a bar with its colours."""
    image = axes.imshow(
        100 * np.array(columns).T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap=COLOURS,
        norm=LogNorm(*RANGE),
        extent=(0.5, len(columns) + 0.5, LOWEST, HIGHEST + 1),
    )
    axes.set(**words)
    return image
