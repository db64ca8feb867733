"""Whether two arrays have the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..bfloat16 import as_float32, bits_of, is_bfloat16


def differing(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Where two arrays of one shape and type differ in a bit; NaN is NaN whatever its payload."""
    bits = f"u{actual.itemsize}"
    unequal = bits_of(actual).view(bits) != bits_of(expected).view(bits)
    return unequal & ~(np.isnan(numbers_of(actual)) & np.isnan(numbers_of(expected))) if unequal.any() else unequal


def numbers_of(array: np.ndarray) -> np.ndarray:
    """What an array of a floating type holds, as NumPy can read it."""
    return as_float32(array) if is_bfloat16(array) else array


def with_bits(array: np.ndarray, place: Any) -> str:
    """A number of an array and its bit pattern, as 0.5 (0x3f000000)."""
    bits = int(bits_of(array)[place].view(f"u{array.itemsize}"))
    return f"{numbers_of(array)[place]!s} (0x{bits:0{2 * array.itemsize}x})"
