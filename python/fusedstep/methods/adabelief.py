"""AdaBelief."""

from __future__ import annotations

from ..optimizer import Optimizer
from ..options import betas, number


class AdaBelief(Optimizer):
    """AdaBelief: Adam that divides by how much the gradients differ from their average.

    .. math::
        m ← β_1 m + (1−β_1) g, \\quad s ← β_2 s + (1−β_2)(g−m)² + ε, \\quad
        θ ← θ − η \\frac{\\hat m}{\\sqrt{\\hat s} + ε}

    State: ``exp_avg``, ``exp_avg_var`` (s).

    {arguments}

    >>> import numpy as np, fusedstep as fs
    >>> w = np.ones(3)
    >>> fs.AdaBelief(w, lr=0.09).step(np.full(3, 2.0))
    >>> w.round(6)
    array([0.9, 0.9, 0.9])

    Source: Zhuang et al. 2020, arXiv:2010.07468, Algorithm 2. Torch has none.
    """

    state_names = ("exp_avg", "exp_avg_var")

    betas = betas(0.9, 0.999, "decay rates β₁ of m and β₂ of s")
    eps = number(1e-16, "ε, added to s at every step and to its root")
