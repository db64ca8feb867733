"""The demo's contest: kernels and reference step the same weights with the same gradients."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np

from .. import methods, reference
from ..lab.network import Weights
from . import Problem
from .bits import differing, with_bits


class Pair:
    """The same weights twice: first those that the kernels step, then those that the reference steps."""

    def __init__(self, method: str, weights: Weights, options: dict[str, Any]) -> None:
        self.weights = weights, {name: array.copy() for name, array in weights.items()}
        try:
            self.optimizers = [
                getattr(kind, method)(mine, **options)
                for kind, mine in zip((methods, reference), self.weights, strict=True)
            ]
        except (TypeError, ValueError) as error:
            raise Problem(str(error)) from error
        self.seconds: tuple[list[float], list[float]] = [], []

    def step(self, grads: Weights) -> None:
        """One step of each with the same gradient; they take turns to be first and find it in a colder cache."""
        first = len(self.seconds[0]) % 2
        for which in (first, 1 - first):
            begin = time.perf_counter()
            self.optimizers[which].step(grads)
            self.seconds[which].append(time.perf_counter() - begin)

    def milliseconds(self) -> tuple[float, float]:
        """Medians of a step."""
        kernel, formula = (1000 * median(seconds) for seconds in self.seconds)
        return kernel, formula

    def difference(self) -> str | None:
        """The first bits of weights or state that are not the same."""
        kernel, formula = (dict(self._arrays(which)) for which in (0, 1))
        for name, right in formula.items():
            wrong = np.argwhere(differing(kernel[name], right))
            if len(wrong):
                place = tuple(map(int, wrong[0]))
                values = f"kernel {with_bits(kernel[name], place)}, reference {with_bits(right, place)}"
                return f"{name}, element {place} (of {len(wrong)} that differ): {values}"
        return None

    def _arrays(self, which: int) -> Iterator[tuple[str, np.ndarray]]:
        for name, entry in self.optimizers[which].state.items():
            yield name, self.weights[which][name]
            yield from ((f"{key} of {name}", array) for key, array in entry.items() if key != "step")
