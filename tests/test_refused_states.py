"""What cannot be loaded: the place is named, and nothing has changed."""

from __future__ import annotations

import json
import pickle
import re

import numpy as np
import pytest

import fusedstep as fs

from cases import LAYOUTS, frozen, laid_out, random


def lacking(*path):
    def change(saved):
        for key in path[:-1]:
            saved = saved[key]
        del saved[path[-1]]

    return change


def having(value, *path):
    def change(saved):
        for key in path[:-1]:
            saved = saved[key]
        saved[path[-1]] = value

    return change


def renamed(saved):
    saved["state"]["v"] = saved["state"].pop("w")


STATE = ("state", "w")
GROUP = ("groups", 0)

#: (what is wrong with a saved state, the error, what its message says: where, what was expected, what came)
BROKEN = [
    (lacking("format"), ValueError, ["state_dict must", "'format'"]),
    (lacking("optimizer"), ValueError, ["state_dict must", "'optimizer'"]),
    (lacking("seed"), ValueError, ["state_dict must", "'seed'"]),
    (lacking("calls"), ValueError, ["state_dict must", "'calls'"]),
    (lacking("groups"), ValueError, ["state_dict must", "'groups'"]),
    (lacking("state"), ValueError, ["state_dict must", "'state'"]),
    (having(1, "foreign"), ValueError, ["state_dict must", "'foreign'"]),
    (having(1, 7), ValueError, ["state_dict must", "7"]),
    (having(0, "format"), ValueError, ["state_dict['format']", "1", "got 0"]),
    (having(2, "format"), ValueError, ["state_dict['format']", "1", "got 2"]),
    (having("1", "format"), ValueError, ["state_dict['format']", "1", "got '1'"]),
    (having(True, "format"), ValueError, ["state_dict['format']", "1", "got True"]),
    (having("Adam", "optimizer"), ValueError, ["state_dict['optimizer']", "'SGD'", "got 'Adam'"]),
    (having(None, "optimizer"), ValueError, ["state_dict['optimizer']", "'SGD'", "got None"]),
    (having(-1, "seed"), ValueError, ["state_dict['seed']", "integer", "got -1"]),
    (having(2**63, "seed"), ValueError, ["state_dict['seed']", "integer", f"got {2**63}"]),
    (having("5", "calls"), (TypeError, ValueError), ["state_dict['calls']", "integer", "got '5'"]),
    (having(2.0, "calls"), (TypeError, ValueError), ["state_dict['calls']", "integer", "got 2.0"]),
    (having(True, "calls"), (TypeError, ValueError), ["state_dict['calls']", "integer", "got True"]),
    (having(-1, "skipped"), ValueError, ["state_dict['skipped']", "integer", "got -1"]),
    (lacking("layouts", "w", "order"), ValueError, ["state_dict['layouts']['w']", "'order'"]),
    (having(None, "groups"), (TypeError, ValueError), ["state_dict['groups']", "2 groups", "got None"]),
    (having([], "groups"), ValueError, ["state_dict['groups']", "2 groups", "got a list of 0"]),
    (lacking("groups", 1), ValueError, ["state_dict['groups']", "2 groups", "got a list of 1"]),
    (having(0.5, "storage", "weight_average"), ValueError, ["['storage']['weight_average']", "None", "got 0.5"]),
    (lacking("storage", "rounding"), ValueError, ["state_dict['storage']", "'rounding'"]),
    (having(7, *GROUP), TypeError, ["state_dict['groups'][0]", "dict", "int"]),
    (lacking(*GROUP, "lr"), ValueError, ["state_dict['groups'][0]", "'lr'"]),
    (lacking(*GROUP, "params"), ValueError, ["state_dict['groups'][0]", "'params'"]),
    (having(0.9, *GROUP, "betas"), ValueError, ["state_dict['groups'][0]", "'betas'"]),
    (having(["v", "b"], *GROUP, "params"), ValueError, ["state_dict['groups'][0]['params']", "'w'", "'v'"]),
    (having(["w"], *GROUP, "params"), ValueError, ["state_dict['groups'][0]['params']", "'w'", "'b'"]),
    (having(["w", "w"], *GROUP, "params"), ValueError, ["state_dict['groups'][0]['params']", "'w'", "'b'"]),
    (having(["w", "b", "b"], *GROUP, "params"), ValueError, ["state_dict['groups'][0]['params']", "'w'", "'b', 'b'"]),
    (having(5, *GROUP, "params"), (TypeError, ValueError), ["state_dict['groups'][0]['params']", "'w'", "5"]),
    (having(None, *GROUP, "params"), (TypeError, ValueError), ["state_dict['groups'][0]['params']", "'w'", "None"]),
    (having(-1, "numbers", "c"), ValueError, ["state_dict['numbers']['c']", "integer", "got -1"]),
    (having(2**63, "numbers", "c"), ValueError, ["state_dict['numbers']['c']", "integer", f"got {2**63}"]),
    (having(True, "numbers", "c"), ValueError, ["state_dict['numbers']['c']", "integer", "got True"]),
    (having(2.0, "numbers", "c"), ValueError, ["state_dict['numbers']['c']", "integer", "got 2.0"]),
    (having("2", "numbers", "c"), ValueError, ["state_dict['numbers']['c']", "integer", "got '2'"]),
    (having(float("nan"), *GROUP, "lr"), ValueError, ["lr", "finite", "got nan"]),
    (having("schedule", *GROUP, "lr"), ValueError, ["['lr']", "schedule", "got 0.5"]),
    (having("heavy", *GROUP, "buffer"), ValueError, ["buffer", "'lr_outside'", "got 'heavy'"]),
    (having(True, "groups", 1, "momentum"), TypeError, ["momentum", "finite number", "got True"]),
    (having("lr_inside", "groups", 1, "buffer"), ValueError, ["dampening", "0", "lr_inside", "got 0.1"]),
    (having(None, "state"), TypeError, ["state_dict['state']", "dict", "NoneType"]),
    (having([], "state"), TypeError, ["state_dict['state']", "dict", "list"]),
    (lacking(*STATE), ValueError, ["state_dict['state']", "'w'"]),
    (having({}, "state", "v"), ValueError, ["state_dict['state']", "'v'"]),
    (renamed, ValueError, ["state_dict['state']", "'w'", "'v'"]),
    (having(None, *STATE), TypeError, ["state_dict['state']['w']", "dict", "NoneType"]),
    (lacking(*STATE, "step"), ValueError, ["state_dict['state']['w']", "'step'"]),
    (lacking(*STATE, "momentum_buffer"), ValueError, ["state_dict['state']['w']", "'momentum_buffer'"]),
    (having(np.ones((2, 3)), *STATE, "exp_avg"), ValueError, ["state_dict['state']['w']", "'exp_avg'"]),
    (having(-1, *STATE, "step"), ValueError, ["['w']['step']", "integer", "got -1"]),
    (having(2**62, *STATE, "step"), ValueError, ["['w']['step']", "integer", f"got {2**62}"]),
    (having(2**62, "calls"), ValueError, ["state_dict['calls']", "integer", f"got {2**62}"]),
    (having(1.0, *STATE, "step"), (TypeError, ValueError), ["['w']['step']", "integer", "got 1.0"]),
    (having(np.ones(6, np.float32), *STATE, "momentum_buffer"), ValueError, ["['momentum_buffer']", "(2, 3)", "(6,)"]),
    (having(np.ones((3, 2), np.float32), *STATE, "momentum_buffer"), ValueError, ["(2, 3)", "(3, 2)"]),
    (having(np.ones((2, 3)), *STATE, "momentum_buffer"), ValueError, ["['momentum_buffer']", "float32", "float64"]),
    (having(np.ones((2, 3), ">f4"), *STATE, "momentum_buffer"), ValueError, ["['momentum_buffer']", "float32", ">f4"]),
    (having(np.ones((2, 3), int), *STATE, "momentum_buffer"), ValueError, ["['momentum_buffer']", "float32", "int64"]),
    (having(np.ones((2, 3), "u2"), *STATE, "momentum_buffer"), ValueError, ["(2, 3)", "float32", "uint16"]),
    (having([[1.0] * 3] * 2, *STATE, "momentum_buffer"), TypeError, ["['momentum_buffer']", "numpy.ndarray", "list"]),
    (having(None, *STATE, "momentum_buffer"), TypeError, ["['momentum_buffer']", "numpy.ndarray", "NoneType"]),
    # The last thing that is looked at: by then all else has been found good, and must not have been taken.
    (having(np.ones(9), "state", "c", "momentum_buffer"), ValueError, ["['c']['momentum_buffer']", "(4,)", "(9,)"]),
]


