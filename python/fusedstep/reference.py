"""The same classes in pure NumPy: what every update means, and what the kernels are compared with.

>>> import numpy as np, fusedstep as fs
>>> w = np.ones(3, np.float32)
>>> fs.reference.Adam(w, lr=0.5).step(np.ones(3, np.float32))
>>> w
array([0.5, 0.5, 0.5], dtype=float32)
"""

from __future__ import annotations

from typing import Any

from . import methods
from .formulas import apply
from .optimizer import Optimizer


class Bound:
    """Gradients that later steps find in the same arrays."""

    def __init__(self, optimizer: Optimizer, grads: Any) -> None:
        self.optimizer = optimizer
        self.grads = grads
        self.checked = optimizer._plan.bind(optimizer, grads)

    def step(self) -> None:
        """One step with the bound gradients, in place."""
        self.checked.check()
        self.optimizer.step(self.grads)


class InNumPy:
    """Steps through the formulas instead of the kernels; the arrays, checks and counters are the same."""

    def step(self: Any, grads: Any) -> None:
        plan = self._plan
        for name, group, t, lr, grad in plan.prepare(self, grads):
            options = self.param_groups[group]
            apply(self._method, plan.param(name), grad, plan.arrays(name), t, lr, options)
        plan.advance()

    def bind(self: Any, grads: Any) -> Bound:
        return Bound(self, grads)


def in_numpy(cls: type[Optimizer]) -> type[Optimizer]:
    return type(cls.__name__, (InNumPy, cls), {"__doc__": cls.__doc__, "__module__": __name__})


globals().update({name: in_numpy(getattr(methods, name)) for name in methods.__all__})
__all__ = list(methods.__all__)
