"""Pictures of paths over terrains: maps with contour lines, and an animation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .figure import figure, finish, legend_below, look, widths
from .terrain import Terrain

Paths = Mapping[str, np.ndarray]

#: Relatives share a map, so that no map has too many lines.
FAMILIES = (
    ("GD", "SGD", "momentum"),
    ("momentum", "NAG", "NAG-lookahead"),
    ("AdaGrad", "windowed-AdaGrad", "Adadelta"),
    ("RMSProp", "Adam", "RAdam"),
)

#: Heights below it are not shown.
FLOOR = 1e-6

#: Shades of grey on a map.
LEVELS = 14

#: A frame of the animation stays so long.
PER_SECOND = 12


def relief(axes: Axes, terrain: Terrain) -> None:
    """Grey heights, dark where low, with contour lines; start and minima are marked."""
    x, y, height = terrain.on_grid()
    # Most of what matters happens near the bottom: the shades follow the heights' logarithm.
    shade = np.log(height - height.min() + 0.003 * np.ptp(height))
    levels = np.linspace(shade.min(), shade.max(), LEVELS + 1)
    # Flat shades, because smooth ones make the files large.
    flat = np.digitize(shade, levels)
    axes.imshow(
        flat, extent=terrain.window, origin="lower", cmap="gray", vmin=-LEVELS, aspect="auto", interpolation="nearest"
    )
    lines = axes.contour(x, y, shade, levels=levels[1:-1], colors="#888888", linewidths=0.4, linestyles="solid")
    lines.set_in_layout(False)  # they end at the axes, and to measure them takes seconds
    axes.plot(*terrain.start, marker="s", color="black", markersize=6, linestyle="")
    axes.plot(*zip(*terrain.minima, strict=True), marker="*", color="black", markersize=13, linestyle="")
    axes.set(xlim=terrain.window[:2], ylim=terrain.window[2:])


def chart(terrain: Terrain, paths: Paths) -> Figure:
    """A map for each family, and all the heights by step."""
    made = figure(f"{terrain.title}   (■ start, ★ minimum)", 13.5, 7.6)
    maps = made.subplots(2, 3)
    for axes, family in zip(maps[:, :2].flat, FAMILIES, strict=True):
        relief(axes, terrain)
        for name, width in zip(family, widths(len(family)), strict=True):
            trace(axes, name, paths[name], width)
        finish(axes, xlabel="x", ylabel="y")
        axes.grid(False)
    lowest = min(float(terrain.height(*np.array(minimum))) for minimum in terrain.minima)
    for axes, families in zip(maps[:, 2], (FAMILIES[:2], FAMILIES[2:]), strict=True):
        names = dict.fromkeys(name for family in families for name in family)
        for name, width in zip(names, widths(len(names)), strict=True):
            heights = np.minimum.accumulate(terrain.height(*paths[name].T) - lowest)
            axes.plot(heights, linewidth=width, **look(name))
        finish(axes, xlabel="step", ylabel="lowest height so far, above the minimum", yscale="log")
        axes.set_ylim(bottom=max(axes.get_ylim()[0], FLOOR))
    legend_below(made)
    return made


def trace(axes: Axes, name: str, path: np.ndarray, width: float) -> None:
    """A line with white around it, because some colours are as dark as the ground; below all lines, to hide none."""
    axes.plot(*path.T, color="white", linewidth=width + 1.4, zorder=1.9)
    axes.plot(*path.T, linewidth=width, **look(name))


def film(terrains: Mapping[str, Terrain], paths: Mapping[str, Paths], frames: int) -> Callable[[Path], None]:
    """Writes all paths over all terrains as GIF; steps are shown evenly on a logarithmic scale."""
    made = Figure(figsize=(8.4, 6.6), layout="constrained", dpi=80)
    FigureCanvasAgg(made)
    lines = []
    for axes, (name, terrain) in zip(made.subplots(2, 2).flat, terrains.items(), strict=True):
        relief(axes, terrain)
        axes.set(xticks=[], yticks=[])
        axes.set_title(terrain.title, fontsize=10)
        for method, path in paths[name].items():
            (line,) = axes.plot([], [], linewidth=1.4, marker="o", markersize=5, **look(method))
            lines.append((line, path))
    legend_below(made, 6)
    title = made.suptitle("step 0", fontsize=11)
    last = max(len(path) for _, path in lines) - 1
    made.draw_without_rendering()
    # Once is enough: no frame moves the axes, and to lay them out takes longer than to draw them.
    made.set_layout_engine("none")
    moments = np.unique(np.geomspace(1, last, frames).astype(int))

    def show(step: int) -> None:
        title.set_text(f"step {step}")
        for line, path in lines:
            line.set_data(*path[: step + 1].T)
            line.set_markevery([min(step, len(path) - 1)])

    def save(path: Path) -> None:
        FuncAnimation(made, show, frames=moments.tolist()).save(path, PillowWriter(fps=PER_SECOND))

    return save