def small():
    """Two groups, two steps done."""
    params = {"w": np.ones((2, 3), np.float32), "b": np.ones(3)}, {"c": np.ones(4)}
    groups = [{"params": params[0]}, {"params": params[1], "dampening": 0.1}]
    opt = fs.SGD(groups, lr=0.5, momentum=0.5)
    grads = [{"w": np.ones((2, 3), np.float32), "b": np.ones(3)}, {"c": np.ones(4)}]
    opt.step(grads)
    opt.step(grads)
    return opt, grads, params


@pytest.mark.parametrize(("change", "error", "says"), BROKEN, ids=[" ".join(says) for _, _, says in BROKEN])
def test_broken_state_changes_nothing(change, error, says):
    opt, grads, params = small()
    saved = opt.state_dict()
    # Were any of it taken, it would show.
    saved["calls"], saved["seed"], saved["groups"][0]["lr"], saved["state"]["b"]["step"] = 70, 71, 0.5, 72
    saved["state"]["b"]["momentum_buffer"][:] = 73
    change(saved)
    before = frozen([opt.state_dict(), opt.param_groups, params])
    bound = opt.bind(grads)
    with pytest.raises(error) as caught:
        opt.load_state_dict(saved)
    message = str(caught.value)
    assert message.startswith("SGD: ")
    for fact in says:
        assert fact in message
    assert frozen([opt.state_dict(), opt.param_groups, params]) == before
    bound.step()
    assert opt.state["w"]["step"] == 3


