"""What the tests add to the contract's table: ids, pairs of optimizers, equality of state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fusedstep as fs
from fusedstep.contract import CASES, DTYPES, OPTIONS, SHARED, random, same_bytes

__all__ = ["CASES", "DTYPES", "IDS", "OPTIONS", "SHARED", "assert_same_state", "pair", "random", "same_bytes"]

IDS = [f"{name}-{'-'.join(map(str, options.values())) or 'default'}" for name, options in CASES]


def pair(name: str, params: Any, copies: Any, **options: Any) -> tuple[fs.SGD, fs.SGD]:
    """A fused optimizer, and the reference on copies of its parameters."""
    return getattr(fs, name)(params, **options), getattr(fs.reference, name)(copies, **options)


def assert_same_state(fused: Any, reference: Any, get: Callable[[Any], Any] = lambda array: array) -> None:
    """Counters and every array of state, byte for byte; `get` brings the arrays here."""
    for name, entry in reference.state.items():
        for key, expected in entry.items():
            actual = fused.state[name][key]
            if key == "step":
                assert actual == expected
            else:
                assert same_bytes(get(actual), expected), f"state {name}/{key} differs"
