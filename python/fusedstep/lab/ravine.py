"""Momentum and NAG in a straight ravine: what a larger γ does to them, and NAG's two forms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from ..measurement.table import Table
from .chart import relief, trace
from .figure import curves, figure, finish, legend_below
from .method import Method
from .page import Page
from .path import crossings, steps_to_goal, walk
from .terrain import quadratic

STEPS = 300

#: A γ with which momentum overshoots.
LARGER = 0.97


class Ravine:
    """Paths of momentum and NAG at two values of γ, by name and γ.

    Args:
        methods: momentum, NAG and NAG-lookahead among others.
        larger: the larger γ; the smaller one is the methods' own.
        curvature: across the ravine; along it is 1.
        convention: of the methods.
    """

    def __init__(self, methods: Mapping[str, Method], larger: float, curvature: float, convention: str) -> None:
        self.terrain = quadratic(curvature)
        self.methods = methods
        self.convention = convention
        self.own = float(methods["momentum"].options["momentum"])
        self.larger = larger
        self.paths = {
            (name, gamma): walk(self.terrain, methods[name].having(momentum=gamma), STEPS, convention)
            for gamma in (self.own, larger)
            for name in ("momentum", "NAG", "NAG-lookahead")
        }

    def swing(self, name: str, gamma: float) -> float:
        """How far the path swings across the ravine, all in all."""
        return float(np.abs(np.diff(self.paths[name, gamma][:, 1])).sum())

    def draw(self) -> Figure:
        made = figure(f"{self.terrain.title}   (■ start, ★ minimum)", 12, 7.2)
        for row, gamma in zip(made.subplots(2, 2, width_ratios=(3, 2)), (self.own, self.larger), strict=True):
            relief(row[0], self.terrain)
            heights = {}
            for name in ("momentum", "NAG", "NAG-lookahead"):
                path = self.paths[name, gamma]
                trace(row[0], name, path, 1.5)
                heights[name] = np.maximum(self.terrain.height(*path.T), 1e-12)
            finish(row[0], xlabel="x", ylabel="y", title=f"γ = {gamma:g}")
            row[0].grid(False)
            curves(row[1], heights, xlabel="step", ylabel="height (no unit)", yscale="log", title=f"γ = {gamma:g}")
        legend_below(made)
        return made

    def table(self) -> Table:
        table = Table(
            "Momentum and NAG in the ravine", ["method", "γ", "steps to the minimum", "swings across", "way across"]
        )
        for (name, gamma), path in self.paths.items():
            steps = steps_to_goal(self.terrain, path)
            row = [f"{gamma:g}", "–" if steps is None else str(steps), str(crossings(path[:60, 1]))]
            table.rows.append([name, *row, f"{self.swing(name, gamma):.2f}"])
        table.notes.append("Swings: changes of sign in the first 60 steps.")
        return table

    def judge(self, page: Page) -> None:
        for gamma, words in ((self.own, "the same γ"), (self.larger, "a larger γ")):
            ways = {name: self.swing(name, gamma) for name in ("momentum", "NAG")}
            page.claim(
                f"At {words}, {gamma:g}, NAG's path is steadier than momentum's.",
                ways["NAG"] < ways["momentum"],
                way_across_the_ravine=ways,
            )
        more = {f"γ = {gamma:g}": self.swing("momentum", gamma) for gamma in (self.own, self.larger)}
        page.claim(
            "Momentum swings more when γ is too large.",
            self.swing("momentum", self.larger) > self.swing("momentum", self.own),
            way_across_the_ravine=more,
        )
        growth = {name: self.swing(name, self.larger) / self.swing(name, self.own) for name in ("momentum", "NAG")}
        page.claim(
            "NAG stands a larger γ: its swings grow less with it than momentum's.",
            growth["NAG"] < growth["momentum"],
            times_as_long_a_way_across=growth,
        )
        self.judge_forms(page)

    def judge_forms(self, page: Page) -> None:
        """With v, the look-ahead form's next point is θ − v, and it evaluates at θ − γv: where the other form is."""
        ahead, other = self.paths["NAG-lookahead", self.own], self.paths["NAG", self.own]
        steps = np.diff(ahead, axis=0, prepend=ahead[:1])
        apart = float(np.abs(ahead + self.own * steps - other).max())
        page.claim(
            "NAG's two forms are one method: one walks over the points where the other takes its gradients.",
            apart < 1e-10,
            largest_difference=apart,
        )
