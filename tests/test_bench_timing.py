"""Contestants take turns, the time of one step is told, and so is what others took of the processors."""

from __future__ import annotations

import gc
import os
from types import SimpleNamespace

import pytest

from fusedstep.measurement import timing


def test_contestants_take_turns():
    calls = []
    steps = {name: lambda name=name: calls.append(name) for name in "abc"}
    seconds = timing.compete(steps, rounds=4, least=0, cycle=3, rest=0)
    assert {name: len(times) for name, times in seconds.items()} == dict.fromkeys("abc", 4)
    turns = [name for i, name in enumerate(calls) if i == 0 or calls[i - 1] != name]
    assert "".join(turns).endswith("abcbcacababc".replace("cc", "c").replace("aa", "a").replace("bb", "b"))


class Clock:
    """Time that only steps and rests take."""

    def __init__(self):
        self.now, self.rests, self.looks = 0.0, 0, 0

    def perf_counter(self):
        self.looks += 1
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.rests += 1

    def taking(self, seconds):
        """A step that takes so long."""

        def step():
            assert self.looks < 100, "no end is seen"
            self.now += seconds

        return step


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def test_times_are_those_of_one_step(clock):
    found = timing.compete({"a": clock.taking(0.25), "b": clock.taking(2.0)}, rounds=2, least=1.0)
    assert found == {"a": [0.25, 0.25], "b": [2.0, 2.0]}


@pytest.mark.parametrize("cycle", [1, 3])
@pytest.mark.parametrize("each", [1e-7, 4e-5, 6e-4, 8e-4, 9e-4, 3e-3])
def test_steps_that_are_timed_together_take_long_enough(each, cycle, clock):
    count = timing.calibrate(clock.taking(each), 2.5e-3, cycle)
    assert count % cycle == 0
    assert 2.5e-3 <= count * each < 1.2 * 2.5e-3 + cycle * each
    assert clock.looks <= 2 * 8


def test_steps_that_take_just_long_enough(clock):
    assert timing.calibrate(clock.taking(0.25), 1.0, 1) == 4


def test_a_turn_is_a_rest_and_steps_that_wake_before_the_timed_ones(clock):
    rested = []

    def step():
        rested.append(clock.rests)
        clock.now += 0.25 if rested.count(clock.rests) > 1 else 5.0

    before = timing.calibrate(step, 1.0, 1)
    rested.clear()
    assert before == 4
    assert timing.compete({"a": step}, rounds=3, least=1.0, rest=0.5) == {"a": [0.25] * 3}
    assert [rested.count(turn) for turn in (1, 2, 3)] == [1 + before // 4 + before] * 3


@pytest.mark.parametrize("enabled", [True, False])
def test_no_garbage_is_collected_meanwhile(enabled, clock, monkeypatch):
    seen, collected = [], []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(list(seen)))
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        timing.compete({"a": lambda: seen.append(gc.isenabled())}, rounds=2, least=0)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
    calibrated = len(collected[0])  # what there was goes before the first turn
    assert len(collected) == 1
    assert seen[calibrated:] == [False] * 4


def test_ratios_are_those_of_rounds():
    assert timing.ratio([2.0, 4.0, 600.0], [1.0, 2.0, 100.0]) == (2.0, 2.0, 4.0)


def test_the_share_of_others_is_a_share():
    share = timing.Others().share()
    assert share is None or 0 <= share <= 1


def test_the_share_of_others_is_without_ours(monkeypatch, tmp_path):
    """Of 10 seconds, 4 and 1 were idle; of the 5 of work, 2 were ours or of what we started."""
    stat = tmp_path / "stat"
    monkeypatch.setattr(timing, "Path", lambda place: stat)
    monkeypatch.setattr(os, "sysconf", lambda name: 100, raising=False)
    own = SimpleNamespace(user=1.0, system=1.0, children_user=1.0, children_system=1.0)
    monkeypatch.setattr(os, "times", lambda: own)
    stat.write_text("cpu  1000 1000 1000 1000 1000 1000 1000 1000 0 0\ncpu0 9 9\n")
    others = timing.Others()
    assert others.share() is None
    stat.write_text("cpu  1100 1100 1100 1400 1100 1000 1100 1100 0 0\ncpu0 9 9\n")
    own.user, own.system, own.children_user, own.children_system = 1.25, 1.5, 1.5, 1.75
    assert others.share() == pytest.approx(0.3)
    own.user = 99.0  # clocks differ in how finely they tick
    assert others.share() == 0
    stat.unlink()
    assert timing.Others().share() is None
