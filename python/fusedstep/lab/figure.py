"""The pictures' common looks: colours that the colour-blind can tell apart, the same for a method everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

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


#: Between these, numbers on a logarithmic axis are as easily read without powers of ten.
PLAIN = (1e-4, 1e4)


def look(name: str, index: int = 0) -> dict[str, Any]:
    """The keywords of a line; who has no look of its own gets one by its index."""
    colour, line = LOOKS.get(name, (COLOURS[index % len(COLOURS)], "-"))
    return {"color": colour, "linestyle": line, "label": name}


def figure(title: str, width: float = 10.0, height: float = 4.8) -> Figure:
    """An empty figure of so many inches."""
    made = Figure(figsize=(width, height), layout="constrained")
    made.suptitle(title, fontsize=12)
    return made


def widths(count: int) -> list[float]:
    """Of lines that are drawn in this order: where they lie on each other, all are seen."""
    return [1.4 + 0.4 * behind for behind in reversed(range(count))]


def curves(axes: Axes, lines: Mapping[str, np.ndarray], *, first: int = 0, **words: Any) -> None:
    """A line for each name, over 0, 1, … or from `first` on; `words` are the axes' labels, title and scales."""
    for index, (name, values) in enumerate(lines.items()):
        axes.plot(np.arange(first, first + len(values)), values, linewidth=1.6, **look(name, index))
    finish(axes, **words)


def finish(axes: Axes, **words: Any) -> None:
    """Labels, ticks, grid and legend."""
    axes.set(**words)
    ticks(axes)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=9)


def ticks(axes: Axes) -> None:
    """Whole epochs; plain numbers on a logarithmic scale that has few, 0.2 instead of 2 × 10⁻¹."""
    if axes.get_xlabel() == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    low, high = axes.get_ylim()
    if axes.get_yscale() == "log" and PLAIN[0] <= low and high <= PLAIN[1]:
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}" if high < 100 * low else NullFormatter())
        if 4 * low <= high < 100 * low:
            axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))


def legend_below(made: Figure, columns: int = 12) -> None:
    """One legend for all panels, where it hides no line."""
    lines: dict[str, Any] = {}
    for axes in made.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            lines.setdefault(label, handle)
        if own := axes.get_legend():
            own.remove()
    columns = min(columns, len(lines))
    made.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=columns, fontsize=9)
