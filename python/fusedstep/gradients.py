"""Statistics of gradients: norms, zeros, what is not finite, and a histogram of sizes by powers of two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import _core

#: Bin e of a histogram holds 2^(e − BIAS) ≤ |g| < 2^(e + 1 − BIAS).
BIAS = 127


@dataclass(frozen=True, eq=False)
class Stats:
    """The numbers of one tensor's gradient g, without the elements that are not finite; only `size` counts them too.

    Args:
        size: the number of elements.
        l1: Σ|g|.
        l2: √Σg².
        linf: max |g|, 0 where nothing is finite.
        mean: Σg over the number of finite elements, NaN where nothing is finite.
        zeros: how many elements are 0.
        nonfinite: how many elements are NaN or ±∞.
        update: ‖Δθ‖₂ / ‖θ‖₂ of a step; None without parameters.
        stalled: the share of the parameters whose bits the step has not changed; None without parameters.
        histogram: 256 counts, by exponent + 127.
    """

    size: int
    l1: float
    l2: float
    linf: float
    mean: float
    zeros: int
    nonfinite: int
    update: float | None = None
    stalled: float | None = None
    histogram: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(256, np.int64))

    @property
    def binades(self) -> dict[int, int]:
        """e -> how many elements lie in 2^e ≤ |g| < 2^(e+1), for every e where there are any."""
        return {int(bin) - BIAS: int(self.histogram[bin]) for bin in np.flatnonzero(self.histogram)}


def stats(grads: Any, *, before: Any = None, after: Any = None) -> dict[str, Stats]:
    """Statistics of gradients, in one read of each array; with parameters, also how far a step moved them.

    L1 = Σ|g|, L2 = √Σg², L∞ = max|g|, mean = Σg / n, over the n elements that are finite, in float64. NaN and ±∞ are
    counted and left out, so that one of them does not hide the others.

    The histogram has a bin for each exponent of float32: bin e + 127 counts 2^e ≤ |g| < 2^(e+1). The first bin has all
    that is below 2^-126 and not zero, the last all that is 2^128 or more, which only float64 has.

    With parameters, update = ‖after − before‖ / ‖before‖: NaN where one of them is not finite or nothing has moved from
    zero, ∞ where something has moved from zeros.

    Blocks of 4096 elements are added up separately, so that the results have the same bits on every target and with any
    number of threads; `fusedstep.reference.stats` is the same in NumPy.

    Args:
        grads: an array, a list or a dict of arrays, or these nested, of float32, float64, float16 or bfloat16. ``None``
            is left out.
        before: copies of the parameters before a step, in the structure and shapes of `grads`; with `after` only.
        after: the parameters after it, in the types of `before`; with `before` only.

    Returns:
        name -> its `Stats`; names of nested structures are joined with "/".

    Raises:
        TypeError, ValueError: an array is not dense or does not fit its gradient, or the structures differ.

    >>> import numpy as np, fusedstep as fs
    >>> found = fs.stats({"w": np.array([3.0, -4.0, 0.0, np.nan], np.float32)})["w"]
    >>> found.l1, found.l2, found.linf, found.zeros, found.nonfinite
    (7.0, 5.0, 4.0, 1, 1)
    >>> found.binades
    {1: 1, 2: 1}
    """
    readings = _core.Readings(grads, before, after)
    rows = zip(readings.arrays(), readings.measure(), strict=True)
    return {name: summary(measured, old is not None) for (name, _, old, _), measured in rows}


def summary(measured: Sequence[Any], with_params: bool) -> Stats:
    """What sums and counts say."""
    size, absolute, squares, total, largest, zeros, nonfinite, histogram, change, before, same = measured
    finite = size - nonfinite
    return Stats(
        size=size,
        l1=absolute,
        l2=math.sqrt(squares),
        linf=largest,
        mean=total / finite if finite else math.nan,
        zeros=zeros,
        nonfinite=nonfinite,
        update=ratio(change, before) if with_params else None,
        stalled=(same / size if size else math.nan) if with_params else None,
        histogram=histogram,
    )


def ratio(change: float, before: float) -> float:
    """√change / √before, as IEEE divides: nothing of nothing is NaN, and so is what is not finite."""
    if not math.isfinite(change + before) or (change == 0 and before == 0):
        return math.nan
    return math.sqrt(change) / math.sqrt(before) if before else math.inf
