"""The bytes of a file."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from . import Malformed


def content(path: Path) -> bytes:
    """Unpacked, if its name ends in .gz."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                return file.read()
        return path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise Malformed(path, "a file that can be read to its end", error) from error
