"""What every test file may ask for: targets, places, threads, and an optimizer in two places."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs

from places import PLACES, built
from twins import Twins


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
        place.simulation = fs.cuda.load(built(tmp_path_factory, "fusedstep_simulated"))
    place.probe = place.put(np.zeros(1))
    return place


def pytest_runtest_setup() -> None:
    """A test that reads where nothing is loses its process the device: xdist puts another process in its place. So does
    one whose capture fails lose it torch's graphs: before 2.12 torch takes it to go on for ever, and refuses this."""
    probe = PLACES["device"].probe
    if probe is None or "PYTEST_XDIST_WORKER" not in os.environ:
        return
    try:
        fs.cuda.to_host(probe)
        if torch := sys.modules.get("torch"):
            torch.cuda.empty_cache()
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


@pytest.fixture
def one_thread(set_threads):
    """One thread, until the test sets others; the number before the test comes back after it."""
    set_threads(1)


@pytest.fixture
def script(monkeypatch):
    """Imports a script of bench/."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parent.parent / "bench")
    return importlib.import_module


@pytest.fixture
def twins(device):
    """Makes an optimizer on the processor and the same one on a device."""
    return lambda *args, **kwargs: Twins(device, *args, **kwargs)


@pytest.fixture
def lines(capsys):
    """Asks for what was printed since it was asked before."""
    return lambda: capsys.readouterr().out.splitlines()
