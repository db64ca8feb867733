"""What a script leaves behind: its rows as JSON and its tables as Markdown, with machine, date and command."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fusedstep as fs
from fusedstep.commands.bench import remarks
from fusedstep.measurement import machine
from fusedstep.measurement.table import Table, times
from fusedstep.measurement.timing import Others, Ratio
from fusedstep.rivals import Contest
from fusedstep.rivals.contest import FUSED, LIMIT

RESULTS = Path(__file__).resolve().parent / "results"


def parser(question: str, *, timed: bool = True) -> argparse.ArgumentParser:
    """The arguments of every script, and those of one that takes times."""
    arguments = argparse.ArgumentParser(description=question)
    arguments.add_argument("--threads", type=int, default=fs.get_num_threads(), help="(default: %(default)s)")
    if timed:
        rounds = "how often each is measured (default: %(default)s)"
        arguments.add_argument("--rounds", type=int, default=15, help=rounds)
    arguments.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="(default: bench/results)")
    return arguments


def write(name: str, question: str, tables: Sequence[Table], rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Print the tables, and write them and the rows."""
    keep(name, question, tables, rows, folder)
    for table in tables:
        print(table.plain(), end="\n\n")


def keep(name: str, question: str, tables: Sequence[Table], rows: Sequence[dict[str, Any]], folder: Path) -> None:
    facts = machine.describe()
    command = " ".join([f"python bench/{name}.py", *without_places(sys.argv[1:])])
    today = datetime.date.today().isoformat()
    folder.mkdir(parents=True, exist_ok=True)
    data = {"name": name, "question": question, "command": command, "date": today, "machine": facts, "rows": rows}
    (folder / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
    head = [f"# {question}", f"`{command}`, {today}. {machine.in_words(facts)}"]
    (folder / f"{name}.md").write_text("\n\n".join([*head, *(table.markdown() for table in tables)]) + "\n")


def without_places(words: Sequence[str]) -> list[str]:
    """The command's words, without where the results went and where a file lies: that is this machine's own."""
    kept, skip = [], False
    for word in words:
        if not skip and not word.startswith("--out"):
            kept.append(Path(word).name if Path(word).is_absolute() else word)
        skip = word == "--out"
    return kept


def comparison(title: str, contests: dict[str, Contest]) -> Table:
    """Everyone's time over ours."""
    everyone = dict.fromkeys(name for contest in contests.values() for name in contest.seconds)
    names = [name for name in everyone if name not in (FUSED, LIMIT)]
    table = Table(f"{title}: time, as a multiple of fusedstep's", ["", *names])
    for row, contest in contests.items():
        table.rows.append([row, *(over_ours(contest, name) for name in names)])
    table.notes = remarks(contests)
    return table


def over_ours(contest: Contest, name: str) -> str:
    if name in contest.failed:
        return "FAILED"
    ratio = contest.times_ours(name)
    return times(ratio.median) if ratio else "–"


def taken(others: Others) -> list[str]:
    """A note on the other processes, where the system tells of them."""
    share = others.share()
    return [] if share is None else [f"Other processes took {share:.0%} of the processors."]


def spread(ratio: Ratio) -> str:
    """A ratio with its quartiles."""
    return f"{times(ratio.median)} ({times(ratio.low)} – {times(ratio.high)})"


def verdict(ratio: Ratio | None, goal: float) -> str:
    """Whether the median is there."""
    return "not measured" if ratio is None else reached(ratio.median >= goal)


def reached(met: bool) -> str:
    return "met" if met else "missed"
