"""The same numbers of gradients in NumPy, added in the order in which the kernels add."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core
from .encodings import flat, widen
from .gradients import Stats, summary
from .norms import BLOCK, LANES

DOUBLE = np.dtype(np.float64)


def stats(grads: Any, *, before: Any = None, after: Any = None) -> dict[str, Stats]:
    """See `fusedstep.stats`."""
    rows = _core.Readings(grads, before, after).arrays()
    return {name: summary(measured(grad, old, new), old is not None) for name, grad, old, new in rows}


@np.errstate(all="ignore")
def measured(grad: np.ndarray, before: np.ndarray | None, after: np.ndarray | None) -> tuple[Any, ...]:
    values = widen(grad, DOUBLE, None, "nearest")
    finite = np.isfinite(values)
    kept = np.where(finite, values, 0.0)
    sizes = np.abs(kept)
    change = old = 0.0
    same = 0
    if before is not None and after is not None:
        theta = widen(before, DOUBLE, None, "nearest")
        change, old = square_sum(widen(after, DOUBLE, None, "nearest") - theta), square_sum(theta)
        same = int(np.sum(bits(before) == bits(after)))
    return (
        grad.size,
        block_sum(sizes),
        square_sum(kept),
        block_sum(kept),
        float(sizes.max(initial=0.0)),
        int(np.sum(values == 0)),
        int(np.sum(~finite)),
        histogram(sizes[sizes > 0]),
        change,
        old,
        same,
    )


def bits(array: np.ndarray) -> np.ndarray:
    raw = flat(array)
    return raw.view(f"u{raw.itemsize}")


def square_sum(values: np.ndarray) -> float:
    return block_sum(values * values)


def block_sum(values: np.ndarray) -> float:
    """Blocks of 4096 elements are added up apart: 16 sums that take turns, added by halves; then the blocks' sums."""
    rows = np.pad(values, (0, -values.size % BLOCK)).reshape(-1, BLOCK // LANES, LANES)
    sums = np.zeros((len(rows), LANES))
    for row in rows.transpose(1, 0, 2):
        sums += row
    half = LANES // 2
    while half:
        sums = sums[:, :half] + sums[:, half : 2 * half]
        half //= 2
    total = 0.0
    for one in sums[:, 0].tolist():
        total += one
    return total


def histogram(sizes: np.ndarray) -> np.ndarray:
    """By the exponent's bits, as float32 has them."""
    exponents = (sizes.view(np.int64) >> 52) - (1023 - 127)
    return np.bincount(np.clip(exponents, 0, 255), minlength=256).astype(np.int64)
