"""What nvcc makes of the kernels, instruction by instruction on the processor (cpp/tests/ptx): the device's tests pass.

It is the library that a GPU is given, but for the runtime, and for machine code, which is made of the same PTX.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import process
from places import built

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return built(tmp_path_factory, "fusedstep_ptx", cuda="ON")


@pytest.mark.parametrize(
    "noun",
    [
        "cuda",
        *(path.stem.removeprefix("test_") for path in sorted(HERE.glob("test_device_*.py"))),
        "lookahead",
        "stages",
        "stats",
        "storage",
    ],
)
def test_the_tests_of_the_device(library, noun):
    chosen = [HERE / f"test_{noun}.py", *([] if noun == "cuda" else ["-k", "device"])]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *map(str, chosen)],
        env={**os.environ, "FUSEDSTEP_DEVICE": str(library)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]


def test_memory_on_its_way_is_bounded(library, tmp_path):
    """Of a processor that is far ahead: what the device has not fetched yet is waited for, and then used again."""
    program = f"""
        from pathlib import Path
        import numpy as np, fusedstep as fs
        device = fs.cuda.load(Path({str(library)!r}))
        params, *grads = ([fs.cuda.Array.of(np.ones(1)) for _ in range(6_000)] for _ in range(3))
        optimizer = fs.SGD(params, lr=0.1)
        pinned = []
        for step in range(30):
            optimizer.step(grads[step % 2])
            pinned.append(device.fusedstep_pinned() >> 20)
        print(pinned[5] < pinned[20] == pinned[29] <= 64, optimizer.state["0"]["step"])
    """
    assert process.output(tmp_path, program) == "True 30"


def test_what_raises_waits_for_its_own_stream(library, tmp_path):
    """What else the device has to do goes on meanwhile; what was captured may be anywhere."""
    program = f"""
        from pathlib import Path
        import numpy as np, fusedstep as fs
        device = fs.cuda.load(Path({str(library)!r}))
        one, other = (fs.SGD(fs.cuda.Array.of(np.ones(3)), lr=0.5) for _ in range(2))
        grad, wrong = fs.cuda.Array.of(np.ones(3)), fs.cuda.Array.of(np.full(3, np.nan))
        with fs.cuda.use_stream(77):
            one.step(grad, on_nonfinite="raise")  # which makes room
        left = []
        for given in (grad, wrong):
            with fs.cuda.use_stream(78):
                for _ in range(100):
                    other.step(grad)
            with fs.cuda.use_stream(77):
                try:
                    one.step(given, on_nonfinite="raise")
                except FloatingPointError as error:
                    print(error)
            left.append(device.fusedstep_waiting() > 0)
        print(left, one.last.skipped, device.fusedstep_waiting(), one.state["0"]["step"], other.state["0"]["step"])
    """
    said = "SGD: grads must be finite with on_nonfinite='raise', got a norm of nan"
    assert process.output(tmp_path, program) == f"{said}\n[True, True] True 0 2 200"


def test_a_schedule_waits_for_its_own_stream(library, tmp_path):
    """To be told how many steps were skipped."""
    program = f"""
        from pathlib import Path
        import numpy as np, fusedstep as fs
        device = fs.cuda.load(Path({str(library)!r}))
        grad, wrong = fs.cuda.Array.of(np.ones(3)), fs.cuda.Array.of(np.full(3, np.nan))
        seen = []
        one = fs.SGD(fs.cuda.Array.of(np.ones(3)), lr=lambda step: seen.append(step) or 0.5)
        other = fs.SGD(fs.cuda.Array.of(np.ones(3)), lr=0.5)
        left = []
        for given in (grad, wrong, grad):
            with fs.cuda.use_stream(77):
                one.step(given, on_nonfinite="skip")
            with fs.cuda.use_stream(78):
                for _ in range(100):
                    other.step(grad)
            left.append(device.fusedstep_waiting() > 100)
        with fs.cuda.use_stream(77):
            one.step(grad, on_nonfinite="skip")
        left.append(device.fusedstep_waiting() > 100)
        print(left, seen, one.skipped)
    """
    assert process.output(tmp_path, program) == "[True, True, True, True] [0, 1, 1, 2] 1"


def test_what_an_element_takes(library, tmp_path):
    """Counted for each step; what anything goes through takes more than what is made for one type."""
    script = HERE.parent / "bench" / "instructions.py"
    done = subprocess.run([sys.executable, script, library, "--out", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "instructions.json").read_text())["rows"]
    counted = {row["case"]: row["instructions"] for row in rows}
    assert 10 < counted["SGD"] < counted["SGD, momentum"] < counted["Adam"] < counted["Adam, all bfloat16"]
    assert counted["Adam"] < counted["Adam, gradients in bfloat16"] < 0.5 * counted["Adam, an average"] < 100
