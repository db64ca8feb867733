"""Targets and floating-point modes change no bit. Which target runs, and with how many threads, is as promised."""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest

import fusedstep as fs

import process
from cases import random

X86 = platform.machine().lower() in ("x86_64", "amd64")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's own")

# Which target


def test_targets_are_listed_best_first():
    known = ("x86-64-v4", "x86-64-v3", "x86-64-v2") if X86 else ("neon",)
    available = fs.available_targets()
    assert available == known[len(known) - len(available) :] != ()
    assert fs.active_target() in available


def test_the_best_is_active(tmp_path):
    program = "import fusedstep as fs; print(fs.active_target() == fs.available_targets()[0])"
    assert process.output(tmp_path, program) == "True"


@pytest.mark.parametrize("name", fs.available_targets())
def test_a_target_in_force(name):
    before = fs.active_target()
    with fs.use_target(name):
        assert fs.active_target() == name
        with fs.use_target(fs.available_targets()[-1]):
            assert fs.active_target() == fs.available_targets()[-1]
        assert fs.active_target() == name
        with pytest.raises(ZeroDivisionError), fs.use_target(fs.available_targets()[0]):
            raise ZeroDivisionError
        assert fs.active_target() == name
    assert fs.active_target() == before


@pytest.mark.parametrize("name", ["x86-64-v9", "avx2", "X86-64-V2", "", " neon", None, 4])
def test_a_target_that_is_not_there(name):
    before = fs.active_target()
    with pytest.raises(ValueError, match="use_target: name must be a target that runs here") as caught:
        fs.use_target(name)
    assert repr(name) in str(caught.value)
    assert all(repr(known) in str(caught.value) for known in fs.available_targets())
    assert fs.active_target() == before


def test_all_targets_give_the_same_bytes():
    rng = np.random.default_rng(1)
    start, grads = random(rng, 70_001, np.float32), random(rng, (4, 70_001), np.float32)
    grads[1, ::7] *= np.float32(1e-38)
    results = set()
    for name in fs.available_targets():
        param = start.copy()
        with fs.use_target(name):
            optimizer = fs.Adam(param, lr=0.1, amsgrad=True)
            for grad in grads:
                optimizer.step(grad)
        results.add(param.tobytes())
    assert len(results) == 1
    assert start.tobytes() not in results


@pytest.mark.parametrize("name", fs.available_targets())
def test_the_environment_chooses(tmp_path, name):
    program = "import fusedstep as fs; print(fs.active_target())"
    assert process.output(tmp_path, program, FUSEDSTEP_TARGET=name) == name


def test_the_environment_says_nothing(tmp_path):
    program = "import fusedstep as fs; print(fs.active_target() == fs.available_targets()[0])"
    assert process.output(tmp_path, program, FUSEDSTEP_TARGET="") == "True"


@pytest.mark.parametrize("name", ["x86-64-v9", "avx512", " "])
def test_the_environment_names_a_target_that_is_not_there(tmp_path, name):
    done = process.start(tmp_path, "import fusedstep", FUSEDSTEP_TARGET=name)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    known = ", ".join(map(repr, fs.available_targets()))
    assert last == f"ImportError: FUSEDSTEP_TARGET: must be a target that runs here, {known}, got {name!r}"


STEPPED = """
    import hashlib
    import fusedstep as fs
    import numpy as np
    param, half = np.linspace(-1, 1, 1003, dtype=np.float32), fs.as_bfloat16(np.zeros(1003, np.uint16))
    optimizers = [fs.Adam(param, lr=0.1), fs.Adam(half, lr=0.1, state="sq8", rounding="stochastic")]
    for step in range(5):
        for optimizer in optimizers:
            optimizer.step(np.linspace(-2, 1, 1003, dtype=np.float32) * (step + 1), max_norm=1.0)
    results = param.tobytes() + fs.as_float32(half).tobytes() + fs.stats(param)["0"].l1.hex().encode()
    print(fs.active_target(), *fs.available_targets(), hashlib.sha256(results).hexdigest())
"""


