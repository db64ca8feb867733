"""Arrays in the order in which their elements lie in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..bfloat16 import bits_of


def flat(array: np.ndarray) -> np.ndarray:
    """The elements in the order of memory, as a view; bfloat16 as its bits."""
    # A matrix would stay two-dimensional, and multiply as one.
    plain = np.asarray(bits_of(array))
    return plain.transpose(order_of(plain.strides)).reshape(-1)


def planes(ring: np.ndarray, of: np.ndarray) -> np.ndarray:
    """The planes of a ring, each in the order of memory of the array that it belongs to."""
    return np.asarray(ring).transpose(0, *(axis + 1 for axis in order_of(of.strides))).reshape(len(ring), -1)


def order_of(strides: Sequence[int]) -> list[int]:
    return sorted(range(len(strides)), key=lambda axis: -abs(strides[axis]))
