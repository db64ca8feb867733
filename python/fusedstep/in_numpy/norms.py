"""How large a gradient is, in NumPy, in the order in which the kernels add."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .encodings import widen

BLOCK, LANES, PAGE = 4096, 16, 64


def square_sum(grad: np.ndarray, offset: int) -> float:
    """Σg² in double: 64 blocks, counted as well, are added in order, then their sums."""
    values = widen(grad, np.dtype(np.float64))
    sums, head = block_sums(values * values, offset), -(offset // BLOCK) % PAGE
    pages = [sums[:head], *(sums[i : i + PAGE] for i in range(head, len(sums), PAGE))]
    return in_order([in_order(page) for page in pages])


def block_sum(values: np.ndarray) -> float:
    """Block by block, in order."""
    return in_order(block_sums(values, 0))


def block_sums(values: np.ndarray, offset: int) -> list[float]:
    """Blocks of 4096 elements, counted from the start of the whole tensor, are added up apart: 16 sums that take turns,
    added by halves."""
    head = -offset % BLOCK
    cuts = [*([0] if head else []), *range(head, values.size, BLOCK), values.size]
    parts = [values[begin:end] for begin, end in pairwise(cuts)]
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
    return sums[:, 0].tolist()


def in_order(sums: list[float]) -> float:
    """Python's own sum() makes up for rounding, from 3.12 on."""
    total = 0.0
    for one in sums:
        total += one
    return total
