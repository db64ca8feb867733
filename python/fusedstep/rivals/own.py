"""This package: through a class, with bound gradients, and the reference in NumPy."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from .. import methods, reference
from ..targets import set_num_threads
from .rival import Rival
from .work import Agreement, Work


class Own(Rival):
    """Each of these gives the reference's bits."""

    kind: ClassVar[Any] = methods

    def __init__(self, work: Work, threads: int) -> None:
        super().__init__(work, threads)
        set_num_threads(threads)
        alone = len(self.params) == 1
        self.grads: Any = work.grads[0] if alone else work.grads
        self.optimizer = getattr(self.kind, work.method)(self.params[0] if alone else self.params, **work.options)
        self.step = partial(self.optimizer.step, self.grads)

    def agrees(self, agreement: Agreement) -> bool:
        return agreement.same_bits


class Fused(Own):
    name = "fusedstep"


class Bound(Own):
    name = "fusedstep, bound"

    def __init__(self, work: Work, threads: int) -> None:
        super().__init__(work, threads)
        self.step = self.optimizer.bind(self.grads).step


class Reference(Own):
    name = "NumPy reference"
    kind: ClassVar[Any] = reference
