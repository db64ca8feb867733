"""CUDA devices: which there are, the stream of a step, and arrays in a device's memory.

Optimizers take arrays of CuPy, PyTorch, Numba and any library with DLPack or ``__cuda_array_interface__``, as they take
NumPy's. A step goes into the current stream of the arrays' library, and returns without waiting for the device.

>>> import fusedstep as fs
>>> fs.cuda.available() or bool(fs.cuda.why_not())
True
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from . import _core
from .bfloat16 import BFloat16, as_bfloat16, as_float32
from .options import Whole

LIBRARY = Path(_core.__file__).with_name("libraries") / f"fusedstep_cuda.{'dll' if sys.platform == 'win32' else 'so'}"

_loaded: list[ctypes.CDLL] = []

_stream: ContextVar[int | None] = ContextVar("stream", default=None)

HANDLE = Whole(0, "a stream", below=2**64, expected="the handle of a stream, an integer")


def load(library: Path = LIBRARY) -> ctypes.CDLL:
    """Load the compiled part for CUDA; the first array on a device does that."""
    if not library.exists():
        raise RuntimeError("this build of fusedstep has no part for CUDA (it is made where nvcc is found)")
    loaded = ctypes.CDLL(str(library))
    backend = getattr(loaded, _core.backend_name, None)
    if backend is None:
        raise RuntimeError(
            f"{library.name} must be of the same build as fusedstep's module, got another's, left behind: "
            f"install fusedstep anew ({library})"
        )
    backend.restype = ctypes.c_void_p
    _core.connect(backend())
    _loaded[:] = [loaded]
    return loaded


def device_count() -> int:
    """The number of CUDA devices that can be used."""
    return 0 if why_not() else _core.device_count()[0]


def available() -> bool:
    """Whether there is a CUDA device that optimizers can work on."""
    return why_not() is None


def why_not() -> str | None:
    """Why CUDA cannot be used: no compiled part or one of another build, no driver, or no device. None if it can."""
    if not _loaded:
        try:
            load()
        except (OSError, RuntimeError) as error:
            return str(error)
    count, reason = _core.device_count()
    return None if count else reason


def use_stream(stream: int) -> AbstractContextManager[None]:
    """A context in which steps go into this stream, instead of the current one of the arrays' library.

    Args:
        stream: its handle, such as ``torch.cuda.Stream().cuda_stream`` or ``cupy.cuda.Stream().ptr``; 0 is the default
            stream.

    Raises:
        TypeError, ValueError: the handle is not an integer, or cannot be an address.

    >>> import numpy as np, fusedstep as fs
    >>> w, g = (fs.cuda.Array.of(np.ones(2)) for _ in range(2))
    >>> with fs.cuda.use_stream(0):
    ...     fs.SGD(w, lr=0.5).step(g)
    >>> fs.cuda.to_host(w)
    array([0.5, 0.5])
    """
    return _used(HANDLE.take("use_stream", "stream", stream))


@contextmanager
def _used(stream: int) -> Iterator[None]:
    before = _stream.set(stream)
    try:
        yield
    finally:
        _stream.reset(before)


def current_stream(array: Any) -> int:
    """The handle of the stream that a step of such an array goes into; 0 is the default one."""
    chosen = _stream.get()
    if chosen is not None:
        return chosen
    kind: Any = type(array)
    libraries = _libraries(kind)
    if "torch" in libraries:
        return sys.modules["torch"].cuda.current_stream(array.device).cuda_stream
    if "cupy" in libraries:
        with array.device:
            return sys.modules["cupy"].cuda.get_current_stream().ptr
    return 0


@cache
def _libraries(kind: type) -> frozenset[str]:
    """Where a class and those that it is made of come from."""
    return frozenset(cls.__module__.partition(".")[0] for cls in kind.__mro__)


def put_rates(optimizer: Any) -> None:
    """Copy learning rates that were changed in ``param_groups`` to the device, for steps in a captured CUDA graph.

    All other options of such a step stay as they were when it was captured. An optimizer on the processor needs none.

    Args:
        optimizer: one of this package's, or a `fusedstep.torch.Optimizer`.

    Raises:
        TypeError: it is something else.
        ValueError: a learning rate is out of range; no other has changed then.

    >>> import numpy as np, fusedstep as fs
    >>> opt = fs.SGD(fs.cuda.Array.of(np.ones(2)), lr=0.5)
    >>> bound = opt.bind(fs.cuda.Array.of(np.ones(2)))
    >>> bound.step()  # and once more in the capture of a graph
    >>> opt.param_groups[0]["lr"] = 0.25
    >>> fs.cuda.put_rates(opt)  # for the next launch
    """
    put = getattr(optimizer, "_put_rates", None)
    if put is None:
        raise TypeError(f"put_rates: optimizer must be one of fusedstep's, got {type(optimizer).__name__}")
    put()


def is_device_array(array: Any) -> bool:
    return not isinstance(array, np.ndarray) and _core.device_of(array)[0] == "cuda"


def index_of(array: Any) -> int:
    """The number of an array's device."""
    return _core.device_of(array)[1]


