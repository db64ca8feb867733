"""A folder in which every file is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Folder:
    """Files get their names when they are complete, so that an interrupted run leaves none that is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def new(self, name: str) -> Iterator[Path]:
        """Where to write a file; at the end of the block it takes its name, and the place of an older one."""
        # The ending stays last: writers of pictures and of arrays go by it.
        unfinished = self.path / f".unfinished-{name}"
        try:
            yield unfinished
            os.replace(unfinished, self.path / name)
        finally:
            unfinished.unlink(missing_ok=True)

    def write(self, name: str, text: str) -> None:
        with self.new(name) as path:
            path.write_text(text, encoding="utf-8")
