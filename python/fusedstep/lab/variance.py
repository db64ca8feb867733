"""The variance of ψ = 1/√v̂, by which Adam multiplies its steps: large at first, and what RAdam's rectifier does to it.

Where gradients are normal with mean 0 and v̂ averages ρ of their squares, ψ² is ρ/(σ²χ²_ρ).
Source: Liu et al. 2020, arXiv:1908.03265, §3 and §4.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.special import poch

from .method import Method


def mean(rho: np.ndarray | float, sigma: float = 1.0) -> np.ndarray:
    """E[ψ] = √(ρ/2) Γ((ρ−1)/2) / Γ(ρ/2) / σ, for ρ > 1."""
    rho = np.asarray(rho, float)
    return np.sqrt(rho / 2) / poch((rho - 1) / 2, 0.5) / sigma


def exact(rho: np.ndarray | float, sigma: float = 1.0) -> np.ndarray:
    """Var[ψ] = E[ψ²] − E[ψ]², with E[ψ²] = ρ/((ρ−2)σ²); infinite where ρ ≤ 2."""
    long = np.maximum(np.asarray(rho, float), 2)
    with np.errstate(divide="ignore"):
        return long / ((long - 2) * sigma**2) - mean(long, sigma) ** 2


def first_order(rho: np.ndarray | float, sigma: float = 1.0) -> np.ndarray:
    """Var[ψ²]/(4E[ψ²]) = ρ/(2(ρ−2)(ρ−4)σ²); infinite where ρ ≤ 4."""
    long = np.maximum(np.asarray(rho, float), 4)
    with np.errstate(divide="ignore"):
        return long / (2 * (long - 2) * (long - 4) * sigma**2)


def drawn(rho: Iterable[float], count: int, rng: np.random.Generator) -> np.ndarray:
    """Monte Carlo: the variance of so many √(ρ/χ²_ρ), for each ρ."""
    return np.array([np.sqrt(length / rng.chisquare(length, count)).var() for length in rho])


def of_adam(adam: Method, steps: np.ndarray, count: int, rng: np.random.Generator, convention: str) -> np.ndarray:
    """The variance of 1/√v̂ over so many coordinates after these steps, as Adam's kernels keep v; normal gradients."""
    beta = float(adam.options["betas"][1])
    weights, grads, found = np.zeros(count), np.empty(count), []
    optimizer = adam.start({"w": weights}, convention)
    bound = optimizer.bind({"w": grads})
    for step in range(1, int(steps[-1]) + 1):
        rng.standard_normal(out=grads)
        bound.step()
        if step in steps:
            corrected = optimizer.state["w"]["exp_avg_sq"] / (1 - beta**step)
            found.append((1 / np.sqrt(corrected)).var())
    return np.array(found)


def rectifier(radam: Method, steps: int, convention: str) -> np.ndarray:
    """The factor of every step, as RAdam's kernels apply it: with gradients that are all 1, m̂ = v̂ = 1."""
    weight, lengths = np.zeros(1), np.empty(steps)
    bound = radam.having(lr=1.0).start(weight, convention).bind(np.ones(1))
    for step in range(steps):
        weight[:] = 0
        bound.step()
        lengths[step] = -weight[0]
    return lengths
