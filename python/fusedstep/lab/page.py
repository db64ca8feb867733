"""What an experiment finds: the claims, tables and pictures of one page of the report, and the files beside it."""

from __future__ import annotations

import csv
import json
import math
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..measurement.table import Table
from .claim import Claim
from .folder import Folder
from .settings import Settings

#: Pixels per inch of every picture.
DPI = 110


@dataclass(frozen=True)
class Picture:
    """A picture's file and what is to be said below it."""

    path: Path
    caption: str

    def uri(self) -> str:
        kind = self.path.suffix[1:]
        return f"data:image/{kind};base64,{b64encode(self.path.read_bytes()).decode()}"


class Page:
    """An experiment fills it from top to bottom. Every file is written at once and is complete.

    Args:
        settings: what the experiment was told.
        summary: what it is about.
        folder: where its files go.
        progress: what the terminal shows of it, a `rich.progress.Progress`.
    """

    def __init__(self, settings: Settings, summary: str, folder: Folder, progress: Any) -> None:
        self.name = settings.experiment
        self.settings = settings
        self.summary = summary
        self.folder = folder
        self.claims: list[Claim] = []
        self.tables: list[Table] = []
        self.pictures: list[Picture] = []
        self.notes: list[str] = []
        self.finished = False
        self._progress = progress
        self._task = progress.add_task(self.name, total=None)

    # Progress

    def expect(self, total: int) -> None:
        """How many times `advance` will be called."""
        self._progress.update(self._task, total=total)

    def advance(self, what: str) -> None:
        """A piece of the work is done; `what` says of which part."""
        self._progress.update(self._task, advance=1, description=f"{self.name}: {what}")

    # Findings

    def claim(self, text: str, seen: bool, **numbers: Any) -> None:
        """An expected effect, and whether these numbers show it. Underscores in their names stand for spaces."""
        named = {name.replace("_", " "): plain(value) for name, value in numbers.items()}
        self.claims.append(Claim(text, bool(seen), named))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def table(self, table: Table) -> None:
        self.tables.append(table)

    def draw(self, name: str, figure: Figure, caption: str) -> None:
        """A figure as NAME.png."""
        with self.folder.new(f"{name}.png") as path:
            figure.savefig(path, dpi=DPI)
        self.pictures.append(Picture(self.folder.path / f"{name}.png", caption))

    def animate(self, name: str, save: Callable[[Path], None], caption: str) -> None:
        """What `save(path)` writes as NAME.gif."""
        with self.folder.new(f"{name}.gif") as path:
            save(path)
        self.pictures.append(Picture(self.folder.path / f"{name}.gif", caption))

    def series(self, name: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Numbers as NAME.csv."""
        with self.folder.new(f"{name}.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(head)
            writer.writerows([plain(value) for value in row] for row in rows)

    def arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> Path:
        """Arrays as NAME.npz; where it lies."""
        with self.folder.new(f"{name}.npz") as path:
            np.savez(path, **arrays)  # type: ignore[arg-type]
        return self.folder.path / f"{name}.npz"

    def close(self, versions: Mapping[str, Any]) -> None:
        """Everything but the pictures as result.json. The progress bar goes."""
        self._progress.remove_task(self._task)
        data = {
            "experiment": self.name,
            "summary": self.summary,
            "finished": self.finished,
            "settings": self.settings.as_data(),
            "versions": versions,
            "claims": [{"text": claim.text, "seen": claim.seen, "numbers": claim.numbers} for claim in self.claims],
            "tables": [
                {"title": table.title, "head": table.head, "rows": table.rows, "notes": table.notes}
                for table in self.tables
            ],
            "pictures": {picture.path.name: picture.caption for picture in self.pictures},
            "notes": self.notes,
        }
        self.folder.write("result.json", json.dumps(plain(data), indent=2, ensure_ascii=False) + "\n")


def plain(value: Any) -> Any:
    """What JSON can hold: NumPy's numbers as Python's, those that are not finite and all else as words."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, (bool, int, str)) else repr(value)