@pytest.mark.skipif(not X86 or not shutil.which("qemu-x86_64"), reason="needs qemu-x86_64")
@pytest.mark.parametrize(
    ("processor", "targets"), [("Nehalem", ["x86-64-v2"]), ("Haswell", ["x86-64-v3", "x86-64-v2"])]
)
def test_an_older_processor_gets_the_lower_target(tmp_path, processor, targets):
    here = process.output(tmp_path, STEPPED).split()
    emulator = ("qemu-x86_64", "-cpu", processor)
    # What NumPy's OpenBLAS chooses by itself there does not run on it.
    core = {"OPENBLAS_CORETYPE": "Nehalem"}
    there = process.output(tmp_path, STEPPED, before=emulator, timeout=300, **core).split()
    assert there == [targets[0], *targets, here[-1]]


@pytest.mark.skipif(not X86 or not shutil.which("qemu-x86_64"), reason="needs qemu-x86_64")
def test_a_processor_below_the_baseline_is_told_so(tmp_path):
    done = process.start(tmp_path, "import fusedstep", before=("qemu-x86_64", "-cpu", "core2duo"), timeout=300)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == "ImportError: fusedstep needs a processor with at least the x86-64-v2 instructions (SSE4.2)"


# How many threads


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"FUSEDSTEP_NUM_THREADS": "5"}, 5),
        ({"FUSEDSTEP_NUM_THREADS": "5", "OMP_NUM_THREADS": "3"}, 5),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"FUSEDSTEP_NUM_THREADS": "", "OMP_NUM_THREADS": "3"}, 3),
        ({"FUSEDSTEP_NUM_THREADS": "1024"}, 1024),
        ({"OMP_NUM_THREADS": "99999999999999999999"}, 1024),
    ],
    ids=str,
)
def test_the_environment_sets_the_number_of_threads(tmp_path, variables, expected):
    program = "import fusedstep as fs; print(fs.get_num_threads())"
    assert process.output(tmp_path, program, **variables) == str(expected)


@pytest.mark.parametrize("count", ["many", "0", "-2", "2.5", "6x", "4,2", " ", "٣", "1025", "99999999999999999999"])
def test_the_environment_names_no_number_of_threads(tmp_path, count):
    done = process.start(tmp_path, "import fusedstep", FUSEDSTEP_NUM_THREADS=count, OMP_NUM_THREADS="3")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == f"ImportError: FUSEDSTEP_NUM_THREADS: must be an integer in 1 … 1024, got {count!r}"


@linux
def test_the_affinity_mask_bounds_the_number_of_threads(tmp_path):
    program = """
        import os
        all = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(all)})
        import fusedstep as fs
        print(fs.get_num_threads(), os.cpu_count() >= len(all))
    """
    assert process.output(tmp_path, program) == "1 True"
    assert process.output(tmp_path, program, OMP_NUM_THREADS="rubbish") == "1 True"
    free = "import os, fusedstep as fs; print(1 <= fs.get_num_threads() <= len(os.sched_getaffinity(0)))"
    assert process.output(tmp_path, free) == "True"


# The caller's floating-point mode

#: The rounding modes of <fenv.h>
ROUNDING = {"upward": 0x800, "downward": 0x400, "toward zero": 0xC00}
if not X86:
    ROUNDING = {"upward": 0x400000, "downward": 0x800000, "toward zero": 0xC00000}

#: The bits of MXCSR
MXCSR = {"flush to zero": 0x8000, "denormals are zero": 0x0040, "both": 0x8040, "all, and upward": 0xC040}
CONTROL, DEFAULT = 0xFFC0, 0x1F80

MODE = """
#include <xmmintrin.h>
unsigned read_mode(void) { return _mm_getcsr(); }
void write_mode(unsigned mode) { _mm_setcsr(mode); }
"""


