"""Does every method run at the memory's speed? Each on one large array, beside the same traffic without arithmetic."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import numpy as np

import report
from fusedstep.measurement.table import Table, duration
from fusedstep.measurement.timing import Ratio, clock
from fusedstep.rivals import ROWS, Contest, Work, hold
from fusedstep.rivals.contest import FUSED, LIMIT, RIVALS
from fusedstep.rivals.limit import bytes_per_element
from fusedstep.rivals.own import Bound, Reference

GOAL = 0.95

#: With gradients bound, large steps are the same.
ENTERED = tuple(rival for rival in RIVALS if rival is not Bound)


def fastest(contest: Contest) -> str | None:
    """The rival with the shortest time."""
    names = {rival.name for rival in ENTERED} & contest.seconds.keys() - {FUSED, Reference.name}
    return min(names, key=lambda name: median(contest.seconds[name]), default=None)


def against(ratio: Ratio | None) -> str:
    """How a rival's time over ours is to be read."""
    if ratio is None:
        return "no rival"
    if ratio.low >= 1:
        return "ahead"
    return "within noise" if ratio.high >= 1 else "behind"


def copy_speed(elements: int, threads: int, rounds: int) -> float:
    """Bytes per second of NumPy's copy, read and written, each thread one share."""
    source, target = np.ones(elements, np.float32), np.zeros(elements, np.float32)
    bounds = [elements * share // threads for share in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            list(pool.map(lambda low, high: np.copyto(target[low:high], source[low:high]), bounds[:-1], bounds[1:]))

        return 2 * source.nbytes / median(clock(copy, 1) for _ in range(rounds))


def tabulate(contests: dict[str, Contest], elements: int) -> Table:
    head = ["", "B/element", "time", "GB/s", f"of the limit (≥ {GOAL})", "", "fastest rival", "its time ÷ ours", ""]
    table = Table(f"One step of {elements:,} float32", head)
    for row, contest in contests.items():
        traffic = bytes_per_element(row)
        seconds, rival = contest.median(FUSED), fastest(contest)
        if seconds is None:
            table.rows.append([row, f"{traffic:.0f}", "FAILED", *["–"] * 6])
            continue
        limit, ahead = contest.times_ours(LIMIT), contest.times_ours(rival) if rival else None
        table.rows.append(
            [
                row,
                f"{traffic:.0f}",
                duration(seconds),
                f"{traffic * elements / seconds / 1e9:.1f}",
                report.spread(limit) if limit else "–",
                report.verdict(limit, GOAL),
                rival or "–",
                report.spread(ahead) if ahead else "–",
                against(ahead),
            ]
        )
    return table


def main() -> None:
    question = "Does every method run at the memory's speed?"
    parser = report.parser(question)
    parser.add_argument("--elements", type=int, default=32_000_000, help="(default: %(default)s)")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help="only these methods")
    arguments = parser.parse_args()
    work = Work(arguments.rows[0], [(arguments.elements,)])
    contests: dict[str, Contest] = {}
    rows: list[dict[str, Any]] = []
    for row in arguments.rows:
        print(row, file=sys.stderr)
        contests[row] = hold(
            work.again(row), threads=arguments.threads, rounds=arguments.rounds, rivals=ENTERED, with_limit=True
        )
        rows.append({**contests[row].as_data(), "bytes_per_element": bytes_per_element(row)})
    copied = [copy_speed(arguments.elements, threads, arguments.rounds) for threads in (1, arguments.threads)]
    goals = tabulate(contests, arguments.elements)
    goals.notes.append(
        "Of the limit: the time of the same traffic without arithmetic ÷ ours; median of the rounds, quartiles. "
        f"For comparison, `np.copyto` moves {copied[0] / 1e9:.1f} GB/s in one thread and {copied[1] / 1e9:.1f} GB/s "
        f"in {arguments.threads}."
    )
    tables = [goals, report.comparison("Everyone", contests)]
    report.write("methods", question, tables, rows, arguments.out)


if __name__ == "__main__":
    main()