def to_host(array: Any) -> np.ndarray:
    """A NumPy copy of an array on a device, with the same order of elements; waits for the device.

    Args:
        array: of any library on a CUDA device, dense in memory.

    Raises:
        TypeError, ValueError: it is not on a device, or not dense.
        RuntimeError: a graph is being captured.

    >>> import numpy as np, fusedstep as fs
    >>> fs.cuda.to_host(fs.cuda.Array.of(np.arange(3.0)))
    array([0., 1., 2.])
    """
    return _core.to_host(array)


def on_host(array: Any) -> np.ndarray:
    """NumPy's array itself, or a copy of a device's."""
    return array if isinstance(array, np.ndarray) else to_host(array)


def to_device(array: Any, values: np.ndarray) -> None:
    """Copy a NumPy array into one of the same shape and type on a device; waits for the device.

    Args:
        array: of any library on a CUDA device, dense in memory.
        values: in any order of elements.

    Raises:
        TypeError, ValueError: the array is not on a device or not dense, or the values do not fit it. Nothing has
            changed then.
        RuntimeError: a graph is being captured.

    >>> import numpy as np, fusedstep as fs
    >>> there = fs.cuda.Array.of(np.zeros(3))
    >>> fs.cuda.to_device(there, np.arange(3.0))
    >>> np.asarray(there)
    array([0., 1., 2.])
    """
    if not isinstance(values, np.ndarray):
        raise TypeError(f"to_device: values must be a numpy.ndarray, got {type(values).__name__}")
    _core.to_device(array, values)


class Array:
    """An array in a device's memory, which is freed with this object. State on a device lies in such arrays.

    Other libraries take it by ``__cuda_array_interface__``, without a copy. `Array.of` and `Array.like` make one;
    ``numpy.asarray`` and `to_host` copy it back.

    Args:
        shape: the number of elements along each axis. They are zeros at first.
        strides: bytes from one element to the next along each axis; the elements must be dense in memory.
        dtype: a name of NumPy's, or ``bfloat16``.
        device: its number.

    Raises:
        TypeError, ValueError: the type is not known, or there is no such device.
        RuntimeError: the device has no room for it.

    >>> import numpy as np, fusedstep as fs
    >>> w = fs.cuda.Array.of(np.ones((2, 3), np.float32))
    >>> w
    fusedstep.cuda.Array(shape=(2, 3), dtype=float32, device=0)
    >>> opt = fs.SGD({"w": w}, lr=0.5, momentum=0.9)
    >>> opt.step({"w": fs.cuda.Array.of(np.ones((2, 3), np.float32))})
    >>> type(opt.state["w"]["momentum_buffer"])
    <class 'fusedstep.cuda.Array'>
    """

    def __init__(self, shape: tuple[int, ...], strides: tuple[int, ...], dtype: str, device: int) -> None:
        there = device_count()
        expected = f"the number of a device, below {there}" if there else f"the number of a device: {why_not()}"
        self.shape, self.strides, self.dtype = shape, strides, dtype
        self.device = Device(Whole(0, "a device", below=there, expected=expected).take("Array", "device", device))
        items = np.dtype("uint16" if dtype == "bfloat16" else dtype)
        self.nbytes = items.itemsize * math.prod(map(int, shape))
        # No device has more; of a larger number C++ would have no type.
        self._memory = _core.DeviceMemory(self.device.id, min(max(self.nbytes, 1), sys.maxsize))
        self._typestr = items.str

    @classmethod
    def like(cls, array: np.ndarray, device: int) -> Array:
        """Zeros with the shape, strides and type of a NumPy array."""
        dtype = "bfloat16" if isinstance(array, BFloat16) else array.dtype.name
        return cls(array.shape, array.strides, dtype, device)

    @classmethod
    def of(cls, values: np.ndarray, device: int = 0) -> Array:
        """A copy of a NumPy array, which must be dense in memory, on a device; in the same order of elements."""
        if not isinstance(values, np.ndarray):
            raise TypeError(f"Array.of: values must be a numpy.ndarray, got {type(values).__name__}")
        made = cls.like(values, device)
        to_device(made, values)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Array.of, (to_host(self), self.device.id)

    @property
    def fusedstep_bfloat16(self) -> bool:
        """Whether elements are bfloat16, which the interface has no name for and calls uint16."""
        return self.dtype == "bfloat16"

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "strides": self.strides,
            "typestr": self._typestr,
            "data": (self._memory.address, False),
            "version": 3,
            "stream": None,
        }

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("fusedstep.cuda.Array: the memory of a device must be copied for NumPy, got copy=False")
        found = to_host(self)
        if dtype is None:
            return found
        return (as_float32(found) if self.dtype == "bfloat16" else found).astype(dtype)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("fusedstep.cuda.Array: len() needs an axis, got shape ()")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"fusedstep.cuda.Array(shape={self.shape}, dtype={self.dtype}, device={self.device.id})"


class Device:
    """A device by its number, named as CuPy names it."""

    def __init__(self, id: int) -> None:
        self.id = id


def shape_of(array: Any) -> np.ndarray:
    """An array in the processor's memory, which takes none of it, with the layout and type of a device's."""
    shape, strides, dtype, _ = _core.describe(array)
    flat = np.empty(max(1, math.prod(shape)), "uint16" if dtype == "bfloat16" else dtype)
    made = np.lib.stride_tricks.as_strided(flat, shape, strides)
    return as_bfloat16(made) if dtype == "bfloat16" else made
