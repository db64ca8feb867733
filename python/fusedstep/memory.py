"""Memory for state: laid out like its parameter, aligned to the cache's lines."""

from __future__ import annotations

from typing import Any

import numpy as np

LINE = 64


def zeros(size: int, dtype: np.dtype[Any]) -> np.ndarray:
    """A flat array of zeros that begins on a cache line; its pages are touched first by the step."""
    raw = np.zeros(size * dtype.itemsize + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size * dtype.itemsize].view(dtype)


def like(param: np.ndarray, planes: int | None = None) -> np.ndarray:
    """Zeros with the parameter's shape and strides; with `planes`, as many of them one behind the other."""
    axes = sorted(range(param.ndim), key=lambda axis: -abs(param.strides[axis]))
    lead = () if planes is None else (planes,)
    flat = zeros((planes or 1) * param.size, param.dtype)
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
    return like(param, spec.planes if spec.kind == "ring" else None)
