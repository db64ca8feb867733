"""What stands beside parameters in the optimizer that is one of torch's: live tensors, by parameter."""

from __future__ import annotations

import collections
import copy
import functools
import threading

import numpy as np
import pytest

import fusedstep as fs

torch = pytest.importorskip("torch")

from fusedstep.torch import Optimizer  # noqa: E402 (which needs torch)


@pytest.mark.parametrize("options", [{}, {"state": "bfloat16"}, {"state": "sq8"}], ids=str)
def test_what_stands_beside_parameters_is_live(options):
    """As with torch's own: who writes into a tensor, or puts another in its place, changes the state."""
    w, b = (torch.nn.Parameter(torch.ones(300)) for _ in range(2))
    optimizer = Optimizer([w, b], fs.AdamW, lr=0.1, **options)
    for step in range(3):
        w.grad = b.grad = torch.full((300,), 0.5**step)
        optimizer.step()
    assert list(optimizer.state) == [w, b]
    entry, other, inner = optimizer.state[w], optimizer.state[b], optimizer.inner.state["0"]
    assert entry.keys() == inner.keys()
    assert entry["step"] == 3.0
    saved = optimizer.state_dict()["state"][0]
    for key in entry.keys() - {"step"}:
        assert entry[key].data_ptr() == saved[key].data_ptr() == inner[key].ctypes.data
        entry[key].zero_()
        assert not np.asarray(inner[key]).view(np.uint8).any()
        entry[key] = other[key]
        assert inner[key].tobytes() == optimizer.inner.state["1"][key].tobytes() != bytes(inner[key].nbytes)
    entry["step"] = torch.tensor(7.0)
    assert entry["step"] == inner_step(optimizer, "0") == 7
    optimizer.state[w] = dict(other)
    assert inner_step(optimizer, "0") == 3
    for wrong, message in (
        ({"exp_avg": other["exp_avg"][:7]}, r"^AdamW: state\['0'\]\['exp_avg'\] must have shape \(300,\) and dtype "),
        ({"step": -1}, r"^AdamW: state\['0'\]\['step'\] must be an integer in \[0, 2\*\*62\), got -1$"),
        ({"step": None}, r"^AdamW: state\['0'\]\['step'\] must be an integer in \[0, 2\*\*62\), got None$"),
        ({"more": 1}, r"^AdamW: state\['0'\] must have exactly the keys .* unknown \['more'\]$"),
    ):
        with pytest.raises(ValueError, match=message):
            optimizer.state[w] = {**other, **wrong}
    with pytest.raises(ValueError, match=r"^AdamW: state\['0'\]\['step'\] must be an integer .*, got None$"):
        entry["step"] = None
    with pytest.raises(TypeError, match=r"^state: what stands beside a parameter must be changed by "):
        entry.clear()
    with pytest.raises(TypeError, match=r"^state: 'more' must be changed by "):
        entry["more"] = 1
    with pytest.raises(KeyError):
        optimizer.state[torch.ones(1)]
    assert inner_step(optimizer, "0") == 3


def inner_step(optimizer, name):
    return optimizer.inner.state[name]["step"]


#: How trainers make an optimizer forget.
FORGET = {
    "clear": lambda optimizer: optimizer.state.clear(),
    "another": lambda optimizer: setattr(optimizer, "state", collections.defaultdict(dict)),
    "one by one": lambda optimizer: [optimizer.state.pop(param) for param in list(optimizer.state)],
    "an empty one": lambda optimizer: optimizer.load_state_dict({**optimizer.state_dict(), "state": {}}),
}


@pytest.mark.parametrize("forget", FORGET)
@pytest.mark.parametrize("method", [fs.AdamW, fs.NAdam, functools.partial(fs.Adagrad, initial_accumulator_value=0.5)])
def test_state_that_is_cleared_begins_anew(forget, method):
    """As with torch's own, of which fastai and others make use; a function of the step goes on."""
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = Optimizer([w], method, lr=0.1)
    for _ in range(3):
        w.grad = torch.ones(3)
        optimizer.step()
    bound = optimizer.inner.bind([[w.grad]])
    FORGET[forget](optimizer)
    assert len(optimizer.state) == 1
    assert optimizer.state_dict()["fusedstep"]["calls"] == 3
    with pytest.raises(RuntimeError, match="bound"):
        bound.step()
    other = torch.nn.Parameter(w.detach().clone())
    other.grad = torch.ones(3)
    optimizer.step()
    Optimizer([other], method, lr=0.1).step()
    assert torch.equal(w, other)


def stepped(count=2, **options):
    """An optimizer of so many parameters after three steps, each in another place."""
    params = [torch.nn.Parameter(torch.full((3,), 1.0 + number)) for number in range(count)]
    optimizer = Optimizer(params, fs.AdamW, lr=0.1, **options)
    for step in range(3):
        for number, param in enumerate(params):
            param.grad = torch.full((3,), 1.0 + step + number)
        optimizer.step()
    return optimizer


def told(optimizer):
    return [{key: value.tolist() for key, value in entry.items()} for entry in optimizer.state.values()]


def swap(state):
    one, other = state
    first = state.pop(one)
    state[one] = state.pop(other)
    state[other] = first


