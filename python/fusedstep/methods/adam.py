"""Adam and AdamW."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from ..configured import COMMON
from ..optimizer import Optimizer
from ..options import betas, choice, flag, number, whole


class Adam(Optimizer):
    """Adam: exponential averages of the gradient and of its square, with bias correction.

    .. math::
        m ← β_1 m + (1−β_1) g, \\quad v ← β_2 v + (1−β_2) g², \\quad
        \\hat m = \\frac{m}{1−β_1^t}, \\quad \\hat v = \\frac{v}{1−β_2^t}

        θ ← θ − η \\frac{\\hat m}{\\sqrt{\\hat v + ε_{root}} + ε} \\quad\\text{(``outside``, Algorithm 1)}

        θ ← θ − η \\frac{\\sqrt{1−β_2^t}}{1−β_1^t} \\frac{m}{\\sqrt{v} + ε} \\quad\\text{(``hat``)} \\qquad
        θ ← θ − η \\frac{\\hat m}{\\sqrt{\\hat v + ε}} \\quad\\text{(``inside``)}

    ``eps_root`` is added to v̂ in all three. AMSGrad divides by the largest v so far, which is corrected afterwards
    (``amsgrad_order="v"``), or by the largest v̂ so far (``"v_hat"``). For the first ``variance_warmup`` steps only v
    moves, and nothing decays. State: ``exp_avg``, ``exp_avg_sq``, ``max_exp_avg_sq``.

    {arguments}

    >>> import numpy as np, fusedstep as fs
    >>> w = np.ones(3)
    >>> opt = fs.Adam(w, lr=0.25)
    >>> opt.step(np.full(3, 2.0))
    >>> w.round(6)
    array([0.75, 0.75, 0.75])

    Source: Kingma & Ba 2015, arXiv:1412.6980; Reddi, Kale & Kumar 2018; the warm-up: Liu et al. 2020 (Adam-2k).
    As torch.optim.Adam, whose ``decoupled_weight_decay=True`` is taken too.
    """

    state_names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    betas = betas(0.9, 0.999)
    eps = number(1e-8, "ε, keeps the step finite where v is near 0")
    amsgrad = flag(False, "divide by the largest v so far")
    amsgrad_order = choice("v", "v_hat", doc="largest v, or largest corrected v")
    eps_place = choice("outside", "hat", "inside", doc="where ε stands")
    eps_root = number(0.0, "a second ε, added to v̂ under the root")
    bias_correction = flag(True, "correct the averages for their start at 0")
    variance_warmup = whole(0, 0, "for this many steps only v moves; the t of β₁ᵗ counts the steps after them")

    takes_decoupled_weight_decay = True
    conventions: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "keras": {"eps_place": "hat", "eps": 1e-7, "decay": "decoupled"},
        "sklearn": {"eps_place": "hat"},
        "optax": {"amsgrad_order": "v_hat"},
    }


class AdamW(Adam):
    """AdamW: Adam whose weight decay does not pass through the averages.

    .. math::
        θ ← θ(1 − ηλ), \\quad\\text{then Adam's step with the same gradient}

    State: ``exp_avg``, ``exp_avg_sq``, ``max_exp_avg_sq``.

    {arguments}

    >>> import numpy as np, fusedstep as fs
    >>> w, b = np.ones((3, 2)), np.zeros(2)
    >>> opt = fs.AdamW({"w": w, "b": b}, lr=0.1, weight_decay=0.5)
    >>> opt.step({"w": np.zeros((3, 2)), "b": None})
    >>> w[0]
    array([0.95, 0.95])

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101, with λ times η as in torch.optim.AdamW.
    """

    weight_decay = number(1e-2, "λ of the weight decay")
    decay = replace(COMMON["decay"], default="decoupled")

    takes_decoupled_weight_decay = False
    conventions: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "keras": {"eps_place": "hat", "eps": 1e-7, "weight_decay": 4e-3},
        "optax": {"amsgrad_order": "v_hat", "weight_decay": 1e-4},
    }
