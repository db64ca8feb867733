"""Timing: contestants take turns, and what is compared are the times of one and the same round."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Step = Callable[[], Any]

#: Seconds after which other packages' threads have stopped to spin and let go of the processors.
REST = 0.02


class Ratio(NamedTuple):
    """The median of the ratios of single rounds, and their quartiles."""

    median: float
    low: float
    high: float


def clock(step: Step, count: int) -> float:
    """Seconds that `count` steps take."""
    begin = time.perf_counter()
    for _ in repeat(None, count):
        step()
    return time.perf_counter() - begin


def calibrate(step: Step, least: float, cycle: int) -> int:
    """How many steps, a multiple of `cycle`, take at least `least` seconds. Warms the step up."""
    count = cycle
    clock(step, cycle)
    while (seconds := clock(step, count)) < least:
        grow = 1.2 * least / seconds if seconds > least / 100 else 10
        count = max(cycle + count, int(count * grow / cycle) * cycle)
    return count


def compete(
    steps: Mapping[str, Step], *, rounds: int, least: float = 0.005, cycle: int = 1, rest: float = REST
) -> dict[str, list[float]]:
    """Seconds of one step, for every contestant and round.

    In a round each has its turn: a rest in which the others' threads fall asleep, steps that wake its own and are not
    timed, then the steps that are.

    Args:
        steps: by name; each call is one step, done when it returns.
        rounds: how many.
        least: seconds; as many steps are timed together as take this long.
        cycle: how many steps make a whole, where they differ.
        rest: seconds.
    """
    counts = {name: calibrate(step, least, cycle) for name, step in steps.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    with no_collections():
        for names in turns(list(steps), rounds):
            for name in names:
                time.sleep(rest)
                clock(steps[name], 1 + counts[name] // 4)
                seconds[name].append(clock(steps[name], counts[name]) / counts[name])
    return seconds


def turns(names: list[str], rounds: int) -> Iterator[list[str]]:
    """Who follows whom in each round: everyone is the first as often as the others."""
    for turn in range(rounds):
        first = turn % len(names)
        yield names[first:] + names[:first]


def ratio(numerator: list[float], denominator: list[float]) -> Ratio:
    """How the times of one compare with another's, round by round."""
    low, median, high = np.quantile(np.divide(numerator, denominator), (0.25, 0.5, 0.75))
    return Ratio(float(median), float(low), float(high))


@contextmanager
def no_collections() -> Iterator[None]:
    """No garbage is collected in the block."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Others:
    """How much of the processors other processes took: from its creation to `share()`."""

    def __init__(self) -> None:
        self._begin = self._read()

    @staticmethod
    def _read() -> tuple[float, float, float]:
        """Seconds: of all processors, of their work, of this process's own work."""
        times = os.times()
        own = times.user + times.system + times.children_user + times.children_system
        try:
            words = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
        except OSError:
            return 0.0, 0.0, own
        ticks = [int(word) / os.sysconf("SC_CLK_TCK") for word in words]
        idle = ticks[3] + ticks[4]
        return sum(ticks), sum(ticks) - idle, own

    def share(self) -> float | None:
        """Between 0 and 1; None where the system does not tell."""
        total, busy, own = (now - then for now, then in zip(self._read(), self._begin, strict=True))
        return max(0.0, busy - own) / total if total > 0 else None