def away_and_back(optimizer):
    state = optimizer.state_dict()
    optimizer.state.clear()
    optimizer.load_state_dict(state)


#: What leaves the state as it was, or exchanges its two entries.
THERE_AND_BACK = {
    "itself": lambda optimizer: setattr(optimizer, "state", optimizer.state),
    "a dict": lambda optimizer: setattr(optimizer, "state", dict(optimizer.state)),
    "an entry": lambda optimizer: [
        optimizer.state.update({param: optimizer.state.pop(param)}) for param in list(optimizer.state)
    ],
    "none": lambda optimizer: optimizer.state.pop(torch.ones(1), None),
    "cleared": away_and_back,
    "exchanged": lambda optimizer: swap(optimizer.state),
    "exchanged in a state": lambda optimizer: optimizer.load_state_dict(
        {**(state := optimizer.state_dict()), "state": {0: state["state"][1], 1: state["state"][0]}}
    ),
}


@pytest.mark.parametrize("way", THERE_AND_BACK)
def test_entries_that_go_and_come_back(way):
    """What is taken out is not what begins anew in its place."""
    optimizer = stepped()
    before = told(optimizer)
    assert before[0] != before[1]
    THERE_AND_BACK[way](optimizer)
    assert told(optimizer) == (before[::-1] if way.startswith("exchanged") else before)


def test_a_shard_stays_one_when_its_state_is_cleared():
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = Optimizer([w], fs.AdamW, rounding="stochastic", extents={"0": (128, 1000)})
    optimizer.state.clear()
    assert optimizer.inner.__getstate__()["extents"] == {"0": (128, 1000)}


def test_two_tensors_of_an_entry_change_places():
    optimizer = stepped(1)
    (param,), before = optimizer.state, told(optimizer)[0]
    entry = optimizer.state[param]
    optimizer.state[param] = {**entry, "exp_avg": entry["exp_avg_sq"], "exp_avg_sq": entry["exp_avg"]}
    after = told(optimizer)[0]
    assert (after["exp_avg"], after["exp_avg_sq"]) == (before["exp_avg_sq"], before["exp_avg"])
    optimizer.state[param]["exp_avg"] = torch._neg_view(torch.ones(3))
    assert told(optimizer)[0]["exp_avg"] == [-1.0] * 3


def test_a_step_is_counted_from_where_it_is_set():
    optimizer = stepped()
    param, other = optimizer.state
    entry = optimizer.state[param]
    entry["step"] += 10
    assert inner_step(optimizer, "0") == 13
    optimizer.step()
    entry["exp_avg"] = torch.zeros(3)  # of an entry that is older than the step
    assert entry["step"] == inner_step(optimizer, "0") == 14
    assert not optimizer.state[param]["exp_avg"].any()
    state = optimizer.state
    added = torch.nn.Parameter(torch.ones(2))
    optimizer.add_param_group({"params": [added]})
    assert list(state) == [param, other, added]


def test_a_wrong_state_is_refused_as_a_whole():
    optimizer = stepped()
    before = told(optimizer)
    first, second = (dict(entry) for entry in optimizer.state.values())
    first["exp_avg"], second["exp_avg"] = torch.zeros(3), torch.zeros(7)
    with pytest.raises(ValueError, match=r"^AdamW: state\['1'\]\['exp_avg'\] must have shape \(3,\)"):
        optimizer.state = dict(zip(optimizer.state, (first, second), strict=True))
    assert told(optimizer) == before
    state = copy.deepcopy(optimizer.state_dict())
    state["state"][0]["exp_avg"].zero_()
    state["param_groups"][0]["lock"] = threading.Lock()  # which cannot be copied
    with pytest.raises(TypeError, match="pickle"):
        optimizer.load_state_dict(state)
    assert told(optimizer) == before


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda state, other: state[other], KeyError, "state's keys must be .* got another, of shape \\[7\\]"),
        (lambda state, other: state.pop(other), KeyError, "state's keys must be .* got another, of shape \\[7\\]"),
        (lambda state, other: state.__delitem__("w"), KeyError, "state's keys must be .* got 'w'"),
        (lambda state, other: state.__setitem__(other, {}), KeyError, "state's keys must be .* got another"),
        (lambda state, other: state.become({other: {}}), KeyError, "state's keys must be .* got another"),
        (lambda state, other: state.become(None), TypeError, "state must be a dict by parameter, got NoneType"),
    ],
)
def test_what_is_no_state_of_the_parameters(change, error, message):
    optimizer, other = stepped(), torch.ones(7)
    before = told(optimizer)
    with pytest.raises(error, match=rf"^[\"']?AdamW: {message}"):
        change(optimizer.state, other)
    assert other not in optimizer.state
    assert optimizer.state.pop(other, 3) == 3
    assert told(optimizer) == before


def test_memory_of_the_callers():
    w, m = torch.nn.Parameter(torch.ones(3)), torch.zeros(3, requires_grad=True)
    optimizer = Optimizer([w], fs.AdamW, memory={"0": {"exp_avg": m}})
    w.grad = torch.ones(3)
    optimizer.step()
    assert optimizer.state[w]["exp_avg"].data_ptr() == m.data_ptr()
    optimizer.state[w]["exp_avg"] *= 0
    assert not m.any()
