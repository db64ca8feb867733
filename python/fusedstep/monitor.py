"""How gradients develop over a run: in bounded memory, in words, and as a picture of layer × step."""

from __future__ import annotations

import math
from os import PathLike
from typing import Any

import numpy as np

from .gradients import Stats, stats
from .options import positive, whole

# What an argument may be; its default and its words stand with the class.
COLUMNS = whole(2, 2, "")
THRESHOLD = positive(1.0, "")


class GradientMonitor:
    """Watches the sizes of gradients over a run, and says which vanish or explode.

    It judges the root mean square of each tensor's gradient, ‖g‖₂ / √n over the n elements that are finite. At most
    `columns` steps are kept: when there are as many, every second one is dropped, and from then on only every second of
    those that would have been kept before.

    Args:
        columns: how many steps are kept, at least 2.
        vanishing: a tensor vanishes if its root mean square is below this.
        exploding: a tensor explodes if its root mean square is above this, or if one of its elements is not finite.

    Raises:
        TypeError: `columns` is not an integer, or a threshold is not a number.
        ValueError: there are fewer than 2 columns, or the thresholds are not finite or not 0 < vanishing < exploding.

    >>> import numpy as np, fusedstep as fs
    >>> monitor = fs.GradientMonitor()
    >>> for step in range(3):
    ...     found = monitor.update({"first": np.full(4, 1e-12), "last": np.ones(4)})
    >>> print(monitor.report())
    first vanishes: root mean square 1e-12 at step 2, below 1e-08
    """

    def __init__(self, *, columns: int = 512, vanishing: float = 1e-8, exploding: float = 1e3) -> None:
        owner = type(self).__name__
        columns = COLUMNS.take(owner, "columns", columns)
        vanishing = THRESHOLD.take(owner, "vanishing", vanishing)
        exploding = THRESHOLD.take(owner, "exploding", exploding)
        if not vanishing < exploding:
            given = f"{vanishing!r} and {exploding!r}"
            raise ValueError(f"{owner}: thresholds must be 0 < vanishing < exploding, got {given}")
        self.columns, self.vanishing, self.exploding = columns, vanishing, exploding
        #: of the next call of `update`
        self.step = 0
        #: every how many steps one is kept
        self.stride = 1
        self.kept: list[tuple[int, dict[str, Stats]]] = []
        self._last: tuple[int, dict[str, Stats]] = (0, {})

    def update(self, grads: Any, *, before: Any = None, after: Any = None) -> dict[str, Stats]:
        """Record a step's gradients and return their statistics; the arguments are those of `fusedstep.stats`."""
        found = stats(grads, before=before, after=after)
        self._last = self.step, found
        if self.step % self.stride == 0 and len(self.kept) == self.columns:
            self.kept = self.kept[::2]
            self.stride *= 2
        if self.step % self.stride == 0:
            self.kept.append(self._last)
        self.step += 1
        return found

    def verdicts(self) -> dict[str, str]:
        """What was wrong in the last step, by name, for the tensors that vanish or explode."""
        step, found = self._last
        words = {name: self._verdict(one) for name, one in found.items()}
        return {name: f"{said[0]}: {said[1]} at step {step}, {said[2]}" for name, said in words.items() if said}

    def _verdict(self, one: Stats) -> tuple[str, str, str] | None:
        size = root_mean_square(one)
        if one.nonfinite:
            return "explodes", f"{one.nonfinite} of {one.size} elements", "not finite"
        if size > self.exploding:
            return "explodes", f"root mean square {size:.3g}", f"above {self.exploding:.3g}"
        if size < self.vanishing:
            return "vanishes", f"root mean square {size:.3g}", f"below {self.vanishing:.3g}"
        return None

    def report(self) -> str:
        """The verdicts, one line each."""
        lines = [f"{name} {words}" for name, words in self.verdicts().items()]
        return "\n".join(lines) or "no gradient vanishes or explodes"

    def table(self) -> tuple[list[str], list[int], np.ndarray]:
        """Names, kept steps, and log₁₀ of the root mean squares, with a row for each name and a column for each step.

        A root mean square of 0 is −∞ there; NaN stands where a tensor had no gradient, or none that is finite.
        """
        names = list(dict.fromkeys(name for _, found in self.kept for name in found))
        sizes = np.full((len(names), len(self.kept)), np.nan)
        for column, (_, found) in enumerate(self.kept):
            for row, name in enumerate(names):
                if name in found:
                    sizes[row, column] = root_mean_square(found[name])
        with np.errstate(divide="ignore"):
            return names, [step for step, _ in self.kept], np.log10(sizes)

    def save(self, path: str | PathLike[str]) -> None:
        """Draw tensors × steps as a PNG; the colour is log₁₀ of the root mean square.

        Needs matplotlib, which ``pip install 'fusedstep[lab]'`` brings.

        Raises:
            ValueError: no gradients were recorded yet.
        """
        names, steps, sizes = self.table()
        if not names:
            raise ValueError("GradientMonitor: save needs at least one gradient, got none")
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        shown = np.clip(sizes, math.log10(self.vanishing) - 2, math.log10(self.exploding) + 2)
        figure = Figure(figsize=(9, 1.6 + 0.3 * len(names)), layout="constrained", dpi=120)
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        edges = [*steps, steps[-1] + self.stride]
        image = axes.pcolormesh(edges, np.arange(len(names) + 1), shown, cmap="viridis", rasterized=True)
        axes.set(xlabel="step", title="Root mean square of the gradients (white: none)")
        axes.set_yticks(np.arange(len(names)) + 0.5, labels=names)
        axes.invert_yaxis()
        figure.colorbar(image, ax=axes, label="log₁₀ of the root mean square")
        figure.savefig(path, format="png")


def root_mean_square(one: Stats) -> float:
    """Over what is finite; NaN where nothing is."""
    finite = one.size - one.nonfinite
    return one.l2 / math.sqrt(finite) if finite else math.nan
