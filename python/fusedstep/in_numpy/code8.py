"""Codes of one byte, in blocks with a scale: see cpp/storage/code8.hpp."""

from __future__ import annotations

import numpy as np

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
