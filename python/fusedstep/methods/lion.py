"""Lion."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from ..configured import COMMON
from ..optimizer import Optimizer
from ..options import betas, rate


class Lion(Optimizer):
    """Lion: the sign of an average, so that every coordinate moves by the same amount.

    .. math::
        θ ← θ − η·\\operatorname{sign}(β_1 m + (1−β_1) g), \\quad m ← β_2 m + (1−β_2) g

    sign(0) = 0. State: ``exp_avg``.

    {arguments}

    >>> import numpy as np, fusedstep as fs
    >>> w = np.ones(3)
    >>> fs.Lion(w, lr=0.25).step(np.array([2.0, 0.0, -7.0]))
    >>> w
    array([0.75, 1.  , 1.25])

    Source: Chen et al. 2023, arXiv:2302.06675, Algorithm 2. Torch has none.
    """

    state_names = ("exp_avg",)

    lr = rate(1e-4)
    betas = betas(0.9, 0.99, "β₁ of the step's average and β₂ of the one that is kept")
    decay = replace(COMMON["decay"], default="decoupled")

    conventions: ClassVar[dict[str, dict[str, Any]]] = {"keras": {"lr": 1e-3}}
