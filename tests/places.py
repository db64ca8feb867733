"""Where arrays can lie. A test body that puts its arrays into a place and gets them back runs in each of them."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedstep as fs

SOURCE = Path(__file__).parents[1] / "cpp"


class Processor:
    """NumPy's arrays."""

    name = "processor"

    def put(self, array: np.ndarray) -> Any:
        return array

    def get(self, array: Any) -> np.ndarray:
        return array


class Device:
    """Arrays of a CUDA device: of a real one where there is one, and otherwise of one that the processor plays."""

    name = "device"

    #: the library that plays the device, if it does not exist
    simulation: ctypes.CDLL | None = None
    #: an array that can be read while the device is not lost
    probe: fs.cuda.Array | None = None

    def put(self, array: np.ndarray) -> fs.cuda.Array:
        return fs.cuda.Array.of(array)

    def get(self, array: Any) -> np.ndarray:
        return fs.cuda.to_host(array) if isinstance(array, fs.cuda.Array) else array

    @contextmanager
    def playing_capture(self) -> Iterator[None]:
        """As if a graph were captured, which what is done here must not spoil."""
        assert self.simulation
        self.simulation.fusedstep_begin_graph()
        try:
            with fs.cuda.use_stream(0xCA97):
                yield
        finally:
            whole = self.simulation.fusedstep_end_graph()
        assert whole, "the graph is spoiled"


PLACES = {place.name: place for place in (Processor(), Device())}


def built(temporary: pytest.TempPathFactory, target: str, cuda: str = "OFF") -> Path:
    """A library that plays a device: the GPU's kernels as loops on the processor, or as nvcc makes them. The first of a
    run's processes builds it for all of them."""
    from filelock import FileLock  # not there where a library is brought along

    base = temporary.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / target
    with FileLock(folder.with_suffix(".lock")):
        return build(folder, target, cuda)


def build(folder: Path, target: str, cuda: str) -> Path:
    for tool in ("cmake", os.environ.get("CXX", "c++"), *(["nvcc"] if cuda == "ON" else [])):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not there")
    settings = ["-DCMAKE_BUILD_TYPE=Release", "-DFUSEDSTEP_TESTS=ON", f"-DFUSEDSTEP_CUDA={cuda}"]
    if cuda == "OFF":  # half the time to compile, and few of the tests' loops are long
        settings.append("-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG")
    for command in (
        ["cmake", "-S", SOURCE, "-B", folder, *settings],
        ["cmake", "--build", folder, "--parallel", "2", "--target", target],
    ):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return next(folder.rglob(f"{target}.*[a-z]"))
