"""What a deep net's layers get and do while it trains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .network import Weights


@dataclass(frozen=True)
class Health:
    """Of each layer's weights in a step, the layer next to the images first.

    Args:
        norm: ‖g‖.
        usual: the root of the mean of g².
        zeros: the share of zeros in g.
        move: ‖Δθ‖/‖θ‖.
        kept: the share of weights whose bits the step did not change.
    """

    norm: np.ndarray
    usual: np.ndarray
    zeros: np.ndarray
    move: np.ndarray
    kept: np.ndarray


class Layers:
    """Looks on at one step in so many, from the first on.

    Args:
        count: layers; their weights are w1, w2, …
        every: steps from one look to the next.
    """

    def __init__(self, count: int, every: int) -> None:
        self.names = [f"w{layer}" for layer in range(1, count + 1)]
        self.every = every
        self.found: dict[str, list[Health]] = {}
        self._steps: dict[str, int] = {}
        self._seen: tuple[Weights, Weights] = ({}, {})

    def __call__(self, method: str, weights: Weights, grads: Weights) -> None:
        step = self._steps[method] = self._steps.get(method, -1) + 1
        if step and (step - 1) % self.every == 0:
            self.found.setdefault(method, []).append(self.judged(weights))
        if step % self.every == 0:
            self._seen = ({n: weights[n].copy() for n in self.names}, {n: grads[n].copy() for n in self.names})

    def judged(self, weights: Weights) -> Health:
        before, grads = self._seen
        norm = np.array([size(grads[name]) for name in self.names])
        return Health(
            norm=norm,
            usual=norm / np.sqrt([grads[name].size for name in self.names]),
            zeros=np.array([np.mean(grads[name] == 0) for name in self.names]),
            move=np.array([size(weights[name] - before[name]) / size(before[name]) for name in self.names]),
            kept=np.array([np.mean(weights[name] == before[name]) for name in self.names]),
        )

    def over_steps(self, method: str, what: str) -> np.ndarray:
        """A row for each look."""
        return np.array([getattr(health, what) for health in self.found[method]])


def size(array: np.ndarray) -> float:
    """The norm; in double precision, because squares of small gradients are none in single."""
    return float(np.linalg.norm(array.astype(np.float64)))
