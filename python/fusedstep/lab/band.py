"""Where methods end, by learning rate: bands over several seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from ..measurement.table import Table
from .figure import BLACK, GREY, figure, finish, look
from .protocol import Course

#: A guesser's loss on ten classes. What runs away is worth no more than a guesser.
GUESS = math.log(10)


class Band:
    """Losses and errors at the end, by method, rate and seed.

    Args:
        rates: the grid.
        middle: the least and the largest rate of the part that counts most.
    """

    columns = ("method", "learning rate", "training loss", "test error")

    def __init__(self, rates: Sequence[float], middle: tuple[float, float]) -> None:
        self.rates = rates
        self.middle = middle
        self.found: dict[str, dict[float, list[Course]]] = {}

    @property
    def names(self) -> list[str]:
        return list(self.found)

    def add(self, name: str, rate: float, course: Course) -> None:
        self.found.setdefault(name, {}).setdefault(rate, []).append(course)

    def losses(self, name: str) -> np.ndarray:
        """A row for each rate, a column for each seed."""
        losses = np.array([[course.final("loss") for course in self.found[name][rate]] for rate in self.rates])
        return np.minimum(losses, GUESS)

    def wrong(self, name: str, rate: float) -> float:
        """The mean test error."""
        return float(np.mean([course.final("test error") for course in self.found[name][rate]]))

    def spread(self, name: str, whole: bool = False) -> float:
        """The largest loss over the least, of the seeds' middle ones, in the middle of the grid or on all of it."""
        low, high = (0.0, math.inf) if whole else self.middle
        chosen = [low <= rate <= high for rate in self.rates]
        losses = np.median(self.losses(name), axis=1)[chosen]
        return float(losses.max() / losses.min())

    def draw(self) -> Figure:
        made = figure("Where training ends, by learning rate", 12, 5)
        left, right = made.subplots(1, 2, sharey=True)
        for axes, adams in ((left, False), (right, True)):
            axes.axhline(GUESS, color=BLACK, linestyle=":", linewidth=0.8)
            axes.axvspan(*self.middle, color=GREY, alpha=0.15, zorder=0)
            for index, name in enumerate(name for name in self.names if ("Adam" in name) is adams):
                losses, style = self.losses(name), look(name, index)
                axes.plot(self.rates, np.median(losses, axis=1), marker=".", linewidth=1.6, **style)
                # Bands of one colour are told apart by their edges.
                edge = {"edgecolor": (style["color"], 0.6), "linestyle": style["linestyle"], "linewidth": 0.8}
                least, most = losses.min(axis=1), losses.max(axis=1)
                axes.fill_between(self.rates, least, most, facecolor=(style["color"], 0.2), **edge)
            finish(axes, xlabel="learning rate η", xscale="log", yscale="log")
        left.set_ylabel("training loss at the end (nats)")
        return made

    def rows(self) -> Iterator[list[object]]:
        for name, by_rate in self.found.items():
            for rate, courses in by_rate.items():
                yield from ([name, rate, course.final("loss"), course.final("test error")] for course in courses)

    def table(self) -> Table:
        head = ["method", *(f"{rate:g}" for rate in self.rates), "largest ÷ least", "on the whole grid"]
        found = Table("Training loss at the end, by learning rate", head)
        for name in self.names:
            cells = [f"{loss:.2g}" for loss in np.median(self.losses(name), axis=1)]
            spreads = [f"{self.spread(name, whole):.3g}" for whole in (False, True)]
            found.rows.append([name, *cells, *spreads])
        low, high = self.middle
        found.notes.append(f"The middle one of the seeds. Largest ÷ least: for rates from {low:g} to {high:g}.")
        return found
