"""The example of Reddi, Kale & Kumar 2018 on which Adam goes the wrong way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..schedules import inverse_sqrt
from .method import Method


@dataclass(frozen=True)
class Example:
    """Losses that are lines over [−1, 1]: one in `period` rises steeply, the others fall a little.

    Together they rise, so that −1 is best. Adam forgets the steep one before it comes again, and goes to +1.

    Args:
        title: where it comes from.
        steep, gentle: the slopes.
        period: after how many steps the steep one comes again.
        betas: Adam's.
        lr: α of the learning rate α/√t.
    """

    title: str
    steep: float
    gentle: float
    period: int
    betas: tuple[float, float]
    lr: float

    @property
    def slope(self) -> float:
        """The mean slope."""
        return (self.steep + (self.period - 1) * self.gentle) / self.period

    def method(self, amsgrad: bool) -> Method:
        return Method("Adam", {"lr": inverse_sqrt(self.lr), "betas": self.betas, "amsgrad": amsgrad})

    def follow(self, method: Method, steps: int, convention: str) -> np.ndarray:
        """x after every step, brought back into [−1, 1]; from 0."""
        x, grad, places = np.zeros(1), np.empty(1), np.empty(steps)
        bound = method.start(x, convention).bind(grad)
        for step in range(steps):
            grad[0] = self.gentle if step % self.period else self.steep
            bound.step()
            x.clip(-1.0, 1.0, out=x)
            places[step] = x[0]
        return places

    def regret(self, places: np.ndarray) -> np.ndarray:
        """How much more than −1 the places before each step have cost on average, up to every step."""
        before = np.concatenate([[0.0], places[:-1]])
        slopes = np.where(np.arange(len(places)) % self.period, self.gentle, self.steep)
        return np.cumsum(slopes * (before + 1)) / np.arange(1, len(places) + 1)


EXAMPLES = {
    "theorem": Example("slopes 3, −1, −1, …", 3.0, -1.0, 3, (0.0, 0.1), 0.5),
    "figure": Example("slopes 1010, then −10 a hundred times", 1010.0, -10.0, 101, (0.9, 0.99), 0.5),
}
