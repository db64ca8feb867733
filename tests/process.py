"""A Python program in a process of its own, for what a test must not do to its own process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

#: What decides on targets and threads must come from the test alone.
DECIDING = ("FUSEDSTEP_TARGET", "FUSEDSTEP_NUM_THREADS", "OMP_NUM_THREADS")


def start(folder: Path, program: str, *, timeout: float = 60, before: tuple[str, ...] = (), **variables: str):
    """Run a program, to its end or the timeout; `before` stands before the interpreter on the command line."""
    path = folder / "program.py"
    path.write_text(dedent(program))
    environment = {key: value for key, value in os.environ.items() if key not in DECIDING} | variables
    return subprocess.run(
        [*before, sys.executable, path], capture_output=True, text=True, timeout=timeout, env=environment
    )


def interruptible(*command: str) -> subprocess.Popen:
    """A process that takes Ctrl-C, even where the tests run in the background of a shell, which ignores it for them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)


def output(folder: Path, program: str, **options) -> str:
    """What a program prints that ends well."""
    done = start(folder, program, **options)
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()
