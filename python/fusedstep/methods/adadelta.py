"""Adadelta."""

from __future__ import annotations

from typing import Any, ClassVar

from ..optimizer import Optimizer
from ..options import fraction, number, rate


class Adadelta(Optimizer):
    """Adadelta: steps in the units of the parameters.

    .. math::
        v ← ρv + (1−ρ)g², \\quad Δ = \\frac{\\sqrt{u + ε}}{\\sqrt{v + ε}} g, \\quad
        u ← ρu + (1−ρ)Δ², \\quad θ ← θ − ηΔ

    State: ``square_avg`` (v), ``acc_delta`` (u).

    {arguments}

    >>> import numpy as np, fusedstep as fs
    >>> w = np.ones(3)
    >>> fs.Adadelta(w, eps=0.1).step(np.full(3, 2.0))
    >>> w.round(6)
    array([0.105573, 0.105573, 0.105573])

    Source: Zeiler 2012, arXiv:1212.5701, Algorithm 1. As torch.optim.Adadelta.
    """

    state_names = ("square_avg", "acc_delta")

    lr = rate(1.0)
    rho = fraction(0.9, "ρ, how much of both averages is kept")
    eps = number(1e-6, "ε, under both roots; the first steps have its size")

    conventions: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"rho": 0.95, "eps": 1e-6},
        "keras": {"rho": 0.95, "eps": 1e-7, "lr": 1e-3, "decay": "decoupled"},
        "optax": {},
    }
