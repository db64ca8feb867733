"""The house keeps its shape: every method is in every list, rooms know only what they may, stubs are current."""

from __future__ import annotations

import ast
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fusedstep as fs
from fusedstep import _core, functional, methods
from fusedstep.in_numpy import formulas

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [path for kind in ("*.?pp", "*.cu*") for path in sorted((ROOT / "cpp").rglob(kind))]
SOURCES += [path for folder in ("python", "tests", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]

#: room -> the rooms that it may include
ROOMS = {
    "rules": {"rules"},
    "methods": {"rules", "methods"},
    "kernel": {"rules", "methods", "kernel"},
    "cuda": {"rules", "storage", "methods", "kernel", "cuda"},
    "storage": {"rules", "storage"},
    "cpu": {"rules", "storage", "methods", "kernel", "cpu"},
}

#: The same of Python's
PYTHON_ROOMS = {
    "in_numpy": {"in_numpy"},
    "methods": {"in_numpy", "methods"},
    "torch": {"torch"},
    "rivals": {"methods", "measurement", "rivals"},
    "measurement": {"measurement"},
    "lab": {"in_numpy", "methods", "measurement", "lab"},
    "commands": {"in_numpy", "methods", "measurement", "rivals", "lab", "commands"},
}


def test_every_method_is_in_every_list():
    names = set(methods.__all__)
    assert {getattr(fs, name)._method for name in names} == set(_core.methods()) == set(formulas.FORMULAS)
    assert all(hasattr(fs.reference, name) for name in names)
    assert len(functional.__all__) == len(names)


def test_every_state_is_named():
    for name in methods.__all__:
        cls = getattr(fs, name)
        assert set(_core.states(cls._method, cls._preset("torch"))) <= set(cls.state_names), name


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_include_only_what_they_may(room):
    for path in (ROOT / "cpp" / room).glob("*.[ch]*"):
        text = path.read_text()
        assert "pybind11" not in text, path
        assert "Python.h" not in text, path
        for included in re.findall(r'#include "([^"]+)"', text):
            folder = (path.parent / included).resolve().parent.name
            assert folder in ROOMS[room], f"{path.name} includes {included}"


@pytest.mark.parametrize("room", PYTHON_ROOMS)
def test_rooms_import_only_what_they_may(room):
    package = ROOT / "python" / "fusedstep"
    for path in (package / room).rglob("*.py"):
        place = path.relative_to(package).parts[:-1]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                module = (*place[: len(place) + 1 - node.level], *(node.module or "").split("."))
                found = {module[0] or name.name for name in node.names}
                assert found & PYTHON_ROOMS.keys() <= PYTHON_ROOMS[room], f"{path} imports {found}"


def test_one_version():
    assert re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1] == fs.__version__
    assert f"## {fs.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"project(fusedstep_core VERSION {fs.__version__} " in (ROOT / "cpp/CMakeLists.txt").read_text()


def test_stubs_are_current():
    subprocess.run([sys.executable, ROOT / ".ci" / "stubs", "--check"], check=True)


#: What works: type checkers say nothing.
RIGHT = [
    "fs.Adam(w, lr=np.float32(0.1), betas=[0.9, 0.99], eps=Fraction(1, 8), amsgrad=np.True_, seed=np.int64(1))",
    "fs.Adam([w], np.int64(1), betas=np.array([0.9, 0.99]), variance_warmup=np.uint8(2), max_lr=np.float64(1))",
    "fs.Adam(w, lr=lambda step: np.float32(0.1) / (step + 1), weight_average=np.float32(0.5)).step(g)",
    "fs.RAdam(w, rectify_after=np.int64(3), decoupled_weight_decay=True).step(g)",
    "fs.SGD(w, lr=0.1).step(g, grad_scale=np.float32(2), max_norm=1, norm=np.float64(3), clip_value=np.int64(1))",
    "fs.SGD(w, lr=0.1).step(g, max_norm_per_tensor=None, on_nonfinite='skip', copy_to=g.copy(), zero_grad=np.True_)",
    "fs.SGD([w], lr=0.1).step([g], copy_to=[None])",
    "fs.SGD(w, extents={'0': [0, np.int64(8192)]}).step(g)",
    "fs.SGD([w], lr=0.1).step([None])",
    "fs.SGD(w, lr=0.1).step(None)",
    "fs.SGD(w, lr=0.1).bind(g, max_norm=1.0).step()",
    "fs.reference.Adam(w, lr=0.1).bind(g, max_norm=1.0).step()",
    "fs.reference.stats(g)['0'].l2 + 1",
    "fs.functional.sgd_(w, g, step=np.int64(1), lr=np.float32(0.1), seed=np.int64(1), rounding='stochastic')",
    "fs.functional.adam_(w, None, m, v, step=1, lr=1, betas=[0.9, 0.99], convention='keras')",
    "fs.functional.adam_([w], [None], [m], [v], step=1, lr=1, decoupled_weight_decay=True)",
    "fs.set_num_threads(np.int64(fs.get_num_threads())) + 1",
]
#: What does not, and what mypy calls it.
WRONG = {
    "fs.Adam(w, lrr=0.1)": "call-arg",
    "fs.Adam(w, lr='0.1')": "arg-type",
    "fs.Adam(w, lr=lambda step: str(step)).step(g)": "return-value",
    "fs.Adam(w, betas=0.9)": "arg-type",
    "fs.Adam(w, betas=('0.9', '0.99'))": "arg-type",
    "fs.Adam(w, seed=1.0)": "arg-type",
    "fs.Adam(w, amsgrad='yes')": "arg-type",
    "fs.Adam(w, decay='decopled')": "arg-type",
    "fs.Adam(w, rounding=None)": "arg-type",
    "fs.Adam(w).step(g, maxnorm=1.0)": "call-arg",
    "fs.Adam(w).step(g, max_norm='a')": "arg-type",
    "fs.Adam(w).step(g, grad_scale=None)": "arg-type",
    "fs.Adam(w).step(g, on_nonfinite='skipped')": "arg-type",
    "fs.Adam(w).step(g, 1.0)": "call-arg",
    "fs.AdamW(w).step(1.0)": "arg-type",
    "fs.AdamW(w).bind(g, maxnorm=1.0)": "call-arg",
    "fs.AdamW(w).bind(g, max_norm=[])": "arg-type",
    "fs.AdamW(w).bind(g).stepp()": "attr-defined",
    "fs.AdamW(w).bind(g).step(g)": "call-arg",
    "fs.reference.Adam(w, lrr=0.1)": "call-arg",
    "fs.reference.Adam(w).step(g, maxnorm=1.0)": "call-arg",
    "fs.reference.statistics(g)": "attr-defined",
    "fs.functional.sgd_(w, g, step='1', lr=0.1)": "arg-type",
    "fs.functional.sgd_(w, g, step=1, lr='0.1')": "arg-type",
    "fs.functional.sgd_(w, g, step=1, lr=0.1, rounding='kahan')": "arg-type",
    "fs.functional.sgd_(w, g, step=1, lr=0.1, convention='touch')": "arg-type",
    "fs.functional.sgd_(w, 'g', step=1, lr=0.1)": "arg-type",
    "fs.set_num_threads('2')": "arg-type",
}
CALLS = """
from fractions import Fraction
import numpy as np
import fusedstep as fs
w, g, m, v = (np.full(3, 0.5) for _ in range(4))
"""


@pytest.mark.parametrize("call", RIGHT)
def test_right_calls_run(call):
    exec(f"{CALLS}{call}", {})


@pytest.mark.parametrize("call", WRONG)
def test_wrong_calls_are_refused(call):
    with pytest.raises((TypeError, ValueError, AttributeError)):
        exec(f"{CALLS}{call}", {})


def test_stubs_tell_right_calls_from_wrong_ones(tmp_path):
    if not shutil.which("mypy"):
        pytest.skip("mypy is not installed")
    path = tmp_path / "calls.py"
    path.write_text(CALLS + "\n".join([*RIGHT, *WRONG]))
    done = subprocess.run(["mypy", path], cwd=ROOT, capture_output=True, text=True)
    lines = path.read_text().splitlines()
    found = re.findall(r"calls\.py:(\d+): error: .+ \[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert {lines[int(number) - 1]: code for number, code in found} == WRONG, done.stdout + done.stderr


def test_files_are_short_and_finished():
    for path in SOURCES:
        text = path.read_text()
        # Tests are tables of cases, which do not get simpler by being cut.
        assert text.count("\n") < 450 or path.parent.name == "tests", f"{path} is long: is it still one noun?"
        assert not re.search(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b", text), path


def test_macros_that_others_include_have_our_prefix():
    names = {
        name: path
        for room in ("rules", "storage", "methods", "kernel")
        for path in (ROOT / "cpp" / room).glob("*.hpp")
        for name in re.findall(r"^\s*#\s*define\s+(\w+)", path.read_text(), re.MULTILINE)
    }
    assert names
    assert {name: path for name, path in names.items() if not name.startswith("FS_")} == {}


def test_mutants_stand_where_they_are_said_to():
    mutants = runpy.run_path(str(ROOT / ".ci" / "mutants"))["MUTANTS"]
    assert len({name for name, *_ in mutants}) == len(mutants)
    for name, file, old, new in mutants:
        assert (ROOT / file).read_text().count(old) == 1, f"{name}: {file} does not hold this once: {old}"
        assert old != new, name


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        [
            "clang-format",
            "--dry-run",
            "-Werror",
            *map(str, (ROOT / "cpp").rglob("*.?pp")),
            *map(str, (ROOT / "cpp").rglob("*.cu*")),
        ],
    ],
    ids=lambda command: "-".join(command[:2]),
)
def test_linters_agree(command):
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
