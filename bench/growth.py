"""How does the cost of a step grow with the number of elements? AdamW from 10³ to 10⁸·⁵."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import report
from fusedstep.measurement.table import Table, duration, times
from fusedstep.rivals import Contest, Work, hold
from fusedstep.rivals.contest import FUSED, LIMIT
from fusedstep.rivals.own import Fused
from fusedstep.rivals.torch_rival import TorchFused

#: Arrays that are there at the same time: start and gradient, three of each contestant, four aligned ones of the limit.
ARRAYS = 12

#: From here on the arrays are larger than caches and only the memory's speed counts: there is a limit, and one power.
LARGE = 10**7


def free_memory() -> float:
    """Bytes that can be taken; without an answer, no end."""
    try:
        return int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        return float("inf")


def slope(contests: dict[int, Contest]) -> float | None:
    """The exponent of the growth among large sizes: 1 is linear."""
    large = {size: contest.median(FUSED) for size, contest in contests.items() if size >= LARGE}
    points = [(size, seconds) for size, seconds in large.items() if seconds]
    if len(points) < 2:
        return None
    return float(np.polyfit(*np.log(np.transpose(points)), 1)[0])


def tabulate(contests: dict[int, Contest]) -> Table:
    head = ["elements", "time", "ns/element", "limit, ns/element", "of the limit", "torch fused ÷ ours"]
    table = Table("AdamW on one array", head)
    for size, contest in contests.items():
        seconds, limit = contest.median(FUSED), contest.median(LIMIT)
        of_limit, torch = contest.times_ours(LIMIT), contest.times_ours(TorchFused.name)
        cells = [duration(seconds), f"{seconds / size * 1e9:.3f}"] if seconds else ["FAILED", "–"]
        cells += [f"{limit / size * 1e9:.3f}" if limit else "–", f"{of_limit.median:.2f}" if of_limit else "–"]
        table.rows.append([f"{size:,}", *cells, times(torch.median) if torch else "–"])
    exponent = slope(contests)
    if exponent is not None:
        table.notes.append(f"From 10⁷ elements the time grows with power {exponent:.3f} of their number: 1 is linear.")
    return table


def main() -> None:
    question = "How does the cost of a step grow with the number of elements?"
    parser = report.parser(question)
    parser.add_argument("--most", type=float, default=8.5, help="the largest power of ten (default: %(default)s)")
    arguments = parser.parse_args()
    contests: dict[int, Contest] = {}
    skipped: list[str] = []
    for half in range(6, int(2 * arguments.most) + 1):
        size = round(10 ** (half / 2))
        print(f"{size:,}", file=sys.stderr)
        if ARRAYS * 4 * size > free_memory():
            skipped.append(f"{size:,} elements need {ARRAYS * 4 * size / 2**30:.0f} GiB of free memory: not measured.")
            continue
        contests[size] = hold(
            Work("AdamW", [(size,)]),
            threads=arguments.threads,
            rounds=arguments.rounds,
            rivals=(Fused, TorchFused),
            with_limit=size >= LARGE,
        )
    table = tabulate(contests)
    table.notes += skipped
    rows: list[dict[str, Any]] = [contest.as_data() for contest in contests.values()]
    report.write("growth", question, [table], rows, arguments.out)


if __name__ == "__main__":
    main()
