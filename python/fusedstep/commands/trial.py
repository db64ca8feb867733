"""A method with one set of options: every target, with every number of threads, against the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from .. import methods, reference
from ..bfloat16 import bits_of, name_of_type
from ..in_numpy.encodings import cast
from ..targets import available_targets, get_num_threads, set_num_threads, use_target
from .bits import differing, with_bits
from .contract import SHARED, Options, Storage, extreme
from .strip import Strip

STEPS = 8
LR = 0.05

#: The tensors of this size get no gradient in these steps, so that their counters and coefficients are others.
MISSING, MISSED = 33, (1, 4)

#: By name and type: a small tensor's state may be kept in another type than a large one's.
Key = tuple[str, str]
Arrays = dict[Key, np.ndarray]
PARAMETER, COUNTER = "parameter", ("step", "int64")

#: Of every array of state, the tensors that have it, and the shape that it has for each.
Layout = dict[Key, dict[int, tuple[int, ...]]]


class Numbers:
    """Parameters and gradients of a storage: tensors of all sizes, once for each of `SHARED`."""

    def __init__(self, storage: Storage, sizes: Sequence[int], seed: int) -> None:
        self.storage = storage
        self.shapes = [(size,) for _ in SHARED for size in sizes]
        self.names = [f"{group}:{size}" for group in range(len(SHARED)) for size in sizes]
        rng = np.random.default_rng(seed)
        self.start = self._filled(rng, storage.param)
        self.grads = [self._gradients(self._filled(rng, storage.grad), step) for step in range(STEPS)]

    def _filled(self, rng: np.random.Generator, name: str) -> Strip:
        strip = Strip(self.shapes, name)
        for tensor in strip.tensors:
            values = extreme(rng, tensor.shape, "float32" if name == "bfloat16" else name)
            bits_of(tensor)[...] = bits_of(cast(values, name))
        return strip

    def _gradients(self, strip: Strip, step: int) -> list[dict[str, Any]]:
        missed = step in MISSED
        return self.grouped([None if missed and tensor.size == MISSING else tensor for tensor in strip.tensors])

    def grouped(self, values: Sequence[Any]) -> list[dict[str, Any]]:
        """By name, a dict for each of `SHARED`."""
        named, count = list(zip(self.names, values, strict=True)), len(values) // len(SHARED)
        return [dict(named[first : first + count]) for first in range(0, len(named), count)]

    def groups(self, params: Strip) -> list[dict[str, Any]]:
        trees = self.grouped(params.tensors)
        return [{"params": tree, **shared} for tree, shared in zip(trees, SHARED, strict=True)]

    def make(self, kind: Any, options: Options, params: Strip, **memory: Any) -> Any:
        kept = {"state": self.storage.state, "rounding": self.storage.rounding}
        return kind(self.groups(params), lr=LR, **kept, **options, **memory)

    def layout(self, kind: Any, options: Options) -> Layout:
        """What memory a method's state takes."""
        found: Layout = {}
        for number, entry in enumerate(self.make(kind, options, self.start).state.values()):
            for key, array in entry.items():
                if key != "step":
                    found.setdefault((key, name_of_type(array)), {})[number] = array.shape
        return found


class Run:
    """An optimizer with a group for each of `SHARED`, whose arrays all lie in strips."""

    def __init__(self, kind: Any, options: Options, numbers: Numbers, layout: Layout) -> None:
        self.numbers = numbers
        params = Strip(numbers.shapes, numbers.storage.param)
        params.flat[:] = numbers.start.flat
        self.strips = {key: Strip(list(shapes.values()), key[1]) for key, shapes in layout.items()}
        #: of each strip, whose tensors lie in it
        self.owners = {key: [numbers.names[number] for number in shapes] for key, shapes in layout.items()}
        memory: dict[str, dict[str, np.ndarray]] = {name: {} for name in numbers.names}
        for key, strip in self.strips.items():
            for name, tensor in zip(self.owners[key], strip.tensors, strict=True):
                memory[name][key[0]] = tensor
        self.strips[PARAMETER, numbers.storage.param] = params
        self.owners[PARAMETER, numbers.storage.param] = self.owners[COUNTER] = numbers.names
        self.optimizer = numbers.make(kind, options, params, memory=memory)

    def steps(self) -> Iterator[Arrays]:
        """Takes the steps; after each, the live memory of parameters and state, and after the last the counters."""
        arrays: Arrays = {key: strip.flat for key, strip in self.strips.items()}
        for number, grads in enumerate(self.numbers.grads, 1):
            self.optimizer.step(grads)
            if number == STEPS:
                arrays[COUNTER] = np.array([entry["step"] for entry in self.optimizer.state.values()])
            yield arrays

    def place(self, key: Key, index: int) -> tuple[Options, str]:
        """The group's options and the words for what lies at an index of one of those arrays."""
        found = (index, 0) if key == COUNTER else self.strips[key].place(index)
        if found is None:
            return {}, f"{key[0]}: memory that belongs to no tensor, at {index}"
        group, size = self.owners[key][found[0]].split(":")
        return SHARED[int(group)], f"{key[0]} of a tensor of {size}, element {found[1]}"


class Outcome(NamedTuple):
    """What the steps of one target with one number of threads gave."""

    compared: int
    difference: str | None


def outcomes(method: str, options: Options, numbers: Numbers, threads: Sequence[int]) -> Iterator[Outcome]:
    """One outcome for every target and number of threads."""
    layout = numbers.layout(getattr(reference, method), options)
    formula = Run(getattr(reference, method), options, numbers, layout)
    expected = [{key: array.copy() for key, array in arrays.items()} for arrays in formula.steps()]
    before = get_num_threads()
    try:
        for target, count in product(available_targets(), threads):
            set_num_threads(count)
            with use_target(target):
                compared, found = follow(Run(getattr(methods, method), options, numbers, layout), expected)
            if found:
                shared, what = found
                chosen = ", ".join(f"{key}={value!r}" for key, value in {**options, **shared}.items())
                what = f"{method}({chosen}), {numbers.storage.in_words()}, {target}, threads: {count}, {what}"
            yield Outcome(compared, what if found else None)
    finally:
        set_num_threads(before)


def follow(kernel: Run, expected: list[Arrays]) -> tuple[int, tuple[Options, str] | None]:
    """Takes the kernel's steps up to the first difference: how many values were compared, and the difference."""
    compared = 0
    for step, (actual, right) in enumerate(zip(kernel.steps(), expected, strict=True), 1):
        for key, array in actual.items():
            compared += array.size
            wrong = np.flatnonzero(differing(array, right[key]))
            if wrong.size:
                first = int(wrong[0])
                shared, place = kernel.place(key, first)
                more = f" (and {wrong.size - 1} more)" if wrong.size > 1 else ""
                values = f"kernel {with_bits(array, first)}, reference {with_bits(right[key], first)}"
                return compared, (shared, f"step {step}: {place}{more}: {values}")
    return compared, None
