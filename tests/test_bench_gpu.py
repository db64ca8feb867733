"""What a GPU is measured with, where there is none: results are compared first, and the tables say what is met."""

from __future__ import annotations

import ctypes
import importlib
import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.encodings import bfloat16_nearest
from fusedstep.rivals import Contest
from fusedstep.rivals.contest import FUSED


class Played:
    """The clock and copies of a device that the processor plays."""

    def seconds(self, step, count):
        begin = time.perf_counter()
        for _ in range(count):
            step()
        return (time.perf_counter() - begin) / count

    def wait(self):
        pass

    def copy(self, to, source, nbytes):
        ctypes.memmove(to, source, nbytes)

    def facts(self):
        return "a chip, 9.0, 1 MiB, driver 1.2"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parent.parent / "bench")
    return importlib.import_module("gpu")


@pytest.fixture
def small(gpu, device, monkeypatch):
    """The script, on a device, with less to do."""
    if "simulated" in fs.cuda._loaded[0]._name:
        monkeypatch.setattr(gpu, "Device", Played)
    for name, value in {"TENSORS": 3, "SIZE": 5003, "PERIOD": 7001}.items():
        monkeypatch.setattr(gpu, name, value)
    return gpu


def run(gpu, monkeypatch, folder, *words):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--elements", "30001", "--rounds", "2", "--out", str(folder), *words])
    gpu.main()


def contest_of(row, **seconds):
    """Every round took as long."""
    contest = Contest(row, 1, 1_000_000_000)
    contest.seconds = {name.replace("_", " "): [value * 1e-3] * 3 for name, value in seconds.items()}
    return contest


