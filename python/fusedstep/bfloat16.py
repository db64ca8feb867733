"""Arrays of bfloat16: NumPy has no such type, so raw bits are marked, or ml_dtypes' arrays are taken as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class BFloat16(np.ndarray):
    """Raw bits of bfloat16 numbers, as uint16. What would take them for integers is refused: NumPy's arithmetic, other
    types, and numbers that are assigned. Elements can be moved and copied; ``ones_like``, ``full_like`` and ``fill``
    round numbers to the nearest."""

    fusedstep_bfloat16 = True
    __array_ufunc__ = None  # type: ignore[assignment]

    def __array_finalize__(self, origin: Any) -> None:
        if self.dtype.kind in "fc":
            raise TypeError(f"BFloat16: bits must stay uint16, got {self.dtype} (fusedstep.as_float32 reads them)")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in MAKING:
            return MAKING[function](*args, **kwargs)
        if function in JOINING and all(map(is_bfloat16, args[0])):
            return as_bfloat16(function([bits_of(array) for array in args[0]], *args[1:], **kwargs))
        if function in MOVING:
            return super().__array_function__(function, types, args, kwargs)
        name = f"{function.__module__}.{function.__name__}"
        raise TypeError(f"BFloat16: bits must not be taken for integers, got {name} (fusedstep.as_float32 reads them)")

    def __setitem__(self, key: Any, value: Any) -> None:
        if np.asarray(value).dtype != np.uint16:
            raise TypeError(f"BFloat16: what is assigned must be bits, uint16, got {np.asarray(value).dtype}")
        super().__setitem__(key, value)

    def fill(self, value: Any) -> None:
        bits_of(self)[...] = nearest(value)

    def tolist(self) -> Any:
        return as_float32(self).tolist()

    def __repr__(self) -> str:
        return f"BFloat16({as_float32(self)!r})"

    def __str__(self) -> str:
        return str(as_float32(self))


def nearest(values: Any) -> np.ndarray:
    """The bits of numbers, rounded."""
    from .in_numpy.encodings import cast  # which knows these arrays

    return bits_of(cast(np.asarray(values, np.float32), "bfloat16"))


def full_like(array: Any, fill_value: Any, dtype: Any = None, **options: Any) -> np.ndarray:
    if dtype is not None or not is_bfloat16(array):
        return np.full_like(bits_of(array), fill_value, dtype, **options)
    return as_bfloat16(np.full_like(bits_of(array), nearest(fill_value), **options))


def zeros_like(array: Any, dtype: Any = None, **options: Any) -> np.ndarray:
    return full_like(array, 0, dtype, **options)


def ones_like(array: Any, dtype: Any = None, **options: Any) -> np.ndarray:
    return full_like(array, 1, dtype, **options)


#: NumPy's functions that give elements other places, whatever they are
MOVING = frozenset(
    {
        *(np.empty_like, np.shape, np.ndim, np.size, np.reshape, np.ravel, np.transpose),
        *(np.moveaxis, np.swapaxes, np.expand_dims, np.squeeze, np.split, np.array_split, np.broadcast_to, np.take),
        *(np.flip, np.roll, np.repeat, np.tile, np.shares_memory, np.may_share_memory, np.save, np.savez),
        *(np.savez_compressed, np.lib.stride_tricks.as_strided),
    }
)
JOINING = frozenset({np.concatenate, np.stack, np.vstack, np.hstack})
MAKING: dict[Any, Callable[..., Any]] = {
    np.zeros_like: zeros_like,
    np.ones_like: ones_like,
    np.full_like: full_like,
    np.copy: lambda a, order="K", subok=False: a.copy(order),
}


def as_bfloat16(array: np.ndarray) -> BFloat16:
    """The same memory, marked as bits of bfloat16.

    Args:
        array: uint16, the upper halves of float32 numbers.

    Raises:
        TypeError: an array of another type.

    >>> import numpy as np, fusedstep as fs
    >>> bits = np.full(3, 0x3F80, np.uint16)  # 1.0
    >>> w = fs.as_bfloat16(bits)
    >>> fs.SGD(w, lr=0.5).step(np.ones(3, np.float32))
    >>> fs.as_float32(w)
    array([0.5, 0.5, 0.5], dtype=float32)
    """
    if not isinstance(array, np.ndarray) or array.dtype != np.uint16:
        came = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"as_bfloat16: array must be a numpy.ndarray of uint16, got {came}")
    return array.view(BFloat16)


def as_float32(array: np.ndarray) -> np.ndarray:
    """A float32 copy of bfloat16 numbers, which it holds exactly.

    Args:
        array: marked bits, or ml_dtypes' bfloat16.

    >>> import numpy as np, fusedstep as fs
    >>> fs.as_float32(fs.as_bfloat16(np.array([0x4040], np.uint16)))
    array([3.], dtype=float32)
    """
    if not is_bfloat16(array):
        raise TypeError(f"as_float32: array must be bfloat16, got {getattr(array, 'dtype', type(array).__name__)}")
    wide = np.array(bits_of(array), np.uint32)
    wide <<= np.uint32(16)
    return wide.view(np.float32)


def is_bfloat16(array: Any) -> bool:
    if isinstance(array, BFloat16):
        return array.dtype == np.uint16
    # The name of one of NumPy's own types takes a while.
    return isinstance(array, np.ndarray) and array.dtype.isbuiltin != 1 and array.dtype.name == "bfloat16"


def bits_of(array: np.ndarray) -> np.ndarray:
    """The memory of bfloat16 numbers as plain uint16."""
    return array.view(np.uint16).view(np.ndarray) if is_bfloat16(array) else array


#: NumPy makes a name anew whenever it is asked for.
NAMES = {np.dtype(name): name for name in ("float16", "float32", "float64")}


def name_of_type(array: np.ndarray) -> str:
    return NAMES.get(array.dtype) or ("bfloat16" if is_bfloat16(array) else str(array.dtype))
