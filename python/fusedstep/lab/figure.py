"""The pictures' common looks: colours that the colour-blind can tell apart, the same for a method everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette, but for its yellow, which white swallows.
BLACK, GREY = "#000000", "#7F7F7F"
ORANGE, SKY, GREEN = "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK, GREY)

#: Method -> colour and line: relatives share a colour and differ in the line.
LOOKS = {
    "GD": (BLACK, "-"),
    "SGD": (GREY, "-"),
    "momentum": (VERMILION, "-"),
    "NAG": (ORANGE, "-"),
    "NAG-lookahead": (BLACK, ":"),
    "AdaGrad": (GREEN, "-"),
    "windowed-AdaGrad": (GREEN, "--"),
    "RMSProp": (SKY, "-"),
    "Adadelta": (BLACK, "-."),
    "Adam": (BLUE, "-"),
    "Adam + warm-up": (BLUE, "--"),
    "Adam-2k": (ORANGE, "-"),
    "Adam-eps": (GREEN, "-"),
    "RAdam": (PURPLE, "-"),
}


def look(name: str, index: int = 0) -> dict[str, Any]:
    """The keywords of a line; who has no look of its own gets one by its index."""
    colour, line = LOOKS.get(name, (COLOURS[index % len(COLOURS)], "-"))
    return {"color": colour, "linestyle": line, "label": name}


def figure(title: str, width: float = 10.0, height: float = 4.8) -> Figure:
    """An empty figure of so many inches."""
    made = Figure(figsize=(width, height), layout="constrained")
    made.suptitle(title, fontsize=12)
    return made


def curves(axes: Axes, lines: Mapping[str, np.ndarray], *, first: int = 0, **words: Any) -> None:
    """A line for each name, over 0, 1, … or from `first` on; `words` are the axes' labels, title and scales."""
    for index, (name, values) in enumerate(lines.items()):
        axes.plot(np.arange(first, first + len(values)), values, linewidth=1.6, **look(name, index))
    finish(axes, **words)


def finish(axes: Axes, **words: Any) -> None:
    """Labels, grid and legend."""
    axes.set(**words)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=9)
