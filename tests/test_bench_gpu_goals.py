"""What the tables of a GPU say is met, and of which bytes and places they speak."""

from __future__ import annotations

from itertools import pairwise

import pytest

from fusedstep.rivals import Contest
from fusedstep.rivals.contest import FUSED


def contest_of(row, **seconds):
    """Every round took as long."""
    contest = Contest(row, 1, 1_000_000_000)
    contest.seconds = {name.replace("_", " "): [value * 1e-3] * 3 for name, value in seconds.items()}
    return contest


def test_bytes_are_those_of_the_arrays(script):
    rows = script("device.rows")
    expected = {"SGD": 12, "SGD, momentum": 20, "Adagrad": 20, "Adam": 28, "AdamW": 28, "AMSGrad": 36, "RAdam": 28}
    expected |= {rows.BFLOAT16: 14, rows.MIXED: 22, rows.PAIRS: 26, rows.MANY: 28}
    expected |= {rows.SQ8: 16.125, rows.HALF_SQ8: 10.125}
    assert {row: rows.bytes_per_element(row) for row in rows.SETTINGS} == expected


@pytest.mark.parametrize("elements", [1, 8191, 8193, 30_001, 10**9, 10**9 + 8192])
def test_places_reach_from_the_begin_to_the_end(script, elements):
    agreement = script("device.agreement")
    places = agreement.places_of(elements)
    assert places[0][0] == 0
    assert sum(places[-1]) == elements
    assert all(begin % agreement.BLOCK == 0 and 0 < count <= agreement.PLACE for begin, count in places)
    assert all(sum(one) <= other[0] for one, other in pairwise(places))


def test_goals_of_the_bandwidth(script):
    """A copy of our bytes takes 9.3 where our step takes 10."""
    codes = script("device.rows").HALF_SQ8
    contests = {
        "SGD": contest_of("SGD", fusedstep=10, copy=9.3),
        "Adam": contest_of("Adam", fusedstep=10, copy=9.1),
        codes: contest_of(codes, fusedstep=10, copy=6.6),
        "RAdam": contest_of("RAdam"),
    }
    met, missed, codes, failed = script("device.tables").speeds(contests).rows
    assert met[2:] == ["12", "10 ms", "1,200", "1,290", "0.93× (0.93× – 0.93×)", "≥ 0.92×", "met"]
    assert missed[2:5] == ["28", "10 ms", "2,800"]
    assert missed[-1] == "missed"
    assert codes[-2:] == ["≥ 0.65×", "met"]
    assert failed[3:] == ["FAILED", "–", "–", "–", "≥ 0.92×", "not measured"]


@pytest.mark.parametrize(
    ("row", "seconds", "expected"),
    [
        ("Adam", {"fusedstep": 10, "torch_fused": 10.5, "torch_foreach": 15}, ["≥ 1.05×", "met"]),
        ("Adam", {"fusedstep": 10, "torch_fused": 10.4, "torch_foreach": 50}, ["≥ 1.05×", "missed"]),
        ("Adagrad", {"fusedstep": 10, "torch_foreach": 19}, ["≥ 2×", "missed"]),
        ("RAdam", {"fusedstep": 10, "torch_foreach": 20}, ["≥ 2×", "met"]),
        ("Adam, all bfloat16", {"fusedstep": 10, "torch_fused": 17}, ["≥ 1.7×", "met"]),
        ("Adam, m and v in sq8", {"fusedstep": 10}, ["≥ 2×", "not measured"]),
    ],
)
def test_goals_beside_others(script, row, seconds, expected):
    found = [list(cells[-2:]) for cells in script("device.tables").beside({row: contest_of(row, **seconds)}).rows]
    assert expected in found
    assert [cells for cells in found if cells != ["–", ""]] == [expected]


@pytest.mark.parametrize(
    ("time_", "call", "verdicts"), [(0.25, 11e-6, ["met", "missed"]), (0.26, 10e-6, ["missed", "met"])]
)
def test_goals_of_many_tensors(script, time_, call, verdicts):
    contest = contest_of("Adam, many tensors", fusedstep=time_, torch_fused=1)
    table = script("device.tables").many(contest, {FUSED: [call] * 3, "torch fused": [1e-3] * 3})
    assert [table.rows[0][3], table.rows[0][6]] == verdicts
    assert table.rows[1] == ["torch fused", "1 ms", "–", "", "1 ms", "–", ""]
