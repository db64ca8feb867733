"""NAdam."""

from __future__ import annotations

from typing import Any, ClassVar

from ..optimizer import Optimizer
from ..options import betas, number, rate


class NAdam(Optimizer):
    """NAdam: Adam with Nesterov's momentum on a schedule of its own.

    .. math::
        μ_t = β_1 (1 − \\tfrac12 0.96^{tψ}), \\quad Π_t = \\prod_{i≤t} μ_i, \\quad
        \\hat m = \\frac{μ_{t+1} m}{1 − Π_{t+1}} + \\frac{(1−μ_t) g}{1 − Π_t}

        θ ← θ − η \\frac{\\hat m}{\\sqrt{\\hat v} + ε}

    with m and v̂ as in Adam. State: ``exp_avg``, ``exp_avg_sq``, ``mu_product`` (Π_t, one float64).

    {arguments}

    >>> import numpy as np, fusedstep as fs
    >>> w = np.ones(3)
    >>> fs.NAdam(w, lr=0.25).step(np.full(3, 2.0))
    >>> w.round(4)
    array([0.7359, 0.7359, 0.7359])

    Source: Dozat 2016. As torch.optim.NAdam, whose ``decoupled_weight_decay=True`` is taken too.
    """

    state_names = ("exp_avg", "exp_avg_sq", "mu_product")

    lr = rate(2e-3)
    betas = betas(0.9, 0.999)
    eps = number(1e-8, "ε, keeps the step finite where v is near 0")
    momentum_decay = number(4e-3, "ψ, how fast μ_t approaches β₁")

    takes_decoupled_weight_decay = True
    conventions: ClassVar[dict[str, dict[str, Any]]] = {
        "keras": {"eps": 1e-7, "lr": 1e-3, "momentum_decay": 1.0, "decay": "decoupled"},
    }
