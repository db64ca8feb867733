"""The random bits of stochastic rounding: a hash of (seed, step, tensor, array, element)."""

from __future__ import annotations

import numpy as np


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
