"""Yogi."""

from __future__ import annotations

from ..optimizer import Optimizer
from ..options import betas, number, rate


class Yogi(Optimizer):
    """Yogi: Adam whose v moves by a bounded amount, so that it cannot forget too fast.

    .. math::
        m ← β_1 m + (1−β_1) g, \\quad v ← v − (1−β_2)·\\operatorname{sign}(v − g²)·g², \\quad
        θ ← θ − η \\frac{\\hat m}{\\sqrt{\\hat v} + ε}

    State: ``exp_avg`` (starts at 0), ``exp_avg_sq``.

    {arguments}

    >>> import numpy as np, fusedstep as fs
    >>> w = np.ones(3)
    >>> fs.Yogi(w, lr=0.25, eps=0.0, initial_accumulator_value=0.0).step(np.full(3, 2.0))
    >>> w.round(6)
    array([0.75, 0.75, 0.75])

    Source: Zaheer et al. 2018, Algorithm 2. Torch has none.
    """

    state_names = ("exp_avg", "exp_avg_sq")

    lr = rate(1e-2)
    betas = betas(0.9, 0.999)
    eps = number(1e-3, "ε, keeps the step finite where v is near 0")
    initial_accumulator_value = number(1e-6, "what v starts from")
