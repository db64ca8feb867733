"""This package: by a class, with bound gradients, on torch's tensors, by a function, and the reference in NumPy."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any, ClassVar

from .. import functional, methods, reference
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


class Function(Own):
    """State and steps are the caller's."""

    name = "fusedstep, function"
    functions: ClassVar[Any] = functional

    def __init__(self, work: Work, threads: int) -> None:
        super().__init__(work, threads)
        function = getattr(self.functions, self.functions.name_of(type(self.optimizer)))
        options = {name: value for name, value in work.options.items() if name not in self.functions.STARTS}
        entries = [dict(entry) for entry in self.optimizer.state.values()]
        steps = itertools.count(1 + min(entry.pop("step") for entry in entries))
        states = {name: [entry[name] for entry in entries] for name in entries[0]}
        params: Any = self.params
        if len(entries) == 1:
            params, states = params[0], {name: arrays[0] for name, arrays in states.items()}

        def step() -> None:
            function(params, self.grads, step=next(steps), **states, **options)

        self.step = step


class Reference(Own):
    name = "NumPy reference"
    kind: ClassVar[Any] = reference
