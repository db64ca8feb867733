"""What was measured on a device, with the goal beside each figure."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

import report
from fusedstep.measurement.table import Table, duration
from fusedstep.measurement.timing import ratio
from fusedstep.rivals import Contest
from fusedstep.rivals.contest import FUSED

from .rivals import RIVALS
from .rows import COPY, MOST_CALL, MOST_TIME, SETTINGS, bytes_per_element


def speeds(contests: Mapping[str, Contest]) -> Table:
    table = Table("One step", ["", "elements", "B/element", "time", "GB/s", "the copy's", "of it", "goal", ""])
    for row, contest in contests.items():
        goal, size = SETTINGS[row].of_copy, bytes_per_element(row)
        found, cells = contest.ratio(COPY, FUSED), ["FAILED", "–", "–", "–"]
        if found:
            times = [median(contest.seconds[name]) for name in (FUSED, COPY)]
            moved = [f"{size * contest.elements / seconds / 1e9:,.0f}" for seconds in times]
            cells = [duration(times[0]), *moved, report.spread(found)]
        verdict = [f"≥ {goal:.2f}×", report.verdict(found, goal)]
        table.rows.append([row, f"{contest.elements:,}", f"{size:.4g}", *cells, *verdict])
    return table


def beside(contests: Mapping[str, Contest]) -> Table:
    table = Table("Others, on the same memory", ["", "beside", "its time", "÷ ours", "goal", ""])
    for row, contest in contests.items():
        goals = SETTINGS[row].times_ours
        wanted = next((name for name in goals if name in contest.seconds), next(iter(goals), None))
        for name in RIVALS:
            found, cells = contest.times_ours(name), ["–", "–", "–", ""]
            if found:
                cells[:2] = duration(median(contest.seconds[name])), report.spread(found)
            if name == wanted:
                cells[2:] = f"≥ {goals[name]:g}×", report.verdict(found, goals[name])
            if found or name == wanted:
                table.rows.append([row, name, *cells])
        table.notes += [f"{row}: {name}: {why}" for name, why in contest.failed.items()]
    return table


def many(contest: Contest, calls: Mapping[str, list[float]]) -> Table:
    title = f"Adam on {contest.tensors} tensors, {contest.elements:,} elements in all"
    table = Table(title, ["", "time", "goal", "", "of the processor's", "goal", ""])
    for name, seconds in contest.seconds.items():
        cells = []
        for found, most in ((seconds, MOST_TIME), (calls[name], MOST_CALL)):
            goal = [f"≤ {duration(most)}", report.verdict(ratio([most] * len(found), found), 1)]
            cells += [duration(median(found)), *(goal if name == FUSED else ["–", ""])]
        table.rows.append([name, *cells])
    table.notes.append("Ours has its gradients bound. Captured: a torch.cuda.graph of one step, launched.")
    return table
