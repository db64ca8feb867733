"""Data that the user has: where it is looked for, and readers of its files. No reader unpickles anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import Unavailable


class Malformed(Unavailable):
    """A file is not what its name says: which one, what was expected, what came."""

    def __init__(self, path: Path, expected: str, got: Any) -> None:
        super().__init__(f"{path}: expected {expected}, got {got}")
