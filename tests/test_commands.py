"""The command line does what its help says, and ends with the right status: 1 bits differ, 2 a mistake, 130 Ctrl-C,
141 nobody reads."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib import metadata
from itertools import chain, product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import methods, storage
from fusedstep.__main__ import COMMANDS, main
from fusedstep.bfloat16 import name_of_type
from fusedstep.commands import contract, info, pair, trial, verify
from fusedstep.commands.bits import with_bits
from fusedstep.in_numpy import formulas
from fusedstep.lab import network
from fusedstep.measurement import packages

from cases import same_bytes
from process import interruptible, start

EXTRAS = ("matplotlib", "numba", "rich", "scipy", "sklearn", "torch", "jax", "optax")
ROOT = Path(__file__).resolve().parent.parent
STEP = ROOT / "cpp" / "cpu" / "step.cpp"


def test_a_package_that_was_not_built(tmp_path):
    """Of a submodule that is missing Python says that its package was imported by half."""
    (tmp_path / "fusedstep").mkdir()
    shutil.copy(fs.__file__, tmp_path / "fusedstep")
    done = start(tmp_path, "import fusedstep")
    assert done.stderr.splitlines()[-1] == (
        "ImportError: fusedstep: its compiled part must be built for this Python (`pip install .` does that), "
        f"got none in {tmp_path / 'fusedstep'}"
    )


def without(missing, *words):
    """The command line in a process that cannot import the missing modules."""
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({missing!r})); "
        f"from fusedstep.__main__ import main; sys.exit(main({list(words)!r}))"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


def lines(capsys):
    return capsys.readouterr().out.splitlines()


# The way in


def test_import_loads_no_extra():
    program = f"import sys, fusedstep; print(sorted(set(sys.modules) & set({EXTRAS!r})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["info"], *([name, "--help"] for name in COMMANDS)])
def test_needs_no_extra(words):
    done = without(EXTRAS, *words)
    assert done.returncode == 0, done.stderr
    assert "fusedstep" in done.stdout


@pytest.mark.parametrize(
    ("module", "package"), [("matplotlib", "matplotlib"), ("rich", "rich"), ("sklearn", "scikit-learn")]
)
def test_missing_extra_is_one_line(module, package):
    for earlier in ("sklearn", "matplotlib"):  # they are imported first, in this order
        if earlier == module:
            break
        pytest.importorskip(earlier)
    done = without((module,), "demo")
    assert done.returncode == 2
    assert done.stderr == f"fusedstep demo needs {package}: pip install 'fusedstep[lab]'\n"


def test_other_missing_modules_are_errors(monkeypatch):
    monkeypatch.setitem(sys.modules, "fusedstep.commands.demo", None)
    with pytest.raises(ModuleNotFoundError, match=r"fusedstep\.commands\.demo"):
        main(["demo"])


def test_module_and_entry_point():
    done = subprocess.run([sys.executable, "-m", "fusedstep", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"fusedstep {fs.__version__}\n"
    (entry,) = metadata.entry_points(group="console_scripts", name="fusedstep")
    assert entry.load() is main


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_names_every_command(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for name in ("demo", "info", "verify", "bench"):
        assert re.search(rf"^ +{name} +{COMMANDS[name].split()[0]}", shown, re.MULTILINE)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_interrupt_ends_cleanly():
    with interruptible(sys.executable, "-m", "fusedstep", "verify") as process:
        assert "fusedstep" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors


@pytest.mark.skipif(sys.platform == "win32", reason="Windows calls that another error")
@pytest.mark.parametrize(("word", "unbuffered"), [("info", ""), ("--version", ""), ("info", "1")])
def test_reader_that_is_gone_ends_cleanly(word, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "fusedstep", word],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_another_pipe_that_breaks(monkeypatch, capsys):
    def work(words):
        print("worked")
        raise BrokenPipeError("of a process that computes")

    monkeypatch.setattr("fusedstep.__main__.execute", work)
    with pytest.raises(BrokenPipeError, match="of a process that computes"):
        main(["info"])
    print("and told")
    assert capsys.readouterr().out == "worked\nand told\n"


# info


def test_info_is_the_same_in_words_and_json(capsys):
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["version"] == fs.__version__
    assert facts["targets"]["active"] == fs.active_target()
    assert facts["targets"]["available"] == list(fs.available_targets())
    assert set(facts["targets"]["available"]) <= set(facts["targets"]["built"])
    assert facts["numpy"] == np.__version__
    assert set(facts["threads"]) == {"count", "source"}
    assert main(["info"]) == 0
    words = dict(line.split("  ", 1) for line in lines(capsys))
    words = {name: value.strip() for name, value in words.items()}
    assert words["fusedstep"] == facts["version"]
    assert words["compiler"] == facts["compiler"]
    assert words["target active"] == facts["targets"]["active"]
    assert words["threads"] == f"{facts['threads']['count']} (from: {facts['threads']['source']})"
    assert words["platform"] == facts["platform"]
    assert words["CUDA devices"].startswith(str(fs.cuda.device_count()))
    assert facts["cuda"]["why_not"] is None or facts["cuda"]["why_not"] in words["CUDA devices"]
    for package, version in facts["optional"].items():
        assert words[package] == (version or "not installed")


def test_info_knows_threads_by_the_environment(monkeypatch):
    monkeypatch.setenv("FUSEDSTEP_NUM_THREADS", "5")
    done = subprocess.run(
        [sys.executable, "-m", "fusedstep", "info", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["threads"] == {"count": 5, "source": "FUSEDSTEP_NUM_THREADS"}


def test_info_names_all_that_the_extras_bring():
    text = (ROOT / "pyproject.toml").read_text()
    (lines,) = re.findall(r"^\[project\.optional-dependencies\]\n((?:.+\n)+)", text, re.MULTILINE)
    extras = {line.split()[0]: tuple(re.findall(r'"([\w-]+)', line)) for line in lines.splitlines()}
    assert extras == packages.EXTRAS
    assert {*chain(*extras.values()), *packages.RIVALS} <= set(info.OPTIONAL)
    assert len(set(info.OPTIONAL)) == len(info.OPTIONAL)


def test_info_tells_what_is_missing(monkeypatch):
    monkeypatch.setattr(info, "OPTIONAL", ("pytest", "no-such-package"))
    assert info.gather()["optional"] == {"pytest": pytest.__version__, "no-such-package": None}
    assert re.search(r"^no-such-package +not installed$", info.in_words(info.gather()), re.MULTILINE)


# verify


def test_table_has_every_method_and_keyword():
    assert set(contract.OPTIONS) == set(methods.__all__)
    for name, sets in contract.OPTIONS.items():
        used = {key for options in (*sets, *contract.SHARED) for key in options}
        assert used == set(getattr(fs, name)._options) - {"lr"}, name


def test_same_bytes():
    values = np.array([1.0, 0.0, np.nan, np.inf])
    other_nan = (values.view(np.uint64) ^ np.where(np.isnan(values), 1, 0).astype(np.uint64)).view(float)
    assert values.tobytes() != other_nan.tobytes()
    assert same_bytes(values, other_nan)
    for wrong in ([1.0, -0.0, np.nan, np.inf], [1.0, 0.0, 1.0, np.inf], [np.nextafter(1, 2), 0.0, np.nan, np.inf]):
        assert not same_bytes(values, np.array(wrong))
        assert not same_bytes(np.array(wrong), values)
    assert not same_bytes(values, values.astype(np.float32))
    assert not same_bytes(values, values[None])
    assert not same_bytes(np.array(1.0), np.array(2.0))


@pytest.mark.parametrize("dtype", contract.DTYPES)
def test_extreme_numbers(dtype):
    values = contract.extreme(np.random.default_rng(0), 10_000, dtype)
    limits, size = np.finfo(dtype), np.abs(values)
    assert values.dtype == dtype
    for kind in (
        np.isnan(values),
        values == np.inf,
        values == -np.inf,
        (values == 0) & np.signbit(values),
        (values == 0) & ~np.signbit(values),
        (size > 0) & (size < limits.smallest_normal),
        size == limits.max,
        size == limits.smallest_normal,
    ):
        assert 0 < kind.mean() < 0.01


@pytest.mark.parametrize("setting", [verify.FULL, verify.QUICK])
def test_every_thread_gets_work(setting):
    threads, sizes = setting
    each = int(re.search(r"worth_a_thread = (\d+);", STEP.read_text())[1])
    assert len(contract.SHARED) * sum(sizes) >= max(threads) * each
    assert trial.MISSING in sizes


def test_what_is_verified_moves():
    """But for tensors without a gradient in some steps, and what lies between tensors."""
    numbers = trial.Numbers(verify.PLAIN[0], (8, trial.MISSING), 0)
    run = trial.Run(methods.Adam, {}, numbers, numbers.layout(methods.Adam, {}))
    *_, arrays = run.steps()
    skipped = trial.STEPS - len(trial.MISSED)
    assert arrays[trial.COUNTER].tolist() == [trial.STEPS, skipped] * len(contract.SHARED)
    assert skipped < trial.STEPS
    before, after = numbers.start.flat, arrays[trial.PARAMETER, "float32"]
    inside = np.array([numbers.start.place(index) is not None for index in range(len(before))])
    finite = inside & np.isfinite(before)
    assert np.mean(before[finite] != after[finite]) > 0.95
    assert np.array_equal(before[~inside], after[~inside])


def test_verify_takes_its_seed(monkeypatch, capsys):
    seeds = []

    class Numbers(trial.Numbers):
        def __init__(self, storage, sizes, seed):
            super().__init__(storage, (3,), seed)
            seeds.append(seed)

    monkeypatch.setattr(verify, "Numbers", Numbers)
    assert main(["verify", "--quick", "--method", "Lion", "--seed", "7"]) == 0
    assert set(seeds) == {7}
    first, second = (trial.Numbers(verify.PLAIN[0], (8,), seed).start.flat for seed in (0, 7))
    assert not np.array_equal(first, second)


def quick(*names):
    return main(["verify", "--quick", *(word for name in names for word in ("--method", name))])


def test_verify_passes_and_leaves_the_settings_alone(target, set_threads, capsys):
    set_threads(5)
    assert quick("Lion", "Adamax") == 0
    assert (fs.active_target(), fs.get_num_threads()) == (target, 5)
    shown = lines(capsys)
    per_method = 2 * 3 * len(fs.available_targets()) * 2  # option sets, storages, targets, numbers of threads
    assert [line.split() for line in shown[5:7]] == [
        [name, "2", "option", "sets", str(per_method), "runs", line.split()[6], "s", "same", "bits"]
        for name, line in zip(("Lion", "Adamax"), shown[5:7], strict=True)
    ]
    assert shown[-1].startswith(f"PASS: 0 of {2 * per_method} runs of 8 steps differ; ")


def test_verify_runs_every_combination(monkeypatch):
    """Every target with every number of threads is asked for, with each option set and storage."""
    seen = []

    class Lion(methods.Lion):
        def step(self, grads):
            seen.append((fs.active_target(), fs.get_num_threads(), self.param_groups[0]["betas"]))
            super().step(grads)

    monkeypatch.setattr(methods, "Lion", Lion)
    assert quick("Lion") == 0
    combinations = list(product(fs.available_targets(), (1, 2), [(0.9, 0.99), (0.5, 0.5)]))
    assert sorted(seen) == sorted(combinations * 3 * trial.STEPS)


@pytest.mark.parametrize("what", ["param", "state"])
def test_verify_fails_where_a_formula_differs(what, monkeypatch, capsys):
    right = formulas.FORMULAS["Adam"]

    def wrong(param, g, state, t, lr, o):
        right(param, g, state, t, lr, o)
        array = param if what == "param" else state["exp_avg_sq"]
        if t == 6 and array.size == 17 and o["amsgrad"]:
            array[11] = 3

    monkeypatch.setitem(formulas.FORMULAS, "Adam", wrong)
    assert quick("Adam", "Lion") == 1
    shown = lines(capsys)
    runs = 3 * len(fs.available_targets()) * 2
    differ = runs * sum("amsgrad" in options for options in contract.OPTIONS["Adam"])
    assert shown[-1].startswith(f"FAIL: {differ} of {runs * (len(contract.OPTIONS['Adam']) + 2)} runs ")
    array = "parameter" if what == "param" else "exp_avg_sq"
    told = (
        rf" +Adam\(amsgrad=True\), float32, {fs.available_targets()[0]}, threads: 1, step 6: {array} of a tensor of 17"
    )
    assert re.match(told + r", element 11 \(and 4 more\): kernel \S+ \(0x\w{8}\), reference \S+ \(0x\w{8}\)$", shown[6])
    assert [line.endswith("same bits") for line in shown if " option sets " in line] == [False, True]
    assert sum(": kernel " in line for line in shown) == verify.TOLD


def test_verify_tells_which_target_and_threads_differ(monkeypatch, capsys):
    target = fs.available_targets()[-1]

    class Lion(methods.Lion):
        def step(self, grads):
            super().step(grads)
            if (fs.active_target(), fs.get_num_threads()) == (target, 2):
                self.state["1:8"]["exp_avg"][3] = 0.5

    monkeypatch.setattr(methods, "Lion", Lion)
    assert quick("Lion") == 1
    told = [line.strip() for line in lines(capsys) if "step 1" in line]
    assert len(told) == 3
    assert re.fullmatch(
        rf"Lion\(weight_decay=0.1, decay='coupled'\), float32, {target}, threads: 2, step 1: "
        r"exp_avg of a tensor of 8, element 3: kernel 0.5 \(0x3f000000\), reference \S+ \(0x\w{8}\)",
        told[0],
    )


def test_verify_covers_every_storage():
    """Each with several methods; the tables name every type in every role, and every rounding."""
    methods_of = {kept: set() for kept in contract.STORAGES}
    for method, options in contract.CASES:
        ways = verify.ways(method, options, (1, 2, 3))
        assert [(one.param, threads) for one, threads in ways[:2]] == [("float32", (1, 2, 3)), ("float64", (1, 2, 3))]
        ((kept, threads),) = ways[2:]
        assert threads == (1, 3)
        methods_of[kept].add(method)
    assert min(map(len, methods_of.values())) >= 3
    params, grads, states, roundings = map(set, zip(*contract.STORAGES, strict=True))
    assert params == grads == {"float32", "float64", "float16", "bfloat16"}
    assert states == {None, "float32", "float64", "float16", "bfloat16", "sq8"} == {None, *storage.TYPES}
    assert roundings == set(storage.ROUNDING.names)


@pytest.mark.parametrize(
    ("kept", "damage", "told"),
    [
        (
            contract.Storage("bfloat16", "bfloat16", "bfloat16", "stochastic"),
            lambda state: None,
            r"bfloat16 \(stochastic\), gradients bfloat16, states bfloat16, \S+, threads: 1, step 1: "
            r"parameter of a tensor of 8, element 3: kernel \S+ \(0x\w{4}\), reference \S+ \(0x\w{4}\)",
        ),
        (
            contract.Storage("float32", "float16", "sq8"),
            lambda state: state["exp_avg"].__setitem__(3, 99),
            r"float32 \(nearest\), gradients float16, states sq8, \S+, threads: 1, step 1: "
            r"exp_avg of a tensor of 4097, element 3: kernel 99 \(0x63\), reference \S+ \(0x\w{2}\)",
        ),
        (
            contract.Storage("float16", "float32", "sq8"),
            lambda state: state["exp_avg_scale"].__setitem__(32, 99),
            r"exp_avg_scale of a tensor of 4097, element 32: kernel 99.0 \(0x42c60000\)",
        ),
    ],
    ids=["parameter", "codes", "scales"],
)
def test_verify_tells_what_differs_in_a_storage(kept, damage, told, monkeypatch):
    class Lion(methods.Lion):
        def step(self, grads):
            super().step(grads)
            damage(self.state["0:4097"])
            if kept.param == "bfloat16":
                self._plan.param("0:8").view(np.uint16)[3] ^= 1

    monkeypatch.setattr(methods, "Lion", Lion)
    numbers = trial.Numbers(kept, (0, 8, 4097), 0)
    for outcome in trial.outcomes("Lion", {}, numbers, [1]):
        assert re.search(told, outcome.difference), outcome.difference


@pytest.mark.parametrize("kept", contract.STORAGES, ids=contract.Storage.in_words)
def test_every_storage_of_one_method(kept):
    numbers = trial.Numbers(kept, (0, 1, 33, 4097), 5)
    made = numbers.make(methods.Adam, {}, numbers.start)
    assert made._storage["rounding"] == kept.rounding
    assert made._storage["state"].get("") == kept.state
    assert name_of_type(made._plan.param("0:33")) == kept.param
    assert {name_of_type(tensor) for tree in numbers.grads[0] for tensor in tree.values()} == {kept.grad}
    for outcome in trial.outcomes("Adam", {"amsgrad": True}, numbers, [2]):
        assert outcome.difference is None
        assert outcome.compared > trial.STEPS * 4 * sum(size for (size,) in numbers.shapes)


def test_same_bytes_of_bfloat16():
    one, nan, other_nan = (fs.as_bfloat16(np.array([bits], np.uint16)) for bits in (0x3F80, 0x7FC0, 0xFFC1))
    assert same_bytes(nan, other_nan)
    assert not same_bytes(one, fs.as_bfloat16(np.array([0x3F81], np.uint16)))
    assert not same_bytes(one, nan)
    assert not same_bytes(one, np.array([0x3F80], np.uint16))
    assert with_bits(one, 0) == "1.0 (0x3f80)"


def overwrite(optimizer, index):
    """An element of the strip in which the tensors of state lie."""
    optimizer.state["0:8"]["exp_avg"].base[index] = 0


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            lambda optimizer: overwrite(optimizer, 1),
            "step 1: exp_avg: memory that belongs to no tensor, at 1: kernel 0.0",
        ),
        (lambda optimizer: overwrite(optimizer, -1), "step 1: exp_avg: memory that belongs to no tensor, at 7"),
        (
            lambda optimizer: optimizer._plan.set_step("2:33", 5),
            "step 8: step of a tensor of 33, element 0: kernel 5 (0x",
        ),
    ],
    ids=["before", "behind", "counter"],
)
def test_verify_sees_what_is_around_the_numbers(damage, told, monkeypatch, capsys):
    class Lion(methods.Lion):
        def step(self, grads):
            super().step(grads)
            damage(self)

    monkeypatch.setattr(methods, "Lion", Lion)
    assert quick("Lion") == 1
    assert told in capsys.readouterr().out


# demo


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


def test_demo_learns_with_the_same_bits(lab, tmp_path, capsys):
    picture = tmp_path / "curves.png"
    assert main(["demo", "--epochs", "2", "--out", str(picture)]) == 0
    shown = lines(capsys)
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
def test_demo_takes_every_optimizer(name, dtype, small, tmp_path, capsys):
    words = ["demo", "--optimizer", name, "--dtype", dtype, "--epochs", "1", "--out", str(tmp_path / "x.png")]
    assert main(words) == 0
    shown = lines(capsys)
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


def test_demo_takes_a_learning_rate_of_0(small, tmp_path, capsys):
    assert main(["demo", "--epochs", "2", "--lr", "0", "--out", str(tmp_path / "x.png")]) == 0
    first, second = accuracies(lines(capsys))
    assert first == second


def test_demo_tells_that_the_picture_cannot_be_written(small, tmp_path, monkeypatch, capsys):
    from fusedstep.commands import curves

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(curves, "draw", full)
    assert main(["demo", "--epochs", "1", "--out", str(tmp_path / "x.png")]) == 2
    assert capsys.readouterr().err == "fusedstep demo: --out: no space left\n"


def test_demo_repeats_by_its_seed(small, tmp_path, capsys):
    shown = []
    for seed in ("1", "1", "2"):
        assert main(["demo", "--epochs", "1", "--seed", seed, "--out", str(tmp_path / "x.png")]) == 0
        shown.append(next(line for line in lines(capsys) if line.startswith("epoch")))
    assert shown[0] == shown[1] != shown[2]


@pytest.mark.parametrize("what", ["param", "state"])
def test_demo_fails_where_bits_differ(what, small, tmp_path, monkeypatch, capsys):
    right = formulas.FORMULAS["NAdam"]

    def wrong(param, g, state, t, lr, o):
        right(param, g, state, t, lr, o)
        if param.size == 24 * 16 and t == 46:  # the last of the second epoch
            array = param if what == "param" else state["exp_avg"]
            array.flat[5 * 16 + 7] += 1

    monkeypatch.setitem(formulas.FORMULAS, "NAdam", wrong)
    picture = tmp_path / "x.png"
    assert main(["demo", "--optimizer", "NAdam", "--epochs", "4", "--out", str(picture)]) == 1
    shown = lines(capsys)
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
