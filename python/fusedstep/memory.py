"""Memory for state: laid out like its parameter, aligned to the cache's lines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import _core, cuda
from .bfloat16 import BFloat16, as_bfloat16, bits_of, is_bfloat16
from .in_numpy.code8 import encode
from .in_numpy.encodings import cast, widen
from .in_numpy.layout import flat

LINE = 64
PAGE = 4096

#: Arrays of so many bytes are spread over a page: a stream that begins shortly behind another may wait for what is
#: stored there, which can cost small arrays half of their speed.
SMALL = range(1 << 11, 1 << 13)
#: As are those from here on: streams that begin at the same place of a page compete for the same sets of the cache,
#: which costs large arrays up to a third. What lies between loses more by the page that it takes (a tenth).
LARGE = 1 << 16


def zeros(shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any], start: int) -> np.ndarray:
    """A dense array of zeros at `start` of a page where its size gains by that; the step is the first to touch it."""
    nbytes = math.prod(shape) * dtype.itemsize
    step = PAGE if nbytes in SMALL or nbytes >= LARGE else LINE
    raw = np.zeros(nbytes + step, np.uint8)
    return np.ndarray(shape, dtype, raw, (start // LINE * LINE - raw.ctypes.data) % step, strides)


def like(param: np.ndarray, dtype: Any, planes: int | None = None, place: int = 0) -> np.ndarray:
    """Zeros with the parameter's shape and order; with `planes`, as many of them one behind the other.

    The arrays of one parameter, each with a place of its own, begin a quarter of a page apart.
    """
    dtype, old = np.dtype(dtype), param.itemsize
    shape, strides = param.shape, tuple(stride // old * dtype.itemsize for stride in param.strides)
    if planes is not None:
        shape, strides = (planes, *shape), (param.size * dtype.itemsize, *strides)
    return zeros(shape, strides, dtype, param.ctypes.data + (place + 1) * PAGE // 4)


def like_itself(param: Any, place: int = 0) -> Any:
    """The same with the parameter's own type, on its device."""
    if cuda.is_device_array(param):
        return cuda.Array.like(cuda.shape_of(param), cuda.index_of(param))
    array = like(param, param.dtype, place=place)
    return as_bfloat16(array) if isinstance(param, BFloat16) else array


def for_companion(param: Any, spec: _core.Companion) -> Any:
    """The array that stands beside a parameter, on its device, still zero."""
    if cuda.is_device_array(param):
        return cuda.Array.like(for_companion(cuda.shape_of(param), spec), cuda.index_of(param))
    if spec.kind == "scalar":
        return np.zeros((), np.float64)
    if spec.kind == "scales":
        return zeros((spec.planes,), (4,), np.dtype(np.float32), 0)
    if spec.dtype == "bfloat16":
        if is_bfloat16(param):
            return like_itself(param, spec.place)
        return as_bfloat16(like(param, np.uint16, place=spec.place))
    return like(param, spec.dtype, spec.planes if spec.kind == "ring" else None, spec.place)


def begun(param: Any, specs: list[_core.Companion]) -> list[Any]:
    """The arrays that stand beside a parameter, as they are before its first step."""
    arrays = [for_companion(param, spec) for spec in specs]
    initialize(param, specs, arrays)
    return arrays


def copy_of(array: Any) -> np.ndarray:
    """A copy in the processor's memory, with the same order of elements."""
    return array.copy(order="K") if isinstance(array, np.ndarray) else cuda.to_host(array)


def assign(array: Any, values: np.ndarray) -> None:
    """Give an array other values of its type, wherever it lies."""
    if isinstance(array, np.ndarray):
        bits_of(array)[...] = bits_of(values)
    else:
        cuda.to_device(array, values)


def initialize(param: Any, specs: list[_core.Companion], arrays: list[Any]) -> None:
    """Set everything beside a parameter to what it begins with."""
    if cuda.is_device_array(param):
        copies = [copy_of(array) for array in arrays]
        initialize(copy_of(param), specs, copies)
        for array, copy in zip(arrays, copies, strict=True):
            assign(array, copy)
        return
    scales = {spec.name: array for spec, array in zip(specs, arrays, strict=True) if spec.role == "scale"}
    for spec, array in zip(specs, arrays, strict=True):
        if spec.role == "average":
            flat(array)[...] = widen(param, array.dtype)
        elif spec.kind == "scales":
            continue
        elif spec.dtype in ("int8", "uint8"):
            start = np.full(param.size, spec.initial, np.float32)
            flat(array)[...], scales[f"{spec.name}_scale"][...] = encode(start, spec.is_signed, None)
        else:
            assign(array, cast(np.array(spec.initial), spec.dtype))
