"""What every test file may use: the cases, random arrays, and equality of bytes."""

from __future__ import annotations

import pytest

import fusedstep as fs


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
