"""Adam's averages of a noisy gradient, raw and corrected, and the steps that come of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from ..measurement.table import Table
from .figure import BLUE, GREY, VERMILION, figure, finish
from .method import Method
from .page import Page

STEPS = 2000

#: Steps that the table shows.
SHOWN = (1, 2, 5, 10, 20, 50, 100, 1000)


class Moments:
    """m and v of one coordinate whose gradients have the mean 1, as the kernels keep them, and both kinds of steps.

    Args:
        adam: its options.
        noise: standard deviation of the gradients.
        seed: of the noise.
        convention: Adam's.
    """

    columns = ("step", "gradient", "m", "m corrected", "v", "v corrected", "step with", "step without")

    def __init__(self, adam: Method, noise: float, seed: int, convention: str) -> None:
        self.lr = float(adam.options["lr"])
        self.betas = adam.options["betas"]
        self.noise = noise
        self.grads = 1 + noise * np.random.default_rng(seed).standard_normal(STEPS)
        self.m, self.v, self.with_it = follow(adam.having(bias_correction=True), self.grads, convention)
        _, _, self.without = follow(adam.having(bias_correction=False), self.grads, convention)
        t = np.arange(1, STEPS + 1)
        self.corrected_m, self.corrected_v = (
            raw / (1 - beta**t) for raw, beta in zip((self.m, self.v), self.betas, strict=True)
        )

    def rows(self) -> Iterator[tuple[float, ...]]:
        all_columns = (self.m, self.corrected_m, self.v, self.corrected_v, self.with_it, self.without)
        return zip(range(1, STEPS + 1), self.grads, *all_columns, strict=True)

    def table(self) -> Table:
        table = Table("Raw and corrected", ["t", *self.columns[1:], "without ÷ with"])
        for values in self.rows():
            if values[0] in SHOWN:
                cells = [f"{value:.4g}" for value in (*values[1:], values[-1] / values[-2])]
                table.rows.append([str(values[0]), *cells])
        return table

    def draw(self) -> Figure:
        made = figure(f"Adam's averages, β = {self.betas[0]:g} and {self.betas[1]:g}", 12, 4.4)
        first, second, steps = made.subplots(1, 3)
        t = np.arange(1, STEPS + 1)
        pictures = (
            (first, self.m, self.corrected_m, "m", 1.0, "mean of g"),
            (second, self.v, self.corrected_v, "v", 1 + self.noise**2, "mean of g²"),
        )
        for axes, raw, corrected, name, truth, words in pictures:
            axes.axhline(truth, color=GREY, linestyle=":", label=words)
            axes.plot(t, raw, color=VERMILION, linestyle="--", label=f"{name}, raw")
            axes.plot(t, corrected, color=BLUE, label=f"{name}, corrected")
            finish(axes, xlabel="step", ylabel=name, xscale="log", ylim=(0, None))
        steps.plot(t, self.without / self.lr, color=VERMILION, linestyle="--", label="without correction")
        steps.plot(t, self.with_it / self.lr, color=BLUE, label="with correction")
        finish(steps, xlabel="step", ylabel="length of the step (η)", xscale="log", ylim=(0, None))
        return made

    def judge(self, page: Page) -> None:
        page.claim(
            "The first corrected moment equals the gradient, ten times the raw one.",
            bool(np.isclose(self.corrected_m[0], self.grads[0])) and bool(np.isclose(self.grads[0], 10 * self.m[0])),
            gradient=self.grads[0],
            m=self.m[0],
            corrected_m=self.corrected_m[0],
        )
        page.claim(
            "With the correction the first step has the length η; without, it is 3.2 times as long.",
            bool(np.isclose(self.with_it[0], self.lr)) and 3.1 < self.without[0] / self.with_it[0] < 3.2,
            step_with_over_η=self.with_it[0] / self.lr,
            step_without_over_η=self.without[0] / self.lr,
        )
        far = {
            name: float(np.abs(values[:100] / truth - 1).mean())
            for name, values, truth in (
                ("m raw", self.m, 1.0),
                ("m corrected", self.corrected_m, 1.0),
                ("v raw", self.v, 1 + self.noise**2),
                ("v corrected", self.corrected_v, 1 + self.noise**2),
            )
        }
        page.claim(
            "In the first hundred steps the corrected averages are nearer to the true means than the raw ones.",
            far["m corrected"] < far["m raw"] and far["v corrected"] < far["v raw"],
            mean_relative_error=far,
        )
        rest = {"β₁": float(self.betas[0] ** 20), "β₂": float(self.betas[1] ** 20)}
        page.claim(
            "The correction is over after 20 steps, βᵗ being nearly 0.",
            max(rest.values()) < 0.05,
            β_to_the_power_of_20=rest,
        )


def follow(method: Method, grads: np.ndarray, convention: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """m, v and the length of the step, for every gradient."""
    param, grad = np.zeros(1), np.empty(1)
    optimizer = method.start({"w": param}, convention)
    bound = optimizer.bind({"w": grad})
    state = optimizer.state["w"]
    found = np.empty((3, len(grads)))
    for step, value in enumerate(grads):
        before = param[0]
        grad[0] = value
        bound.step()
        found[:, step] = state["exp_avg"][0], state["exp_avg_sq"][0], abs(param[0] - before)
    return found[0], found[1], found[2]
