"""The same classes in pure NumPy: they say what every update means, and the kernels are compared with them.

>>> import numpy as np, fusedstep as fs
>>> w = np.ones(3, np.float32)
>>> fs.reference.Adam(w, lr=0.5).step(np.ones(3, np.float32))
>>> w
array([0.5, 0.5, 0.5], dtype=float32)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from . import methods
from .in_numpy.stats import stats as stats
from .in_numpy.step import step
from .optimizer import Optimizer
from .stages import resolve


def kept(tree: Any) -> Any:
    """The same arrays in containers of its own."""
    if isinstance(tree, dict):
        return {key: kept(value) for key, value in tree.items()}
    return [kept(value) for value in tree] if isinstance(tree, (list, tuple)) else tree


class Bound:
    """Gradients that later steps find in the same arrays."""

    def __init__(self, optimizer: Any, grads: Any, stages: dict[str, Any]) -> None:
        self.optimizer, self.grads, self.stages = optimizer, kept(grads), stages
        self.checked = optimizer._plan.bind(optimizer, grads, resolve(optimizer._name, stages))

    def step(self) -> None:
        """One step with the bound gradients, in place."""
        self.checked.check()
        self.optimizer.step(self.grads, **self.stages)


def told_as(method: Any) -> Callable[[Any], Any]:
    """Gives a method the docstring and the signature of another; `functools.wraps` would show its source as well."""

    def tell(own: Any) -> Any:
        own.__doc__, own.__signature__ = method.__doc__, inspect.signature(method)
        return own

    return tell


class InNumPy:
    """Steps through the formulas instead of the kernels; the arrays, checks and counters are the same."""

    @told_as(Optimizer.step)
    def step(self: Any, grads: Any, **stages: Any) -> None:
        step(self, grads, resolve(self._name, stages))

    @told_as(Optimizer.bind)
    def bind(self: Any, grads: Any, **stages: Any) -> Bound:
        return Bound(self, grads, stages)


def in_numpy(cls: type[Optimizer]) -> type[Optimizer]:
    return type(cls.__name__, (InNumPy, cls), {"__doc__": cls.__doc__, "__module__": __name__})


globals().update({name: in_numpy(getattr(methods, name)) for name in methods.__all__})
__all__ = list(methods.__all__)
