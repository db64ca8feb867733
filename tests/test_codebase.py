"""The house keeps its shape: every method is in every list, rooms include only what they may, stubs are current."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fusedstep as fs
from fusedstep import _core, formulas, functional, methods

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [path for folder in ("cpp", "python", "tests", "bench") for path in sorted((ROOT / folder).rglob("*.?pp"))]
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


def test_every_method_is_in_every_list():
    names = set(_core.methods())
    assert names == set(methods.__all__)
    assert names == set(formulas.FORMULAS)
    assert names == {name for name in methods.__all__ if hasattr(fs.reference, name)}
    assert len(functional.__all__) == len(names)


def test_every_state_is_named():
    for name in methods.__all__:
        cls = getattr(fs, name)
        assert set(_core.states(name, cls._preset("torch"))) <= set(cls.state_names), name


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_include_only_what_they_may(room):
    for path in (ROOT / "cpp" / room).glob("*.[ch]*"):
        text = path.read_text()
        assert "pybind11" not in text, path
        assert "Python.h" not in text, path
        for included in re.findall(r'#include "([^"]+)"', text):
            folder = (path.parent / included).resolve().parent.name
            assert folder in ROOMS[room], f"{path.name} includes {included}"


def test_one_version():
    assert re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1] == fs.__version__
    assert f"## {fs.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_stubs_are_current():
    subprocess.run([sys.executable, ROOT / ".ci" / "stubs", "--check"], check=True)


def test_files_are_short_and_finished():
    for path in SOURCES:
        text = path.read_text()
        # Tests are tables of cases, which do not get simpler by being cut.
        assert text.count("\n") < 450 or path.parent.name == "tests", f"{path} is long: is it still one noun?"
        assert not re.search(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b", text), path


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
