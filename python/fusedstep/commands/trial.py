"""A method with one set of options: every target, with every number of threads, against the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from .. import methods, reference
from ..contract import SHARED, Options, differing, extreme, with_bits
from ..targets import available_targets, get_num_threads, set_num_threads, use_target
from .strip import Strip

STEPS = 8
LR = 0.05

#: The tensors of this size get no gradient in these steps, so that their counters and coefficients are others.
MISSING, MISSED = 33, (1, 4)

Arrays = dict[str, np.ndarray]

#: Of every array of state, the shapes for all tensors, and the dtype.
Layout = dict[str, tuple[list[tuple[int, ...]], Any]]


class Numbers:
    """Parameters and gradients of one dtype: tensors of all sizes, once for each of `SHARED`."""

    def __init__(self, dtype: Any, sizes: Sequence[int], seed: int) -> None:
        self.dtype = np.dtype(dtype)
        self.shapes = [(size,) for _ in SHARED for size in sizes]
        self.names = [f"{group}:{size}" for group in range(len(SHARED)) for size in sizes]
        rng = np.random.default_rng(seed)
        self.start = self._filled(rng)
        self.grads = [self._gradients(self._filled(rng), step) for step in range(STEPS)]

    def _filled(self, rng: np.random.Generator) -> Strip:
        strip = Strip(self.shapes, self.dtype)
        for tensor in strip.tensors:
            tensor[...] = extreme(rng, tensor.shape, self.dtype)
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

    def layout(self, kind: Any, options: Options) -> Layout:
        """What memory a method's state takes."""
        entries = list(kind(self.groups(self.start), lr=LR, **options).state.values())
        keys = [key for key in entries[0] if key != "step"]
        return {key: ([entry[key].shape for entry in entries], entries[0][key].dtype) for key in keys}


class Run:
    """An optimizer with a group for each of `SHARED`, whose arrays all lie in strips."""

    def __init__(self, kind: Any, options: Options, numbers: Numbers, layout: Layout) -> None:
        self.numbers = numbers
        params = Strip(numbers.shapes, numbers.dtype)
        params.flat[:] = numbers.start.flat
        self.strips = {key: Strip(shapes, dtype) for key, (shapes, dtype) in layout.items()}
        memory = {
            name: {key: strip.tensors[number] for key, strip in self.strips.items()}
            for number, name in enumerate(numbers.names)
        }
        self.strips["parameter"] = params
        self.optimizer = kind(numbers.groups(params), lr=LR, memory=memory, **options)

    def steps(self) -> Iterator[Arrays]:
        """Takes the steps; after each, the live memory of parameters and state, and after the last the counters."""
        arrays = {key: strip.flat for key, strip in self.strips.items()}
        for number, grads in enumerate(self.numbers.grads, 1):
            self.optimizer.step(grads)
            if number == STEPS:
                arrays["step"] = np.array([entry["step"] for entry in self.optimizer.state.values()])
            yield arrays

    def place(self, key: str, index: int) -> tuple[Options, str]:
        """The group's options and the words for what lies at an index of one of those arrays."""
        found = (index, 0) if key == "step" else self.strips[key].place(index)
        if found is None:
            return {}, f"{key}: memory that belongs to no tensor, at {index}"
        group, size = self.numbers.names[found[0]].split(":")
        return SHARED[int(group)], f"{key} of a tensor of {size}, element {found[1]}"


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
                what = f"{method}({chosen}), {numbers.dtype}, {target}, threads: {count}, {what}"
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
                values = f"kernel {with_bits(array[first])}, reference {with_bits(right[key][first])}"
                return compared, (shared, f"step {step}: {place}{more}: {values}")
    return compared, None
