"""Every example in the documentation runs, and prints what it says; what is made of the options is all there."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fusedstep
from fusedstep import stages
from fusedstep.methods.adaptive import PHI, PSI

ROOT = Path(__file__).resolve().parent.parent
ROOMS = [fusedstep, fusedstep.in_numpy, fusedstep.methods]
MODULES = ["fusedstep"]
MODULES += [module.name for room in ROOMS for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}.")]
MODULES.remove("fusedstep._core")
MODULES.remove("fusedstep.__main__")
MODULES.remove("fusedstep.cuda")  # tests/test_cuda.py has a device


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    if name == "fusedstep.torch":
        pytest.importorskip("torch")
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", fusedstep.methods.__all__)
def test_every_method_has_an_example(name):
    assert doctest.DocTestFinder(recurse=False).find(getattr(fusedstep, name))[0].examples


def told(document):
    """The arguments that a docstring tells of."""
    arguments = re.search(r"^Args:\n((?: .+\n)+)", document, re.MULTILINE)[1]
    return re.findall(r"^ {4}(\w+): ", arguments, re.MULTILINE)


@pytest.mark.parametrize("name", fusedstep.methods.__all__)
def test_every_option_is_told(name):
    cls = getattr(fusedstep, name)
    assert told(inspect.getdoc(cls)) == list(inspect.signature(cls).parameters)
    assert told(inspect.getdoc(getattr(fusedstep.reference, name))) == told(inspect.getdoc(cls))


def test_every_part_of_adaptive_is_told():
    """Of each φ and ψ its keywords, in the line that names it."""
    lines = re.findall(r"^- (?:[φψ] )?(``.+?)[;.]$", inspect.getdoc(fusedstep.Adaptive), re.MULTILINE)
    found = {}
    for line in lines:
        names, keywords = (re.findall(r"``(\w+)``", half) for half in line.split(":"))
        for name in names:
            keywords += found.get("ema", []) if "the same" in line else []
            found[name] = [*found.get(name, []), *keywords]
    for name, keywords in [*PHI.items(), *PSI.items()]:
        assert set(keywords) <= set(found.get(name, [])), name
    assert set().union(*found.values()) - {"max", "outside"} == set().union(*PHI.values(), *PSI.values())


def test_every_stage_is_told():
    for name in ("step", "bind"):
        function, in_numpy = getattr(fusedstep.Adam, name), getattr(fusedstep.reference.Adam, name)
        assert list(inspect.signature(function).parameters) == ["self", "grads", *stages.DEFAULTS]
        assert inspect.signature(in_numpy) == inspect.signature(function)
        assert inspect.getdoc(in_numpy) == inspect.getdoc(function)
    assert told(inspect.getdoc(fusedstep.Adam.step)) == ["grads", *stages.DEFAULTS]


def blocks(document):
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)


def test_readme():
    for block in blocks("README.md"):
        exec(compile(block, "README.md", "exec"), {})


def run(document, library, other):
    """Blocks go on from those before; with the other library all of them."""
    pytest.importorskip(library)
    names = {}
    for block in blocks(document):
        if library == other or not re.search(rf"\b{other}\b", block):
            exec(compile(block, document, "exec"), names)
    return names


@pytest.mark.parametrize("library", ["numpy", "sklearn"])
def test_embedding(library):
    run("docs/embedding.md", library, other="sklearn")


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_training(library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run("docs/training.md", library, other="torch")
    if library == "torch":
        assert names["loss"] < names["y"].var() / 2


def test_without_docstrings():
    code = "import fusedstep; print(fusedstep.Adam.step.__doc__)"
    done = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "None", done.stderr
