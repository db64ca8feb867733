"""IDX, the format of MNIST: two zeros, the type's code, the number of dimensions, each of them, then the values."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from . import Malformed
from .content import content

UNSIGNED_BYTE = 8


def read(path: Path, dimensions: int) -> np.ndarray:
    """The unsigned bytes of a file with so many dimensions."""
    data = content(path)
    magic = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    start = 4 * (1 + dimensions)
    if data[:4] != magic:
        raise Malformed(path, f"IDX's magic number {magic.hex()} at its start", data[:4].hex() or "an empty file")
    if len(data) < start:
        raise Malformed(path, f"a head of {start} bytes", len(data))
    shape = [int(size) for size in np.frombuffer(data, ">u4", dimensions, offset=4)]
    if len(data) != start + math.prod(shape):
        counts = " × ".join(map(str, shape))
        raise Malformed(path, f"{start} bytes and {counts} more, as its head says", f"{len(data)} bytes")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
