"""The picture of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..lab.figure import BLUE, GREY, VERMILION


class Epoch(NamedTuple):
    """The losses of its mini-batches, and loss and accuracy in the test after it, by both sets of weights."""

    losses: list[float]
    kernel: tuple[float, float]
    formula: tuple[float, float]


def draw(epochs: Sequence[Epoch], title: str, path: Path) -> None:
    """Write losses and accuracies as PNG."""
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    figure.suptitle(title, fontsize=11)
    losses, accuracies = figure.subplots(1, 2, width_ratios=(3, 2), sharex=True)
    each = [loss for epoch in epochs for loss in epoch.losses]
    moments = np.linspace(0, len(epochs), len(each), endpoint=False)
    ends = np.arange(1, len(epochs) + 1)
    means = [np.mean(epoch.losses) for epoch in epochs]
    losses.plot(moments, each, color=GREY, linewidth=0.7, label="training: each mini-batch")
    losses.plot(ends - 0.5, means, color="black", linestyle=":", label="training: mean of the epoch")
    both(losses, ends, [(epoch.kernel[0], epoch.formula[0]) for epoch in epochs])
    losses.set(xlabel="epoch", ylabel="loss: cross-entropy (nats per image)", yscale="log")
    both(accuracies, ends, [(100 * epoch.kernel[1], 100 * epoch.formula[1]) for epoch in epochs])
    accuracies.set(xlabel="epoch", ylabel="right answers in the test (%)")
    for axes in (losses, accuracies):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9)
    figure.savefig(path, format="png", dpi=150)


def both(axes: Axes, ends: np.ndarray, values: Sequence[tuple[float, float]]) -> None:
    """The reference's values as rings around the kernels', which they would leave if they differed."""
    kernel, formula = zip(*values, strict=True)
    axes.plot(ends, kernel, color=BLUE, marker=".", label="test: kernels")
    axes.plot(
        ends,
        formula,
        color=VERMILION,
        linestyle="",
        marker="o",
        markersize=9,
        fillstyle="none",
        label="test: NumPy reference",
    )
