"""Methods beside each other: the curves of their errors, where they end, and who is ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ..measurement.table import Table
from .data.images import Images
from .figure import curves, figure, legend_below
from .page import Page
from .protocol import Course

#: By method.
Courses = Mapping[str, Course]

#: What is recorded of nets that tell images apart, with the words for an axis.
OF_IMAGES = {
    "loss": "training loss (nats)",
    "test loss": "test loss (nats)",
    "test error": "test error (share of images)",
}


def ends(courses: Courses, error: str) -> dict[str, float]:
    """An error after the last epoch."""
    return {name: course.final(error) for name, course in courses.items()}


def draw(title: str, courses: Courses, errors: Mapping[str, str]) -> Figure:
    """A panel over the epochs for each error, with the words for its axis; a loss is drawn on a logarithmic scale."""
    made = figure(title, 4.6 * len(errors), 4.8)
    for axes, (error, label) in zip(made.subplots(1, len(errors)), errors.items(), strict=True):
        lines = {name: course.over_epochs(error) for name, course in courses.items()}
        curves(axes, lines, xlabel="epoch", ylabel=label, yscale="log" if "loss" in label else "linear")
    legend_below(made)
    return made


def table(courses: Courses, errors: Sequence[str], more: Mapping[str, Mapping[str, float]] | None = None) -> Table:
    """Errors after the last epoch, behind other numbers, if there are more."""
    columns = {**(more or {}), **{error: ends(courses, error) for error in errors}}
    found = Table("After the last epoch", ["method", *columns])
    found.rows += [[name, *(f"{numbers[name]:.4g}" for numbers in columns.values())] for name in courses]
    return found


def show(courses: Courses, net: str, source: str, page: Page) -> None:
    """Nets that tell images apart."""
    caption = f"The same first weights and the same batches for all. Data: {source}."
    page.draw("errors", draw(f"The net {net}", courses, OF_IMAGES), caption)
    page.table(table(courses, list(OF_IMAGES)))
    judge(courses, page)


def judge(courses: Courses, page: Page) -> None:
    """What the documents say of deep nets, by the training loss."""
    first = {name: float(course.over_epochs("loss")[1]) for name, course in courses.items()}
    last = ends(courses, "loss")
    page.claim("Adam's training loss falls fastest.", first["Adam"] == min(first.values()), after_one_epoch=first)
    page.claim("Adam's training loss ends lowest.", last["Adam"] == min(last.values()), training_loss=last)
    page.claim(
        "In a net of many parameters RMSProp and Adam end lower than momentum and AdaGrad.",
        max(last["RMSProp"], last["Adam"]) < min(last["momentum"], last["AdaGrad"]),
        training_loss=last,
    )
    chance = float(np.log(Images.classes))
    page.claim(
        "All methods learn: each ends below half of the loss of guessing.",
        max(last.values()) < chance / 2,
        guessing=chance,
        training_loss=last,
    )
