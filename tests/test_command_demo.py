"""`fusedstep demo` learns, with the same bits, and says what is wrong in a line."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import methods
from fusedstep.__main__ import main
from fusedstep.commands import pair
from fusedstep.in_numpy import formulas
from fusedstep.lab import network


@pytest.fixture
def lab():
    for module in ("matplotlib", "rich", "sklearn"):
        pytest.importorskip(module)


@pytest.fixture
def small(lab, monkeypatch):
    """The demo with a network that takes no time."""
    from fusedstep.commands import demo

    monkeypatch.setattr(demo, "HIDDEN", (24, 16))


def accuracies(shown):
    return [float(re.search(r"test accuracy ([\d.]+) %", line)[1]) for line in shown if line.startswith("epoch")]


def test_demo_learns_with_the_same_bits(lab, tmp_path, lines):
    picture = tmp_path / "curves.png"
    assert main(["demo", "--epochs", "2", "--out", str(picture)]) == 0
    shown = lines()
    assert "64-1000-1000-10" in shown[0]
    assert accuracies(shown)[-1] > 95
    assert [line.split("  ")[-1] for line in shown if line.startswith("epoch")] == 2 * ["same bits"]
    (line,) = (line for line in shown if line.endswith(" times as long"))
    kernel, formula, ratio = map(float, re.findall(r"[\d.]+", line))
    assert ratio == pytest.approx(formula / kernel, rel=0.02, abs=0.06)
    from matplotlib.image import imread

    pixels = imread(picture)
    assert pixels.shape == (720, 1500, 4)
    assert len(np.unique(pixels.reshape(-1, 4), axis=0)) > 100


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", methods.__all__)
def test_demo_takes_every_optimizer(name, dtype, small, tmp_path, lines):
    words = ["demo", "--optimizer", name, "--dtype", dtype, "--epochs", "1", "--out", str(tmp_path / "x.png")]
    assert main(words) == 0
    shown = lines()
    assert shown[0].startswith(f"{name} trains 64-24-16-10 on 1438 images of digits: 2,130 weights, {dtype}")
    assert shown[3].endswith("same bits")


def test_demo_hands_its_arguments_on(small, tmp_path, monkeypatch):
    from fusedstep.commands import demo

    pairs, dtypes = [], set()

    class Pair(demo.Pair):
        def __init__(self, *given):
            super().__init__(*given)
            pairs.append(self)

    def gradient(weights, images, labels, out):
        dtypes.update(array.dtype.name for array in (images, *weights.values(), *out.values()))
        return network.gradient(weights, images, labels, out)

    monkeypatch.setattr(demo, "Pair", Pair)
    monkeypatch.setattr(demo, "gradient", gradient)
    words = ["demo", "--optimizer", "Adaptive", "--lr", "0.25", "--option", "phi=ema", "--option", "betas=(0.5, 0.75)"]
    words += ["--epochs", "2", "--batch-size", "100", "--dtype", "float64", "--out", str(tmp_path / "x.png")]
    assert main(words) == 0
    assert dtypes == {"float64"}
    for optimizer in pairs[0].optimizers:
        group = optimizer.param_groups[0]
        assert (group["lr"], group["phi"], group["betas"]) == (0.25, "ema", (0.5, 0.75))
        assert optimizer.state["w1"]["step"] == 2 * -(-1438 // 100)
    assert [type(optimizer) for optimizer in pairs[0].optimizers] == [fs.Adaptive, fs.reference.Adaptive]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("momentum=0.9", ("momentum", 0.9)),
        ("betas=(0.5, 0.75)", ("betas", (0.5, 0.75))),
        ("max_lr=None", ("max_lr", None)),
        ("decay=decoupled", ("decay", "decoupled")),
        ("decay=fully decoupled", ("decay", "fully decoupled")),
        ("name=a=b", ("name", "a=b")),
    ],
)
def test_demo_reads_options_as_python_does(text, told):
    from fusedstep.commands import demo

    assert demo.option(text) == told


def test_demo_takes_a_learning_rate_of_0(small, tmp_path, lines):
    assert main(["demo", "--epochs", "2", "--lr", "0", "--out", str(tmp_path / "x.png")]) == 0
    first, second = accuracies(lines())
    assert first == second


def test_demo_tells_that_the_picture_cannot_be_written(small, tmp_path, monkeypatch, capsys):
    from fusedstep.commands import curves

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(curves, "draw", full)
    assert main(["demo", "--epochs", "1", "--out", str(tmp_path / "x.png")]) == 2
    assert capsys.readouterr().err == "fusedstep demo: --out: no space left\n"


def test_demo_repeats_by_its_seed(small, tmp_path, lines):
    shown = []
    for seed in ("1", "1", "2"):
        assert main(["demo", "--epochs", "1", "--seed", seed, "--out", str(tmp_path / "x.png")]) == 0
        shown.append(next(line for line in lines() if line.startswith("epoch")))
    assert shown[0] == shown[1] != shown[2]


@pytest.mark.parametrize("what", ["param", "state"])
def test_demo_fails_where_bits_differ(what, small, tmp_path, monkeypatch, lines):
    right = formulas.FORMULAS["NAdam"]

    def wrong(param, g, state, t, lr, o):
        right(param, g, state, t, lr, o)
        if param.size == 24 * 16 and t == 46:  # the last of the second epoch
            array = param if what == "param" else state["exp_avg"]
            array.flat[5 * 16 + 7] += 1

    monkeypatch.setitem(formulas.FORMULAS, "NAdam", wrong)
    picture = tmp_path / "x.png"
    assert main(["demo", "--optimizer", "NAdam", "--epochs", "4", "--out", str(picture)]) == 1
    shown = lines()
    assert [line.split("  ")[-1] for line in shown if line.startswith("epoch")] == ["same bits", "bits differ"]
    array = "w2" if what == "param" else "exp_avg of w2"
    told = (
        rf"FAIL: {array}, element \(5, 7\) \(of 1 that differ\): kernel \S+ \(0x\w{{8}}\), reference \S+ \(0x\w{{8}}\)"
    )
    assert re.fullmatch(told, shown[-1])
    assert not picture.exists()


def test_demo_times_the_kernels_and_the_reference(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pair, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def taking(*seconds):
        each = iter(seconds)
        return SimpleNamespace(step=lambda grads: now.__setitem__(0, now[0] + next(each)))

    made = pair.Pair("SGD", {"w": np.zeros(1)}, {})
    made.optimizers = [taking(1.0, 0.002, 0.002), taking(0.5, 0.5, 9.0)]
    for _ in range(3):
        made.step({})
    assert made.milliseconds() == pytest.approx((2.0, 500.0))
    turns = []
    made.optimizers = [SimpleNamespace(step=lambda grads, which=which: turns.append(which)) for which in (0, 1)]
    for _ in range(2):
        made.step({})
    assert turns in ([0, 1, 1, 0], [1, 0, 0, 1])


def test_demo_tests_what_it_does_not_train_on():
    """Every image is in one of the parts."""
    datasets = pytest.importorskip("sklearn.datasets")
    from fusedstep.lab.data.digits import digits

    found = digits(np.float64, np.random.default_rng(0))
    assert (len(found.train[1]), len(found.test[1])) == (1438, 359)
    rows = [np.column_stack([images * 16, labels]) for images, labels in (found.train, found.test)]
    every = np.column_stack(datasets.load_digits(return_X_y=True))
    assert sorted(np.concatenate(rows).tolist()) == sorted(every.tolist())


def test_demo_survives_a_run_that_diverges(small, tmp_path, capsys):
    words = ["demo", "--optimizer", "SGD", "--lr", "1e30", "--epochs", "1", "--out", str(tmp_path / "x.png")]
    assert main(words) == 0
    assert "train loss nan" in capsys.readouterr().out
    assert (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--option", "momentum=0.9"], "AdamW: options must be among amsgrad, .* got 'momentum'"),
        (["--lr", "-1"], "AdamW: lr must be .* got -1.0"),
        (["--out", "no-such-folder/x.png"], "--out must be a file in a folder that exists, got no-such-folder/x.png"),
        (["--out", "."], "--out must be a file in a folder that exists, got ."),
    ],
)
def test_demo_tells_mistakes_in_one_line(words, told, lab, capsys):
    assert main(["demo", *words]) == 2
    shown = capsys.readouterr()
    assert re.fullmatch(f"fusedstep demo: {told}\n", shown.err)
    assert shown.out == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--optimizer", "Adan"], [*methods.__all__, "Adan"]),
        (["--option", "momentum"], ["must be NAME=VALUE, got momentum"]),
        (["--epochs", "0"], ["must be an integer of at least 1, got 0"]),
        (["--batch-size", "x"], ["must be an integer of at least 1, got x"]),
        (["--seed", "-1"], ["must be an integer of at least 0, got -1"]),
    ],
)
def test_demo_refuses_arguments(words, told, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["demo", *words])
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert all(word in shown for word in told)


def test_gradient_is_the_loss_derivative():
    rng = np.random.default_rng(0)
    weights = network.random_weights((5, 7, 6, 3), np.float64, rng)
    images, labels = rng.standard_normal((4, 5)), np.array([0, 2, 1, 2])
    grads = {name: np.empty_like(array) for name, array in weights.items()}
    loss = network.gradient(weights, images, labels, out=grads)
    assert loss == network.evaluate(weights, images, labels)[0]
    for name, array in weights.items():
        for place in np.ndindex(array.shape):
            value, moved = array[place], []
            for small_step in (1e-6, -1e-6):
                array[place] = value + small_step
                moved.append(network.evaluate(weights, images, labels)[0])
            array[place] = value
            assert abs((moved[0] - moved[1]) / 2e-6 - grads[name][place]) < 1e-8
