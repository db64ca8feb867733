"""Does a step allocate memory? How far everyone's peak rises above what its arrays take, over many steps."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import fusedstep as fs
import report
from fusedstep.measurement.table import Table
from fusedstep.rivals import Work
from fusedstep.rivals.contest import FUSED, RIVALS, Contest, check, enter
from fusedstep.rivals.own import Own

STEPS = (10, 100)

#: Pages that Python and the C library take for themselves now and then, and what could still be an array of anything.
NOISE, ARRAY = 2**20, 2**10


def forget_peak() -> None:
    """Begin a new peak, where the system can: what the check needed is no part of a step."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """The process's peak of resident bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident() -> int:
    """The process's resident bytes; where the system does not tell, their peak."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return peak()


def observe(name: str, elements: int, threads: int) -> dict[str, Any]:
    """One contestant in this process: check it, step it, and look at the memory."""
    kind = next(rival for rival in RIVALS if rival.name == name)
    work = Work("AdamW", [(elements,)])
    contest = Contest(work.row, 1, elements)
    running = check(contest, work, enter(contest, work, [kind], threads))
    if not running:
        return {"failed": contest.failed.get(name), "absent": contest.absent.get(name)}
    rival = running[0]
    rival.step()
    forget_peak()
    at_rest, rises = resident(), []
    for steps in STEPS:
        for _ in range(steps):
            rival.step()
        rises.append(max(0, peak() - at_rest))
    traced = None
    if isinstance(rival, Own):
        tracemalloc.start()
        rival.step()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        rival.step()
        traced = tracemalloc.get_traced_memory()[1] - before
    return {"rises": rises, "traced": traced, "agreement": contest.agreement[name]}


def tabulate(rows: list[dict[str, Any]], elements: int) -> Table:
    head = ["", *(f"{steps} steps" for steps in STEPS), "in arrays", "a step, by tracemalloc"]
    table = Table(f"AdamW on one array of {elements:,} float32: the peak's rise above the memory at rest", head)
    table.notes.append("In arrays: of the parameters' size. tracemalloc sees what Python and NumPy allocate.")
    for row in rows:
        if row.get("rises") is None:
            table.rows.append([row["name"], "FAILED" if row["failed"] else "–", *["–"] * 3])
            table.notes.append(f"{row['name']}: {row['failed'] or row['absent']}")
            continue
        traced = "–" if row["traced"] is None else size(row["traced"])
        arrays = f"{row['rises'][-1] / (4 * elements):.2f}"
        table.rows.append([row["name"], *map(size, row["rises"]), arrays, traced])
    ours = next(row for row in rows if row["name"] == FUSED)
    if ours.get("rises"):
        flat = ours["rises"][-1] < NOISE and ours["traced"] < ARRAY
        table.notes.append(f"Goal: a step of ours allocates no array memory. {report.reached(flat).capitalize()}.")
    return table


def size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 / 10 else f"{count:,} B"


def main() -> None:
    question = "Does a step allocate memory?"
    parser = report.parser(question, timed=False)
    parser.add_argument("--elements", type=int, default=16_000_000, help="(default: %(default)s)")
    parser.add_argument("--only", choices=[rival.name for rival in RIVALS], help="one contestant, as JSON")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(observe(arguments.only, arguments.elements, arguments.threads)))
        return
    fs.set_num_threads(arguments.threads)  # the report names them
    rows = []
    for rival in RIVALS:
        print(rival.name, file=sys.stderr)
        # A peak belongs to a process: each has its own.
        words = [sys.executable, __file__, "--only", rival.name, "--elements", str(arguments.elements)]
        words += ["--threads", str(arguments.threads)]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        rows.append({"name": rival.name, **json.loads(done.stdout.splitlines()[-1])})
    report.write("memory", question, [tabulate(rows, arguments.elements)], rows, arguments.out)


if __name__ == "__main__":
    main()
