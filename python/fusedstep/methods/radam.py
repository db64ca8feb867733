"""RAdam."""

from __future__ import annotations

from typing import Any, ClassVar

from ..optimizer import Optimizer
from ..options import at_least, betas, choice, number, optional, whole


class RAdam(Optimizer):
    """Rectified Adam: no adaptive learning rate before its variance is finite, and a smaller one after that.

    .. math::
        ρ_∞ = \\frac{2}{1−β_2} − 1, \\quad ρ_t = ρ_∞ − \\frac{2tβ_2^t}{1−β_2^t}, \\quad
        r_t = \\sqrt{\\frac{(ρ_t−4)(ρ_t−2)ρ_∞}{(ρ_∞−4)(ρ_∞−2)ρ_t}}

        θ ← θ − η r_t \\frac{\\hat m}{D} \\quad\\text{where rectified, otherwise}\\quad θ ← θ − η \\hat m
        \\quad\\text{(``sgd``) or no step and no decay (``skip``)}

    with m̂ and v̂ as in Adam, and D = √v̂ + ε (``outside``), (√v + ε)/√(1−β₂ᵗ) (``hat``) or √(v̂ + ε) (``inside``). A step
    is rectified where ρ_t > 4 and ρ_t > ``rectify_above``, or, where ``rectify_after`` is given, ρ_t > 4 and
    t > ``rectify_after``. State: ``exp_avg``, ``exp_avg_sq``.

    {arguments}

    >>> import numpy as np, fusedstep as fs
    >>> w = np.ones(3)
    >>> fs.RAdam(w, lr=0.25).step(np.full(3, 2.0))
    >>> w
    array([0.5, 0.5, 0.5])

    Source: Liu et al. 2020, arXiv:1908.03265, Algorithm 2 (ρ_t > 4). As torch.optim.RAdam (ρ_t > 5), whose
    ``decoupled_weight_decay=True`` is taken too.
    """

    state_names = ("exp_avg", "exp_avg_sq")

    betas = betas(0.9, 0.999)
    eps = number(1e-8, "ε, keeps the step finite where v is near 0")
    eps_place = choice("hat", "outside", "inside", doc="where ε stands, as in Adam")
    rectify_above = at_least(4.0, 5.0, "rectify where ρ_t is greater than this")
    rectify_after = optional(whole(0, 4, "rectify after this step in the place of ``rectify_above``"))
    below = choice("sgd", "skip", doc="what is done in steps that are not rectified")

    takes_decoupled_weight_decay = True
    conventions: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"rectify_above": 4.0},
        "optax": {"eps_place": "outside"},
    }