def test_every_row(small, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(small, "RIVALS", {})
    run(small, monkeypatch, tmp_path)
    printed, text = capsys.readouterr().out, (tmp_path / "gpu.md").read_text()
    data = json.loads((tmp_path / "gpu.json").read_text())
    assert printed.count("numbers have the reference's bits") == len(small.SETTINGS)
    assert data["command"] == "python bench/gpu.py --elements 30001 --rounds 2"
    assert data["rows"][0]["facts"] in text
    for name in small.SETTINGS:
        (row,) = [row for row in data["rows"] if row["name"] == name]
        assert row["seconds"][FUSED] > 0
        assert not row["failed"]
    assert set(data["rows"][-1]["seconds"]) == {FUSED}


@pytest.mark.parametrize(("row", "times"), [("SGD", 1.5), ("Adam", 3.5), ("Adam, all bfloat16", 3.5)])
def test_the_copy_moves_as_many_bytes(row, times, small, monkeypatch, tmp_path):
    """One of the gradient moves 8 for an element, or 4: its time counts as often as our step moves that."""
    monkeypatch.setattr(small.Device, "seconds", lambda self, step, count: 1.0)
    monkeypatch.setattr(small, "RIVALS", {})
    run(small, monkeypatch, tmp_path, "--rows", row)
    found = json.loads((tmp_path / "gpu.json").read_text())["rows"][1]
    assert found["seconds"] == {FUSED: 1.0, "copy": times}


def test_results_alone(small, monkeypatch, tmp_path, capsys):
    run(small, monkeypatch, tmp_path, "--check", "--rows", "Adam", "RAdam")
    assert capsys.readouterr().out.count("reference's bits") == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", [0, -1], ids=["first", "last"])
@pytest.mark.parametrize("row", ["SGD", "Adam, all bfloat16", "Adam, bfloat16, m and v in sq8"])
def test_who_is_wrong_is_not_timed(row, where, small, monkeypatch, tmp_path, capsys):
    """One bit of one element."""
    check = small.check

    def broken(name, params, grads, optimizer, step):
        def wrong():
            step()
            if optimizer.state["0"]["step"] == small.CHECKED:
                values = fs.cuda.to_host(params[0])
                values.view(np.uint16)[where] ^= 1
                fs.cuda.to_device(params[0], values)

        return check(name, params, grads, optimizer, wrong)

    monkeypatch.setattr(small, "check", broken)
    monkeypatch.setattr(small, "RIVALS", {})
    with pytest.raises(SystemExit, match=f"not as the reference: {row}"):
        run(small, monkeypatch, tmp_path, "--rows", row)
    assert "FAILED: ArithmeticError: parameters of tensor 0 differ" in capsys.readouterr().out
    assert "| FAILED | – |" in (tmp_path / "gpu.md").read_text()


def test_a_state_that_differs_is_found(small, monkeypatch, tmp_path, capsys):
    check = small.check

    def broken(name, params, grads, optimizer, step):
        def wrong():
            step()
            if optimizer.state["0"]["step"] == small.CHECKED:
                scales = optimizer.state["0"]["exp_avg_sq_scale"]
                values = fs.cuda.to_host(scales)
                values[-1] *= 2
                fs.cuda.to_device(scales, values)

        return check(name, params, grads, optimizer, wrong)

    monkeypatch.setattr(small, "check", broken)
    with pytest.raises(SystemExit):
        run(small, monkeypatch, tmp_path, "--check", "--rows", "Adam, m and v in sq8")
    assert "exp_avg_sq_scale of tensor 0 differ from element 24,576 on" in capsys.readouterr().out


@pytest.fixture
def torch(small, monkeypatch):
    """torch on the memory of a device that the processor plays."""
    torch = pytest.importorskip("torch")
    if "simulated" not in fs.cuda._loaded[0]._name:
        return torch

    def in_torch(array):
        memory = (ctypes.c_char * array.nbytes).from_address(small.address_of(array))
        return torch.frombuffer(memory, dtype=getattr(torch, array.dtype))

    monkeypatch.setattr(small, "in_torch", in_torch)
    return torch


def test_rivals_do_the_same_work(small, torch, monkeypatch, tmp_path):
    rows = ["SGD, momentum", "Adagrad", "Adam", "AMSGrad", "RAdam", "Adam, all bfloat16", "Adam, many tensors"]
    run(small, monkeypatch, tmp_path, "--rows", *rows)
    found = {row["name"]: row for row in json.loads((tmp_path / "gpu.json").read_text())["rows"]}
    for name in rows:
        expected = {small.TORCH_FOREACH} if name == "RAdam" else {small.TORCH_FUSED, small.TORCH_FOREACH}
        assert expected <= found[name]["seconds"].keys(), name
        assert not found[name]["failed"].keys() - {"CuPy, one kernel", "torch.compile"}, name
    assert found["calls"]["seconds"].keys() == {FUSED, small.TORCH_FUSED, small.TORCH_FOREACH}


def test_rivals_of_another_mind_are_named(small, monkeypatch, tmp_path):
    def idle(setting, params, grads):
        return lambda: None

    def absent(setting, params, grads):
        return importlib.import_module("no_such_package").step

    monkeypatch.setattr(small, "RIVALS", {"idle": (["SGD"], idle), "absent": (["SGD"], absent)})
    run(small, monkeypatch, tmp_path, "--rows", "SGD")
    text = (tmp_path / "gpu.md").read_text()
    assert "idle: ArithmeticError: differs from the reference by" in text
    assert "absent: ModuleNotFoundError: No module named 'no_such_package'" in text


def test_bfloat16_keeps_its_bits(small):
    """Arrays are filled to their ends, with what the type can hold."""
    device = small.Device()
    values = np.random.default_rng(4).standard_normal(7001, np.float32)
    for kind, first in (("float32", values), ("bfloat16", bfloat16_nearest(values))):
        array = fs.cuda.to_host(small.random(device, 20_000, kind, 4))
        assert (np.asarray(array).view(first.dtype) == np.resize(first, 20_000)).all()


def test_without_a_device(gpu, monkeypatch, tmp_path):
    monkeypatch.setattr(fs.cuda, "why_not", lambda: "the driver finds no GPU")
    with pytest.raises(SystemExit, match=r"^there is no CUDA device to measure: the driver finds no GPU$"):
        run(gpu, monkeypatch, tmp_path)


def test_bytes_are_those_of_the_arrays(gpu):
    expected = {"SGD": 12, "SGD, momentum": 20, "Adagrad": 20, "Adam": 28, "AdamW": 28, "AMSGrad": 36, "RAdam": 28}
    expected |= {gpu.BFLOAT16: 14, gpu.SQ8: 16.125, gpu.HALF_SQ8: 10.125, gpu.MANY: 28}
    assert {row: gpu.bytes_per_element(row) for row in gpu.SETTINGS} == expected


@pytest.mark.parametrize("elements", [1, 8191, 8193, 30_001, 10**9, 10**9 + 8192])
def test_places_reach_from_the_begin_to_the_end(gpu, elements):
    places = gpu.places_of(elements)
    assert places[0][0] == 0
    assert sum(places[-1]) == elements
    assert all(begin % gpu.BLOCK == 0 and 0 < count <= gpu.PLACE for begin, count in places)
    assert all(sum(one) <= other[0] for one, other in pairwise(places))


def test_goals_of_the_bandwidth(gpu):
    """A copy of our bytes takes 9.3 where our step takes 10."""
    contests = {
        "SGD": contest_of("SGD", fusedstep=10, copy=9.3),
        "Adam": contest_of("Adam", fusedstep=10, copy=9.1),
        gpu.HALF_SQ8: contest_of(gpu.HALF_SQ8, fusedstep=10, copy=6.6),
        "RAdam": contest_of("RAdam"),
    }
    met, missed, codes, failed = gpu.speeds(contests).rows
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
def test_goals_beside_others(gpu, row, seconds, expected):
    found = [list(cells[-2:]) for cells in gpu.beside({row: contest_of(row, **seconds)}).rows]
    assert expected in found
    assert [cells for cells in found if cells != ["–", ""]] == [expected]


@pytest.mark.parametrize(
    ("time_", "call", "verdicts"), [(0.25, 11e-6, ["met", "missed"]), (0.26, 10e-6, ["missed", "met"])]
)
def test_goals_of_many_tensors(gpu, time_, call, verdicts):
    contest = contest_of(gpu.MANY, fusedstep=time_, torch_fused=1)
    table = gpu.many(contest, {FUSED: [call] * 3, "torch fused": [1e-3] * 3})
    assert [table.rows[0][3], table.rows[0][6]] == verdicts
    assert table.rows[1] == ["torch fused", "1 ms", "–", "", "1 ms", "–", ""]


def test_contestants_take_turns(gpu):
    calls = []

    class Clock:
        def seconds(self, step, count):
            step()
            return float(count)

    steps = {name: lambda name=name: calls.append(name) for name in "abc"}
    seconds = gpu.compete(Clock(), steps, rounds=3, count=7)
    assert seconds == {name: [7.0] * 3 for name in "abc"}
    assert "".join(calls) == "abc" + "aabbcc" + "bbccaa" + "ccaabb"
