"""The compiled part for CUDA: loaded when it is asked for, and only if it is of the same build."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

import fusedstep as fs
from fusedstep import _core

from places import SOURCE


def alone(code):
    """A process in which nothing of CUDA is loaded yet."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads what a process has mapped")
def test_nothing_of_cuda_is_loaded_until_an_array_asks():
    code = "import numpy as np, fusedstep as fs; fs.SGD(np.ones(3)).step(np.ones(3))"
    mapped = alone(code + "; print(open('/proc/self/maps').read())")
    assert "_core" in mapped
    assert not re.search(r"fusedstep_cuda|libcuda", mapped)


def test_why_not():
    code = "import fusedstep as fs; print(fs.cuda.available(), fs.cuda.device_count(), fs.cuda.why_not())"
    available, count, reason = alone(code).split(maxsplit=2)
    if available == "True":
        assert int(count) > 0
        assert reason.strip() == "None"
    else:
        assert count == "0"
        assert any(fact in reason for fact in ("no part for CUDA", "no driver", "no GPU"))


def test_without_the_compiled_part(tmp_path):
    with pytest.raises(RuntimeError, match="this build of fusedstep has no part for CUDA"):
        fs.cuda.load(tmp_path / "fusedstep_cuda.so")


def test_a_library_of_another_build_is_not_called(tmp_path, monkeypatch):
    """It is found where ours would be, has a function, and whoever called that would be lost."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if not compiler:
        pytest.skip("a compiler is not there")
    library, source = tmp_path / "fusedstep_cuda.so", tmp_path / "old.cpp"
    name = "fusedstep_backend_" + "0" * 16
    source.write_text(
        f'extern "C" void* fusedstep_backend() {{ return 0; }}\nextern "C" void* {name}() {{ return 0; }}'
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    code = f"""
import functools, pathlib, fusedstep as fs
fs.cuda.load = functools.partial(fs.cuda.load, pathlib.Path({str(library)!r}))
print(fs.cuda.available(), fs.cuda.why_not())
"""
    told = alone(code)
    assert told.startswith("False fusedstep_cuda.so must be of the same build as fusedstep's module, got another's")
    assert str(library) in told


def test_it_is_loaded_once(device, monkeypatch):
    """Whoever loaded another library than ours is asked for that one."""

    def again():
        raise AssertionError("loaded again")

    monkeypatch.setattr(fs.cuda, "load", again)
    assert fs.cuda.available()
    assert fs.cuda.why_not() is None
    assert fs.cuda.device_count() > 0


@pytest.mark.parametrize("room", ["rules", "storage", "methods", "kernel"])
def test_other_headers_make_another_build(room, tmp_path):
    """A change of any file that the two sides share."""
    if not shutil.which("cmake"):
        pytest.skip("cmake is not there")
    tree, folder = tmp_path / "cpp", tmp_path / "build"
    shutil.copytree(SOURCE, tree)

    def configured():
        subprocess.run(["cmake", "-S", tree, "-B", folder, "-DFUSEDSTEP_CUDA=OFF"], check=True, capture_output=True)
        made = (folder / "include/fusedstep/backend_name.hpp").read_text()
        return re.search(r'"(fusedstep_backend_\w{16})"', made)[1]

    assert configured() == _core.backend_name
    header = sorted((tree / room).glob("*.hpp"))[-1]
    header.write_text(header.read_text() + "// another\n")
    assert configured() != _core.backend_name
