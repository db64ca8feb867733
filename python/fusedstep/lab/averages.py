"""A simple and an exponential moving average with the same centre of mass: where RAdam's ρ comes from."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ..in_numpy.double_double import correction, rho
from .figure import BLUE, GREY, VERMILION, figure, finish
from .page import Page

STEPS = 150

#: A step whose weights are shown.
SHOWN = 60


def exponential(beta: float, t: int) -> np.ndarray:
    """The corrected average's weights of the steps 1 … t."""
    return (1 - beta) * beta ** np.arange(t - 1.0, -1, -1) / correction(beta, t)


def simple(length: float, t: int) -> np.ndarray:
    """The weights of an average over the last steps; of a length that is not whole, the oldest has a part."""
    age = np.arange(t - 1.0, -1, -1)
    return np.clip(length - age, 0, 1) / length


def centre(weights: np.ndarray) -> float:
    """The mean of the steps 1 … t by their weights."""
    return float(weights @ np.arange(1, len(weights) + 1))


class Averages:
    """Both averages of a noisy sine.

    Args:
        beta: the exponential one's.
        seed: of the noise.
    """

    def __init__(self, beta: float, seed: int) -> None:
        self.beta = beta
        t = np.arange(1, STEPS + 1)
        self.signal = np.sin(t / 15) + 0.5 * np.random.default_rng(seed).standard_normal(STEPS)
        self.exponential = [float(exponential(beta, s) @ self.signal[:s]) for s in t.tolist()]
        self.simple = [float(simple(rho(beta, s)[1], s) @ self.signal[:s]) for s in t.tolist()]

    def draw(self) -> Figure:
        made = figure(f"Moving averages with the same centre of mass, β = {self.beta:g}", 12, 4.4)
        left, right = made.subplots(1, 2)
        t, steps = np.arange(1, SHOWN + 1), np.arange(1, STEPS + 1)
        length = rho(self.beta, SHOWN)[1]
        left.step(t, exponential(self.beta, SHOWN), where="mid", color=BLUE, label="exponential")
        left.step(
            t,
            simple(length, SHOWN),
            where="mid",
            color=VERMILION,
            linestyle="--",
            label=f"simple, the last {length:.3g}",
        )
        left.axvline(
            centre(exponential(self.beta, SHOWN)), color=GREY, linestyle=":", label="centre of mass of the exponential"
        )
        finish(left, xlabel="step", ylabel=f"weight at step {SHOWN}", ylim=(0, None))
        right.plot(steps, self.signal, color=GREY, linewidth=0.8, label="noisy sine")
        right.plot(steps, self.exponential, color=BLUE, label="exponential")
        right.plot(steps, self.simple, color=VERMILION, linestyle="--", label="simple, over the last ρ_t")
        finish(right, xlabel="step", ylabel="value (no unit)")
        return made

    def judge(self, page: Page) -> None:
        apart = max(
            abs(centre(exponential(self.beta, t)) - (t + 1 - (rho(self.beta, t)[1] + 1) / 2))
            for t in range(1, STEPS + 1)
        )
        page.claim(
            "The exponential average's centre of mass is that of a simple one over the last ρ_t steps.",
            apart < 1e-9,
            largest_difference_in_steps=apart,
        )
