"""Arrays of bfloat16: NumPy has no such type, so raw bits are marked, or ml_dtypes' arrays are taken as they are."""

from __future__ import annotations

from typing import Any

import numpy as np


class BFloat16(np.ndarray):
    """Raw bits of bfloat16 numbers, as uint16. What would take them for integers is refused: NumPy's arithmetic, other
    types, and numbers that are assigned."""

    fusedstep_bfloat16 = True
    __array_ufunc__ = None  # type: ignore[assignment]

    def __array_finalize__(self, origin: Any) -> None:
        if self.dtype.kind in "fc":
            raise TypeError(f"BFloat16: bits must stay uint16, got {self.dtype} (fusedstep.as_float32 reads them)")

    def __setitem__(self, key: Any, value: Any) -> None:
        if np.asarray(value).dtype != np.uint16:
            raise TypeError(f"BFloat16: what is assigned must be bits, uint16, got {np.asarray(value).dtype}")
        super().__setitem__(key, value)

    def __repr__(self) -> str:
        return f"BFloat16({as_float32(self)!r})"


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
