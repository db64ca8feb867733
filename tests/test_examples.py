"""Every example in the documentation runs, and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import fusedstep

ROOT = Path(__file__).resolve().parent.parent
MODULES = ["fusedstep", *(f"fusedstep.{module.name}" for module in pkgutil.iter_modules(fusedstep.__path__))]
MODULES.remove("fusedstep._core")
MODULES.remove("fusedstep.__main__")


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", fusedstep.methods.__all__)
def test_every_method_has_an_example(name):
    assert doctest.DocTestFinder(recurse=False).find(getattr(fusedstep, name))[0].examples


def test_readme():
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL):
        exec(compile(block, "README.md", "exec"), {})
