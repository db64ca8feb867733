"""CIFAR-10's binary files: for each image a byte with its label, then 32 × 32 of red, of green and of blue."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..batch import Examples
from . import Malformed
from .content import content
from .images import Images, paired
from .place import roots

#: Folders in a root: the archive that one downloads has the second.
LAYOUTS = ("", "cifar-10-batches-bin")

SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32

TRAINING, TEST = "data_batch_*.bin", "test_batch.bin"


def find() -> Images | None:
    for root in roots():
        for layout in LAYOUTS:
            if any((root / layout).glob(TRAINING)):
                return read(root / layout, "CIFAR-10")
    return None


def read(folder: Path, source: str) -> Images:
    """All training batches and the test batch."""
    if not (folder / TEST).is_file():
        raise Malformed(folder, f"{TEST} beside {TRAINING}", "no such file")
    parts = [batch(path) for path in sorted(folder.glob(TRAINING))]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Images((images, labels), batch(folder / TEST), source)


def batch(path: Path) -> Examples:
    """The images and labels of a file."""
    data = content(path)
    if len(data) % RECORD:
        raise Malformed(path, f"a multiple of {RECORD} bytes", f"{len(data)} bytes")
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    return paired(records[:, 1:].reshape(-1, *SHAPE), records[:, 0], path)


def write(path: Path, examples: Examples) -> None:
    """A file that `batch` reads."""
    images, labels = examples
    rows = images.reshape(len(images), RECORD - 1)
    path.write_bytes(np.column_stack([labels, rows]).astype(np.uint8).tobytes())
