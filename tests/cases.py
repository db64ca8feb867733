"""What the tests add to the contract's table: ids, pairs of optimizers, layouts, equality of state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fusedstep as fs
from fusedstep.bfloat16 import name_of_type
from fusedstep.commands.bits import differing
from fusedstep.commands.contract import CASES, DTYPES, OPTIONS, SHARED, random

__all__ = [
    "CASES",
    "DTYPES",
    "IDS",
    "LAYOUTS",
    "OPTIONS",
    "SHARED",
    "assert_same_state",
    "frozen",
    "laid_out",
    "pair",
    "random",
    "same_bytes",
]

#: Orders of the axes in memory that are dense without being C's alone.
LAYOUTS = ("C", "Fortran", "permuted")

IDS = [f"{name}-{'-'.join(map(str, options.values())) or 'default'}" for name, options in CASES]


def pair(name: str, params: Any, copies: Any, **options: Any) -> tuple[fs.SGD, fs.SGD]:
    """A fused optimizer, and the reference on copies of its parameters."""
    return getattr(fs, name)(params, **options), getattr(fs.reference, name)(copies, **options)


def same_bytes(actual: np.ndarray, expected: np.ndarray) -> bool:
    """Equal type, shape and bits, where NaN is NaN whatever its payload."""
    if name_of_type(actual) != name_of_type(expected) or actual.shape != expected.shape:
        return False
    return not differing(actual, expected).any()


def assert_same_state(fused: Any, reference: Any, get: Callable[[Any], Any] = lambda array: array) -> None:
    """Counters and every array of state, byte for byte; `get` brings the arrays here."""
    for name, entry in reference.state.items():
        for key, expected in entry.items():
            actual = fused.state[name][key]
            if key == "step":
                assert actual == expected
            else:
                assert same_bytes(get(actual), expected), f"state {name}/{key} differs"


def laid_out(values: np.ndarray, layout: str) -> np.ndarray:
    """A copy whose axes lie in memory as the layout says: permuted has the first axis innermost, the others as in C."""
    axes = list(range(values.ndim))
    axes = {"C": axes, "Fortran": axes[::-1], "permuted": axes[1:] + axes[:1]}[layout]
    return values.transpose(axes).copy(order="C").transpose(np.argsort(axes).astype(int))


def frozen(value: Any) -> Any:
    """A value that == compares: arrays by their bytes, dicts and lists item by item, in any order of a dict."""
    if isinstance(value, np.ndarray):
        return type(value), value.dtype, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [frozen(item) for item in value]
    return value
