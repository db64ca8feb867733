"""How numbers are stored, bit by bit, in NumPy: the meaning of what the kernels load and store.

A number is calculated with as float64 if its parameter is float64, otherwise as float32. Widening is exact. Coming back
into fewer bits it is rounded to nearest, or up with the probability of what is cut off; the random bits are a hash of
(seed, step, tensor, array, element).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..bfloat16 import as_bfloat16, bits_of, is_bfloat16

# Random bits


def mixed(x: int) -> int:
    """SplitMix64's finalizer."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def random_key(seed: int, step: int, tensor: int, draw: int, high: int) -> int:
    golden = 0x9E3779B97F4A7C15
    key = mixed((seed + golden) % 2**64)
    for part in (step, tensor, draw << 32 | high):
        key = mixed(((key ^ part) + golden) % 2**64)
    return key >> 32


class Draw:
    """16 random bits for each element of an array in a step: steps of the golden section from a random start."""

    def __init__(self, seed: int, step: int, tensor: int, offset: int) -> None:
        self.seed, self.step, self.tensor, self.offset = seed, step, tensor, offset

    def bits(self, draw: int, count: int) -> np.ndarray:
        numbers = np.arange(self.offset, self.offset + count, dtype=np.uint64)
        first, last = self.offset >> 32, self.offset + max(count, 1) - 1 >> 32
        keys = [random_key(self.seed, self.step, self.tensor, draw, high) for high in range(first, last + 1)]
        key = np.array(keys, np.uint32)[(numbers >> np.uint64(32)).astype(np.int64) - first]
        return numbers.astype(np.uint32) * np.uint32(0x9E3779B1) + key >> np.uint32(16)


# bfloat16 and float16


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


# Codes of one byte: see cpp/storage/code8.hpp

BLOCK, CUT = 128, 19
CODES = {  # signed? -> bits of c, codes kept free behind a block's largest number, the steps and the code of NaN, type
    True: ((127 - 7) << 23, 1, 128, -128, np.int8),
    False: ((127 - 15) << 23, 3, 255, 255, np.uint8),
}


def blocks(x: np.ndarray) -> np.ndarray:
    """A row per block, the last filled up with zeros."""
    return np.pad(x, (0, -x.size % BLOCK)).reshape(-1, BLOCK)


def encode(x: np.ndarray, signed: bool, random: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Codes and the scale of each block."""
    c, spare, endless, _, dtype = CODES[signed]
    u32 = np.uint32
    bits = blocks(x.astype(np.float32)).view(u32)
    size = bits & u32(0x7FFFFFFF)
    most = np.max(np.where(size < u32(0x7F800000), size, u32(0)), axis=1)
    exponent = np.minimum(most, u32((127 + 125) << 23)) + u32(spare << CUT) & u32(0x7F800000)
    scale = np.where(most < u32((127 - 100) << 23), u32(0), exponent)
    inverse = np.where(scale > 0, u32(254 << 23) - scale, u32(0)).view(np.float32)[:, None]
    cut_off = u32(1 << CUT - 1) if random is None else blocks(random) << u32(CUT - 16)
    y = size.view(np.float32) * inverse + u32(c).view(np.float32)
    steps = y.view(u32) - u32(c) + cut_off >> u32(CUT)
    code = np.minimum(steps, u32(endless)).astype(np.int32)
    if signed:
        code = np.where(bits >> u32(31) == 1, -code, code)
    else:
        code = np.maximum(code, np.minimum(size, (inverse > 0).astype(u32)).astype(np.int32))
    return code.astype(dtype).ravel()[: x.size], scale.view(np.float32)


def decode(codes: np.ndarray, scales: np.ndarray, signed: bool) -> np.ndarray:
    c, _, _, not_a_number, _ = CODES[signed]
    code = blocks(codes).astype(np.int32)
    y = (np.uint32(c) + (np.abs(code).astype(np.uint32) << np.uint32(CUT))).view(np.float32)
    size = (y - np.uint32(c).view(np.float32)) * scales[:, None]
    x = np.where(code < 0, -size, size)
    return np.where(code == not_a_number, np.float32(np.nan), x).ravel()[: codes.size]


# Arrays


def flat(array: np.ndarray) -> np.ndarray:
    """The elements in the order of memory, as a view; bfloat16 as its bits."""
    # A matrix would stay two-dimensional, and multiply as one.
    return in_memory_order(np.asarray(bits_of(array))).reshape(-1)


def planes(ring: np.ndarray, of: np.ndarray) -> np.ndarray:
    """The planes of a ring, each in the order of memory of the array that it belongs to."""
    return np.asarray(ring).transpose(0, *(axis + 1 for axis in order_of(of.strides))).reshape(len(ring), -1)


def order_of(strides: Sequence[int]) -> list[int]:
    return sorted(range(len(strides)), key=lambda axis: -abs(strides[axis]))


def in_memory_order(array: np.ndarray) -> np.ndarray:
    return array.transpose(order_of(array.strides))


def widen(array: np.ndarray, real: np.dtype[Any], rest: np.ndarray | None, rounding: str) -> np.ndarray:
    """The numbers that an array of a floating type holds, in a row."""
    values = flat(array)
    if is_bfloat16(array):
        bits = values.astype(np.uint32) << np.uint32(16)
        if rounding == "remainder" and rest is not None:
            return (bits + flat(rest).astype(np.int32).view(np.uint32)).view(np.float32)
        values = bits.view(np.float32)
    values = values.astype(real)
    return values if rest is None else values + widen(rest, real, None, "nearest")


def narrow(
    array: np.ndarray, values: np.ndarray, rounding: str, random: np.ndarray | None, rest: np.ndarray | None = None
) -> None:
    """Bring numbers back into an array of a floating type."""
    to = flat(array)
    with np.errstate(over="ignore"):  # what is beyond a type becomes infinite
        single = values.astype(np.float32) if array.dtype.itemsize == 2 else values
    if rounding == "remainder" and rest is not None:
        bits = single.view(np.uint32)
        to[...] = bfloat16_kept(single, bits + np.uint32(0x8000))
        flat(rest)[...] = np.where(np.isnan(single), 0, bits & np.uint32(0xFFFF)).astype(np.uint16).view(np.int16)
        return
    if rounding == "stochastic" and random is not None:
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
        lacks = single - widen(array, np.dtype(np.float32), None, "nearest")
        narrow(rest, np.where(np.isfinite(lacks), lacks, np.float32(0)), "nearest", None)
