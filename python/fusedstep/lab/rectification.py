"""Var[ψ] against ρ, by formulas and by chance, and the rectifier that makes it even."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from ..in_numpy.double_double import rho
from ..measurement.table import Table
from .figure import BLACK, BLUE, GREEN, ORANGE, PURPLE, VERMILION, figure, finish
from .method import Method
from .page import Page
from .variance import drawn, exact, first_order, of_adam, rectifier

#: Lengths that are looked at. From 8 on a sample's variance is a fair estimate: ψ has eight moments.
COUNT, FAIR = 28, 8

#: Lengths that the table shows.
ROWS = 10


class Rectification:
    """The variance at lengths ρ_t, t = 5 …, and the rectifier of every step.

    Args:
        adam, radam: their options; β₂ is Adam's.
        steps: of the picture.
        draws: how many the samples are.
        seed: of the samples.
        convention: of the methods.
    """

    columns = ("t", "ρ", "exact", "first order", "Monte Carlo", "Adam's v̂", "rectifier")

    def __init__(self, adam: Method, radam: Method, *, steps: int, draws: int, seed: int, convention: str) -> None:
        rng = np.random.default_rng([seed, 3])
        beta = float(adam.options["betas"][1])
        self.limit = rho(beta, 1)[0]
        self.steps = np.unique(np.geomspace(5, steps, COUNT).astype(int))
        self.rho = np.array([rho(beta, t)[1] for t in self.steps.tolist()])
        self.exact, self.first_order = exact(self.rho), first_order(self.rho)
        self.drawn = drawn(self.rho, draws, rng)
        self.of_adam = of_adam(adam, self.steps, draws // 20, rng, convention)
        self.rectifier = rectifier(radam, steps, convention)

    def rows(self) -> Iterator[tuple[float, ...]]:
        lengths = self.rectifier[self.steps - 1]
        return zip(self.steps, self.rho, self.exact, self.first_order, self.drawn, self.of_adam, lengths, strict=True)

    def table(self) -> Table:
        table = Table("Var[ψ] for gradients of variance 1", self.columns)
        every = max(1, len(self.steps) // ROWS)
        for t, *values in list(self.rows())[::every]:
            table.rows.append([f"{t:.0f}", *(f"{value:.4g}" for value in values)])
        return table

    def draw(self) -> Figure:
        made = figure(f"How sure Adam's adaptive rate ψ is   (ρ∞ = {self.limit:.4g})", 13, 4.6)
        left, middle, right = made.subplots(1, 3)
        fine = np.geomspace(4.05, self.limit, 400)
        left.plot(fine, first_order(fine), color=VERMILION, linestyle="--", label="first order")
        left.plot(fine, exact(fine), color=BLUE, label="exact")
        left.plot(self.rho, self.drawn, color=BLACK, marker="o", markersize=5, linestyle="", label="Monte Carlo")
        left.plot(self.rho, self.of_adam, color=ORANGE, marker="x", linestyle="", label="1/√v̂ as Adam keeps it")
        finish(left, xlabel="ρ (steps)", ylabel="Var[ψ] (1/σ²)", xscale="log", yscale="log", ylim=(None, 10))
        t = np.arange(1, len(self.rectifier) + 1)
        middle.step(t, self.rectifier, where="mid", color=PURPLE)
        finish(middle, xlabel="step", ylabel="rectifier r_t (no unit)", xscale="log", ylim=(0, 1.05))
        lengths = self.rectifier[self.steps - 1]
        right.plot(self.steps, self.exact, color=BLUE, label="Adam: Var[ψ]")
        right.plot(self.steps, lengths**2 * self.exact, color=PURPLE, label="RAdam: Var[r ψ]")
        warm = np.minimum(1, self.steps / self.steps[-1])
        right.plot(self.steps, warm**2 * self.exact, color=GREEN, linestyle="--", label="warm-up over all these steps")
        finish(right, xlabel="step", ylabel="variance (1/σ²)", xscale="log", yscale="log")
        return made

    def judge(self, page: Page) -> None:
        page.claim(
            "Var[ψ] falls with ρ at every length.",
            bool((np.diff(self.exact) < 0).all()),
            **{"at_ρ_=_" + f"{self.rho[i]:.4g}": self.exact[i] for i in (0, -1)},
        )
        fair = self.rho > FAIR
        off = float(np.abs(self.drawn / self.exact - 1)[fair].max())
        page.claim(
            f"Monte Carlo agrees with the exact formula within a tenth, for ρ > {FAIR}.", off < 0.1, largest_error=off
        )
        errors = self.first_order / self.exact - 1
        page.claim(
            "To first order the variance is too large, and the less so the larger ρ is.",
            bool((errors > 0).all() and (np.diff(errors) < 0).all()),
            **{"error_at_ρ_=_" + f"{self.rho[i]:.4g}": errors[i] for i in (0, -1)},
        )
        kept = float(np.abs(self.of_adam / self.exact - 1)[fair].max())
        page.claim(
            f"A simple average of length ρ_t can stand for Adam's: its Var[ψ] is within a fifth, for ρ > {FAIR}.",
            kept < 0.2,
            largest_difference=kept,
        )
        even = self.rectifier[self.steps - 1] ** 2 * self.first_order
        page.claim(
            "The rectifier keeps the variance, to first order, at its least value from the fifth step on.",
            bool(np.allclose(even, first_order(self.limit), rtol=1e-5)),
            least=float(first_order(self.limit)),
            smallest=float(even.min()),
            largest=float(even.max()),
        )