@pytest.mark.parametrize("saved", [None, [], "state", 7, np.ones(3), object()], ids=lambda saved: type(saved).__name__)
def test_state_of_a_wrong_type(saved):
    opt, _, params = small()
    before = frozen([opt.state_dict(), params])
    with pytest.raises(TypeError, match=r"^SGD: state_dict must be a dict, got "):
        opt.load_state_dict(saved)
    assert frozen([opt.state_dict(), params]) == before


def amsgrad(**options):
    """Two groups; with the option they call for one state more."""
    groups = [{"params": {"w": np.ones(3)}, "eps": 0.5}, {"params": {"b": np.ones(2)}}]
    opt = fs.Adam(groups, lr=0.5, **options)
    opt.step([{"w": np.ones(3)}, {"b": np.ones(2)}])
    return opt


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_options_stay_where_there_is_no_memory_for_state(monkeypatch, error):
    """Options that were loaded are taken back; those that were changed by hand stay as they were written."""

    def nothing_left(*_):
        raise error

    other = amsgrad(amsgrad=True, betas=(0.5, 0.75), maximize=True)
    loading, changing = amsgrad(), amsgrad()
    changing.param_groups[1].update(amsgrad=True, betas=[0.5, 0.75])
    calls = [
        (loading, lambda: loading.load_state_dict(other.state_dict())),
        (changing, lambda: changing.step([{"w": np.ones(3)}, {"b": np.ones(2)}])),
    ]
    for opt, call in calls:
        groups, state = [dict(group) for group in opt.param_groups], frozen(dict(opt.state))
        with monkeypatch.context() as patch:
            patch.setattr("fusedstep.optimizer.begun", nothing_left)
            with pytest.raises(error):
                call()
        assert opt.param_groups == groups
        assert frozen(dict(opt.state)) == state
        call()
        assert "max_exp_avg_sq" in opt.state["b"]


@pytest.mark.parametrize(
    ("opt", "key"),
    [
        (fs.WindowedAdagrad({"w": np.ones(3)}, window=2), "ring"),
        (fs.Adam({"w": np.ones(4096)}, state="sq8"), "exp_avg_scale"),
    ],
    ids=["ring", "scales"],
)
def test_states_of_another_length(opt, key):
    """One that would be repeated along it."""
    saved, before = opt.state_dict(), frozen(opt.state_dict())
    saved["groups"][0]["lr"] = 0.25
    saved["state"]["w"][key] = saved["state"]["w"][key][:1]
    with pytest.raises(ValueError, match=rf"\['{key}'\] must have shape"):
        opt.load_state_dict(saved)
    assert frozen(opt.state_dict()) == before


