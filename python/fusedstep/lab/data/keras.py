"""Keras' mnist.npz: the arrays x_train, y_train, x_test and y_test."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from . import Malformed

NAMES = ("x_train", "y_train", "x_test", "y_test")


def read(path: Path) -> list[np.ndarray]:
    """The four arrays of unsigned bytes, in this order."""
    if not zipfile.is_zipfile(path):
        raise Malformed(path, "an archive of NumPy's arrays (.npz)", "another format, or one that is cut off")
    with np.load(path, allow_pickle=False) as archive:
        missing = sorted(set(NAMES) - set(archive.files))
        if missing:
            raise Malformed(path, f"the arrays {', '.join(NAMES)}", ", ".join(archive.files) or "none")
        return [array(archive, name, path) for name in NAMES]


def array(archive: np.lib.npyio.NpzFile, name: str, path: Path) -> np.ndarray:
    try:
        found = archive[name]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise Malformed(path, f"{name} to be a whole array of numbers", error) from error
    dimensions = 3 if name.startswith("x") else 1
    if not isinstance(found, np.ndarray) or found.dtype != np.uint8 or found.ndim != dimensions:
        got = f"{found.dtype} in {found.ndim}" if isinstance(found, np.ndarray) else type(found).__name__
        raise Malformed(path, f"{name} to be uint8 in {dimensions} dimensions", got)
    return found
