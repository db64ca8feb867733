"""How large a gradient is, in NumPy, in the order in which the kernels add."""

from __future__ import annotations

import math

import numpy as np

from .encodings import widen

BLOCK, LANES = 4096, 16


def square_sum(grad: np.ndarray, offset: int) -> float:
    """Σg² in double."""
    values = widen(grad, np.dtype(np.float64), None, "nearest")
    return block_sum(values * values, offset)


def block_sum(values: np.ndarray, offset: int = 0) -> float:
    """Blocks of 4096 elements, counted from the start of the whole tensor, are added up apart: 16 sums that take turns,
    added by halves; then the blocks' sums, in order."""
    head = -offset % BLOCK
    parts = [values[:head], *(values[i : i + BLOCK] for i in range(head, values.size, BLOCK))]
    rows = np.zeros((len(parts), BLOCK // LANES, LANES))
    for part, row in zip(parts, rows, strict=True):
        row.reshape(-1)[: part.size] = part
    sums = np.zeros((len(parts), LANES))
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


def root(squares: float) -> float:
    """√, NaN of NaN."""
    return math.sqrt(squares) if squares == squares else squares
