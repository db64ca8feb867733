"""The command line does what its help says, and ends with the right status: 1 bits differ, 2 a mistake, 130 Ctrl-C,
141 nobody reads."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from importlib import metadata

import pytest

import fusedstep as fs
from fusedstep.__main__ import COMMANDS, main

from process import interruptible, start

EXTRAS = ("matplotlib", "numba", "rich", "scipy", "sklearn", "torch", "jax", "optax")


def test_a_package_that_was_not_built(tmp_path):
    """Of a submodule that is missing Python says that its package was imported by half."""
    (tmp_path / "fusedstep").mkdir()
    shutil.copy(fs.__file__, tmp_path / "fusedstep")
    done = start(tmp_path, "import fusedstep")
    assert done.stderr.splitlines()[-1] == (
        "ImportError: fusedstep: its compiled part must be built for this Python (`pip install .` does that), "
        f"got none in {tmp_path / 'fusedstep'}"
    )


def without(missing, *words):
    """The command line in a process that cannot import the missing modules."""
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({missing!r})); "
        f"from fusedstep.__main__ import main; sys.exit(main({list(words)!r}))"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


def test_import_loads_no_extra():
    program = f"import sys, fusedstep; print(sorted(set(sys.modules) & set({EXTRAS!r})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["info"], *([name, "--help"] for name in COMMANDS)])
def test_needs_no_extra(words):
    done = without(EXTRAS, *words)
    assert done.returncode == 0, done.stderr
    assert "fusedstep" in done.stdout


@pytest.mark.parametrize(
    ("module", "package"), [("matplotlib", "matplotlib"), ("rich", "rich"), ("sklearn", "scikit-learn")]
)
def test_missing_extra_is_one_line(module, package):
    for earlier in ("sklearn", "matplotlib"):  # they are imported first, in this order
        if earlier == module:
            break
        pytest.importorskip(earlier)
    done = without((module,), "demo")
    assert done.returncode == 2
    assert done.stderr == f"fusedstep demo needs {package}: pip install 'fusedstep[lab]'\n"


def test_other_missing_modules_are_errors(monkeypatch):
    monkeypatch.setitem(sys.modules, "fusedstep.commands.demo", None)
    with pytest.raises(ModuleNotFoundError, match=r"fusedstep\.commands\.demo"):
        main(["demo"])


def test_module_and_entry_point():
    done = subprocess.run([sys.executable, "-m", "fusedstep", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"fusedstep {fs.__version__}\n"
    (entry,) = metadata.entry_points(group="console_scripts", name="fusedstep")
    assert entry.load() is main


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_names_every_command(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for name in ("demo", "info", "verify", "bench"):
        assert re.search(rf"^ +{name} +{COMMANDS[name].split()[0]}", shown, re.MULTILINE)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_interrupt_ends_cleanly():
    with interruptible(sys.executable, "-m", "fusedstep", "verify") as process:
        assert "fusedstep" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors


@pytest.mark.skipif(sys.platform == "win32", reason="Windows calls that another error")
@pytest.mark.parametrize(("word", "unbuffered"), [("info", ""), ("--version", ""), ("info", "1")])
def test_reader_that_is_gone_ends_cleanly(word, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "fusedstep", word],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_another_pipe_that_breaks(monkeypatch, capsys):
    def work(words):
        print("worked")
        raise BrokenPipeError("of a process that computes")

    monkeypatch.setattr("fusedstep.__main__.execute", work)
    with pytest.raises(BrokenPipeError, match="of a process that computes"):
        main(["info"])
    print("and told")
    assert capsys.readouterr().out == "worked\nand told\n"


# info
