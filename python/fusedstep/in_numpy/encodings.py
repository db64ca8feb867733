"""How numbers of a floating type are stored, bit by bit, in NumPy: the meaning of what the kernels load and store.

A number is calculated with as float64 if its parameter is float64, otherwise as float32. Widening is exact. Coming back
into fewer bits it is rounded to nearest, or up with the probability of what is cut off.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..bfloat16 import as_bfloat16, is_bfloat16
from .layout import flat

#: The type of what ``remainder`` keeps: lower halves of bits. The rest of ``kahan`` is a number of the array's type.
REMAINDER = np.dtype(np.int16)


def bfloat16_nearest(x: np.ndarray) -> np.ndarray:
    bits = x.view(np.uint32)
    return bfloat16_kept(x, bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))


def cast(values: np.ndarray, name: str) -> np.ndarray:
    """Numbers as a new array of a type, rounded to nearest."""
    with np.errstate(over="ignore"):
        if name == "bfloat16":
            return as_bfloat16(bfloat16_nearest(np.ascontiguousarray(values, np.float32)))
        return values.astype(name)


def bfloat16_stochastic(x: np.ndarray, random: np.ndarray) -> np.ndarray:
    return bfloat16_kept(x, x.view(np.uint32) + random)


def bfloat16_kept(x: np.ndarray, rounded: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(x), np.uint32(0x7FC0), rounded >> np.uint32(16)).astype(np.uint16)


def float16_stochastic(x: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Where a half is subnormal, it counts 2⁻²⁴; elsewhere 13 bits are cut off."""
    bits = x.view(np.uint32)
    size = bits & np.uint32(0x7FFFFFFF)
    extra = random >> np.uint32(3)
    subnormal = size < np.uint32((127 - 14) << 23)
    parts = (np.where(subnormal, size, np.uint32(0)).view(np.float32) * np.float32(2**37)).astype(np.uint32)
    rounded = size + extra
    normal = np.where(
        rounded >= np.uint32((127 + 16) << 23), np.uint32(0x7C00), (rounded >> np.uint32(13)) - np.uint32(112 << 10)
    )
    half = np.where(subnormal, (parts + extra) >> np.uint32(13), normal)
    half = np.where(size > np.uint32(0x7F800000), np.uint32(0x7E00), half)
    return (bits >> np.uint32(16) & np.uint32(0x8000) | half).astype(np.uint16)


def float32_stochastic(x: np.ndarray, random: np.ndarray) -> np.ndarray:
    bits = x.view(np.uint64)
    rounded = bits + (random.astype(np.uint64) << np.uint64(13)) & ~np.uint64((1 << 29) - 1)
    return np.where(np.isnan(x), bits, rounded).view(np.float64).astype(np.float32)


def widen(array: np.ndarray, real: np.dtype[Any], rest: np.ndarray | None = None) -> np.ndarray:
    """The numbers that an array of a floating type holds, in a row; `rest`, a second array, has a part of each."""
    values = flat(array)
    if is_bfloat16(array):
        bits = values.astype(np.uint32) << np.uint32(16)
        if rest is not None and rest.dtype == REMAINDER:
            return (bits + flat(rest).astype(np.int32).view(np.uint32)).view(np.float32)
        values = bits.view(np.float32)
    values = values.astype(real)
    return values if rest is None else values + widen(rest, real)


def narrow(
    array: np.ndarray, values: np.ndarray, random: np.ndarray | None = None, rest: np.ndarray | None = None
) -> None:
    """Bring numbers back into an array of a floating type: by random bits, with a rest, or rounded to nearest."""
    to = flat(array)
    with np.errstate(over="ignore"):  # what is beyond a type becomes infinite
        single = values.astype(np.float32) if array.dtype.itemsize == 2 else values
    if rest is not None and rest.dtype == REMAINDER:
        bits = single.view(np.uint32)
        to[...] = bfloat16_kept(single, bits + np.uint32(0x8000))
        flat(rest)[...] = np.where(np.isnan(single), 0, bits & np.uint32(0xFFFF)).astype(np.uint16).view(np.int16)
        return
    if random is not None:
        if is_bfloat16(array):
            to[...] = bfloat16_stochastic(single, random)
        elif array.dtype == np.float16:
            to.view(np.uint16)[...] = float16_stochastic(single, random)
        else:
            to[...] = float32_stochastic(values, random)
        return
    if is_bfloat16(array):
        to[...] = bfloat16_nearest(single)
    else:
        with np.errstate(over="ignore"):
            to[...] = single
    if rest is not None:
        lacks = single - widen(array, np.dtype(np.float32))
        narrow(rest, np.where(np.isfinite(lacks), lacks, np.float32(0)))
