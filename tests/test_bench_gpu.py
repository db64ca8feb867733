"""What a GPU is measured with, where there is none: results are compared first, and the tables say what is met."""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import sys
import time
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.in_numpy.encodings import bfloat16_nearest
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
def gpu(script):
    return script("gpu")


@pytest.fixture
def part(script):
    """A file of what the script is made of."""
    return lambda name: script(f"device.{name}")


@pytest.fixture
def replace(part, monkeypatch):
    """Gives a name another value wherever it was imported."""

    def everywhere(name, value):
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").split(".")[0] in ("gpu", "device") and hasattr(module, name):
                monkeypatch.setattr(module, name, value)

    return everywhere


@pytest.fixture
def small(gpu, device, part, replace):
    """The script, on a device, with less to do."""
    if device.simulation:
        replace("Driver", Played)
        replace("capture", partial(played_graph, device))
    for name, value in {"TENSORS": 3, "SIZE": 5003, "PERIOD": 7001}.items():
        replace(name, value)
    yield gpu
    if device.simulation:
        device.simulation.fusedstep_drop_graph()


def played_graph(device, step):
    device.simulation.fusedstep_drop_graph()
    with device.playing_capture():
        step()
    return device.simulation.fusedstep_launch_graph


def run(gpu, monkeypatch, folder, *words):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--elements", "30001", "--rounds", "4", "--out", str(folder), *words])
    gpu.main()


def rows_of(folder):
    return {row["name"]: row for row in json.loads((folder / "gpu.json").read_text())["rows"]}


def test_every_row(small, replace, monkeypatch, tmp_path, capsys):
    replace("RIVALS", {})
    run(small, monkeypatch, tmp_path)
    printed, text = capsys.readouterr().out, (tmp_path / "gpu.md").read_text()
    data = json.loads((tmp_path / "gpu.json").read_text())
    assert printed.count("numbers have the reference's bits") == len(small.SETTINGS)
    assert data["command"] == "python bench/gpu.py --elements 30001 --rounds 4"
    assert data["rows"][0]["facts"] in text
    rows = rows_of(tmp_path)
    for name in small.SETTINGS:
        assert rows[name]["seconds"][FUSED] > 0
        assert not rows[name]["failed"]
    assert list(rows["calls"]["seconds"]) == [FUSED, f"{FUSED}, gradients given", f"{FUSED}, captured"]
    assert rows["calls"]["seconds"].keys() == rows[small.MANY]["seconds"].keys()


@pytest.mark.parametrize(("row", "times"), [("SGD", 1.5), ("Adam", 3.5), ("Adam, all bfloat16", 3.5)])
def test_the_copy_moves_as_many_bytes(row, times, small, replace, monkeypatch, tmp_path):
    """One of the gradient moves 8 for an element, or 4: its time counts as often as our step moves that."""
    monkeypatch.setattr(small.Driver, "seconds", lambda self, step, count: 1.0)
    replace("RIVALS", {})
    run(small, monkeypatch, tmp_path, "--rows", row)
    assert rows_of(tmp_path)[row]["seconds"] == {FUSED: 1.0, "copy": times}


def test_results_alone(small, monkeypatch, tmp_path, capsys):
    run(small, monkeypatch, tmp_path, "--check", "--rows", "Adam", "RAdam")
    assert capsys.readouterr().out.count("reference's bits") == 2
    assert not list(tmp_path.iterdir())


@pytest.fixture
def spoil(part, replace):
    """Changes something, by name, after the last of the steps that are checked."""

    def spoil(change):
        agreement = part("agreement")
        check = agreement.check

        def broken(name, params, grads, optimizer, step):
            def wrong():
                step()
                if optimizer.state["0"]["step"] == agreement.CHECKED:
                    change(params, optimizer)

            return check(name, params, grads, optimizer, wrong)

        replace("check", broken)
        replace("RIVALS", {})

    return spoil


@pytest.mark.parametrize("where", [0, 20_000, -1], ids=["first", "third quarter", "last"])
@pytest.mark.parametrize("row", ["SGD", "Adam, all bfloat16", "Adam, bfloat16, m and v in sq8"])
def test_who_is_wrong_is_not_timed(row, where, small, spoil, monkeypatch, tmp_path, capsys):
    """One bit of one element."""

    def change(params, optimizer):
        values = fs.cuda.to_host(params[0])
        values.view(np.uint16)[where] ^= 1
        fs.cuda.to_device(params[0], values)

    spoil(change)
    with pytest.raises(SystemExit, match=f"not measured: {row}"):
        run(small, monkeypatch, tmp_path, "--rows", row)
    assert "FAILED: ArithmeticError: parameters of tensor 0 differ" in capsys.readouterr().out
    assert "| FAILED | – |" in (tmp_path / "gpu.md").read_text()


