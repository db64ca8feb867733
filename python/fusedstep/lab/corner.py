"""A net on some data, and what every method made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ..measurement.table import Table
from .figure import BLUE, GREY, figure, legend_below
from .protocol import Course


class Corner:
    """A net on some data: what every method made of it with every rate.

    Args:
        runs: by method, a course for each factor of its documented rate, the factor 1 first.
        factors: of these.
    """

    def __init__(self, runs: Mapping[str, Sequence[Course]], factors: Sequence[float]) -> None:
        self.runs = runs
        self.factors = factors
        self.documented = {name: courses[0].final("test error") for name, courses in runs.items()}
        #: The factor whose training ends lowest.
        self.chosen = {
            name: int(np.argmin([course.final("loss") for course in courses])) for name, courses in runs.items()
        }
        self.best = {name: courses[self.chosen[name]].final("test error") for name, courses in runs.items()}


#: By the net's size and the kind of data.
Corners = Mapping[tuple[str, str], Corner]


def fewest(errors: Mapping[str, float]) -> str:
    """The method with the fewest."""
    return min(errors, key=errors.__getitem__)


def draw(corners: Corners) -> Figure:
    made = figure("Who makes how many mistakes", 11, 7)
    for axes, ((size, kind), corner) in zip(made.subplots(2, 2, sharex=True).flat, corners.items(), strict=True):
        places = np.arange(len(corner.runs))
        for shift, colour, words, errors in (
            (-0.2, GREY, "documented rate", corner.documented),
            (0.2, BLUE, "best rate", corner.best),
        ):
            bars = axes.barh(places + shift, 100 * np.array(list(errors.values())), 0.38, color=colour, label=words)
            axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
        axes.set_yticks(places, list(corner.runs))
        axes.invert_yaxis()
        axes.set(xlabel="test error (%)", title=f"{size}, {kind}", xlim=(0, 105))
    legend_below(made)
    return made


def table(corners: Corners) -> Table:
    found = Table("Training loss and test error at the best rate", ["problem", *next(iter(corners.values())).runs])
    for corner_name, corner in corners.items():
        cells = []
        for name, courses in corner.runs.items():
            course, factor = courses[corner.chosen[name]], corner.factors[corner.chosen[name]]
            edge = "↑" * (factor == max(corner.factors)) + "↓" * (factor == min(corner.factors))
            errors = f"{course.final('loss'):.2g}; {100 * course.final('test error'):.1f} %"
            cells.append(f"{errors}; × {factor:g} {edge}".rstrip())
        found.rows.append([", ".join(corner_name), *cells])
    found.notes.append(
        "×: so many times the documented rate. ↑, ↓: no larger, no smaller one was tried, and one might be better."
    )
    return found
