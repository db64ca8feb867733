"""Adamax."""

from __future__ import annotations

from typing import Any, ClassVar

from ..optimizer import Optimizer
from ..options import betas, choice, number, rate


class Adamax(Optimizer):
    """Adamax: Adam with the infinity norm.

    .. math::
        m ← β_1 m + (1−β_1) g, \\quad u ← \\max(β_2 u, |g| + ε), \\quad θ ← θ − \\frac{η}{1−β_1^t} \\frac{m}{u}

    With ``eps_place="outside"``: u ← max(β₂u, |g|), and m/(u + ε). State: ``exp_avg``, ``exp_inf``.

    {arguments}

    >>> import numpy as np, fusedstep as fs
    >>> w = np.ones(3)
    >>> fs.Adamax(w, lr=0.25).step(np.full(3, 2.0))
    >>> w.round(6)
    array([0.75, 0.75, 0.75])

    Source: Kingma & Ba 2015, arXiv:1412.6980, §7.1. As torch.optim.Adamax; ``outside`` as Keras.
    """

    state_names = ("exp_avg", "exp_inf")

    lr = rate(2e-3)
    betas = betas(0.9, 0.999, "decay rates β₁ of m and β₂ of u")
    eps = number(1e-8, "ε, keeps the step finite where u is near 0")
    eps_place = choice("max", "outside", doc="where ε stands")

    conventions: ClassVar[dict[str, dict[str, Any]]] = {
        "keras": {"eps_place": "outside", "eps": 1e-7, "lr": 1e-3, "decay": "decoupled"},
    }