def test_a_state_that_differs_is_found(small, spoil, monkeypatch, tmp_path, capsys):
    def change(params, optimizer):
        scales = optimizer.state["0"]["exp_avg_sq_scale"]
        values = fs.cuda.to_host(scales)
        values[-1] *= 2
        fs.cuda.to_device(scales, values)

    spoil(change)
    with pytest.raises(SystemExit):
        run(small, monkeypatch, tmp_path, "--check", "--rows", "Adam, m and v in sq8")
    assert "exp_avg_sq_scale of tensor 0 differ from element 24,576 on" in capsys.readouterr().out


def test_a_captured_step_that_does_nothing_is_not_timed(small, replace, monkeypatch, tmp_path):
    replace("RIVALS", {})
    replace("capture", lambda step: lambda: None)
    run(small, monkeypatch, tmp_path, "--rows", small.MANY)
    row = rows_of(tmp_path)[small.MANY]
    assert row["failed"] == {f"{FUSED}, captured": "ArithmeticError: parameters of tensor 0 differ from element 0 on"}
    assert row["seconds"].keys() == {FUSED, f"{FUSED}, gradients given"}


def test_a_capture_that_fails_leaves_no_stream_behind(part, monkeypatch):
    """Torch's context ends the capture first, and where that raises, it does not put the stream of before back."""
    current = [0]

    @contextmanager
    def stream(chosen):
        before, current[0] = current[0], chosen.cuda_stream
        try:
            yield
        finally:
            current[0] = before

    class Graph:
        def __init__(self, graph):
            pass

        def __enter__(self):
            current[0] = 7

        def __exit__(self, *error):
            raise RuntimeError("the capture was invalidated")

    cuda = SimpleNamespace(
        CUDAGraph=lambda: None,
        graph=Graph,
        stream=stream,
        current_stream=lambda: SimpleNamespace(cuda_stream=current[0]),
    )
    capture = part("capture")
    monkeypatch.setattr(capture, "package", lambda name: SimpleNamespace(cuda=cuda))
    seen = []
    with pytest.raises(RuntimeError, match=r"^the capture was invalidated$"):
        capture.capture(lambda: seen.append(fs.cuda.current_stream(None)))
    assert seen == [7]
    assert current == [0]


@pytest.fixture
def torch(small, part, device, replace):
    """torch on the memory of a device that the processor plays."""
    torch = pytest.importorskip("torch")
    if not device.simulation:
        return torch

    def in_torch(array):
        memory = (ctypes.c_char * array.nbytes).from_address(part("arrays").address_of(array))
        return torch.frombuffer(memory, dtype=getattr(torch, array.dtype))

    replace("in_torch", in_torch)
    return torch


def test_rivals_do_the_same_work(small, part, device, torch, monkeypatch, tmp_path):
    rows, names = ["SGD, momentum", "Adagrad", "Adam", "AMSGrad", "RAdam", small.MANY], part("rows")
    rows.append(names.BFLOAT16)
    run(small, monkeypatch, tmp_path, "--without", "torch.compile", "--rows", *rows)
    found = rows_of(tmp_path)
    for name in rows:
        expected = {names.TORCH_FOREACH} if name == "RAdam" else {names.TORCH_FUSED, names.TORCH_FOREACH}
        assert expected <= found[name]["seconds"].keys(), name
        assert not found[name]["failed"].keys() - {"CuPy, one kernel", "torch fused, captured"}, name
        assert "torch.compile" not in found[name]["seconds"]
    if not device.simulation:
        assert "torch fused, captured" in found["calls"]["seconds"]


@pytest.mark.long
@pytest.mark.filterwarnings("default")
def test_torch_compiles_the_same_work(small, torch, monkeypatch, tmp_path):
    run(small, monkeypatch, tmp_path, "--rows", "Adam")
    assert "torch.compile" in rows_of(tmp_path)["Adam"]["seconds"]


def idle(setting, params, grads):
    return lambda: None


