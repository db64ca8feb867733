"""Deep nets after their training: what happened in their layers, in pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ..measurement.table import Table
from .band import GUESS
from .deep import ACTIVATIONS
from .figure import BLACK, COLOURS, GREY, figure, finish, legend_below, look, ticks, widths
from .layers import Layers
from .race import Courses, ends

#: The factor per layer of the documents, and the largest slope of the sigmoid.
FACTORS = {"0.9ⁿ": (0.9, ":"), "0.25ⁿ": (0.25, "--")}

#: Less than this part of the last layer's is next to nothing.
NOTHING = 1e-3

#: What is below it is drawn there.
FLOOR = 1e-24

#: The map of norms: even steps for every eye, between these.
HEAT, NORMS = "cividis", (1e-20, 10.0)

MEASURES = {
    "norm": "‖g‖",
    "zeros": "zeros in g (share)",
    "move": "‖Δθ‖/‖θ‖",
    "kept": "weights that keep their bits (share)",
}


@dataclass(frozen=True)
class Net:
    """A net's training by every method, and what happened in its layers."""

    courses: Courses
    layers: Layers

    def mean(self, method: str, what: str) -> np.ndarray:
        """By layer, over all looks."""
        return self.layers.over_steps(method, what).mean(axis=0)

    def fall(self) -> np.ndarray:
        """‖g‖ at the first weights beside the last layer's, from the last layer to the first."""
        norms = next(iter(self.layers.found.values()))[0].norm[::-1]
        return norms / norms[0]

    def factor(self) -> float:
        """From a layer's ‖g‖ to that of the layer before it, at the first weights, as a geometric mean."""
        fall = self.fall()
        return float(fall[-1] ** (1 / (len(fall) - 1)))

    def left(self, method: str) -> float:
        """The first layer's mean ‖Δθ‖/‖θ‖ beside the last's."""
        move = self.mean(method, "move")
        return float(move[0] / move[-1])


#: By activation and depth.
Nets = Mapping[tuple[str, int], Net]


def depths_of(nets: Nets) -> list[int]:
    return list(dict.fromkeys(depth for _, depth in nets))


def rows(nets: Nets) -> Iterator[list[Any]]:
    for (kind, depth), net in nets.items():
        for method in net.courses:
            means = [net.mean(method, what) for what in MEASURES]
            for layer, values in enumerate(zip(*means, strict=True), 1):
                yield [kind, depth, method, layer, *values]


def grid(title: str, rows: int, height: float) -> tuple[Figure, np.ndarray]:
    """A column for each activation."""
    made = figure(title, 14, height)
    panels = made.subplots(rows, len(ACTIVATIONS), sharex="col", sharey="row", squeeze=False)
    for axes, kind in zip(panels[0], ACTIVATIONS, strict=True):
        axes.set_title(kind)
    return made, panels


def fill(axes: Axes, lines: Mapping[str, np.ndarray], first: int) -> None:
    """A line for each method."""
    for index, ((method, values), width) in enumerate(zip(lines.items(), widths(len(lines)), strict=True)):
        axes.plot(np.arange(first, first + len(values)), values, linewidth=width, **look(method, index))
    axes.grid(alpha=0.3)


def gradients(nets: Nets) -> Figure:
    made, (row,) = grid("How gradients change on their way to the first layer", 1, 4.6)
    depths = depths_of(nets)
    n = np.arange(max(depths) + 1)
    for axes, kind in zip(row, ACTIVATIONS, strict=True):
        for words, (factor, line) in FACTORS.items():
            axes.plot(n, factor**n, color=GREY, linestyle=line, label=words)
        for index, depth in enumerate(depths):
            fall = np.maximum(nets[kind, depth].fall(), FLOOR)
            axes.plot(fall, color=COLOURS[index % len(COLOURS)], marker=".", label=f"{depth} hidden layers")
        finish(axes, xlabel="layers from the last one", yscale="log")
    row[0].set_ylabel("‖g‖ ÷ the last layer's ‖g‖")
    return made


def by_layer(nets: Nets, depth: int) -> Figure:
    made, panels = grid(f"What {depth} hidden layers get and do", len(MEASURES), 11.5)
    for row, (what, label) in zip(panels, MEASURES.items(), strict=True):
        share = label.endswith("(share)")
        for axes, kind in zip(row, ACTIVATIONS, strict=True):
            net = nets[kind, depth]
            lines = {method: net.mean(method, what) for method in net.courses}
            fill(axes, {name: v if share else np.maximum(v, FLOOR) for name, v in lines.items()}, 1)
        row[0].set_ylabel(label)
        row[0].set(ylim=(-0.03, 1.03)) if share else row[0].set(yscale="log")
    for axes in panels[-1]:
        axes.set_xlabel("layer")
    legend_below(made)
    return made


def over_time(nets: Nets, depth: int, methods: Sequence[str]) -> Figure:
    """‖g‖ by layer and step."""
    made, panels = grid(f"‖g‖ in the layers of nets with {depth} hidden layers", len(methods), 6.6)
    for row, method in zip(panels, methods, strict=True):
        for axes, kind in zip(row, ACTIVATIONS, strict=True):
            layers = nets[kind, depth].layers
            norms = layers.over_steps(method, "norm")
            image = axes.imshow(
                norms.T,
                origin="lower",
                aspect="auto",
                interpolation="nearest",
                cmap=HEAT,
                norm=LogNorm(*NORMS),
                extent=(0, len(norms) * layers.every, 0.5, norms.shape[1] + 0.5),
            )
            axes.set(title=f"{kind}, {method}")
        row[0].set_ylabel("layer")
    for axes in panels[-1]:
        axes.set_xlabel("step")
    made.colorbar(image, ax=panels, label="‖g‖", extend="both", pad=0.01)
    return made


def losses(nets: Nets) -> Figure:
    depths = depths_of(nets)
    made, panels = grid("Training loss by activation and depth", len(depths), 1 + 2.6 * len(depths))
    for row, depth in zip(panels, depths, strict=True):
        for axes, kind in zip(row, ACTIVATIONS, strict=True):
            net = nets[kind, depth]
            axes.axhline(GUESS, color=BLACK, linestyle=":", linewidth=0.8)
            fill(axes, {method: course.over_epochs("loss") for method, course in net.courses.items()}, 0)
            axes.set(yscale="log", title=f"{kind}, {depth} hidden layers")
            ticks(axes)
        row[0].set_ylabel("training loss (nats)")
    for axes in panels[-1]:
        axes.set_xlabel("epoch")
    legend_below(made)
    return made


def table(nets: Nets) -> Table:
    methods = next(iter(nets.values())).courses
    found = Table("Training loss after the last epoch", ["net", "factor per layer", *methods])
    for (kind, depth), net in nets.items():
        last = ends(net.courses, "loss").values()
        found.rows.append([f"{kind}, {depth} hidden layers", f"{net.factor():.3f}", *(f"{loss:.3g}" for loss in last)])
    found.notes.append("Factor: from a layer's ‖g‖ to that of the layer before it, at the first weights.")
    found.notes.append(compounded())
    return found


def compounded() -> str:
    """After how many layers next to nothing is left."""
    parts = [
        f"of {words} after {math.ceil(math.log(NOTHING) / math.log(factor))} layers"
        for words, (factor, _) in FACTORS.items()
    ]
    return f"Less than {NOTHING:g} is left {' and '.join(parts)}."
