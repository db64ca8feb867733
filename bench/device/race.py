"""Who takes part in a row, and how long each takes: by the device's events, and, where calls count, by the processor's
clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import fusedstep as fs
from fusedstep.measurement.timing import Step, no_collections, turns
from fusedstep.rivals import Contest
from fusedstep.rivals.contest import FUSED, reason

from .agreement import check, check_rival
from .arrays import Arrays, address_of
from .deadline import Deadline
from .own import OWN
from .rivals import RIVALS
from .rows import COPY, MANY, SETTINGS, bytes_per_element

#: Steps before any is timed, rounds that the run's end does not take away, and the seconds in which others have to be
#: ready: compilers take some, but of what is left no more than a share.
WARM, LEAST_ROUNDS, PATIENCE, SHARE = 10, 3, 60.0, 1 / 3
#: So many steps are timed together as take this long, up to a number that the device's queue has room for.
LEAST, MOST_STEPS = 5e-3, 20
#: Calls that the processor's clock is read around: few, so that those of who puts in many kernels find room as well.
CALLS = 5


class Race:
    """One row's contestants, all on the same arrays."""

    def __init__(self, driver: Any, row: str, params: Arrays, grads: Arrays) -> None:
        self.driver, self.row, self.params, self.grads = driver, row, params, grads
        self.contest = Contest(row, len(params), sum(param.shape[0] for param in params))
        self.steps: dict[str, Step] = {}
        self.compared = 0  #: numbers that had the reference's bits
        self.calls: dict[str, list[float]] = {}  #: seconds that a step takes the processor, for every round

    def enter(self, among: Collection[str], deadline: Deadline) -> None:
        """Ours, which must do the work, and the copy."""
        for name, (rows, make) in OWN.items():
            if self.row in rows and name in among:
                self._try(name, partial(self._own, make), deadline.limit(math.inf))
        if self.row != MANY:
            grad = self.grads[0]
            to = fs.cuda.Array(grad.shape, grad.strides, grad.dtype, 0)
            self.steps[COPY] = partial(self._copy, to)

    def invite(self, among: Collection[str], deadline: Deadline) -> int:
        """Others who are there and do the work; how many."""
        before = len(self.steps)
        for name, (rows, make) in RIVALS.items():
            if self.row in rows and name in among:
                self._try(name, partial(self._rival, make), deadline.limit(min(PATIENCE, SHARE * deadline.left())))
        return len(self.steps) - before

    def _try(self, name: str, make: Callable[[], Step], limit: AbstractContextManager[None]) -> None:
        try:
            with limit:
                step = make()
                step()
                self.driver.wait()  # what goes wrong on the device is told here
            self.steps[name] = step
        except Exception as error:  # another package's, or that it is not there: the others go on
            self._fail(name, error)

    def _fail(self, name: str, error: Exception) -> None:
        if name == FUSED:
            raise error
        self.contest.failed[name] = reason(error)[:120]
        self.steps.pop(name, None)

    def _own(self, make: Any) -> Step:
        optimizer, step = make(self.row, self.params, self.grads)
        self.compared += check(self.row, self.params, self.grads, optimizer, step)
        return step

    def _rival(self, make: Any) -> Step:
        check_rival(self.row, make)
        return make(SETTINGS[self.row], self.params, self.grads)

    def _copy(self, to: fs.cuda.Array) -> None:
        self.driver.copy(address_of(to), address_of(self.grads[0]), to.nbytes)

    def run(self, rounds: int, deadline: Deadline) -> None:
        """Times everyone, in turns; who fails on the way is out."""
        counts = {name: self._count(name) for name in list(self.steps)}
        seconds: dict[str, list[float]] = {name: [] for name in self.steps}
        calls: dict[str, list[float]] = {name: [] for name in self.steps}
        with no_collections():
            for turn, names in enumerate(turns(list(self.steps), rounds)):
                if turn >= LEAST_ROUNDS and deadline.left() <= 0:
                    break
                for name in filter(self.steps.__contains__, names):
                    try:
                        if self.row == MANY:
                            calls[name].append(self._call(name))
                        self.steps[name]()  # so that the device is busy while the processor puts in what is timed
                        seconds[name].append(self.driver.seconds(self.steps[name], counts[name]))
                    except Exception as error:
                        self._fail(name, error)
        self.contest.seconds = {name: seconds[name] for name in self.steps}
        self.calls = {name: calls[name] for name in self.steps} if self.row == MANY else {}
        if COPY in self.steps:  # what it would take the copy to move the bytes of our step
            share = bytes_per_element(self.row) * self.contest.elements / (2 * self.grads[0].nbytes)
            self.contest.seconds[COPY] = [share * taken for taken in seconds[COPY]]

    def _count(self, name: str) -> int:
        """How many steps are timed together, once they are warm."""
        try:
            taken = self.driver.seconds(self.steps[name], WARM)
        except Exception as error:
            self._fail(name, error)
            return 0
        return min(max(1, math.ceil(LEAST / max(taken, 1e-9))), MOST_STEPS)

    def _call(self, name: str) -> float:
        """What a call takes the processor, which waits for nothing."""
        self.driver.wait()
        step = self.steps[name]
        begin = time.perf_counter()
        for _ in range(CALLS):
            step()
        return (time.perf_counter() - begin) / CALLS