@pytest.fixture(scope="module")
def mxcsr(tmp_path_factory):
    """Reads and writes MXCSR, which no library function does whole."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if not X86 or not compiler:
        pytest.skip("needs an x86-64 and a C compiler")
    source = tmp_path_factory.mktemp("mode") / "mode.c"
    source.write_text(MODE)
    library = source.with_suffix(".so")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def nothing() -> None:
    """The default mode, in which the process is."""


def stepped(into: Callable[[], object], back: Callable[[], object]) -> list[bytes]:
    """Parameters, state and sums after steps within a mode, the first of which computes every coefficient."""
    numbers = np.arange(150_000, dtype=np.float32) % 1009 + 1
    single, double = numbers.copy(), numbers.astype(np.float64)
    small, wide = (
        numbers * np.float32(2.0**-76),
        1 / double,
    )  # the averages of the small ones' squares are subnormal
    subnormal = numbers * np.float32(2.0**-140)
    adam = fs.Adam(single, lr=0.3, eps=1e-30, weight_decay=0.1, betas=(0.7, 0.9))
    adagrad = fs.Adagrad(double, lr=0.3)
    into()
    try:
        # What is computed once is computed where it is made.
        nadam = fs.NAdam(np.ones(50), lr=0.1, momentum_decay=0.0123)
        for _ in range(4):
            adam.step(small)
            adagrad.step(wide)
            nadam.step(double[:50])
        # Roots and ratios of the sums are Python's own.
        sums = np.array([fs.stats(grad)["0"].l1 for grad in (subnormal, wide)])
    finally:
        back()
    state = adam.state["0"]["exp_avg_sq"], adagrad.state["0"]["sum"], nadam.state["0"]["mu_product"]
    return [array.tobytes() for array in (single, double, *state, sums)]


def check_mode(into: Callable[[], object], back: Callable[[], object], acts: Callable[[], bool], set_threads) -> None:
    """The mode acts, and has no part in any result: in this thread, in the pool's, and in one of the program's own."""
    set_threads(1)
    expected = stepped(nothing, nothing)
    seen = []

    def back_again() -> None:
        acted = acts()
        back()
        seen.append(acted)

    for threads in (1, 4):
        set_threads(threads)
        assert stepped(into, back_again) == expected
    results = []
    thread = threading.Thread(target=lambda: results.append(stepped(into, back_again)))
    thread.start()
    thread.join()
    assert results == [expected]
    assert seen == [True] * 3


@pytest.fixture
def libm():
    path = ctypes.util.find_library("m")
    if not path:
        pytest.skip("there is no libm to set the mode with")
    return ctypes.CDLL(path)


@pytest.mark.parametrize("mode", ROUNDING)
def test_rounding_modes(mode, libm, set_threads):
    little = np.float64(2.0**-60)

    def acts() -> bool:
        sums = (np.float64(1) + little > 1, np.float64(-1) - little < -1, np.float64(1) - little < 1)
        return (
            libm.fegetround() == ROUNDING[mode]
            and sums
            == {
                "upward": (True, False, False),
                "downward": (False, True, True),
                "toward zero": (False, False, True),
            }[mode]
        )

    check_mode(lambda: libm.fesetround(ROUNDING[mode]), lambda: libm.fesetround(0), acts, set_threads)


def test_rounding_modes_beside_a_device(device, libm):
    """What the host computes for it is not rounded in the caller's mode either."""
    opt, grad = fs.SGD(device.put(np.ones(3)), lr=0.1), device.put(np.ones(3))
    factors = []
    for mode in (0, *ROUNDING.values()):
        libm.fesetround(mode)
        opt.step(grad, grad_scale=3.0)
        libm.fesetround(0)
        factors.append(opt.last.factor)
    assert factors == [1 / 3] * len(factors)


@pytest.mark.parametrize("mode", MXCSR)
def test_flush_modes(mode, mxcsr, set_threads):
    library = ctypes.CDLL(str(mxcsr))
    wanted = DEFAULT | MXCSR[mode]

    def acts() -> bool:
        return library.read_mode() & CONTROL == wanted

    check_mode(lambda: library.write_mode(wanted), lambda: library.write_mode(DEFAULT), acts, set_threads)


def test_import_changes_no_mode(tmp_path, mxcsr):
    """A library that is linked with -ffast-math, say, sets flush-to-zero for the whole process when it is loaded."""
    program = f"""
        import ctypes, warnings
        warnings.simplefilter("ignore")
        library = ctypes.CDLL({str(mxcsr)!r})
        import numpy as np
        library.write_mode({DEFAULT})
        import fusedstep as fs
        modes = [library.read_mode() & {CONTROL}]
        fs.set_num_threads(3)
        fs.SGD(np.ones(200_000), lr=0.1).step(np.ones(200_000))
        modes.append(library.read_mode() & {CONTROL})
        print(*modes)
    """
    assert process.output(tmp_path, program) == f"{DEFAULT} {DEFAULT}"
    flushing = program.replace(f"write_mode({DEFAULT})", f"write_mode({DEFAULT | 0x8040})")
    assert process.output(tmp_path, flushing) == f"{DEFAULT | 0x8040} {DEFAULT | 0x8040}"
