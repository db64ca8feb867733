"""Where data is looked for, and what is taken when there is none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

from ...options import Choice
from .. import Unavailable
from . import Malformed
from .images import Images

VARIABLE = "FUSEDSTEP_DATA"

SOURCES = ("any", "real", "stand-in")

#: A setting: the real data if it is there and a stand-in otherwise, or one of the two.
Source = Annotated[str, Choice("any", "", SOURCES, expected=f"one of {', '.join(map(repr, SOURCES))}")]


def roots() -> Iterator[Path]:
    """The folder that the user names, the caches of Keras and of others, and torchvision's customary root."""
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_dir():
            raise Malformed(Path(named), f"the folder that ${VARIABLE} names", "none")
        yield Path(named)
    home = Path.home()
    yield Path(os.environ.get("KERAS_HOME") or home / ".keras") / "datasets"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    yield from (cache / name for name in ("fusedstep", "torchvision", "torch", "mnist", "cifar"))
    yield Path("data")


def choose(source: str, name: str, find: Callable[[], Images | None], stand_in: Callable[[], Images]) -> Images:
    """What `find` finds, or the stand-in, as the source allows."""
    found = None if source == "stand-in" else find()
    if found is None and source == "real":
        raise Unavailable(f"no {name} in {', '.join(map(str, roots()))}; ${VARIABLE} may name its folder")
    return stand_in() if found is None else found
