"""The scripts of bench/ compare first, run to their end and say what is met."""

from __future__ import annotations

import json
import math
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.measurement import machine, timing
from fusedstep.rivals import hold
from fusedstep.rivals.contest import FUSED, LIMIT
from fusedstep.rivals.own import Bound, Fused, Reference
from fusedstep.rivals.torch_rival import TorchFused

from contests import timed

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPES = [(257,), (3, 5), (1,), (40, 7)]

ROUNDS = ["--rounds", "2"]


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
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words, "--out", str(tmp_path)])
        script(name).main()
        return (tmp_path / f"{name}.md").read_text(), json.loads((tmp_path / f"{name}.json").read_text())

    return run


def test_models_have_their_parameters(script):
    architectures = script("architectures")
    assert sum(map(math.prod, architectures.resnet50())) == 25_557_032
    assert sum(map(math.prod, architectures.gpt2_small())) == 124_439_808
    assert len(architectures.resnet50()) == 161
    assert len(architectures.gpt2_small()) == 148


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
    "small": (ROUNDS, "not measured", "numpy"),
    "models": (["--models", "ResNet-50", *ROUNDS], "missed", "numpy"),
    "methods": (
        ["--elements", "3000", "--rows", "SGD", "WindowedAdagrad", *ROUNDS],
        "| WindowedAdagrad | 34 |",
        "numba",
    ),
    "growth": (["--most", "3.5", *ROUNDS], "| 3,162 |", "numpy"),
    "stats": (["--elements", "3000", *ROUNDS], "| 3,000 |", "numpy"),
    "tail": (["--elements", "3000", *ROUNDS], "| norm and clipping |", "torch"),
    "storage": (["--elements", "3000", *ROUNDS], "| bfloat16, m and v in sq8 | 10.1 |", "numpy"),
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
    assert data["command"] == " ".join([f"python bench/{name}.py", *words])
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
    text, data = run("storage", "--elements", "3000", *ROUNDS, *words)
    assert {row["target"] for row in data["rows"]} == {target}
    assert "Goals" not in text


def test_storage_refuses_a_target_that_is_not_there(run, script, monkeypatch, capsys):
    monkeypatch.setattr(script("storage"), "measure", None)
    with pytest.raises(SystemExit):
        run("storage", "--targets", fs.active_target(), "x86-64-v9")
    assert "x86-64-v9" in capsys.readouterr().err


def test_the_chart(run, script, tmp_path):
    pytest.importorskip("matplotlib")
    run("small", *ROUNDS)
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
