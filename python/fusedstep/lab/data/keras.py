"""Keras' mnist.npz: the arrays x_train, y_train, x_test and y_test."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import Malformed

NAMES = ("x_train", "y_train", "x_test", "y_test")


def read(path: Path) -> list[np.ndarray]:
    """The four arrays of unsigned bytes, in this order."""
    expected = "an archive of NumPy's arrays (.npz)"
    if not zipfile.is_zipfile(path):
        raise Malformed(path, expected, "another format, or one that is cut off")
    with path.open("rb") as file:
        archive = whole(path, expected, lambda: np.load(file, allow_pickle=False))
        missing = sorted(set(NAMES) - set(archive.files))
        if missing:
            raise Malformed(path, f"the arrays {', '.join(NAMES)}", ", ".join(archive.files) or "none")
        return [array(archive, name, path) for name in NAMES]


def array(archive: np.lib.npyio.NpzFile, name: str, path: Path) -> np.ndarray:
    found = whole(path, f"{name} to be a whole array of numbers", lambda: archive[name])
    dimensions = 3 if name.startswith("x") else 1
    if not isinstance(found, np.ndarray) or found.dtype != np.uint8 or found.ndim != dimensions:
        got = f"{found.dtype} in {found.ndim}" if isinstance(found, np.ndarray) else type(found).__name__
        raise Malformed(path, f"{name} to be uint8 in {dimensions} dimensions", got)
    return found


def whole(path: Path, expected: str, take: Callable[[], Any]) -> Any:
    """What is taken of a file, if it can be: damage shows in errors of zipfile, zlib, NumPy and Python's tokenizer."""
    try:
        return take()
    except Exception as error:
        raise Malformed(path, expected, error) from error
