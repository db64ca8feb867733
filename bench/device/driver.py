"""The first device's clock and copies, by the driver's own interface: whatever else is installed."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

from fusedstep.measurement.timing import Step


class Driver:
    def __init__(self) -> None:
        self._driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        number, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(number), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), number)
        self._call("cuCtxSetCurrent", context)
        self._events = [ctypes.c_void_p(), ctypes.c_void_p()]
        for event in self._events:
            self._call("cuEventCreate", ctypes.byref(event), 0)

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code:
            raise RuntimeError(f"{name}: error {code} of the CUDA driver")

    def seconds(self, step: Step, count: int) -> float:
        """What one of so many steps takes, by events around them in the default stream."""
        begin, end = self._events
        self._call("cuEventRecord", begin, None)
        for _ in range(count):
            step()
        self._call("cuEventRecord", end, None)
        self._call("cuEventSynchronize", end)
        milliseconds = ctypes.c_float()
        self._call("cuEventElapsedTime", ctypes.byref(milliseconds), begin, end)
        return milliseconds.value / 1e3 / count

    def wait(self) -> None:
        self._call("cuCtxSynchronize")

    def copy(self, to: int, source: int, nbytes: int) -> None:
        """Within the device's memory; nothing is waited for."""
        addresses = ctypes.c_uint64(to), ctypes.c_uint64(source)
        self._call("cuMemcpyDtoDAsync_v2", *addresses, ctypes.c_size_t(nbytes), None)

    def facts(self) -> str:
        fields = "--query-gpu=name,compute_cap,memory.total,driver_version"
        return subprocess.check_output(["nvidia-smi", "--id=0", fields, "--format=csv,noheader"], text=True).strip()
