"""What every test file may use: the cases, random arrays, and equality of bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedstep as fs

from places import PLACES, built

#: Orders of the axes in memory that are dense without being C's alone.
LAYOUTS = ("C", "Fortran", "permuted")


def pytest_report_header() -> str:
    return (
        f"fusedstep {fs.__version__}: {fs.active_target()} of {fs.available_targets()}, {fs.get_num_threads()} threads"
    )


@pytest.fixture(params=fs.available_targets())
def target(request):
    """Each target that runs here, forced."""
    with fs.use_target(request.param):
        assert fs.active_target() == request.param
        yield request.param


@pytest.fixture(scope="session")
def device(tmp_path_factory):
    """The place on a CUDA device."""
    place = PLACES["device"]
    if library := os.environ.get("FUSEDSTEP_DEVICE"):
        place.simulation = fs.cuda.load(Path(library))
    elif not fs.cuda.available():
        place.simulation = fs.cuda.load(built(tmp_path_factory.mktemp("simulated"), "fusedstep_simulated"))
    place.probe = place.put(np.zeros(1))
    return place


def pytest_runtest_setup() -> None:
    """A test that reads where nothing is loses its process the device: xdist puts another process in its place."""
    probe = PLACES["device"].probe
    if probe is None or "PYTEST_XDIST_WORKER" not in os.environ:
        return
    try:
        fs.cuda.to_host(probe)
    except RuntimeError:
        os._exit(1)


@pytest.fixture(params=PLACES)
def place(request):
    """Each place that arrays can lie in."""
    return request.getfixturevalue("device") if request.param == "device" else PLACES[request.param]


@pytest.fixture
def set_threads():
    """Sets the number of threads; the number before the test comes back after it."""
    before = fs.get_num_threads()
    yield fs.set_num_threads
    fs.set_num_threads(before)


def laid_out(values: np.ndarray, layout: str) -> np.ndarray:
    """A copy whose axes lie in memory as the layout says: permuted has the first axis innermost, the others as in C."""
    axes = list(range(values.ndim))
    axes = {"C": axes, "Fortran": axes[::-1], "permuted": axes[1:] + axes[:1]}[layout]
    return values.transpose(axes).copy(order="C").transpose(np.argsort(axes).astype(int))


def frozen(value: Any) -> Any:
    """A value that == compares: arrays by their bytes, dicts and lists item by item, in any order of a dict."""
    if isinstance(value, np.ndarray):
        return type(value), value.dtype, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [frozen(item) for item in value]
    return value
