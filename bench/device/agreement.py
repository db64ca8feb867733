"""Whether what is timed does the work: ours has the reference's bits, and others come near it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fusedstep as fs
from fusedstep.cuda import to_host
from fusedstep.in_numpy.encodings import cast
from fusedstep.measurement.timing import Step
from fusedstep.rivals import Work
from fusedstep.rivals.rival import Rival

from .arrays import Arrays, Part
from .rows import ADAM, MANY, SETTINGS, SINGLE, Setting, optimizer_of, states_of

Make = Callable[[Setting, Arrays, Arrays], Step]

#: Steps that are checked: of RAdam's, the sixth is the first that is rectified.
CHECKED = 8
#: Elements of a place that is looked at, and those that share a scale.
PLACE, BLOCK = 8192, 128
#: Places of a tensor: so many that a tenth of the chunks going wrong is missed once in 150 times.
PLACES = 48
#: How far others may be from the reference where numbers have fewer bits, as a share of the largest movement: each step
#: is rounded. Who does nothing is wrong by 1, who goes the wrong way by 2.
COARSE = 0.5


def places_of(elements: int) -> list[tuple[int, int]]:
    """Where a tensor is looked at, and how far: from its begin to its end."""
    begins = {elements * i // PLACES // PLACE * PLACE for i in range(PLACES)} | {(elements - 1) // PLACE * PLACE}
    return [(begin, min(PLACE, elements - begin)) for begin in sorted(begins)]


def check(row: str, params: Arrays, grads: Arrays, optimizer: Any, step: Step) -> int:
    """Steps, after which the first tensor and the last must have the reference's bits where they are looked at; returns
    how many numbers were compared."""
    compared = 0
    places = [(tensor, *place) for tensor in {0, len(params) - 1} for place in places_of(params[tensor].shape[0])]
    before = [[to_host(Part(arrays[tensor], *place)) for arrays in (params, grads)] for tensor, *place in places]
    for _ in range(CHECKED):
        step()
    for (tensor, begin, count), (start, grad) in zip(places, before, strict=True):
        expected = start.copy()
        # A shard is rounded like its part of the whole.
        extents = {"0": (begin, params[tensor].shape[0])}
        reference = optimizer_of(row, expected, fs.reference, extents=extents)
        for _ in range(CHECKED):
            reference.step(grad)
        if expected.tobytes() == start.tobytes():
            raise ArithmeticError("nothing has moved")
        pairs = {"parameters": (to_host(Part(params[tensor], begin, count)), expected)}
        for name, array in states_of(reference).items():
            first = begin // BLOCK if name.endswith("_scale") else begin
            pairs[name] = to_host(Part(optimizer.state[str(tensor)][name], first, array.size)), array
        for name, (found, right) in pairs.items():
            if found.tobytes() != right.tobytes():
                raise ArithmeticError(f"{name} of tensor {tensor} differ from element {begin:,} on")
            compared += right.size
    return compared


def check_rival(row: str, make: Make) -> None:
    """A rival's steps on a small array must be near the reference's."""
    exact, kind = row in (*SINGLE, MANY), SETTINGS[row].kind
    work = Work(row if row in SINGLE else ADAM, [(5000,)])
    if not exact:
        coarsen(*work.params, *work.grads)
    param, grad = (fs.cuda.Array.of(cast(array, kind)) for array in (work.params[0], work.grads[0]))
    step = make(SETTINGS[row], [param], [grad])
    for _ in work.scaled():
        fs.cuda.to_device(grad, cast(work.grads[0], kind))
        step()
    found = to_host(param)
    error = work.compare({"": [fs.as_float32(found) if kind == "bfloat16" else found]})[""].error
    if not error <= (Rival.tolerance if exact else COARSE):
        raise ArithmeticError(f"differs from the reference by {error:.1e} of a movement")


def coarsen(param: np.ndarray, grad: np.ndarray) -> None:
    """Few bits are enough for these: small beside a step's movement, and all of a size."""
    for array, scale in ((param, 1 / 64), (grad, 1)):
        sizes = scale * (1 + np.abs(array) / 8)
        array[:] = fs.as_float32(cast(np.copysign(sizes, array), "bfloat16"))
