"""`python -m fusedstep bench` compares, measures and tells."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import __main__
from fusedstep.commands import bench
from fusedstep.measurement import packages
from fusedstep.rivals import hold
from fusedstep.rivals.contest import FUSED, LIMIT
from fusedstep.rivals.own import Fused, Reference

from contests import timed

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_command(capsys, monkeypatch):
    monkeypatch.setattr(bench, "QUICK", (2_000, 2))
    monkeypatch.setattr(bench, "hold", lambda work, **options: hold(work, rivals=(Fused, Reference), **options))
    assert __main__.main(["bench", "--quick", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert list(data["rows"]) == ["1 × 1,000", "300 × 100", "1 × 2,000"]
    assert data["rows"]["300 × 100"]["agreement"] == {FUSED: "same bits", Reference.name: "same bits"}
    assert (LIMIT in data["rows"]["1 × 2,000"]["seconds"]) == (packages.version("numba") is not None)
    assert __main__.main(["bench", "--quick"]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in (FUSED, Reference.name))
    monkeypatch.setattr(Fused, "read", lambda self: [np.zeros_like(param) for param in self.params])
    assert __main__.main(["bench", "--quick"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_the_command_asks_for_contests(monkeypatch, capsys):
    asked = []

    def held(work, **options):
        asked.append((work.row, len(work.params), work.size, options))
        return timed({FUSED: 1.0})

    monkeypatch.setattr(bench, "hold", held)
    fs.set_num_threads(3)
    for words, large, rounds in ((["bench"], *bench.FULL), (["bench", "--quick"], *bench.QUICK)):
        asked.clear()
        assert __main__.main(words) == 0
        options = {"threads": 3, "rounds": rounds, "with_limit": False}
        assert asked == [
            ("Adam", 1, 1_000, options),
            ("Adam", 300, 30_000, options),
            ("Adam", 1, large, options | {"with_limit": True}),
        ]
    capsys.readouterr()


def test_times_are_told_over_ours():
    contest = timed({FUSED: 1.0, "other": 3.0})
    assert contest.times_ours("other") == (3.0, 3.0, 3.0)
    assert contest.as_data()["times_ours"]["other"]["median"] == 3
    assert bench.cell(contest, "other") == "3 s  3.00×"


@pytest.mark.parametrize(("others", "told"), [(None, False), (0.04, False), (0.06, True)])
def test_a_busy_machine_is_told(others, told):
    contest = timed({FUSED: 1.0})
    contest.others = others
    found = bench.remarks({"quiet": timed({FUSED: 1.0}), "": contest})
    assert any("took 6% of the processors" in remark for remark in found) == told
