"""Measurements measure what they say: results are compared first, the limit moves the bytes, tables are made."""

from __future__ import annotations

import gc
import importlib
import json
import math
import os
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import __main__
from fusedstep.commands import bench
from fusedstep.measurement import machine, packages, timing
from fusedstep.measurement.table import Table, duration, times
from fusedstep.rivals import ROWS, Contest, Work, contest, hold
from fusedstep.rivals.contest import FUSED, LIMIT, RIVALS, check, enter
from fusedstep.rivals.own import Bound, Function, Fused, OnTensors, Reference
from fusedstep.rivals.rival import Rival
from fusedstep.rivals.torch_rival import TorchForeach, TorchFused

SHAPES = [(257,), (3, 5), (1,), (40, 7)]


@pytest.fixture(autouse=True)
def one_thread():
    before = fs.set_num_threads(1)
    yield
    fs.set_num_threads(before)


@pytest.fixture
def script(monkeypatch):
    """Imports a script of bench/."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parent.parent / "bench")
    return importlib.import_module


@pytest.fixture
def run(script, monkeypatch, tmp_path):
    """Runs a script with few contestants and small work: what it writes as Markdown, and as JSON."""
    entered = (Fused, Bound, Reference)
    for name in ("small", "models", "methods", "growth"):
        monkeypatch.setattr(script(name), "hold", lambda work, **options: hold(work, **options | {"rivals": entered}))
    monkeypatch.setattr(script("small"), "ROWS", {"2 × 10": (2, 10, {FUSED: 40})})
    monkeypatch.setitem(script("models").MODELS, "ResNet-50", (lambda: SHAPES, {Reference.name: 1e9}))
    for name in ("storage", "drift"):
        monkeypatch.setattr(script(name), "find_spec", lambda name: None)
    if find_spec("resource"):
        monkeypatch.setattr(script("memory"), "RIVALS", (Fused,))

    def run(name, *words):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words, "--rounds", "2", "--out", str(tmp_path)])
        script(name).main()
        return (tmp_path / f"{name}.md").read_text(), json.loads((tmp_path / f"{name}.json").read_text())

    return run


def timed(seconds):
    """A contest of a single round."""
    return Contest("AdamW", 1, 1000, {name: [time] for name, time in seconds.items()})


def short(**options):
    return hold(Work("AdamW", SHAPES), threads=1, rounds=2, least=1e-5, **options)


def test_numbers_lead_to_no_denormals():
    work = Work("Adam", [(300, 300)])
    for array in (*work.params, *work.grads):
        assert np.abs(array).min() >= 1 / 1024
        assert set(np.sign(array).flat) == {-1, 1}


@pytest.mark.parametrize("rival", [*RIVALS, OnTensors, Function], ids=lambda rival: rival.name)
def test_rivals_do_the_same_work(rival):
    for package in rival.packages:
        pytest.importorskip(package)
    works = [work for work in (Work(row, SHAPES) for row in ROWS) if rival.offers(work)]
    assert works
    for work in works:
        result = Contest(work.row, len(work.params), work.size)
        before = [grad.copy() for grad in work.grads]
        running = check(result, work, enter(result, work, [rival], 1))
        assert not result.failed, work.row
        assert [type(one) for one in running] == [rival]
        assert all(map(np.array_equal, work.grads, before))
        assert not any(map(np.array_equal, running[0].read(), work.params)), work.row


@pytest.mark.parametrize(
    ("rival", "package"),
    [(Fused, "fusedstep"), (Reference, "fusedstep"), (TorchForeach, "torch"), (TorchFused, "torch")],
)
def test_everyone_has_the_threads(rival, package):
    module = pytest.importorskip(package)
    for count in (2, 1):
        rival(Work("Adam", SHAPES), count)
        assert module.get_num_threads() == count


@pytest.mark.parametrize("rival", [TorchForeach, TorchFused])
def test_torch_has_the_form(rival):
    pytest.importorskip("torch")
    defaults = rival(Work("Adam", SHAPES), 1).step.__self__.defaults
    assert [form for form in ("foreach", "fused") if defaults[form]] == [rival.form]


def wrong(name, **options):
    """A contestant of another mind about the options."""

    class Wrong(Reference):
        def __init__(self, work, threads):
            other = work.again(work.row)
            other.options = work.options | options
            super().__init__(other, threads)

        agrees = Rival.agrees

    Wrong.name = name
    return Wrong


class Idle(Fused):
    name = "does nothing"

    def __init__(self, work, threads):
        super().__init__(work, threads)
        self.step = lambda: None


class Short(Fused):
    name = "forgets the last element"

    def read(self):
        self.params[-1].reshape(-1)[-1] = 0
        return self.params


class Broken(Fused):
    name = "raises"

    def __init__(self, work, threads):
        super().__init__(work, threads)
        self.step = lambda: 1 / 0


class Unbuildable(Fused):
    name = "cannot be set up"

    def __init__(self, work, threads):
        raise OSError("no compiler\nand more")


class NotANumber(Fused):
    name = "gives NaN"

    def read(self):
        self.params[0][3] = math.nan
        return self.params


@pytest.mark.parametrize(
    "rival",
    [
        Idle,
        Short,
        Broken,
        Unbuildable,
        NotANumber,
        wrong("swaps the betas", betas=(0.999, 0.9)),
        wrong("another beta", betas=(0.9, 0.99)),
        wrong("ascends", maximize=True),
        wrong("no decay", weight_decay=0.0),
        wrong("coupled decay", decay="coupled"),
        wrong("no correction", bias_correction=False),
        wrong("another eps", eps=1e-3),
    ],
    ids=lambda rival: rival.name,
)
def test_who_is_wrong_is_not_timed(rival):
    result = short(rivals=(Fused, rival))
    assert set(result.seconds) == {FUSED}
    assert list(result.failed) == [rival.name]
    assert "\n" not in result.failed[rival.name]
    assert bench.cell(result, rival.name) == "FAILED"
    assert any(rival.name in remark for remark in bench.remarks({"": result}))


@pytest.mark.parametrize("place", [(0, 2), (1, 3), (1, 69_999), (2, 0)])
def test_agreement_is_a_share_of_the_largest_movement(place):
    work = Work("SGD", [(4,), (70_000,), (3,)])
    result = Contest(work.row, 3, work.size)
    (own,) = check(result, work, enter(result, work, [Fused], 1))
    moved = max(np.abs(new - old).max() for new, old in zip(own.read(), work.params, strict=True))
    quarter, nan = ([array.copy() for array in own.read()] for _ in range(2))
    quarter[place[0]][place[1]] += moved / 4
    nan[place[0]][place[1]] = math.nan
    found = work.compare({"ours": own.read(), "quarter": quarter, "nan": nan})
    assert found["ours"] == (True, 0.0)
    assert found["quarter"] == (False, pytest.approx(0.25, rel=1e-4))
    assert found["nan"] == (False, math.inf)


def test_ours_must_have_the_same_bits(monkeypatch):
    def almost(self):
        self.params[0][3] = np.nextafter(self.params[0][3], np.float32(9))
        return self.params

    monkeypatch.setattr(Fused, "read", almost)
    assert list(short(rivals=(Fused, Bound)).seconds) == [Bound.name]


class Missing(Fused):
    name = "missing"
    packages = ("no_such_package",)


class Unable(Fused):
    name = "without the method"

    @classmethod
    def offers(cls, work):
        return False


def test_who_is_absent_is_named():
    result = short(rivals=(Fused, Missing, Unable))
    assert result.absent == {"missing": "no_such_package not installed", "without the method": "no such method"}
    told = bench.remarks({"a": result, "b": result})
    assert told.count("missing: no_such_package not installed") == 1
    assert not any("method" in remark for remark in told)


def test_who_raises_is_told_what():
    failed = short(rivals=(Fused, Broken, Unbuildable)).failed
    assert failed == {Broken.name: "ZeroDivisionError: division by zero", Unbuildable.name: "OSError: no compiler"}


def test_works_on_the_same_arrays():
    work = Work("Adam", SHAPES)
    other = work.again("WindowedAdagrad")
    assert (other.row, other.method, other.options) == ("WindowedAdagrad", *ROWS["WindowedAdagrad"])
    assert (other.params, other.grads, other.size) == (work.params, work.grads, work.size)
    assert (work.row, work.cycle, other.cycle) == ("Adam", 1, ROWS["WindowedAdagrad"][1]["window"])


def test_a_contest_is_what_was_measured(monkeypatch):
    asked = {}

    def compete(steps, **options):
        asked.update(options, names=list(steps))
        return {FUSED: [6.0, 8.0], "limit: slow": [5.0, 4.0], "limit: fast": [2.0, 9.0, 3.0]}

    ways = {"limit: slow": None, "limit: fast": None}
    monkeypatch.setattr(contest, "compete", compete)
    monkeypatch.setattr(contest, "limit_steps", lambda *_: ways)
    monkeypatch.setattr(contest, "Others", lambda: SimpleNamespace(share=lambda: 0.25))
    work = Work("WindowedAdagrad", [(30,)])
    found = hold(work, threads=1, rounds=7, rivals=(Fused,), with_limit=True, least=0.5)
    assert asked == {"rounds": 7, "least": 0.5, "cycle": work.cycle, "names": [FUSED, *ways]}
    assert (found.limit, found.seconds[LIMIT], found.others) == ("limit: fast", [2.0, 9.0, 3.0], 0.25)
    assert (found.row, found.tensors, found.elements) == ("WindowedAdagrad", 1, 30)


@pytest.mark.parametrize(
    ("row", "count"), [("SGD", 12), ("Lion", 20), ("Adam", 28), ("NAdam", 28), ("AMSGrad", 36), ("WindowedAdagrad", 34)]
)
def test_the_limit_moves_the_bytes_and_leaves_the_bits(row, count):
    pytest.importorskip("numba")
    limit = importlib.import_module("fusedstep.rivals.limit")
    assert limit.bytes_per_element(row) == count
    own = Fused(Work(row, [(5000,)]), 2)
    own.step()
    arrays = [own.params[0], *(value for value in own.optimizer.state["0"].values() if isinstance(value, np.ndarray))]
    before = [array.copy() for array in arrays]
    for way in limit.limits(own, 2).values():
        for _ in range(ROWS[row][1].get("window", 1)):
            way()
    assert all(map(np.array_equal, arrays, before))


def test_the_limit_reaches_every_element():
    numba = pytest.importorskip("numba")
    limit = importlib.import_module("fusedstep.rivals.limit")
    for source in (limit.at_once, limit.in_stretches):
        read, written, first, second = (np.full(5000, value, np.uint32) for value in (1, 8, 4, 4))
        limit.compiled(source, 1, 1, 2)(read, written, first, second, np.uint32(0xFFFFFFFF), numba.get_num_threads())
        assert all((array != value).all() for array, value in ((written, 8), (first, 4), (second, 4)))


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


def test_models_have_their_parameters(script):
    architectures = script("architectures")
    assert sum(map(math.prod, architectures.resnet50())) == 25_557_032
    assert sum(map(math.prod, architectures.gpt2_small())) == 124_439_808
    assert len(architectures.resnet50()) == 161
    assert len(architectures.gpt2_small()) == 148


TABLE = Table("Title", ["", "time"], [["a", "1 ms"], ["bcd", "12 ms"], ["e", ""]], ["Note [sic]."])


def test_tables():
    assert TABLE.plain() == "Title\n      time\n---  -----\na     1 ms\nbcd  12 ms\ne\nNote [sic]."
    assert (
        TABLE.markdown()
        == "## Title\n\n|  | time |\n| --- | ---: |\n| a | 1 ms |\n| bcd | 12 ms |\n| e |  |\n\nNote [sic]."
    )


@pytest.mark.parametrize("rich", [False, True])
def test_tables_are_shown(rich, capsys, monkeypatch):
    if rich:
        pytest.importorskip("rich")
    monkeypatch.setattr("fusedstep.measurement.table.find_spec", lambda name: rich)
    TABLE.show()
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("Title", "time", "bcd", "12 ms", "  1 ms", "Note [sic]."))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (1234.0, "1230 s"),
        (12.3, "12.3 s"),
        (0.9999, "1 s"),
        (0.9994, "999 ms"),
        (0.0123, "12.3 ms"),
        (9.996e-4, "1 ms"),
        (1.234e-4, "123 µs"),
        (1e-6, "1 µs"),
        (9.996e-7, "1 µs"),
        (1.234e-8, "12.3 ns"),
        (1.234e-10, "0.123 ns"),
        (0.0, "0 ns"),
    ],
)
def test_durations_have_three_digits(seconds, told):
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("ratio", "told"),
    [(0.0123, "0.01×"), (9.94, "9.94×"), (9.96, "10.0×"), (99.4, "99.4×"), (99.5, "100×"), (1234.5, "1234×")],
)
def test_ratios_have_three_digits(ratio, told):
    assert times(ratio) == told


def test_caches_are_those_that_the_system_tells(monkeypatch, tmp_path):
    told = (("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", None), ("3", "Unified", "32M"))
    for index, facts in enumerate(told):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, fact in zip(("level", "type", "size"), facts, strict=True):
            if fact:
                (folder / name).write_text(f"{fact}\n")
    monkeypatch.setattr(machine, "Path", lambda place: tmp_path)
    assert machine.caches() == {"L1": "48 KiB", "L3": "32 MiB"}
    monkeypatch.setattr(machine, "Path", lambda place: tmp_path / "nowhere")
    assert machine.caches() == {}


@pytest.mark.parametrize(
    ("told", "name"),
    [
        (
            "processor\t: 0\nvendor_id\t: Maker\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: Some CPU @ 2 GHz\n" * 2,
            "Some CPU @ 2 GHz (family 6, model 85)",
        ),
        ("model name\t: Some CPU\n", "Some CPU"),
        ("processor\t: 0\nCPU part\t: 0xd0c\n", "aarch64"),
        (None, "aarch64"),
    ],
)
def test_the_processor_is_told(told, name, monkeypatch, tmp_path):
    place = tmp_path / "cpuinfo"
    if told:
        place.write_text(told)
    monkeypatch.setattr(machine, "Path", lambda _: place)
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "aarch64")
    assert machine.processor() == name


def test_the_memory_is_told(monkeypatch):
    sizes = {"SC_PHYS_PAGES": 2**23, "SC_PAGE_SIZE": 2048}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__, raising=False)
    assert machine.memory() == "16 GiB"
    monkeypatch.setattr(os, "sysconf", lambda name: int("of no name"))
    assert machine.memory() == "an unknown size"
    monkeypatch.delattr(os, "sysconf")
    assert machine.memory() == "an unknown size"


def test_the_machine_is_told_in_words(monkeypatch):
    monkeypatch.setattr(packages.metadata, "version", {"numba": "9.9", "rich": "8.8", "scipy": "7.7"}.__getitem__)
    monkeypatch.setattr(packages.metadata, "PackageNotFoundError", KeyError)
    fs.set_num_threads(3)
    facts = machine.describe("rich")
    assert (facts["cores"], facts["threads"], facts["target"]) == (os.cpu_count(), 3, fs.active_target())
    assert facts["packages"] == {"numpy": np.__version__, "numba": "9.9", "rich": "8.8"}
    words = machine.in_words(facts | {"caches": {"L1": "1 KiB", "L2": "2 KiB"}})
    assert "cores (L1 1 KiB, L2 2 KiB), " in words
    assert f"target {fs.active_target()}, 3 threads), Python " in words
    assert words.endswith(f"numpy {np.__version__}, numba 9.9, rich 8.8.")
    assert "(caches unknown)" in machine.in_words(facts | {"caches": {}})


def test_who_is_on_the_path_has_a_version(monkeypatch):
    monkeypatch.setattr(packages.metadata, "version", lambda name: packages.metadata.distribution("no such package"))
    facts = machine.describe()
    assert facts["fusedstep"] == fs.__version__
    assert list(facts["packages"]) == ["numpy"]


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


@pytest.mark.parametrize(("share", "told"), [(None, []), (0.256, ["Other processes took 26% of the processors."])])
def test_other_processes_are_told(share, told, script):
    assert script("report").taken(SimpleNamespace(share=lambda: share)) == told


def test_where_files_lie_is_not_told(script, tmp_path):
    report = script("report")
    words = ["--rounds", "3", "--out", str(tmp_path), str(tmp_path / "library.so"), f"--out={tmp_path}", "other.so"]
    assert report.without_places(words) == ["--rounds", "3", "library.so", "other.so"]
    results = list(report.RESULTS.rglob("*.json"))
    assert len(results) > 10
    for result in results:
        assert "/" not in json.loads(result.read_text())["command"].removeprefix("python bench/"), result


def test_the_median_meets_a_goal(script):
    verdict, found = script("report").verdict, timing.Ratio(1.0, 0.5, 2.0)
    assert (verdict(found, 1.0), verdict(found, 1.5), verdict(None, 1.0)) == ("met", "missed", "not measured")


@pytest.mark.parametrize(("rise", "told"), [(2**20 - 1, "Met."), (2**20, "Missed.")])
def test_a_goal_that_is_a_limit(rise, told, script):
    row = {"name": FUSED, "rises": [0, rise], "traced": 0}
    assert script("memory").tabulate([row], 300_000).notes[-1].endswith(told)


def test_growth_has_every_time_in_its_column(script):
    contests = {1000: timed({FUSED: 1e-6, LIMIT: 5e-7, TorchFused.name: 4e-6}), 10: timed({LIMIT: 1e-8})}
    assert script("growth").tabulate(contests).rows == [
        ["1,000", "1 µs", "1.000", "0.500", "0.50", "4.00×"],
        ["10", "FAILED", "–", "1.000", "–", "–"],
    ]


def test_small_steps_are_told_as_parts_of_torchs(script):
    row, *others = script("small").tabulate({"300 × 100": timed({FUSED: 1e-6, TorchFused.name: 5e-5})}).rows
    assert row == ["300 × 100", FUSED, "1 µs", "50.0× (50.0× – 50.0×)", "≥ 40×", "met"]
    assert not others


#: Script -> words that make it short, something that it shows, and a package that it needs.
SCRIPTS = {
    "small": ([], "not measured", "numpy"),
    "models": (["--models", "ResNet-50"], "missed", "numpy"),
    "methods": (["--elements", "3000", "--rows", "SGD", "WindowedAdagrad"], "| WindowedAdagrad | 34 |", "numba"),
    "growth": (["--most", "3.5"], "| 3,162 |", "numpy"),
    "stats": (["--elements", "3000"], "| 3,000 |", "numpy"),
    "tail": (["--elements", "3000"], "| norm and clipping |", "torch"),
    "storage": (["--elements", "3000"], "| bfloat16, m and v in sq8 | 10.1 |", "numpy"),
    "memory": (["--elements", "30000"], "| fusedstep |", "resource"),
    "drift": (["--elements", "300", "--steps", "2"], "| bfloat16, v to nearest |", "numpy"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_write_results(name, run, tmp_path):
    words, shown, package = SCRIPTS[name]
    pytest.importorskip(package)
    words = [*words, "--threads", "2"]
    text, data = run(name, *words)
    assert shown in text
    assert data["command"] == " ".join([f"python bench/{name}.py", *words, "--rounds 2"])
    assert data["rows"]
    assert str(tmp_path) not in text + json.dumps(data)
    assert str(Path.home()) not in text + json.dumps(data)
    assert data["machine"]["processor"] in text
    assert data["machine"]["threads"] == 2


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"max_norm": None},
        {"grad_scale": 1.0},
        {"copy_to": None},
        {"zero_grad": False},
        {"weight_decay": 0.0},
        {"weight_average": 0.9999},
    ],
)
def test_a_tail_without_one_of_its_parts_is_not_timed(other, script, monkeypatch):
    pytest.importorskip("torch")
    tail, made, bind = script("tail"), fs.AdamW, fs.AdamW.bind
    options = {name: value for name, value in other.items() if name.startswith("weight")}
    monkeypatch.setattr(fs, "AdamW", lambda param, **given: made(param, **given | options))
    stages = {name: value for name, value in other.items() if name not in options}
    monkeypatch.setattr(made, "bind", lambda self, grad, **given: bind(self, grad, **given | stages))
    start, grad = (np.random.default_rng(seed).standard_normal(3000, np.float32) for seed in (0, 1))
    grad *= np.float32(tail.SCALE)
    ours = tail.Ours(start, grad, grad_scale=tail.SCALE, on_nonfinite="skip")
    theirs = tail.Torch(start, grad, 1, tail.SCALE)
    with pytest.raises(SystemExit, match="the results differ") if other else nullcontext():
        tail.check(ours, theirs, start, grad, tail.SCALE)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("part", [slice(0), slice(-1), slice(None)])
def test_storage_does_not_time_a_torch_that_errs(kind, part, script, monkeypatch):
    """It steps a part alone."""
    torch = pytest.importorskip("torch")
    start, grad = (np.random.default_rng(seed).standard_normal(3000, np.float32) for seed in (0, 1))
    step = torch.optim.Adam.step

    def stepped(self):
        param = self.param_groups[0]["params"][0].data
        before = param.clone()
        step(self)
        if param.dtype == getattr(torch, kind):
            after = param.clone()
            param.copy_(before)[part] = after[part]

    monkeypatch.setattr(torch.optim.Adam, "step", stepped)
    with nullcontext() if part == slice(None) else pytest.raises(SystemExit, match=f"{kind}: torch differs"):
        script("storage").check_torch(start, grad, 1)


@pytest.mark.parametrize("words", [[], ["--targets", fs.available_targets()[-1]]], ids=["default", "named"])
def test_storage_does_without_goals(words, run, script, monkeypatch):
    monkeypatch.setattr(script("storage"), "GOALS", {})
    target = words[-1] if words else fs.active_target()
    text, data = run("storage", "--elements", "3000", *words)
    assert {row["target"] for row in data["rows"]} == {target}
    assert "Goals" not in text


def test_storage_refuses_a_target_that_is_not_there(run, script, monkeypatch, capsys):
    monkeypatch.setattr(script("storage"), "measure", None)
    with pytest.raises(SystemExit):
        run("storage", "--targets", fs.active_target(), "x86-64-v9")
    assert "x86-64-v9" in capsys.readouterr().err


def test_the_chart(run, script, tmp_path):
    pytest.importorskip("matplotlib")
    run("small")
    contest = timed({FUSED: 2.0, LIMIT: 1.5, TorchFused.name: 3.0})
    methods = {"rows": [contest.as_data()], "machine": machine.describe()}
    (tmp_path / "methods.json").write_text(json.dumps(methods))
    assert script("chart").draw(tmp_path).read_bytes().startswith(b"\x89PNG")


def test_a_step_allocates_nothing(script):
    pytest.importorskip("resource")
    memory = script("memory")
    ours, formula = (memory.observe(name, 300_000, 1) for name in (FUSED, Reference.name))
    assert ours["traced"] < memory.ARRAY
    assert formula["traced"] > 300_000 * 4
    absent = {"name": "other", "absent": "not installed", "failed": None}
    table = memory.tabulate([{"name": FUSED, **ours}, absent], 300_000)
    assert table.rows[1][1] == "–"


def test_defaults_are_everyone():
    assert contest.RIVALS[0] is Fused
    assert len({rival.name for rival in RIVALS}) == len(RIVALS)


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        ((1.02, 1.0, 1.1), "ahead"),
        ((1.02, 0.98, 1.1), "within noise"),
        ((0.98, 0.9, 1.02), "within noise"),
        ((0.98, 0.9, 0.99), "behind"),
    ],
)
def test_a_rival_is_behind_only_by_more_than_the_noise(script, ratio, words):
    assert script("methods").against(timing.Ratio(*ratio)) == words
