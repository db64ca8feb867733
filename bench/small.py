"""What does a step cost when the arrays are small? AdamW on one small array, and on hundreds."""

from __future__ import annotations

import sys

import report
from fusedstep.measurement.table import Table, duration
from fusedstep.rivals import Contest, Work, hold
from fusedstep.rivals.contest import FUSED, RIVALS
from fusedstep.rivals.own import Bound, Function, OnTensors
from fusedstep.rivals.torch_rival import TorchFused

#: Name -> number of tensors, their size, and the goals over torch's fused step, by the way a step is called.
ROWS: dict[str, tuple[int, int, dict[str, float]]] = {
    "1 × 1,000": (1, 1_000, {FUSED: 30, Bound.name: 50}),
    "300 × 100": (300, 100, {FUSED: 40}),
    "300 × 10,000": (300, 10_000, {FUSED: 3}),
}


ENTERED = (*RIVALS[:2], OnTensors, Function, *RIVALS[2:])


def tabulate(contests: dict[str, Contest]) -> Table:
    head = ["", "called", "time", "torch fused ÷ it", "goal", ""]
    table = Table("AdamW on small tensors, beside torch's fused step", head)
    for row, contest in contests.items():
        for name, goal in ROWS[row][2].items():
            seconds, ratio = contest.median(name), contest.ratio(TorchFused.name, name)
            cells = [duration(seconds) if seconds else "FAILED", report.spread(ratio) if ratio else "–"]
            table.rows.append([row, name, *cells, f"≥ {goal}×", report.verdict(ratio, goal)])
    return table


def main() -> None:
    question = "What does a step cost when the arrays are small?"
    arguments = report.parser(question).parse_args()
    contests = {}
    for row, (count, size, _) in ROWS.items():
        print(row, file=sys.stderr)
        work = Work("AdamW", [(size,)] * count)
        contests[row] = hold(work, threads=arguments.threads, rounds=arguments.rounds, rivals=ENTERED)
    rows = [{"name": row, **contest.as_data()} for row, contest in contests.items()]
    report.write("small", question, [tabulate(contests), report.comparison("Everyone", contests)], rows, arguments.out)


if __name__ == "__main__":
    main()
