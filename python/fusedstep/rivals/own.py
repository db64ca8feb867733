"""This package: through a class, with bound gradients, on torch's tensors, and the reference in NumPy."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from .. import methods, reference
from ..targets import set_num_threads
from .rival import Rival, package
from .work import Agreement, Work


class Own(Rival):
    """Each of these gives the reference's bits."""

    kind: ClassVar[Any] = methods

    def __init__(self, work: Work, threads: int) -> None:
        super().__init__(work, threads)
        set_num_threads(threads)
        params, grads = ([self.given(array) for array in arrays] for arrays in (self.params, work.grads))
        alone = len(params) == 1
        self.grads: Any = grads[0] if alone else grads
        self.optimizer = getattr(self.kind, work.method)(params[0] if alone else params, **work.options)
        self.step = partial(self.optimizer.step, self.grads)

    def given(self, array: Any) -> Any:
        """An array as the optimizer is given it."""
        return array

    def agrees(self, agreement: Agreement) -> bool:
        return agreement.same_bits


class Fused(Own):
    name = "fusedstep"


class Bound(Own):
    name = "fusedstep, bound"

    def __init__(self, work: Work, threads: int) -> None:
        super().__init__(work, threads)
        self.step = self.optimizer.bind(self.grads).step


class OnTensors(Own):
    name = "fusedstep, torch's tensors"
    packages = ("torch",)

    def given(self, array: Any) -> Any:
        return package("torch").from_numpy(array)


class Reference(Own):
    name = "NumPy reference"
    kind: ClassVar[Any] = reference
