"""Memory in which tensors lie close together."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ..bfloat16 import bits_of
from ..in_numpy.encodings import cast

GAP = 3
UNTOUCHED = 7.0


class Strip:
    """Arrays of zeros in one piece of memory, at odd places, with elements between them that no step may touch."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], name: str) -> None:
        sizes = [prod(shape) for shape in shapes]
        self.ends = np.cumsum([size + GAP for size in sizes])
        self.flat = cast(np.full(self.ends[-1] + GAP, UNTOUCHED), name)
        self.tensors = [
            self.flat[end - size : end].reshape(shape)
            for size, end, shape in zip(sizes, self.ends, shapes, strict=True)
        ]
        for tensor in self.tensors:
            bits_of(tensor)[...] = 0

    def place(self, index: int) -> tuple[int, int] | None:
        """The tensor, and the element in it, that lie at an index of the strip; None between tensors."""
        number = int(np.searchsorted(self.ends, index, side="right"))
        if number == len(self.tensors):
            return None
        size = self.tensors[number].size
        element = index - int(self.ends[number]) + size
        return (number, element) if element >= 0 else None