@pytest.mark.parametrize("key", ["lr", "betas", "decay"])
def test_numbers_that_have_become_arrays(key):
    """As some formats of files make them: what is not right gets a message, whatever it is compared with."""
    opt = fs.Adam(np.ones((2, 3)))
    saved = opt.state_dict()
    saved["groups"][0][key] = np.array([0.1, 0.2, 0.3])
    with pytest.raises((TypeError, ValueError), match=rf"^Adam: {key} must "):
        opt.load_state_dict(saved)
    for wrong in (np.array([]), np.zeros(2)):
        saved = opt.state_dict()
        saved["storage"]["state"] = wrong
        with pytest.raises(ValueError, match=r"^Adam: state_dict\['storage'\]\['state'\] must be "):
            opt.load_state_dict(saved)


@pytest.mark.parametrize(("key", "other"), [("shape", np.ones(4)), ("dtype", np.ones(3, np.float32))])
def test_parameters_without_state_are_like_those_that_were_saved(key, other):
    opt, w = fs.SGD({"w": other}, lr=0.5), np.ones(3)
    saved, before = fs.SGD({"w": w}, lr=0.25).state_dict(), frozen(opt.state_dict())
    expected = {"shape": r"\[4\], got \[3\]", "dtype": "'float32', got 'float64'"}[key]
    with pytest.raises(ValueError, match=rf"SGD: state_dict\['layouts'\]\['w'\]\['{key}'\] must be {expected}"):
        opt.load_state_dict(saved)
    assert frozen(opt.state_dict()) == before


CODED = {"w": (8, 3, 16, 16)}  # so many elements that its state is codes


def coded(layout):
    w = laid_out(np.ones(CODED["w"], np.float32), layout)
    return w, fs.Adam({"w": w}, state="sq8")


@pytest.mark.parametrize(("layout", "order"), [("C", [0, 1, 2, 3]), ("Fortran", [3, 2, 1, 0])])
def test_codes_of_another_order_are_refused(layout, order):
    """Their scales are those of blocks of memory."""
    rng = np.random.default_rng(5)
    grads = random(rng, CODED["w"], np.float32)
    w, opt = coded(layout)
    for other in LAYOUTS:
        _, from_there = coded(other)
        from_there.step({"w": laid_out(grads, other)})
        saved, before = from_there.state_dict(), frozen(opt.state_dict())
        if saved["layouts"] == opt.state_dict()["layouts"]:
            opt.load_state_dict(saved | json.loads(json.dumps({"layouts": saved["layouts"]})))
            assert frozen(opt.state_dict()) == frozen(saved)
            continue
        fact = re.escape(f"Adam: state_dict['layouts']['w']['order'] must be {order}, the axes")
        with pytest.raises(ValueError, match=fact):
            opt.load_state_dict(saved)
        assert frozen(opt.state_dict()) == before
    without = {"w": {**saved["layouts"]["w"], "order": None}}
    with pytest.raises(ValueError, match=r"\['order'\] must be .*, got None$"):
        opt.load_state_dict({**saved, "layouts": without})
    plain = fs.Adam({"w": laid_out(np.ones(CODED["w"], np.float32), "permuted")})
    plain.step({"w": laid_out(grads, "permuted")})
    fs.Adam({"w": w}).load_state_dict(plain.state_dict())  # numbers are where their elements are


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_codes_whose_order_a_pickle_has_lost(protocol):
    w, opt = coded("permuted")
    opt.step({"w": laid_out(np.ones(CODED["w"], np.float32), "permuted")})
    dumped = pickle.dumps(opt, protocol)
    if pickle.loads(pickle.dumps(w, protocol)).strides == w.strides:
        assert frozen(pickle.loads(dumped).state_dict()) == frozen(opt.state_dict())
        return
    with pytest.raises(ValueError, match="pickle's protocol 5 keeps the order"):
        pickle.loads(dumped)
