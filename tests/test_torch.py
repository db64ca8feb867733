"""Agreement with torch.optim, unfused, in float64: trajectories, state and defaults, for every option of both."""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
from functools import cache

import numpy as np
import pytest

import fusedstep as fs

torch = pytest.importorskip("torch")

import fusedstep.torch  # noqa: E402 (which needs torch)

STEPS = 1000
SIZE = 33
TOLERANCE = 1e-11  # of each parameter's largest value on the way

BASE = [{}, {"lr": 0.05, "weight_decay": 0.1}, {"lr": 0.05, "weight_decay": 0.1, "maximize": True}]
ADAM = [*BASE, {"lr": 0.05, "betas": (0.5, 0.9), "eps": 0.1}, {"betas": (0.0, 0.99)}, {"betas": (0.9, 0.5)}]
DECOUPLED = [{"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}]
AMSGRAD = [{"amsgrad": True}, {"lr": 0.05, "amsgrad": True, "betas": (0.5, 0.9), "eps": 0.1}]

#: method -> keyword sets that torch and we both take. Together they use every keyword that both have.
OPTIONS = {
    "SGD": [
        *BASE,
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.3},
        {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1, "maximize": True},
        {"momentum": 0.5, "dampening": -0.5},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True},
    ],
    "Adagrad": [
        *BASE,
        {"lr_decay": 0.01},
        {"initial_accumulator_value": 0.1, "eps": 0.1},
        {"lr_decay": 0.5, "initial_accumulator_value": 2.0, "weight_decay": 0.1, "maximize": True},
    ],
    "RMSprop": [
        *BASE,
        {"alpha": 0.5, "eps": 0.1},
        {"momentum": 0.9},
        {"centered": True},
        {"centered": True, "momentum": 0.9, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
    ],
    "Adadelta": [*BASE, {"rho": 0.5, "eps": 0.1}, {"rho": 0.99, "lr": 0.1}],
    "Adam": [*ADAM, *AMSGRAD, *DECOUPLED],
    "AdamW": [*ADAM, *AMSGRAD, {"weight_decay": 0.0}],
    "RAdam": [*ADAM, *DECOUPLED],
    "NAdam": [*ADAM, *DECOUPLED, {"momentum_decay": 1.0}, {"momentum_decay": 0.0}],
    "Adamax": ADAM,
}
CASES = [(name, options) for name, sets in OPTIONS.items() for options in sets]
IDS = [f"{name}-{'-'.join(f'{k}={v}' for k, v in options.items()) or 'default'}" for name, options in CASES]

#: Torch's keywords that choose an implementation, not a result.
IMPLEMENTATION = {"foreach", "fused", "capturable", "differentiable"}


@pytest.fixture(autouse=True)
def float64():
    """NAdam keeps `mu_product`, and every method `step`, in the default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def start():
    return np.random.default_rng(1).standard_normal(SIZE)


def gradients(steps):
    """Prescribed over six magnitudes: no feedback from the parameters makes a difference grow."""
    rng = np.random.default_rng(2)
    sizes = np.exp(rng.uniform(-7, 7, SIZE))
    for _ in range(steps):
        yield sizes * rng.standard_normal(SIZE)


def run(optimizer, param, steps, step):
    """The parameters after each step."""
    path = []
    for grad in gradients(steps):
        step(optimizer, grad)
        path.append(param.copy())
    return np.array(path)


@cache
def in_torch(index):
    """The path and the state after it, made once for every case."""
    name, options = CASES[index]
    param = torch.from_numpy(start())
    optimizer = getattr(torch.optim, name)([param], foreach=False, **options)

    def step(optimizer, grad):
        param.grad = torch.from_numpy(grad)
        optimizer.step()

    path = run(optimizer, param.numpy(), STEPS, step)
    return path, {key: value.numpy() for key, value in optimizer.state[param].items() if value is not None}


def in_fusedstep(name, options, steps=STEPS, step=lambda optimizer, grad: optimizer.step(grad)):
    param = start()
    optimizer = getattr(fs, name)(param, **options)
    return run(optimizer, param, steps, step), optimizer.state["0"]


def assert_same_parameters(actual, expected):
    error = np.abs(actual - expected).max(axis=0) / np.abs(expected).max(axis=0)
    assert error.max() <= TOLERANCE


@pytest.mark.parametrize("index", range(len(CASES)), ids=IDS)
def test_path_and_state(index):
    expected, expected_state = in_torch(index)
    actual, state = in_fusedstep(*CASES[index])
    assert_same_parameters(actual, expected)
    assert expected_state.keys() | {"step"} == state.keys()  # torch's SGD counts no steps
    for key, value in expected_state.items():
        # Element by element: the sizes of the gradients' squares differ by twelve orders of magnitude.
        np.testing.assert_allclose(state[key], value, rtol=TOLERANCE, err_msg=key)
    assert state["step"] == STEPS
    assert type(state["step"]) is int


@pytest.mark.parametrize("broken", [lambda _, g: None, lambda o, g: o.step(-g)], ids=["idle", "ascending"])
@pytest.mark.parametrize("index", range(len(CASES)), ids=IDS)
def test_idle_and_ascending_fail(index, broken):
    expected, _ = in_torch(index)
    actual, _ = in_fusedstep(*CASES[index], 50, broken)
    with pytest.raises(AssertionError):
        assert_same_parameters(actual, expected[:50])


@pytest.mark.parametrize("index", range(len(CASES)), ids=IDS)
def test_a_run_changes_hands(index):
    """From torch's optimizer to ours, back, and once more: options and state come with the state."""
    name, options = CASES[index]
    param = torch.from_numpy(start())
    ours = functools.partial(fusedstep.torch.Optimizer, method=getattr(fs, name))
    theirs = functools.partial(getattr(torch.optim, name), foreach=False)
    path, grads = [], gradients(STEPS)
    optimizer = theirs([param], **options)
    for make in (ours, theirs, ours, theirs):
        for grad in itertools.islice(grads, 25):
            param.grad = torch.from_numpy(grad)
            optimizer.step()
            path.append(param.numpy().copy())
        state, optimizer = copy.deepcopy(optimizer.state_dict()), make([param], lr=0.5)
        optimizer.load_state_dict(state)
    assert_same_parameters(np.array(path), in_torch(index)[0][:100])


def keywords(cls):
    parameters = inspect.signature(cls).parameters
    return {name: parameter.default for name, parameter in parameters.items() if name != "params"}


@pytest.mark.parametrize("name", OPTIONS)
def test_defaults_are_torchs(name):
    ours, theirs = keywords(getattr(fs, name)), keywords(getattr(torch.optim, name))
    decoupled = theirs.pop("decoupled_weight_decay", None)
    assert decoupled in (None, False)
    assert (decoupled is False) == getattr(fs, name).takes_decoupled_weight_decay
    shared = theirs.keys() - IMPLEMENTATION
    assert shared <= ours.keys(), "options that torch has and we lack"
    assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_shared_keyword_is_compared(name):
    used = {key for options in OPTIONS[name] for key in options}
    assert used == keywords(getattr(torch.optim, name)).keys() - IMPLEMENTATION


def test_every_method_that_torch_has_is_compared():
    assert OPTIONS.keys() == {name for name in fs.reference.__all__ if hasattr(torch.optim, name)}


@pytest.mark.parametrize("name", [name for name, sets in OPTIONS.items() if DECOUPLED[0] in sets])
def test_decoupled_weight_decay_is_a_spelling_of_decay(name):
    spelled, _ = in_fusedstep(name, DECOUPLED[0], 10)
    decay, _ = in_fusedstep(name, {"lr": 0.05, "weight_decay": 0.1, "decay": "decoupled"}, 10)
    coupled, _ = in_fusedstep(name, DECOUPLED[0] | {"decoupled_weight_decay": False}, 10)
    assert np.array_equal(spelled, decay)
    assert not np.array_equal(spelled, coupled)
    cls = getattr(fs, name)
    for decay in ("coupled", "fully_decoupled"):
        with pytest.raises(
            ValueError, match=f"decay must be 'decoupled' with decoupled_weight_decay=True, got '{decay}'"
        ):
            cls(start(), decay=decay, decoupled_weight_decay=True)
    all_defaults = inspect.signature(cls).bind(start())
    all_defaults.apply_defaults()
    assert repr(cls(*all_defaults.args, **all_defaults.kwargs)) == repr(cls(start()))
    changed = cls(start())
    changed.param_groups[0]["decoupled_weight_decay"] = True
    with pytest.raises((TypeError, ValueError), match="decay must be 'decoupled'"):
        changed.step(start())
    changed.param_groups[0]["decay"] = "decoupled"
    with pytest.raises(TypeError, match="must have options by their own names, got 'decoupled_weight_decay'"):
        changed.step(start())


@pytest.mark.parametrize("keyword", sorted(IMPLEMENTATION))
@pytest.mark.parametrize("name", OPTIONS)
def test_keywords_of_the_implementation_are_unknown(name, keyword):
    with pytest.raises(TypeError, match=rf"options must be among .*weight_decay.*, got '{keyword}'"):
        getattr(fs, name)(start(), **{keyword: True})


def test_schedules_of_torch_leave_their_mark():
    """A scheduler changes `lr` in the groups between steps: both lead to the same parameters."""
    theirs, ours = torch.from_numpy(start()), start()
    reference = torch.optim.SGD([theirs], lr=0.1, momentum=0.9, foreach=False)
    schedule = torch.optim.lr_scheduler.StepLR(reference, step_size=3, gamma=0.5)
    optimizer = fs.SGD(ours, lr=0.1, momentum=0.9)
    for grad in gradients(20):
        optimizer.param_groups[0]["lr"] = reference.param_groups[0]["lr"]
        optimizer.step(grad)
        theirs.grad = torch.from_numpy(grad)
        reference.step()
        schedule.step()
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=TOLERANCE)
    assert optimizer.param_groups[0]["lr"] < 0.1 / 32
