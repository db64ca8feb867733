"""`fusedstep bench`: steps of Adam on this machine, beside whatever other packages are installed."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..measurement import machine
from ..measurement.table import Table, duration, times
from ..rivals import Contest, Work, hold
from ..rivals.contest import FUSED, LIMIT, RIVALS
from ..rivals.optax_rival import Optax
from ..targets import get_num_threads

ROW = "Adam"

#: Elements of the large array, and rounds: in full, and with --quick.
FULL, QUICK = (8_000_000, 9), (1_000_000, 3)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller arrays: seconds, and more noise")


def run(arguments: argparse.Namespace) -> int:
    large, rounds = QUICK if arguments.quick else FULL
    works = {
        "1 × 1,000": Work(ROW, [(1_000,)]),
        "300 × 100": Work(ROW, [(100,)] * 300),
        f"1 × {large:,}": Work(ROW, [(large,)]),
    }
    contests = {
        name: hold(work, threads=get_num_threads(), rounds=rounds, with_limit=work.size == large)
        for name, work in works.items()
    }
    facts = machine.describe()
    if arguments.json:
        rows = {name: contest.as_data() for name, contest in contests.items()}
        print(json.dumps({"machine": facts, "rows": rows}, indent=2))
    else:
        tabulate(contests, facts).show()
    return 1 if any(FUSED in contest.failed for contest in contests.values()) else 0


def tabulate(contests: dict[str, Contest], facts: dict[str, Any]) -> Table:
    """Who takes how long; a column for each work, a line for each contestant."""
    table = Table(f"One step of {ROW} on float32: time, and how many times ours", ["", *contests])
    for name in (*(rival.name for rival in RIVALS), LIMIT):
        cells = [cell(contest, name) for contest in contests.values()]
        if any(cells):
            table.rows.append([name, *(text or "–" for text in cells)])
    table.notes = [*remarks(contests), machine.in_words(facts)]
    return table


def cell(contest: Contest, name: str) -> str:
    if name in contest.failed:
        return "FAILED"
    seconds, ratio = contest.median(name), contest.times_ours(name)
    if seconds is None:
        return ""
    return f"{duration(seconds)}  {times(ratio.median)}" if ratio else duration(seconds)


def remarks(contests: dict[str, Contest]) -> list[str]:
    """What is to be said about a table of contests, each thing once."""
    said = ["Medians; contestants take turns. Everyone's results were first compared with the NumPy reference."]
    for contest in contests.values():
        said += [f"{name}: {problem}" for name, problem in contest.failed.items()]
        said += [f"{name}: {why}" for name, why in contest.absent.items() if why != "no such method"]
    if any(Optax.name in contest.seconds for contest in contests.values()):
        said.append("optax: JAX starts as many threads as there are processors, whatever the others have.")
    busiest = max((contest.others or 0.0 for contest in contests.values()), default=0.0)
    if busiest > 0.05:
        said.append(f"Other processes took {busiest:.0%} of the processors: measure again when the machine is quiet.")
    if any(LIMIT in contest.seconds for contest in contests.values()):
        said.append("limit: the same memory moved without arithmetic.")
    return list(dict.fromkeys(said))
