"""The same classes in pure NumPy: what every update means, and what the kernels are compared with.

>>> import numpy as np, fusedstep as fs
>>> w = np.ones(3, np.float32)
>>> fs.reference.Adam(w, lr=0.5).step(np.ones(3, np.float32))
>>> w
array([0.5, 0.5, 0.5], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import methods
from .formulas import adaptive_lr, apply, root, rounded, second_correction, total_root, window_root
from .optimizer import Optimizer


class Bound:
    """Gradients that later steps find in the same arrays."""

    def __init__(self, optimizer: Optimizer, grads: Any) -> None:
        self.optimizer = optimizer
        self.grads = grads

    def step(self) -> None:
        """One step with the bound gradients, in place."""
        self.optimizer.step(self.grads)


class InNumPy:
    """Steps through the formulas instead of the kernels; the arrays, checks and counters are the same."""

    def step(self: Any, grads: Any) -> None:
        plan = self._plan
        for name, group, t, lr, grad in plan.prepare(self, grads):
            options = self.param_groups[group]
            apply(self._method(), plan.param(name), grad, plan.arrays(name), t, lr, options)
        plan.advance()

    def bind(self: Any, grads: Any) -> Bound:
        self._plan.bind(self, grads)
        return Bound(self, grads)


def in_numpy(cls: type[Optimizer]) -> type[Optimizer]:
    return type(cls.__name__, (InNumPy, cls), {"__doc__": cls.__doc__, "__module__": __name__})


def adaptive_rate(
    param: np.ndarray, state: Mapping[str, Any], options: Mapping[str, Any], lr: float
) -> np.ndarray:
    """η/ψ of `Adaptive` after a step, from its state."""
    t, psi = state["step"], options["psi"]
    if t == 0:
        raise ValueError("Adaptive: adaptive_rate needs a step, got none so far")
    if psi == "one":
        return np.full_like(param, lr)
    with np.errstate(all="ignore"):
        if psi == "sum":
            D = total_root(state["sum"], options)
        elif psi == "window":
            ring, slot = state["ring"], (t - 1) % options["window"]
            closed = slot == options["window"] - 1
            squares = ring[: 2 if slot else 1].sum(axis=0) if closed else state["sum"] + ring[slot + 1]
            D = window_root(squares, t, options)
        elif psi == "infinity":
            D = state["exp_inf"] + param.dtype.type(options["eps"] if options["eps_place"] == "outside" else 0)
        else:
            of_hat = psi == "ema_max" and options["amsgrad_order"] == "v_hat"
            v = state["max_exp_avg_sq" if psi == "ema_max" else "exp_avg_sq"]
            D = root(v, options, 1.0 if of_hat else second_correction(t, options))
        return rounded(param, adaptive_lr(lr, t, options))[0] / D


globals().update({name: in_numpy(getattr(methods, name)) for name in methods.__all__})
__all__ = list(methods.__all__)
