"""Tables for people: Markdown, plain text, or in colours where rich is installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec


@dataclass
class Table:
    """A title, the columns' names, rows of text, and what is to be said below."""

    title: str
    head: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [self.head, ["---", *("---:" for _ in self.head[1:])], *self.rows]
        body = "\n".join("| " + " | ".join(row) + " |" for row in lines)
        return "\n\n".join([f"## {self.title}", body, *self.notes])

    def plain(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        lines = []
        for row in (self.head, ["-" * width for width in widths], *self.rows):
            padded = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
            lines.append("  ".join([row[0].ljust(widths[0]), *padded[1:]]).rstrip())
        return "\n".join([self.title, *lines, *self.notes])

    def show(self) -> None:
        """Print it."""
        if not find_spec("rich"):
            print(self.plain())
            return
        table = import_module("rich.table").Table(title=self.title, title_justify="left")
        for index, name in enumerate(self.head):
            table.add_column(name, justify="right" if index else "left")
        for row in self.rows:
            table.add_row(*row)
        console = import_module("rich.console").Console()
        console.print(table)
        for note in self.notes:
            console.print(note, highlight=False, markup=False)


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    seconds = float(f"{seconds:.2e}")  # before a unit is chosen: 999.6 µs are 1 ms
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:g} {unit}"
    return f"{seconds * 1e9:g} ns"


def times(ratio: float) -> str:
    """How many times, with as many digits as mean something."""
    return f"{ratio:.0f}×" if ratio >= 99.5 else f"{ratio:.1f}×" if ratio >= 9.95 else f"{ratio:.2f}×"
