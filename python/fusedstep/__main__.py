"""The command line: `fusedstep`, or `python -m fusedstep`."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Sequence
from importlib import import_module

from . import __version__
from .commands import Problem
from .measurement.packages import EXTRAS

#: A command's module is imported when the command is used: some need packages that others do without.
COMMANDS = {
    "demo": "train a network on handwritten digits, by the kernels and by NumPy, and compare bits and time",
    "info": "show the version, the compiler, the targets, the threads and the optional packages",
    "verify": "check on this machine that the kernels give the reference's bits",
    "bench": "measure steps on this machine beside other packages",
    "lab": "try on the kernels what the papers on optimizers promise, and report what was seen",
}


def read(words: Sequence[str]) -> argparse.Namespace:
    """The command and its arguments."""
    parser = argparse.ArgumentParser(
        prog="fusedstep",
        description="Optimizer updates, fused and in place, on your NumPy arrays.",
        epilog="`fusedstep COMMAND --help` tells more about a command.",
    )
    parser.add_argument("--version", action="version", version=f"fusedstep {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = subparsers.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == words[0]:
            module = import_module(f"{__package__}.commands.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status."""
    try:
        try:
            return execute(words)
        finally:
            print(end="", flush=True)  # that nobody reads any more has to show while it can be caught
    except BrokenPipeError:
        if not nobody_reads():
            raise
        return 141


def nobody_reads() -> bool:
    """Whether the output's reader has gone. What is left then goes nowhere: Python writes it out at its end."""
    try:
        output = sys.stdout.fileno()
    except OSError:  # no file
        return False
    poll = select.poll()
    poll.register(output, 0)  # errors are always told
    if not poll.poll(0):
        return False
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, output)
    os.close(nowhere)
    return True


def execute(words: Sequence[str] | None) -> int:
    words = (sys.argv[1:] if words is None else words) or ["--help"]
    command = words[0]
    try:
        arguments = read(words)
        return arguments.run(arguments)
    except Problem as problem:
        print(f"fusedstep {command}: {problem}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        package = {"sklearn": "scikit-learn"}.get(module, module)
        if package not in EXTRAS["lab"]:
            raise
        print(f"fusedstep {command} needs {package}: pip install 'fusedstep[lab]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
