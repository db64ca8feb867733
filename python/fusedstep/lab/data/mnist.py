"""MNIST as its own IDX files, wherever torchvision or the user put them, or as Keras' archive."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from . import Malformed, idx, keras
from .images import Images, paired
from .place import roots

#: Folders in a root, torchvision's among them.
LAYOUTS = ("", "mnist", "MNIST", "raw", "MNIST/raw")

SIZE = (28, 28)


def find() -> Images | None:
    for root in roots():
        for layout in LAYOUTS:
            if member(root / layout, "train-images", 3):
                return read(root / layout)
        if (root / "mnist.npz").is_file():
            return read_archive(root / "mnist.npz")
    return None


def member(folder: Path, name: str, dimensions: int) -> Path | None:
    """The file of a part, under any of the names that are in use."""
    for dot, ending in product("-.", ("", ".gz")):
        path = folder / f"{name}{dot}idx{dimensions}-ubyte{ending}"
        if path.is_file():
            return path
    return None


def read(folder: Path) -> Images:
    """Four IDX files."""
    arrays, paths = [], []
    for part in ("train", "t10k"):
        for name, dimensions in ((f"{part}-images", 3), (f"{part}-labels", 1)):
            path = member(folder, name, dimensions)
            if path is None:
                raise Malformed(folder, f"{name}-idx{dimensions}-ubyte beside the others", "no such file")
            arrays.append(idx.read(path, dimensions))
            paths.append(path)
    return together(arrays, paths, "MNIST, IDX files")


def read_archive(path: Path) -> Images:
    return together(keras.read(path), [path] * 4, "MNIST, Keras' archive")


def together(arrays: list[np.ndarray], paths: list[Path], source: str) -> Images:
    """Training images, their labels, test images, their labels, with the file of each."""
    for images, path in zip(arrays[::2], paths[::2], strict=True):
        if images.shape[1:] != SIZE:
            raise Malformed(path, "images of 28 × 28 pixels", " × ".join(map(str, images.shape[1:])))
    train, test = (paired(arrays[i], arrays[i + 1], paths[i + 1]) for i in (0, 2))
    return Images(train, test, source)