@pytest.mark.parametrize("row", ["SGD", "Adam, all bfloat16", "Adam, m and v in sq8"])
def test_rivals_of_another_mind_are_named(row, small, replace, monkeypatch, tmp_path):
    def absent(setting, params, grads):
        return importlib.import_module("no_such_package").step

    replace("RIVALS", {"idle": ([row], idle), "absent": ([row], absent)})
    run(small, monkeypatch, tmp_path, "--rows", row)
    text = (tmp_path / "gpu.md").read_text()
    assert f"{row}: idle: ArithmeticError: differs from the reference by 1.0e+00 of a movement" in text
    assert f"{row}: absent: ModuleNotFoundError: No module named 'no_such_package'" in text
    assert rows_of(tmp_path)[row]["seconds"].keys() == {FUSED, "copy"}


def failing_after(count):
    """Agrees with everything, and fails later than so many steps."""

    def make(setting, params, grads):
        steps = iter(range(count))

        def step():
            if next(steps, None) is None:
                raise RuntimeError("an illegal address")

        return step

    return make


@pytest.mark.parametrize("count", [0, 5, 13], ids=["at once", "while it is warmed", "while it is timed"])
def test_who_fails_on_the_way_is_out(count, small, part, replace, monkeypatch, tmp_path):
    """One step when it enters, ten to get warm, and two in each round."""
    monkeypatch.setattr(small.Driver, "seconds", lambda self, step, count: [step() for _ in range(count)] and 1.0)
    replace("check_rival", lambda row, make: None)
    replace("RIVALS", {"one": (["SGD"], failing_after(count)), "other": (["SGD"], idle)})
    run(small, monkeypatch, tmp_path, "--rows", "SGD", "Adam")
    rows = rows_of(tmp_path)
    assert rows["SGD"]["failed"] == {"one": "RuntimeError: an illegal address"}
    assert rows["SGD"]["seconds"].keys() == {FUSED, "other", "copy"}
    assert rows["Adam"]["seconds"].keys() == {FUSED, "copy"}


def test_what_goes_wrong_on_the_device_is_its_maker_s(small, replace, monkeypatch, tmp_path):
    """Whose kernel fails is known only to who waits for it."""
    wrong = []

    def broken(setting, params, grads):
        wrong.append(RuntimeError("cuCtxSynchronize: error 1 of the CUDA driver"))
        return lambda: None

    def wait(self):
        if wrong:
            raise wrong.pop()

    monkeypatch.setattr(small.Driver, "wait", wait)
    replace("check_rival", lambda row, make: None)
    replace("RIVALS", {"broken": (["SGD"], broken)})
    run(small, monkeypatch, tmp_path, "--rows", "SGD")
    row = rows_of(tmp_path)["SGD"]
    assert row["failed"] == {"broken": "RuntimeError: cuCtxSynchronize: error 1 of the CUDA driver"}
    assert row["seconds"].keys() == {FUSED, "copy"}


def test_a_device_that_is_lost_takes_no_earlier_row_along(small, replace, monkeypatch, tmp_path):
    """Nor ours of the same row, which was there first; arrays of later rows are not to be had then."""
    lost = []

    def lose(setting, params, grads):
        lost.append(rows_of(tmp_path))  # which is written before anybody else comes
        monkeypatch.setattr(small.Driver, "wait", gone)
        monkeypatch.setattr(small.Driver, "seconds", gone)
        return lambda: None

    def gone(*_):
        raise RuntimeError("cuCtxSynchronize: error 700 of the CUDA driver")

    replace("check_rival", lambda row, make: None)
    replace("RIVALS", {"bad": (["Adam"], lose)})
    rows = ["SGD", "Adam", "AdamW"]
    with pytest.raises(SystemExit, match=r"^not measured: AdamW$"):
        run(small, monkeypatch, tmp_path, "--rows", *rows)
    found = rows_of(tmp_path)
    for row in rows[:2]:
        assert found[row]["seconds"].keys() == lost[0][row]["seconds"].keys() == {FUSED, "copy"}
    for row, name in (("Adam", "bad"), ("AdamW", FUSED)):
        assert found[row]["failed"] == {name: "RuntimeError: cuCtxSynchronize: error 700 of the CUDA driver"}


