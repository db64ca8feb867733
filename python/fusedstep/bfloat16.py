"""Arrays of bfloat16: NumPy has no such type, so raw bits are marked, or ml_dtypes' arrays are taken as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

BITS = np.dtype(np.uint16)


class BFloat16(np.ndarray):
    """The raw bits of bfloat16 numbers, as uint16.

    Whatever would take the bits for integers raises a TypeError: arithmetic, comparisons, conversions, and assigning
    numbers. Elements can be moved and copied; ``ones_like``, ``full_like`` and ``fill`` round to the nearest bfloat16,
    and ``view(np.uint16)`` gives the bits as a plain array. What reads the memory without asking this class cannot be
    refused, and sees integers: ``x[...] = m``, ``np.asarray(m, np.float64)``, ``torch.tensor(m)``, a single ``m[0]``.
    """

    fusedstep_bfloat16 = True

    def __array_finalize__(self, origin: Any) -> None:
        # Unpickling begins with an array of int8 that comes of nothing.
        if self.dtype != BITS and not (origin is None and self.dtype == np.int8):
            raise other_type(self.dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        raise taken_for_integers(f"numpy.{ufunc.__name__}")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in MAKING:
            return MAKING[function](*args, **kwargs)
        if function in JOINING and all(map(is_bfloat16, args[0])):
            return as_bfloat16(function([bits_of(array) for array in args[0]], *args[1:], **kwargs))
        if function in MOVING:
            return super().__array_function__(function, types, args, kwargs)
        raise taken_for_integers(f"{function.__module__}.{function.__name__}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "dtype" and np.dtype(value) != BITS:
            raise other_type(np.dtype(value))
        super().__setattr__(name, value)

    def __setitem__(self, key: Any, value: Any) -> None:
        if np.asarray(value).dtype != np.uint16:
            raise TypeError(f"BFloat16: what is assigned must be bits, uint16, got {np.asarray(value).dtype}")
        super().__setitem__(key, value)

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        if np.dtype(dtype) != BITS:
            raise other_type(np.dtype(dtype))
        return super().astype(dtype, *args, **kwargs)

    def view(self, *args: Any, **kwargs: Any) -> Any:
        seen = bits_of(self).view(*args, **kwargs) if args or kwargs else super().view()
        # NumPy 2.5 gives an array its type when it is a BFloat16 already.
        if seen.dtype.kind in "fc" or (isinstance(seen, BFloat16) and seen.dtype != BITS):
            raise other_type(seen.dtype)
        return seen

    def fill(self, value: Any) -> None:
        bits_of(self)[...] = nearest(value)

    def tolist(self) -> Any:
        return as_float32(self).tolist()

    def __repr__(self) -> str:
        return f"BFloat16({as_float32(self)!r})"

    def __str__(self) -> str:
        return str(as_float32(self))

    def __format__(self, spec: str) -> str:
        return format(as_float32(self), spec)


def other_type(dtype: np.dtype[Any]) -> TypeError:
    return TypeError(f"BFloat16: bits must stay uint16, got {dtype} (fusedstep.as_float32 reads them)")


def taken_for_integers(name: str) -> TypeError:
    return TypeError(f"BFloat16: bits must not be taken for integers, got {name} (fusedstep.as_float32 reads them)")


def refused(name: str) -> Callable[..., Any]:
    def refuse(self: BFloat16, *args: Any, **kwargs: Any) -> Any:
        raise taken_for_integers(f"ndarray.{name}")

    return refuse


#: What an array has that calculates with integers, compares them, or writes them; some of it only before NumPy 2, and
#: what is equal was False before 1.25 where the comparison was refused
METHODS = (
    *("all", "any", "argmax", "argmin", "argpartition", "argsort", "byteswap", "choose", "clip", "conj", "conjugate"),
    *("cumprod", "cumsum", "dot", "item", "itemset", "max", "mean", "min", "newbyteorder", "nonzero", "partition"),
    *("prod", "ptp", "put", "round", "searchsorted", "setfield", "sort", "std", "sum", "trace", "var"),
    *("__bool__", "__complex__", "__contains__", "__eq__", "__float__", "__index__", "__int__", "__ne__"),
)
ATTRIBUTES = ("flat", "imag", "real")

for name in METHODS:
    if hasattr(np.ndarray, name):
        setattr(BFloat16, name, refused(name))
for name in ATTRIBUTES:
    setattr(BFloat16, name, property(refused(name), refused(name)))


def nearest(values: Any) -> np.ndarray:
    """The bits of numbers, rounded."""
    from .in_numpy.encodings import cast  # which knows these arrays

    return bits_of(cast(np.asarray(values, np.float32), "bfloat16"))


def full_like(array: Any, fill_value: Any, dtype: Any = None, **options: Any) -> np.ndarray:
    if dtype is not None or not is_bfloat16(array):
        return np.full_like(bits_of(array), fill_value, dtype, **options)
    return as_bfloat16(np.full_like(bits_of(array), nearest(fill_value), **options))


def empty_like(array: Any, dtype: Any = None, **options: Any) -> np.ndarray:
    made = np.empty_like(bits_of(array), dtype, **options)
    return as_bfloat16(made) if dtype is None and is_bfloat16(array) else made


def zeros_like(array: Any, dtype: Any = None, **options: Any) -> np.ndarray:
    return full_like(array, 0, dtype, **options)


def ones_like(array: Any, dtype: Any = None, **options: Any) -> np.ndarray:
    return full_like(array, 1, dtype, **options)


#: NumPy's functions that give elements other places, whatever they are
MOVING = frozenset(
    {
        *(np.shape, np.ndim, np.size, np.reshape, np.ravel, np.transpose),
        *(np.moveaxis, np.swapaxes, np.expand_dims, np.squeeze, np.split, np.array_split, np.broadcast_to, np.take),
        *(np.flip, np.roll, np.repeat, np.tile, np.shares_memory, np.may_share_memory, np.save, np.savez),
        *(np.savez_compressed, np.lib.stride_tricks.as_strided),
    }
)
JOINING = frozenset({np.concatenate, np.stack, np.vstack, np.hstack})
MAKING: dict[Any, Callable[..., Any]] = {
    np.empty_like: empty_like,
    np.zeros_like: zeros_like,
    np.ones_like: ones_like,
    np.full_like: full_like,
    np.copy: lambda a, order="K", subok=False: a.copy(order),
}


def as_bfloat16(array: np.ndarray) -> BFloat16:
    """The same memory, marked as bits of bfloat16.

    Args:
        array: of uint16: the upper halves of the bits of float32 numbers.

    Raises:
        TypeError: the array has another type, or a mask.

    >>> import numpy as np, fusedstep as fs
    >>> bits = np.full(3, 0x3F80, np.uint16)  # 1.0
    >>> w = fs.as_bfloat16(bits)
    >>> fs.SGD(w, lr=0.5).step(np.ones(3, np.float32))
    >>> fs.as_float32(w)
    array([0.5, 0.5, 0.5], dtype=float32)
    """
    if getattr(array, "mask", None) is not None:
        name = type(array).__name__
        raise TypeError(f"as_bfloat16: array must be a plain numpy.ndarray of uint16, got {name} (use its .data)")
    if not isinstance(array, np.ndarray) or array.dtype != np.uint16:
        came = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"as_bfloat16: array must be a numpy.ndarray of uint16, got {came}")
    return array.view(BFloat16)


def as_float32(array: np.ndarray) -> np.ndarray:
    """A float32 copy of bfloat16 numbers, which it holds exactly.

    Args:
        array: marked bits, or ml_dtypes' bfloat16, of any shape.

    Raises:
        TypeError: the array is not of bfloat16.

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
    return np.ndarray.view(array, np.uint16, np.ndarray) if is_bfloat16(array) else array


#: NumPy makes a name anew whenever it is asked for.
NAMES = {np.dtype(name): name for name in ("float16", "float32", "float64")}


def name_of_type(array: np.ndarray) -> str:
    return NAMES.get(array.dtype) or ("bfloat16" if is_bfloat16(array) else str(array.dtype))
