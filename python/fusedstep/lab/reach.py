"""How far adaptive methods get: a bowl with its minimum near the start, and one with it far off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from ..measurement.table import Table
from .figure import curves, figure
from .method import Method
from .page import Page
from .path import NEAR, steps_to_goal, walk
from .terrain import quadratic

#: Who stops short, and who does not.
STALLS, CURES = "AdaGrad", ("windowed-AdaGrad", "RMSProp")


class Reach:
    """Distances from the minimum of ½x², by where they start and by method.

    Args:
        methods: AdaGrad and its cures among others.
        lr: everyone's, so that only the denominators differ.
        starts: how far off the near minimum is, and the far one.
        steps: of every path.
        convention: of the methods.
    """

    def __init__(
        self, methods: Mapping[str, Method], *, lr: float, starts: tuple[float, float], steps: int, convention: str
    ) -> None:
        self.steps = steps
        self.starts = dict(zip(("near", "far"), starts, strict=True))
        self.distances: dict[tuple[str, str], np.ndarray] = {}
        self.reached: dict[tuple[str, str], int | None] = {}
        for where, start in self.starts.items():
            bowl = replace(quadratic(1.0), start=(-start, 0.0))
            for name in (STALLS, *CURES):
                path = walk(bowl, methods[name].having(lr=lr), steps, convention)
                self.distances[where, name] = bowl.distance(path)
                self.reached[where, name] = steps_to_goal(bowl, path)

    def draw(self) -> Figure:
        made = figure("A minimum near the start, and one far off")
        for axes, (where, start) in zip(made.subplots(1, 2), self.starts.items(), strict=True):
            # Those that keep stepping over the minimum would hide the one that does not.
            lines = {name: self.distances[where, name][1:] for name in (*CURES, STALLS)}
            ylabel = "distance from the minimum (no unit)"
            words = {"xlabel": "step", "ylabel": ylabel, "title": f"{where}: {start:g} off"}
            curves(axes, lines, first=1, xscale="log", ylim=(0, None), **words)
        return made

    def table(self) -> Table:
        found = Table(f"Steps until the minimum is nearer than {NEAR}", ["method", *self.starts])
        for name in (STALLS, *CURES):
            steps = [self.reached[where, name] for where in self.starts]
            found.rows.append([name, *("–" if step is None else str(step) for step in steps)])
        found.notes.append(f"–: not within {self.steps} steps.")
        return found

    def judge(self, page: Page) -> None:
        near = {name: float(self.distances["near", name][-1]) for name in (STALLS, "RMSProp")}
        page.claim(
            "AdaGrad is good when the minimum is near: it arrives, and ends nearer to it than RMSProp, which keeps "
            "stepping over it.",
            self.reached["near", STALLS] is not None and near[STALLS] < near["RMSProp"],
            steps=self.reached["near", STALLS],
            distance_at_the_end=near,
        )
        page.claim(
            "AdaGrad stalls when the minimum is far: its steps have become too small before it arrives.",
            self.reached["far", STALLS] is None,
            distance_at_the_end=self.distances["far", STALLS][-1],
        )
        for cure in CURES:
            page.claim(
                f"{cure}, which forgets, cures that.",
                self.reached["far", cure] is not None,
                steps=self.reached["far", cure],
            )