def test_rows_leave_no_memory_behind(small, replace, monkeypatch, tmp_path):
    """But that of the parameters and gradients that the next row steps on too."""
    forget, kept = small.forget, []

    def taken():
        return sum(one.nbytes for one in gc.get_objects() if type(one) is fs.cuda.Array)

    def counted():
        forget()
        kept.append(taken())

    gc.collect()
    replace("RIVALS", {})
    monkeypatch.setattr(small, "forget", counted)
    before = taken()
    run(small, monkeypatch, tmp_path, "--rows", "AMSGrad", small.MANY, "SGD")
    assert [nbytes - before for nbytes in kept] == [2 * 4 * 30_001] * 3


def test_a_run_without_time_tells_what_it_has(small, monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match=r"^not measured: SGD, Adam$"):
        run(small, monkeypatch, tmp_path, "--seconds", "0", "--rows", "SGD", "Adam")
    assert "SGD: fusedstep: TimeoutError: the run is out of time" in (tmp_path / "gpu.md").read_text()


def test_who_is_not_ready_is_left_behind(small, part, replace, monkeypatch, tmp_path):
    def late(setting, params, grads):
        time.sleep(60)

    monkeypatch.setattr(part("race"), "PATIENCE", 0.2)
    replace("check_rival", lambda row, make: None)
    replace("RIVALS", {"late": (["SGD"], late), "other": (["SGD"], idle)})
    begin = time.monotonic()
    run(small, monkeypatch, tmp_path, "--rows", "SGD")
    assert time.monotonic() - begin < 30
    row = rows_of(tmp_path)["SGD"]
    assert row["failed"] == {"late": "TimeoutError: not ready in 0.2 s"}
    assert row["seconds"].keys() == {FUSED, "other", "copy"}


def test_who_is_not_ready_leaves_time_to_others(small, part, replace, monkeypatch, tmp_path):
    """Each waits for a third of what is left."""
    waited = []

    def late(setting, params, grads):
        begin = time.monotonic()
        try:
            time.sleep(60)
        finally:
            waited.append(time.monotonic() - begin)

    replace("check_rival", lambda row, make: None)
    replace("RIVALS", {"late": (["SGD", "Adam"], late)})
    run(small, monkeypatch, tmp_path, "--seconds", "6", "--rows", "SGD", "Adam")
    assert 4 > waited[0] > waited[1]
    rows = rows_of(tmp_path)
    assert all(rows[row]["seconds"].keys() == {FUSED, "copy"} for row in ("SGD", "Adam"))


def test_rounds_end_when_the_time_is_over(small, part, replace, monkeypatch, tmp_path):
    turned = []

    def slow(self, step, count):
        turned.append(step)
        return 1.0

    monkeypatch.setattr(small.Driver, "seconds", slow)
    monkeypatch.setattr(part("deadline").Deadline, "left", lambda self: -1.0 if len(turned) > 2 else 600.0)
    replace("RIVALS", {})
    run(small, monkeypatch, tmp_path, "--rounds", "9", "--rows", "SGD")
    assert len(turned) == 2 * (1 + part("race").LEAST_ROUNDS)


def test_bfloat16_keeps_its_bits(small, part):
    """Arrays are filled to their ends, with what the type can hold."""
    values = np.random.default_rng(4).standard_normal(7001, np.float32)
    for kind, first in (("float32", values), ("bfloat16", bfloat16_nearest(values))):
        array = fs.cuda.to_host(small.random(small.Driver(), 20_000, kind, 4))
        assert (np.asarray(array).view(first.dtype) == np.resize(first, 20_000)).all()


def test_without_a_device(gpu, monkeypatch, tmp_path):
    monkeypatch.setattr(fs.cuda, "why_not", lambda: "the driver finds no GPU")
    with pytest.raises(SystemExit, match=r"^there is no CUDA device to measure: the driver finds no GPU$"):
        run(gpu, monkeypatch, tmp_path)


def test_contestants_take_turns(small, part, replace, monkeypatch):
    calls, counts = [], []

    class Clock:
        def seconds(self, step, count):
            counts.append(count)
            step()
            return 1e-3 if counts.count(10) < 3 else 1e-4

    race = part("race").Race(Clock(), "SGD", [fs.cuda.Array.of(np.ones(9, np.float32))], [])
    race.steps = {name: lambda name=name: calls.append(name) for name in "abc"}
    race.run(3, part("deadline").Deadline(9))
    assert "".join(calls) == "abc" + "aabbcc" + "bbccaa" + "ccaabb"
    assert counts == [10] * 3 + [5, 5, 20] + [5, 20, 5] + [20, 5, 5]  # 5 ms together, or as many as may
