"""A contest: everyone's results are compared with the reference's, and those that agree are timed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from statistics import median
from typing import Any

from ..measurement.timing import Others, Ratio, compete, ratio
from .deepspeed_rival import DeepSpeed
from .numba_rival import Numba
from .optax_rival import Optax
from .own import Bound, Fused, Reference
from .rival import Rival
from .torch_rival import TorchForeach, TorchFused
from .work import ROWS, Work

#: In the order of the tables.
RIVALS: tuple[type[Rival], ...] = (
    Fused,
    Bound,
    Reference,
    Numba,
    TorchForeach,
    TorchFused,
    Optax,
    DeepSpeed,
)

FUSED = Fused.name
LIMIT = "limit"


@dataclass
class Contest:
    """What came out, by the contestants' names."""

    row: str
    tensors: int
    elements: int
    seconds: dict[str, list[float]] = field(default_factory=dict)  #: of one step, for every round
    agreement: dict[str, str] = field(default_factory=dict)  #: of those that were timed
    failed: dict[str, str] = field(default_factory=dict)  #: what is wrong with those that were not
    absent: dict[str, str] = field(default_factory=dict)  #: why others did not take part
    others: float | None = None  #: the share of the processors that other processes took
    limit: str | None = None  #: which way to move the same memory was the fastest

    def as_data(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "row": self.row,
            "options": ROWS[self.row][1],
            "tensors": self.tensors,
            "elements": self.elements,
            "seconds": {name: self.median(name) for name in self.seconds},
            "times_ours": {name: ratio._asdict() for name in self.seconds if (ratio := self.times_ours(name))},
            "agreement": self.agreement,
            "failed": self.failed,
            "absent": self.absent,
            "limit": self.limit,
            "others": self.others,
        }

    def median(self, name: str) -> float | None:
        return median(self.seconds[name]) if name in self.seconds else None

    def times_ours(self, name: str) -> Ratio | None:
        """How many times as long as ours a contestant takes."""
        return self.ratio(name, FUSED)

    def ratio(self, name: str, to: str) -> Ratio | None:
        if name in self.seconds and to in self.seconds:
            return ratio(self.seconds[name], self.seconds[to])
        return None


def hold(
    work: Work,
    *,
    threads: int,
    rounds: int,
    rivals: Sequence[type[Rival]] = RIVALS,
    with_limit: bool = False,
    least: float = 0.005,
) -> Contest:
    """Check everyone who can take part, then time those whose results agree with the reference's.

    Args:
        work: the same for all.
        threads: for everyone; JAX takes as many as there are processors.
        rounds: how often each has its turn.
        rivals: who is asked.
        with_limit: also move the same memory without arithmetic.
        least: seconds that are timed together, at least.
    """
    contest = Contest(work.row, len(work.params), work.size)
    entered = check(contest, work, enter(contest, work, rivals, threads))
    steps: dict[str, Callable[[], Any]] = {rival.name: rival.step for rival in entered}
    if with_limit:
        steps |= limit_steps(contest, work, entered, threads)
    others = Others()
    contest.seconds = compete(steps, rounds=rounds, least=least, cycle=work.cycle)
    contest.others = others.share()
    ways = [name for name in contest.seconds if name.startswith(LIMIT)]
    if ways:
        contest.limit = min(ways, key=lambda name: median(contest.seconds[name]))
        contest.seconds[LIMIT] = contest.seconds[contest.limit]
    steps.clear()
    entered.clear()
    gc.collect()  # large arrays in cycles: the next contest needs the memory
    return contest


def enter(contest: Contest, work: Work, rivals: Sequence[type[Rival]], threads: int) -> list[Rival]:
    """Everyone who can do this work, set up."""
    entered = []
    for kind in rivals:
        missing = kind.missing()
        if missing:
            contest.absent[kind.name] = f"{' and '.join(missing)} not installed"
        elif not kind.offers(work):
            contest.absent[kind.name] = "no such method"
        else:
            try:
                entered.append(kind(work, threads))
            except Exception as error:  # another package's: the others go on
                contest.failed[kind.name] = reason(error)
    return entered


def check(contest: Contest, work: Work, entered: list[Rival]) -> list[Rival]:
    """Those whose results agree with the reference's after some steps."""
    running = list(entered)
    for _ in work.scaled():
        for rival in list(running):
            try:
                rival.load(work.grads)
                rival.step()
            except Exception as error:  # another package's: the others go on
                contest.failed[rival.name] = reason(error)
                running.remove(rival)
    agreements = work.compare({rival.name: rival.read() for rival in running})
    agreeing = []
    for rival in running:
        rival.load(work.grads)
        agreement = agreements[rival.name]
        if rival.agrees(agreement):
            contest.agreement[rival.name] = "same bits" if agreement.same_bits else f"{agreement.error:.0e}"
            agreeing.append(rival)
        else:
            contest.failed[rival.name] = f"differs from the reference by {agreement.error:.1e} of a movement"
    return agreeing


def limit_steps(contest: Contest, work: Work, entered: list[Rival], threads: int) -> dict[str, Callable[[], Any]]:
    """The limit's ways, on the arrays of our own contestant, or on as much memory in one piece."""
    if find_spec("numba") is None:
        contest.absent[LIMIT] = "numba not installed"
        return {}
    from .limit import limits

    own = next((rival for rival in entered if type(rival) is Fused and len(rival.params) == 1), None)
    return limits(own or Fused(Work(work.row, [(work.size,)]), threads), threads)


def reason(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
