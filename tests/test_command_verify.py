"""`fusedstep verify` runs every combination, and sees each difference."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import methods, storage
from fusedstep.__main__ import main
from fusedstep.bfloat16 import name_of_type
from fusedstep.commands import contract, trial, verify
from fusedstep.commands.bits import with_bits
from fusedstep.in_numpy import formulas

from cases import same_bytes


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
    source = Path(__file__).parent.parent / "cpp" / "cpu" / "step.cpp"
    each = int(re.search(r"worth_a_thread = (\d+);", source.read_text())[1])
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


def test_verify_passes_and_leaves_the_settings_alone(target, set_threads, lines):
    set_threads(5)
    assert quick("Lion", "Adamax") == 0
    assert (fs.active_target(), fs.get_num_threads()) == (target, 5)
    shown = lines()
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
def test_verify_fails_where_a_formula_differs(what, monkeypatch, lines):
    right = formulas.FORMULAS["Adam"]

    def wrong(param, g, state, t, lr, o):
        right(param, g, state, t, lr, o)
        array = param if what == "param" else state["exp_avg_sq"]
        if t == 6 and array.size == 17 and o["amsgrad"]:
            array[11] = 3

    monkeypatch.setitem(formulas.FORMULAS, "Adam", wrong)
    assert quick("Adam", "Lion") == 1
    shown = lines()
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


def test_verify_tells_which_target_and_threads_differ(monkeypatch, lines):
    target = fs.available_targets()[-1]

    class Lion(methods.Lion):
        def step(self, grads):
            super().step(grads)
            if (fs.active_target(), fs.get_num_threads()) == (target, 2):
                self.state["1:8"]["exp_avg"][3] = 0.5

    monkeypatch.setattr(methods, "Lion", Lion)
    assert quick("Lion") == 1
    told = [line.strip() for line in lines() if "step 1" in line]
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
