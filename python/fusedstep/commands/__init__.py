"""The commands: a module each, with `add_arguments(parser)` and `run(arguments)`, which gives the exit status."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable


class Problem(Exception):
    """What the user can put right: it is told in one line, and the exit status is 2."""


def at_least(least: int) -> Callable[[str], int]:
    """The type of an argument that is an integer with a lower bound."""

    def whole(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise ArgumentTypeError(f"must be an integer of at least {least}, got {text}")
        return int(text)

    return whole
