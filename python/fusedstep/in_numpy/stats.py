"""The same numbers of gradients in NumPy, added in the order in which the kernels add."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from ..gradients import BIAS, Stats, summary
from .encodings import widen
from .layout import flat
from .norms import block_sum

DOUBLE = np.dtype(np.float64)


def stats(grads: Any, *, before: Any = None, after: Any = None) -> dict[str, Stats]:
    """See `fusedstep.stats`."""
    rows = _core.Readings(grads, before, after).arrays()
    if any(not isinstance(grad, np.ndarray) for _, grad, _, _ in rows):
        raise TypeError("stats: the reference needs arrays in the memory of the processor, got ones on a device")
    return {name: summary(measured(grad, old, new), old is not None) for name, grad, old, new in rows}


@np.errstate(all="ignore")
def measured(grad: np.ndarray, before: np.ndarray | None, after: np.ndarray | None) -> tuple[Any, ...]:
    values = widen(grad, DOUBLE)
    finite = np.isfinite(values)
    kept = np.where(finite, values, 0.0)
    sizes = np.abs(kept)
    change = old = 0.0
    same = 0
    if before is not None and after is not None:
        theta = widen(before, DOUBLE)
        moved = widen(after, DOUBLE) - theta
        change, old = block_sum(moved * moved), block_sum(theta * theta)
        same = int(np.sum(bits(before) == bits(after)))
    return (
        grad.size,
        block_sum(sizes),
        block_sum(kept * kept),
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


def histogram(sizes: np.ndarray) -> np.ndarray:
    """By the exponent's bits, as float32 has them."""
    exponents = (sizes.view(np.int64) >> 52) - (1023 - BIAS)
    return np.bincount(np.clip(exponents, 0, 255), minlength=256).astype(np.int64)
