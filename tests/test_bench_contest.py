"""Rivals do the same work, who is wrong is not timed, and the limit moves the bytes."""

from __future__ import annotations

import importlib
import math
from types import SimpleNamespace

import numpy as np
import pytest

from fusedstep.commands import bench
from fusedstep.rivals import ROWS, Contest, Work, contest, hold
from fusedstep.rivals.contest import FUSED, LIMIT, RIVALS, check, enter
from fusedstep.rivals.own import Bound, Function, Fused, OnTensors, Reference
from fusedstep.rivals.rival import Rival
from fusedstep.rivals.torch_rival import TorchForeach, TorchFused

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPES = [(257,), (3, 5), (1,), (40, 7)]


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


def test_defaults_are_everyone():
    assert contest.RIVALS[0] is Fused
    assert len({rival.name for rival in RIVALS}) == len(RIVALS)
