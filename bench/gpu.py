"""Does a step on a GPU run at its memory's speed? Beside the device's own copy, and others on the same memory."""

from __future__ import annotations

import sys
from statistics import median
from typing import Any

import fusedstep as fs
import report
from device import tables
from device.arrays import Arrays, random
from device.deadline import Deadline
from device.driver import Driver
from device.own import OWN
from device.race import Race
from device.rivals import RIVALS, forget, load
from device.rows import MANY, SETTINGS, SIZE, TENSORS, bytes_per_element
from fusedstep.measurement import packages
from fusedstep.measurement.table import Table, duration, times
from fusedstep.rivals import Contest
from fusedstep.rivals.contest import FUSED, reason

QUESTION = "Does a step on a GPU run at its memory's speed?"
PACKAGES = ("triton", "cupy-cuda13x", "cupy-cuda12x", "bitsandbytes")


class Bench:
    """The arrays that rows share, and what came out."""

    def __init__(self, driver: Any, arguments: Any) -> None:
        self.driver, self.arguments, self.facts = driver, arguments, driver.facts()
        self.deadline = Deadline(arguments.seconds)
        self.contests: dict[str, Contest] = {}
        self.compared = 0  #: numbers that had the reference's bits
        self.calls: dict[str, list[float]] = {}  #: seconds that a step of many tensors takes the processor
        others = {*OWN, *RIVALS}.difference(arguments.without)
        self.among = {FUSED} if arguments.check else others
        self._shared: dict[str, tuple[Arrays, Arrays]] = {}

    def arrays(self, row: str) -> tuple[Arrays, Arrays]:
        """Parameters and gradients, which every contestant steps on."""
        kind, elements = SETTINGS[row].kind, self.arguments.elements
        if row == MANY:
            params, grads = ([random(self.driver, SIZE, kind, 2 * i + j) for i in range(TENSORS)] for j in (0, 1))
            return params, grads
        if kind not in self._shared:
            param, grad = (random(self.driver, elements, kind, seed) for seed in (0, 1))
            self._shared[kind] = [param], [grad]
        return self._shared[kind]

    def measure(self, row: str) -> None:
        """One row, whatever becomes of it: where the device is lost, so are all that follow, but none before."""
        try:
            race = Race(self.driver, row, *self.arrays(row))
            self.contests[row] = race.contest
            race.enter(self.among, self.deadline)
            print(f"{row}: {race.compared:,} numbers have the reference's bits", flush=True)
            self.compared += race.compared
            if not self.arguments.check:
                self.race(race)  # alone first, and written: whoever enters may be the end of the device, or of the run
                self.keep()
                if race.invite(self.among, self.deadline):
                    self.race(race)
                print(in_words(race.contest), flush=True)
        except Exception as error:
            self.contests.setdefault(row, Contest(row, 0, 0)).failed[FUSED] = reason(error)
            print(f"{row}: FAILED: {reason(error)}", flush=True)

    def race(self, race: Race) -> None:
        race.run(self.arguments.rounds, self.deadline)
        self.calls |= race.calls

    def keep(self) -> list[Table]:
        """Write what is there, as a run may be cut off: the tables."""
        contests = self.contests
        made = [tables.speeds({row: contests[row] for row in contests if row != MANY}), tables.beside(contests)]
        if MANY in contests:
            made.append(tables.many(contests[MANY], self.calls))
        versions = (f"{name} {version}" for name in PACKAGES if (version := packages.version(name)))
        made[0].notes = [
            f"Medians and quartiles of at most {self.arguments.rounds} rounds, by the device's events; contestants "
            f"take turns. First, {self.compared:,} numbers had the bits of NumPy's reference.",
            ", ".join([self.facts, *versions]),
        ]
        rows: list[dict[str, Any]] = [{"name": "device", "facts": self.facts}]
        for row, contest in contests.items():
            seconds = {name: median(taken) for name, taken in contest.seconds.items()}
            over_ours = {name: found._asdict() for name in seconds if (found := contest.times_ours(name))}
            sizes = {"elements": contest.elements, "bytes_per_element": bytes_per_element(row)}
            rows.append({"name": row, **sizes, "seconds": seconds, "times_ours": over_ours, "failed": contest.failed})
        rows.append({"name": "calls", "seconds": {name: median(taken) for name, taken in self.calls.items()}})
        report.keep("gpu", QUESTION, made, rows, self.arguments.out)
        return made


def in_words(contest: Contest) -> str:
    """Our time, and others' as a multiple of it."""
    others = [f"{name} {times(found.median)}" for name in contest.seconds if (found := contest.times_ours(name))]
    failed = [f"{name}: {why}" for name, why in contest.failed.items()]
    return "\n    ".join(["    " + ", ".join([duration(median(contest.seconds[FUSED])), *others[1:]]), *failed])


def main() -> None:
    parser = report.parser(QUESTION)
    parser.set_defaults(rounds=31)
    parser.add_argument("--elements", type=int, default=1_000_000_000, help="of one array (default: %(default)s)")
    parser.add_argument("--rows", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="ROW", help="only these")
    others = [name for name in (*OWN, *RIVALS) if name != FUSED]
    parser.add_argument(
        "--without", nargs="+", choices=others, default=[], metavar="NAME", help="leave these others out"
    )
    parser.add_argument("--seconds", type=float, default=600, help="that it may take (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="compare results with the reference's, and time nothing")
    arguments = parser.parse_args()
    why_not = fs.cuda.why_not()
    if why_not:
        sys.exit(f"there is no CUDA device to measure: {why_not}")
    bench = Bench(Driver(), arguments)
    load(bench.among, arguments.rows)
    made: list[Table] = []
    for row in arguments.rows:
        bench.measure(row)
        if not arguments.check:
            made = bench.keep()
        forget()
    for table in made:
        print(table.plain(), end="\n\n")
    failed = [row for row, contest in bench.contests.items() if FUSED in contest.failed]
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
