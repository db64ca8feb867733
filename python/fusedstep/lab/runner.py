"""Experiments, one after the other, and the report on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from ..measurement import machine
from ..measurement.packages import EXTRAS
from . import EXPERIMENTS, Unavailable, load
from .folder import Folder
from .page import Page
from .report import report
from .settings import Settings


def prepare(names: Sequence[str], *, quick: bool = False, changes: Mapping[str, Any] | None = None) -> list[Settings]:
    """The settings of every experiment: its own, a quick run's, then the changes, each of which must suit someone."""
    prepared: list[Settings] = [load(name).Settings() for name in names]
    changes = changes or {}
    for change in changes:
        if not any(settings.knows(change) for settings in prepared):
            known = sorted({known for settings in prepared for known in settings.known()})
            raise ValueError(f"lab: a setting must be one of {', '.join(known)}, got {change!r}")
    found = []
    for settings in prepared:
        wanted = {**(settings.quick if quick else {}), **changes}
        found.append(settings.changed({name: value for name, value in wanted.items() if settings.knows(name)}))
    return found


def run(experiments: Sequence[Settings], out: Path, progress: Progress | None = None) -> list[Page]:
    """Run what `prepare` gave: a page each, files in a folder each, and `report.html` on all of them.

    Args:
        experiments: the settings of each.
        out: the folder; files of the same names are replaced.
        progress: what the terminal shows; nothing by default.

    Raises:
        KeyboardInterrupt: after the report on what was done by then has been written.
    """
    progress = progress or Progress(disable=True)
    folder, pages, versions = Folder(out), list[Page](), machine.describe(*EXTRAS["lab"])
    for settings in experiments:
        name = settings.experiment
        page = Page(settings, EXPERIMENTS[name], Folder(out / name), progress)
        pages.append(page)
        try:
            with np.errstate(all="ignore"):
                load(name).run(settings, page)
            page.finished = True
        except Unavailable as problem:
            page.note(f"Not run: {problem}")
        except KeyboardInterrupt:
            page.note("Interrupted: what is shown was done before.")
            raise
        finally:
            page.close(versions)
            folder.write("report.html", report(pages, versions))
    return pages
