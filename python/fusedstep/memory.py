"""Memory for state: laid out like its parameter, aligned to the cache's lines."""

from __future__ import annotations

from typing import Any

import numpy as np

LINE = 64
PAGE = 4096

#: Arrays from this many bytes on are spread over a page: streams that begin at the same place of a page compete for the
#: same sets of the cache, which costs up to a third of the speed.
SPREAD = 1 << 16


def zeros(size: int, dtype: np.dtype[Any], start: int) -> np.ndarray:
    """A flat array of zeros at `start` of a page, if it is large; its pages are touched first by the step."""
    nbytes = size * dtype.itemsize
    step = PAGE if nbytes >= SPREAD else LINE
    raw = np.zeros(nbytes + step, np.uint8)
    first = (start // LINE * LINE - raw.ctypes.data) % step
    return raw[first : first + nbytes].view(dtype)


def like(param: np.ndarray, planes: int | None = None, place: int = 0) -> np.ndarray:
    """Zeros with the parameter's shape and strides; with `planes`, as many of them one behind the other.

    The arrays of one parameter, each with a place of its own, begin a quarter of a page apart.
    """
    axes = sorted(range(param.ndim), key=lambda axis: -abs(param.strides[axis]))
    lead = () if planes is None else (planes,)
    start = param.ctypes.data + (place + 1) * PAGE // 4
    flat = zeros((planes or 1) * param.size, param.dtype, start)
    dense = flat.reshape(lead + tuple(param.shape[axis] for axis in axes))
    order = [axes.index(axis) + len(lead) for axis in range(param.ndim)]
    return dense.transpose(list(range(len(lead))) + order)


def fill(array: np.ndarray, value: float) -> None:
    """Set every element; a value beyond the type becomes infinite, like every number of a step."""
    with np.errstate(over="ignore"):
        array[...] = value


def for_state(param: np.ndarray, spec: Any) -> np.ndarray:
    """The array that a method's state asks for, still zero."""
    if spec.kind == "scalar":
        return np.zeros((), np.float64)
    return like(param, spec.planes if spec.kind == "ring" else None, spec.place)
