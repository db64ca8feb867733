"""This package on a device: with gradients bound, and, where calls count, with gradients given and in a graph."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from fusedstep.measurement.timing import Step
from fusedstep.rivals.contest import FUSED

from .arrays import Arrays
from .capture import Captured
from .rows import MANY, SETTINGS, optimizer_of

GIVEN, CAPTURED = f"{FUSED}, gradients given", f"{FUSED}, captured"

#: An optimizer, and its step.
Made = tuple[Any, Step]


def bound(row: str, params: Arrays, grads: Arrays) -> Made:
    optimizer = optimizer_of(row, params)
    return optimizer, optimizer.bind(grads).step


def given(row: str, params: Arrays, grads: Arrays) -> Made:
    optimizer = optimizer_of(row, params)
    return optimizer, partial(optimizer.step, grads)


def captured(row: str, params: Arrays, grads: Arrays) -> Made:
    optimizer, step = bound(row, params, grads)
    return optimizer, Captured(step)


#: name -> rows, and what sets it up
OWN: dict[str, tuple[Collection[str], Callable[[str, Arrays, Arrays], Made]]] = {
    FUSED: (SETTINGS, bound),
    GIVEN: ([MANY], given),
    CAPTURED: ([MANY], captured),
}
