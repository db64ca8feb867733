"""State: a run goes on bit for bit from what was saved, and no array is shared that should not be."""

from __future__ import annotations

import copy
import gc
import io
import json
import pickle
import re
import weakref
import zlib
from fractions import Fraction

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.bfloat16 import bits_of

from cases import CASES, DTYPES, IDS, LAYOUTS, frozen, laid_out, random, same_bytes

STEPS = 12

#: What is saved has parameters of every layout and an empty one.
SHAPES = {"net/w": (3, 4, 5), "net/b": (4, 3), "empty": (0, 2), "scale": ()}


def run_of(name, options, dtype):
    """Parameters in every layout, the gradients of all steps with some of them missing, and a step to stop before."""
    rng = np.random.default_rng(zlib.crc32(repr((name, options)).encode()))
    layouts = dict(zip(SHAPES, [*LAYOUTS, "C"], strict=True))
    params = {key: laid_out(random(rng, shape, dtype), layouts[key]) for key, shape in SHAPES.items()}
    grads = [
        {key: laid_out(random(rng, shape, dtype), layouts[key]) for key, shape in SHAPES.items()} for _ in range(STEPS)
    ]
    for step, key in rng.permutation([(i, key) for i in range(STEPS - 1) for key in SHAPES])[: STEPS - 2]:
        grads[int(step)][str(key)] = None
    return params, grads, int(rng.integers(1, STEPS))


def nested(flat):
    return {"net": {"w": flat["net/w"], "b": flat["net/b"]}, "empty": flat["empty"], "scale": flat["scale"]}


def clone(params):
    return {key: value.copy(order="K") for key, value in params.items()}


def assert_same_run(actual, expected, opt, uninterrupted):
    for key in expected:
        assert same_bytes(actual[key], expected[key]), key
    assert frozen(opt.state_dict()) == frozen(uninterrupted.state_dict())


def options_of(opt):
    """Options that another optimizer of the same parts may begin with, which loading must replace."""
    parts = {key: opt.param_groups[0][key] for key in ("phi", "psi") if key in opt.param_groups[0]}
    return {"lr": 0.7, "weight_decay": 0.2, "seed": 5, **parts}


# T22: resuming


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("before", "after"), [(fs, fs), (fs, fs.reference), (fs.reference, fs)])
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_resume(name, options, before, after, dtype):
    """From any step, in another optimizer with other options and garbage in its state, fused or in NumPy."""
    params, grads, stop = run_of(name, options, dtype)
    opt = getattr(before, name)(nested(params), lr=0.05, **options)
    for grad in grads[:stop]:
        opt.step(nested(grad))
    saved, resumed, then = opt.state_dict(), clone(params), clone(params)
    other = getattr(after, name)(nested(resumed), **options_of(opt))
    other.step(nested(grads[-1]))
    other.load_state_dict(saved)
    for key, value in resumed.items():
        value[...] = then[key]
    for grad in grads[stop:]:
        opt.step(nested(grad))
        other.step(nested(grad))
    assert_same_run(resumed, params, other, opt)
    assert not same_bytes(params["net/w"], then["net/w"])


def test_load_restores_every_option():
    """Of every group, the caller's marks aside."""
    groups = [{"params": {"a": np.ones(3)}, "lr": 0.5, "betas": (0.5, 0.75)}, {"params": {"b": np.ones(3)}}]
    opt = fs.Adam(groups, amsgrad=True, weight_decay=0.1, decay="fully_decoupled", seed=3)
    other = fs.Adam([{"params": {"a": np.ones(3)}}, {"params": {"b": np.ones(3)}, "eps": 0.5}], maximize=True)
    other.param_groups[0]["initial_lr"] = 7.0
    other.load_state_dict(opt.state_dict())
    assert other.param_groups[0].pop("initial_lr") == 7.0
    assert other.param_groups == opt.param_groups
    assert frozen(other.state_dict()) == frozen(opt.state_dict())
    assert other.state_dict()["seed"] == 3
    assert other.state["a"].keys() == {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}


def test_load_goes_on_with_the_same_random_bits():
    """They are those of the seed that was saved, whatever the constructor was given."""
    start, grad = (np.random.default_rng(seed).standard_normal(5000).astype(np.float16) for seed in (0, 1))
    params = [start.copy() for _ in range(2)]
    first, second = (
        fs.SGD(param, lr=0.1, rounding="stochastic", seed=seed) for param, seed in zip(params, (5, 6), strict=True)
    )
    first.step(grad)
    params[1][:] = params[0]
    second.load_state_dict(first.state_dict())
    for optimizer in (first, second):
        optimizer.step(grad)
    assert params[0].tobytes() == params[1].tobytes() != start.tobytes()


def test_load_goes_by_name():
    """Not by the order in which a dict held the parameters."""
    w, b = np.ones(3), np.full(3, 2.0)
    opt = fs.SGD({"w": w, "b": b}, lr=0.5, momentum=0.5)
    opt.step({"w": np.full(3, 2.0), "b": None})
    other = fs.SGD({"b": b.copy(), "w": w.copy()}, lr=0.5, momentum=0.5)
    other.load_state_dict(opt.state_dict())
    assert (other.state["w"]["momentum_buffer"] == 2).all()
    assert (other.state["b"]["momentum_buffer"] == 0).all()
    assert [other.state[name]["step"] for name in ("w", "b")] == [1, 0]
    for loaded in (other, copy.copy(other)):
        assert loaded.state_dict()["numbers"] == {"w": 0, "b": 1}


@pytest.mark.parametrize("change", [{"momentum": 0.5}, {"lr": 0.125}, {"nesterov": True}])
def test_save_with_pending_changes(change):
    """What was changed after the last step is saved so that it can be loaded, and goes on as it would have."""
    w = np.ones(3)
    opt = fs.SGD({"w": w}, lr=0.5)
    opt.step({"w": np.ones(3)})
    opt.param_groups[0].update(change)
    saved, resumed = opt.state_dict(), w.copy()
    other = fs.SGD({"w": resumed}, lr=0.75)
    other.load_state_dict(saved)
    for _ in range(2):
        opt.step({"w": np.ones(3)})
        other.step({"w": np.ones(3)})
    assert same_bytes(resumed, w)
    assert frozen(other.state_dict()) == frozen(opt.state_dict())


def test_load_over_pending_changes():
    """They are replaced like all that was there."""
    opt = fs.SGD({"w": np.ones(3)}, lr=0.5, momentum=0.5)
    opt.step({"w": np.ones(3)})
    saved = opt.state_dict()
    opt.param_groups[0].update(momentum=0.0, lr=0.25)
    opt.load_state_dict(saved)
    assert frozen(opt.state_dict()) == frozen(saved)
    opt.step({"w": np.ones(3)})
    assert (opt.state["w"]["momentum_buffer"] == 1.5).all()


def test_load_into_the_same_optimizer():
    """Back to an earlier point, and from the live state itself."""
    w = np.ones(3)
    opt = fs.SGD(w, lr=0.5, momentum=0.5)
    opt.step(np.ones(3))
    saved, then = opt.state_dict(), w.copy()
    opt.step(np.ones(3))
    expected = w.copy()
    w[:] = then
    opt.load_state_dict(saved)
    opt.step(np.ones(3))
    assert same_bytes(w, expected)
    live = {**opt.state_dict(), "state": {"0": dict(opt.state["0"])}}
    before = frozen(opt.state_dict())
    opt.load_state_dict(live)
    assert frozen(opt.state_dict()) == before


@pytest.mark.parametrize("calls", [0, 2**24 + 1, 2**31 - 1, 2**40])
def test_load_counters(calls):
    """They are 64 bits wide."""
    asked = []
    opt = fs.SGD(np.ones(3), lr=lambda step: asked.append(step) or 0.5)
    saved = opt.state_dict()
    saved["calls"], saved["state"]["0"]["step"], saved["skipped"] = calls, calls + 1, calls + 2
    opt.load_state_dict(saved)
    opt.step(np.ones(3))
    assert asked == [calls]
    assert opt.skipped == calls + 2
    assert opt.state["0"]["step"] == calls + 2
    assert opt.state_dict()["calls"] == calls + 1


def test_counters_of_numpy():
    opt = fs.SGD({"w": np.ones(3)})
    saved = opt.state_dict()
    saved["calls"], saved["state"]["w"]["step"], saved["numbers"]["w"] = np.int64(5), np.int32(4), np.uint8(3)
    opt.load_state_dict(saved)
    found = opt.state_dict()
    assert [found["calls"], found["state"]["w"]["step"], found["numbers"]["w"]] == [5, 4, 3]


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
    (having([], "groups"), ValueError, ["state_dict['groups']", "2 groups", "got []"]),
    (lacking("groups", 1), ValueError, ["state_dict['groups']", "2 groups", "got"]),
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
            patch.setattr("fusedstep.optimizer.for_companion", nothing_left)
            with pytest.raises(error):
                call()
        assert opt.param_groups == groups
        assert frozen(dict(opt.state)) == state
        call()
        assert "max_exp_avg_sq" in opt.state["b"]


@pytest.mark.parametrize("saved", [None, [], "state", 7, np.ones(3), object()], ids=lambda saved: type(saved).__name__)
def test_state_of_a_wrong_type(saved):
    opt, _, params = small()
    before = frozen([opt.state_dict(), params])
    with pytest.raises(TypeError, match=r"^SGD: state_dict must be a dict, got "):
        opt.load_state_dict(saved)
    assert frozen([opt.state_dict(), params]) == before


def test_state_is_plain_data():
    """Storing it needs no pickle: numbers, strings and arrays of floats, through files that hold nothing else."""
    params = {"w": np.ones((2, 3), np.float32), "b": np.ones(3)}
    opt = fs.NAdam(params, lr=np.float32(0.5), betas=[np.float64(0.5), 0.75])
    opt.step({"w": np.ones((2, 3), np.float32), "b": np.ones(3)})
    saved = opt.state_dict()
    arrays = {f"{name}.{key}": v for name, entry in saved["state"].items() for key, v in entry.items() if key != "step"}
    assert all(array.dtype.kind == "f" for array in arrays.values())
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    for name, entry in saved["state"].items():
        saved["state"][name] = {"step": entry["step"]}
    read = json.loads(json.dumps(saved, allow_nan=False))
    with np.load(file, allow_pickle=False) as stored:
        for key in stored:
            name, state = key.split(".")
            read["state"][name][state] = stored[key]
    other = fs.NAdam({"w": np.ones((2, 3), np.float32), "b": np.ones(3)})
    other.load_state_dict(read)
    assert frozen(other.state_dict()) == frozen(opt.state_dict())


def test_a_file_loses_the_mark_of_bfloat16():
    """NumPy has no such type: what is read are the same bits as uint16, and they load."""
    w = {"w": np.ones(3, np.float32)}
    opt = fs.Adam(w, state={"exp_avg": "bfloat16"})
    opt.step({"w": np.full(3, 1.25, np.float32)})
    saved, file = opt.state_dict(), io.BytesIO()
    entry = saved["state"]["w"]
    np.save(file, bits_of(entry["exp_avg"]), allow_pickle=False)
    file.seek(0)
    read = np.load(file)
    assert (type(read), read.dtype) == (np.ndarray, np.uint16)
    other = fs.Adam(w, state={"exp_avg": "bfloat16"})
    other.load_state_dict({**saved, "state": {"w": {**entry, "exp_avg": read}}})
    assert frozen(other.state_dict()) == frozen(opt.state_dict())
    ml_dtypes = pytest.importorskip("ml_dtypes")
    theirs = fs.Adam({"w": np.ones(3, ml_dtypes.bfloat16)}, state={"exp_avg": "bfloat16"})
    saved = theirs.state_dict()
    saved["state"]["w"]["exp_avg"] = read
    theirs.load_state_dict(saved)
    assert same_bytes(theirs.state["w"]["exp_avg"], entry["exp_avg"])


#: torch's names, and the paper's where torch lacks the method; with the options that call for them
NAMES = [
    ("SGD", {}, set()),
    ("SGD", {"momentum": 0.9}, {"momentum_buffer"}),
    ("Adagrad", {}, {"sum"}),
    ("WindowedAdagrad", {}, {"sum", "ring"}),
    ("RMSprop", {}, {"square_avg"}),
    ("RMSprop", {"momentum": 0.9, "centered": True}, {"square_avg", "momentum_buffer", "grad_avg"}),
    ("Adadelta", {}, {"square_avg", "acc_delta"}),
    ("Adam", {}, {"exp_avg", "exp_avg_sq"}),
    ("AdamW", {"amsgrad": True}, {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}),
    ("RAdam", {}, {"exp_avg", "exp_avg_sq"}),
    ("NAdam", {}, {"exp_avg", "exp_avg_sq", "mu_product"}),
    ("Adamax", {}, {"exp_avg", "exp_inf"}),
    ("Lion", {}, {"exp_avg"}),
    ("AdaBelief", {}, {"exp_avg", "exp_avg_var"}),
    ("Yogi", {}, {"exp_avg", "exp_avg_sq"}),
    ("Adaptive", {"phi": "heavy_ball", "psi": "sum"}, {"momentum_buffer", "sum"}),
]


@pytest.mark.parametrize(("name", "options", "states"), NAMES)
def test_names_of_states(name, options, states):
    opt = getattr(fs, name)({"w": np.ones(3, np.float32)}, **options)
    assert opt.state["w"].keys() == {"step", *states}
    assert opt.state["w"]["step"] == 0
    assert opt.state_dict()["state"]["w"].keys() == {"step", *states}


def test_names_are_of_every_method():
    assert {name for name, _, _ in NAMES} == set(fs.reference.__all__)


def test_no_such_state():
    with pytest.raises(KeyError, match="v"):
        fs.SGD({"w": np.ones(3)}).state["v"]


# T23: learning rates, and whose memory it is


@pytest.mark.parametrize(
    "lr",
    [
        0.5,
        np.float64(0.5),
        np.float32(0.5),
        np.float16(0.5),
        np.longdouble(0.5),
        Fraction(1, 2),
        lambda step: 0.5,
        lambda step: np.float32(0.5),
        lambda step: np.array(0.5),
    ],
)
@pytest.mark.parametrize("name", fs.reference.__all__)
def test_forms_of_a_rate(name, lr):
    rng = np.random.default_rng(2)
    w, grad = random(rng, 30, np.float32), random(rng, 30, np.float32)
    start, expected = w.copy(), w.copy()
    opt, plain = getattr(fs, name)(w, lr=lr), getattr(fs, name)(expected, 0.5)
    for _ in range(2):
        opt.step(grad)
        plain.step(grad)
    assert same_bytes(w, expected)
    assert (w != start).all()
    saved = opt.state_dict()["groups"][0]["lr"]
    assert saved == "schedule" if callable(lr) else (type(saved), saved) == (float, 0.5)


@pytest.mark.parametrize("lr", [1, np.int64(1), np.uint8(1)])
def test_whole_rates(lr):
    w = np.ones(3)
    fs.SGD(w, lr=lr).step(np.full(3, 0.25))
    assert (w == 0.75).all()


def test_flags_of_numpy():
    w = np.ones(3)
    opt = fs.SGD(w, lr=0.5, maximize=np.True_)
    opt.step(np.ones(3))
    assert (w == 1.5).all()
    assert opt.param_groups[0]["maximize"] is True


def schedule(step):
    return 0.5 / (1 + step)


def test_schedule_goes_on_where_it_was():
    w, grads = np.ones(3), [np.full(3, float(i + 1)) for i in range(6)]
    opt = fs.SGD(w, lr=schedule, momentum=0.5)
    for grad in grads[:3]:
        opt.step(grad)
    saved, resumed = opt.state_dict(), w.copy()
    for grad in grads[3:]:
        opt.step(grad)
    other = fs.SGD(resumed, lr=schedule)
    other.load_state_dict(saved)
    assert other.param_groups[0]["lr"] is schedule
    for grad in grads[3:]:
        other.step(grad)
    assert same_bytes(resumed, w)


def test_schedule_of_the_constructor_stays():
    w = np.ones(3)
    opt = fs.SGD(w, lr=schedule)
    opt.load_state_dict(fs.SGD(np.ones(3), lr=0.25).state_dict())
    opt.step(np.ones(3))
    assert (w == 0.5).all()


def test_schedule_must_be_given_again():
    saved = fs.SGD(np.ones(3), lr=schedule).state_dict()
    opt = fs.SGD(np.ones(3), lr=0.25)
    with pytest.raises(ValueError, match=r"^SGD: state_dict\['groups'\]\[0\]\['lr'\] .* schedule .*, got 0.25"):
        opt.load_state_dict(saved)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_gradients_are_not_kept(name, options):
    """Neither as state nor alive; what the caller does with them afterwards does not matter."""
    rng = np.random.default_rng(3)
    w, grad = random(rng, 30, np.float32), random(rng, 30, np.float32)
    opt = getattr(fs, name)(w, lr=0.05, **options)
    opt.step(grad)
    before = frozen(dict(opt.state))
    assert not any(np.shares_memory(grad, value) for value in opt.state["0"].values() if not isinstance(value, int))
    grad[:] = 77
    assert frozen(dict(opt.state)) == before


def test_gradients_are_let_go():
    """After a step, and after one that was refused."""

    class Watched(np.ndarray):
        freed = 0

        def __del__(self):
            Watched.freed += 1

    opt = fs.SGD([np.ones(3), np.ones(3)], lr=0.5)
    opt.step([np.ones(3).view(Watched), np.ones(3)])
    assert Watched.freed == 1
    with pytest.raises(ValueError, match="shape"):
        opt.step([np.ones(3).view(Watched), np.ones(4)])
    gc.collect()
    assert Watched.freed == 2


def test_an_optimizer_that_its_arrays_know_is_let_go():
    """As a parameter, as state, and by a schedule."""

    class Knowing(np.ndarray):
        opt = None

    freed = []
    for where in ("param", "state", "schedule", "bound"):
        arrays = {name: np.zeros(3).view(Knowing) for name in ("param", "state")}
        memory = {"w": {"momentum_buffer": arrays["state"]}}
        known = arrays.get(where, arrays["param"])
        rate = (lambda step, arrays=arrays: 0.5) if where == "schedule" else 0.5
        known.opt = fs.SGD({"w": arrays["param"]}, lr=rate, momentum=0.5, memory=memory)
        known.opt.step({"w": np.ones(3)})
        if where == "bound":
            opt, known = known.opt, np.ones(3).view(Knowing)
            known.opt = opt.bind({"w": known})
            known.opt.step()
            del opt
        weakref.finalize(known, freed.append, where)
        del arrays, memory, known, rate
    gc.collect()
    assert freed == ["param", "state", "schedule", "bound"]


@pytest.mark.parametrize("name", [0, None, "v", ("w",)], ids=repr)
def test_state_of_nobody(name):
    """As a mapping says it."""
    state = fs.Adam({"w": np.ones(3)}).state
    assert name not in state
    assert state.get(name) is None
    with pytest.raises(KeyError):
        state[name]


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
        with pytest.raises(ValueError, match=r"^Adam: state_dict\['storage'\] must be "):
            opt.load_state_dict(saved)


def test_saved_state_is_a_copy():
    """In both directions."""
    w = np.ones(3)
    opt = fs.SGD(w, lr=0.5, momentum=0.5)
    opt.step(np.ones(3))
    saved = opt.state_dict()
    opt.step(np.ones(3))
    assert (saved["state"]["0"]["momentum_buffer"] == 1).all()
    assert saved["state"]["0"]["step"] == saved["calls"] == 1
    opt.load_state_dict(saved)
    saved["state"]["0"]["momentum_buffer"][:] = 77
    saved["groups"][0]["lr"] = 77.0
    saved["groups"][0]["params"].append("77")
    saved["storage"]["state"]["momentum_buffer"] = "bfloat16"
    saved["storage"]["rounding"] = "stochastic"
    assert (opt.state["0"]["momentum_buffer"] == 1).all()
    assert opt.param_groups[0]["lr"] == 0.5
    assert opt.state_dict()["groups"][0]["params"] == ["0"]
    assert opt.state_dict()["storage"] == fs.SGD(np.ones(3)).state_dict()["storage"]


def test_state_is_live():
    w = np.ones(3)
    opt = fs.SGD({"w": w}, lr=0.5, momentum=0.5)
    buffer, view = opt.state["w"]["momentum_buffer"], opt.state
    opt.step({"w": np.ones(3)})
    assert (buffer == 1).all()
    assert view["w"]["step"] == 1
    assert opt.state["w"]["momentum_buffer"] is buffer
    buffer[:] = 2
    opt.step({"w": np.zeros(3)})
    assert (w == 0.0).all()
    opt.load_state_dict(opt.state_dict())
    assert opt.state["w"]["momentum_buffer"] is buffer


def test_what_is_put_into_a_view_is_not_lost_in_silence():
    opt = fs.SGD({"w": np.ones(3)}, momentum=0.5)
    opt.step({"w": np.ones(3)})
    for key, value in {"step": 7, "momentum_buffer": np.zeros(3), "velocity": np.zeros(3)}.items():
        with pytest.raises(TypeError, match=f"state: '{key}' must be changed .* got {type(value).__name__} in"):
            opt.state["w"][key] = value
    opt.state["w"]["momentum_buffer"] *= 2
    assert (opt.state["w"]["momentum_buffer"] == 2).all()
    for copied in (copy.copy, copy.deepcopy, lambda entry: pickle.loads(pickle.dumps(entry))):
        kept = copied(opt.state["w"])
        kept["step"] = 7
        assert type(kept) is dict
    assert opt.state["w"]["step"] == 1


# Where state lies


@pytest.mark.parametrize("size", [512, 1_000, 16_384, 40_000])
def test_states_lie_apart(size):
    """In a page, no stream begins shortly behind another: a quarter of it, less the cache line that it begins on."""
    w = np.ones(size, np.float32)
    opt = fs.Adam(w, amsgrad=True)
    (entry,) = opt.state.values()
    arrays = [entry[state] for state in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")]
    behind = [(array.ctypes.data - w.ctypes.data // 64 * 64) % 4096 for array in arrays]
    assert sorted(behind) == [1024, 2048, 3072]


@pytest.mark.parametrize("size", [100, 4_000])
def test_other_states_take_no_page(size):
    (entry,) = fs.Adam(np.ones(size, np.float32)).state.values()
    assert entry["exp_avg"].base.nbytes < 4 * size + 100


# Memory of the caller


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_memory(name, options, dtype):
    """State lives in the arrays that were given, whatever was in them, and nothing is different otherwise."""
    params, grads, stop = run_of(name, options, dtype)
    copies = clone(params)
    usual = getattr(fs, name)(nested(copies), lr=0.05, **options)
    memory = {
        key: {state: np.full_like(array, 77) for state, array in entry.items() if state != "step"}
        for key, entry in usual.state.items()
    }
    opt = getattr(fs, name)(nested(params), lr=0.05, memory=memory, **options)
    assert frozen(dict(opt.state)) == frozen(dict(usual.state))
    for grad in grads[:stop]:
        opt.step(nested(grad))
        usual.step(nested(grad))
    assert_same_run(params, copies, opt, usual)
    for key, arrays in memory.items():
        for state, array in arrays.items():
            assert opt.state[key][state] is array
    # Loading writes to the same memory.
    opt.load_state_dict(getattr(fs, name)(nested(copies), lr=0.05, **options).state_dict())
    for key, arrays in memory.items():
        for state, array in arrays.items():
            assert opt.state[key][state] is array
            assert opt.state[key]["step"] == 0


def test_memory_of_some():
    """What is not given is made; in groups, and for parameters that are added."""
    m, late = np.full(3, 77.0), np.full(2, 77.0)
    groups = [{"params": {"a": np.ones(3)}}, {"params": {"b": np.ones(3)}}]
    opt = fs.Adam(groups, memory={"b": {"exp_avg": m}, "a": {}})
    opt.add({"c": np.ones(2)}, memory={"c": {"exp_avg_sq": late}})
    opt.step([{"a": np.ones(3)}, {"b": np.ones(3)}, {"c": np.ones(2)}])
    assert opt.state["b"]["exp_avg"] is m
    assert opt.state["c"]["exp_avg_sq"] is late
    assert (m == opt.state["a"]["exp_avg"]).all()
    assert (late == opt.state["b"]["exp_avg_sq"][:2]).all()


def test_memory_by_the_numbers_of_a_list():
    """Lists count on from the groups before, whether these come at once or later."""
    arrays, buffers = ([np.ones(2) for _ in range(6)] for _ in range(2))
    memory = {str(i): {"momentum_buffer": buffer} for i, buffer in enumerate(buffers)}
    extents = {str(i): (i, 9) for i in range(6)}
    later = {"memory": {name: memory[name] for name in "45"}, "extents": {name: extents[name] for name in "45"}}
    at_once = {"memory": {name: memory[name] for name in "0123"}, "extents": {name: extents[name] for name in "0123"}}
    groups = [{"params": arrays[:1]}, {"params": arrays[1:3]}, {"params": arrays[3:4]}]
    opt = fs.SGD(groups, momentum=0.5, **at_once)
    opt.add(arrays[4:], **later)
    assert list(opt.state) == list(memory)
    assert all(opt.state[str(i)]["momentum_buffer"] is buffer for i, buffer in enumerate(buffers))
    assert opt.__getstate__()["extents"] == extents


def test_memory_of_a_scalar():
    """NAdam's product: what can be given can be saved and loaded."""
    for memory in (None, {"w": {"mu_product": np.array(77.0)}}):
        opt = fs.NAdam({"w": np.ones(3)}, memory=memory)
        opt.step({"w": np.ones(3)})
        other = fs.NAdam({"w": np.ones(3)})
        other.load_state_dict(opt.state_dict())
        assert other.state["w"]["mu_product"] == opt.state["w"]["mu_product"] != 77
    for wrong, came in (
        (np.ones(1), r".*\(1,\)"),
        (np.ones((), ">f8"), ">f8"),
        (np.frombuffer(bytes(8)).reshape(()), "a r"),
    ):
        with pytest.raises(ValueError, match=rf"^NAdam: memory\['w'\]\['mu_product'\] must .*, got {came}"):
            fs.NAdam({"w": np.ones(3)}, memory={"w": {"mu_product": wrong}})


# Copies


def pickled(protocol):
    return lambda opt: pickle.loads(pickle.dumps(opt, protocol))


PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)
WAYS = [copy.copy, copy.deepcopy, *(pickled(protocol) for protocol in PROTOCOLS)]
WAY_IDS = ["shallow", "deep", *(f"pickle {protocol}" for protocol in PROTOCOLS)]


class Model:
    """Someone else's object that holds parameters and their optimizer."""

    def __init__(self, params, opt):
        self.params, self.opt = params, opt


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("way", [copy.deepcopy, pickled(pickle.HIGHEST_PROTOCOL)], ids=["deep", "pickle"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_copies_go_on(name, options, way, dtype):
    """With parameters of their own, which are those of the copy around them; the original is left alone."""
    params, grads, stop = run_of(name, options, dtype)
    opt = getattr(fs, name)(nested(params), lr=0.05, **options)
    for grad in grads[:stop]:
        opt.step(nested(grad))
    before = frozen([opt.state_dict(), params])
    model = way(Model(params, opt))
    assert frozen([model.opt.state_dict(), model.params]) == before
    for grad in grads[stop:]:
        # A pickle holds arrays that are neither C's nor Fortran's order in C's.
        model.opt.step(nested({key: alike(model.params[key], value) for key, value in grad.items()}))
    assert frozen([opt.state_dict(), params]) == before
    for grad in grads[stop:]:
        opt.step(nested(grad))
    assert_same_run(model.params, params, model.opt, opt)
    for key, entry in model.opt.state.items():
        for state, array in entry.items():
            assert state == "step" or not np.shares_memory(array, opt.state[key][state])


def alike(param, values):
    if values is None:
        return None
    grad = np.empty_like(param)
    grad[...] = values
    return grad


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_shallow_copy(name, options):
    """The same parameters, state of its own: what one does the other does not remember."""
    params, grads, _ = run_of(name, options, np.float32)
    opt = getattr(fs, name)(nested(params), lr=0.05, **options)
    opt.step(nested(grads[0]))
    twin = copy.copy(opt)
    saved, start = frozen(opt.state_dict()), clone(params)
    twin.step(nested(grads[1]))
    moved = clone(params)
    assert frozen(opt.state_dict()) == saved
    for key, value in start.items():
        params[key][...] = value
    opt.step(nested(grads[1]))
    assert all(same_bytes(params[key], moved[key]) for key in params)
    assert frozen(opt.state_dict()) == frozen(twin.state_dict())


@pytest.mark.parametrize("way", WAYS, ids=WAY_IDS)
@pytest.mark.parametrize("optimizers", [fs, fs.reference], ids=["fused", "reference"])
def test_copies_are_complete(optimizers, way):
    """Groups, their options and marks, names, schedule, convention, seed, counters and extents."""
    groups = [{"params": {"w": np.ones((2, 3))}, "lr": 0.5}, {"params": [np.ones(3), np.ones(2)]}]
    options = {"momentum": 0.5, "convention": "keras", "seed": 9, "decay": "fully_decoupled"}
    opt = optimizers.SGD(groups, lr=schedule, extents={"1": (4096, 9000)}, **options)
    opt.param_groups[0]["initial_lr"] = 0.5
    opt.param_groups[1]["dampening"] = 0.0
    opt.add({"late": np.ones(2)}, nesterov=True)
    grads = [{"w": np.ones((2, 3))}, [np.ones(3), None], {"late": np.ones(2)}]
    opt.step(grads)
    opt.param_groups[2]["weight_decay"] = 0.25  # not yet taken over by a step
    twin = way(opt)
    assert type(twin) is type(opt)
    assert twin.param_groups == opt.param_groups
    assert all(a is not b for a, b in zip(twin.param_groups, opt.param_groups, strict=True))
    assert twin.param_groups[1]["lr"] is schedule
    assert list(twin.state) == ["w", "1", "2", "late"]
    assert frozen(twin.state_dict()) == frozen(opt.state_dict())
    assert twin.__getstate__()["extents"] == {"w": (0, 6), "1": (4096, 9000), "2": (0, 2), "late": (0, 2)}
    # The defaults of later groups are the constructor's, not the class's.
    twin.add({"later": np.ones(2)})
    assert twin.param_groups[3]["buffer"] == "lr_inside"
    assert twin.param_groups[3]["momentum"] == 0.5
    assert len(opt.param_groups) == 3
    opt.step(grads)
    twin.step([*grads, {"later": None}])
    assert same_bytes(twin.state["w"]["momentum_buffer"], opt.state["w"]["momentum_buffer"])
    assert [entry["step"] for entry in twin.state.values()] == [2, 2, 0, 2, 0]


@pytest.mark.parametrize("name", ["w", "ω", "a b", "a.b", "a\0b"])
def test_whole_names(name):
    """Whatever a name is made of, it is the same name everywhere."""
    memory = np.full(2, 77.0)
    params = {"a": np.ones(2), name: np.ones(2)}
    opt = fs.SGD(params, lr=0.5, momentum=0.5, memory={name: {"momentum_buffer": memory}}, extents={name: (3, 9)})
    opt.step({"a": None, name: np.ones(2)})
    assert list(opt.state) == ["a", name]
    assert opt.state[name]["momentum_buffer"] is memory
    assert opt.__getstate__()["extents"] == {"a": (0, 2), name: (3, 9)}
    other = fs.SGD({name: np.ones(2), "a": np.ones(2)}, momentum=0.5)
    other.load_state_dict(pickle.loads(pickle.dumps(opt)).state_dict())
    assert (other.state[name]["momentum_buffer"] == 1).all()
    assert [other.state[key]["step"] for key in ("a", name)] == [0, 1]


@pytest.mark.parametrize("way", WAYS, ids=WAY_IDS)
@pytest.mark.parametrize("change", [{"momentum": 0.5}, {"weight_decay": 0.25, "lr": 0.125}, {"nesterov": True}])
def test_copies_take_pending_changes(change, way):
    """Options that were changed after the last step, also where they call for state that is not there yet."""
    w = np.ones(3)
    opt = fs.SGD({"w": w}, lr=0.5)
    opt.step({"w": np.ones(3)})
    opt.param_groups[0].update(change)
    start, twin = w.copy(), way(opt)
    for _ in range(2):
        twin.step({"w": np.ones(3)})
    w[:] = start
    for _ in range(2):
        opt.step({"w": np.ones(3)})
    assert frozen(twin.state_dict()) == frozen(opt.state_dict())
    ahead = twin.lookahead()["w"], opt.lookahead()["w"]
    assert same_bytes(*ahead) or way is copy.copy, "the parameters are the same too"


@pytest.mark.parametrize("way", WAYS, ids=WAY_IDS)
@pytest.mark.parametrize("change", [{"lr": -1.0}, {"momentum": "0.9"}, {"buffer": "nothing"}, {"foreach": True}])
def test_copies_refuse_what_the_original_would(change, way):
    """An impossible change does not become possible by a copy: it, or its step, says so."""
    opt = fs.SGD({"w": np.ones(3)}, lr=0.5)
    opt.param_groups[0].update(change)
    with pytest.raises((TypeError, ValueError), match=r"^SGD: .* must .*, got ") as caught:
        way(opt).step({"w": np.ones(3)})
    assert next(iter(change)) in str(caught.value)


def test_copies_of_one_group_keep_its_form():
    """A group given as a group takes a list of gradients; parameters given plainly take them plainly."""
    plain = {"w": np.ones(3)}
    for params, grads in (([{"params": plain}], [{"w": np.ones(3)}]), (plain, {"w": np.ones(3)})):
        for way in WAYS:
            twin = way(fs.SGD(params, lr=0.5))
            twin.step(grads)
            assert twin.state["w"]["step"] == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_saved_keeps_the_layout(layout, place):
    """Bytes of a file are then in the order of those in memory."""
    w = place.put(laid_out(np.ones((2, 3, 4), np.float32), layout))
    opt = fs.SGD({"w": w}, lr=0.5, momentum=0.5, weight_average=0.5)
    entry = opt.state_dict()["state"]["w"]
    assert entry["momentum_buffer"].strides == entry["average"].strides == w.strides


@pytest.mark.parametrize("layout", LAYOUTS)
def test_copy_keeps_the_layout(layout):
    """In memory's order the elements are counted; NumPy's own pickle keeps it for C's and Fortran's."""
    w = laid_out(np.arange(24.0).reshape(2, 3, 4), layout)
    opt = fs.SGD({"w": w}, lr=0.5, momentum=0.5)
    assert copy.copy(opt).state["w"]["momentum_buffer"].strides == w.strides
    assert copy.deepcopy(opt).state["w"]["momentum_buffer"].strides == w.strides
    if layout != "permuted":
        assert pickle.loads(pickle.dumps(opt)).state["w"]["momentum_buffer"].strides == w.strides


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
    _, opt = coded("permuted")
    opt.step({"w": laid_out(np.ones(CODED["w"], np.float32), "permuted")})
    dumped = pickle.dumps(opt, protocol)
    if protocol >= 5:
        assert frozen(pickle.loads(dumped).state_dict()) == frozen(opt.state_dict())
        return
    with pytest.raises(ValueError, match="pickle's protocol 5 keeps the order"):
        pickle.loads(dumped)


@pytest.mark.parametrize(("key", "other"), [("shape", np.ones(4)), ("dtype", np.ones(3, np.float32))])
def test_parameters_without_state_are_like_those_that_were_saved(key, other):
    opt, w = fs.SGD({"w": other}, lr=0.5), np.ones(3)
    saved, before = fs.SGD({"w": w}, lr=0.25).state_dict(), frozen(opt.state_dict())
    expected = {"shape": r"\[4\], got \[3\]", "dtype": "'float32', got 'float64'"}[key]
    with pytest.raises(ValueError, match=rf"SGD: state_dict\['layouts'\]\['w'\]\['{key}'\] must be {expected}"):
        opt.load_state_dict(saved)
    assert frozen(opt.state_dict()) == before


def test_an_axis_of_one_element_has_no_place():
    w = np.ones((3, 1, 4), np.float32)
    layouts = fs.Adam({"w": w}).state_dict()["layouts"]
    strange = np.lib.stride_tricks.as_strided(w, w.shape, (16, 4, 4))
    assert fs.Adam({"w": strange}).state_dict()["layouts"] == layouts
    assert layouts["w"] == {"shape": [3, 1, 4], "dtype": "float32", "order": [0, 2]}
    assert fs.Adam({"w": w}).state["w"]["exp_avg"].strides == w.strides


def test_copy_of_a_copy():
    w = np.ones(3)
    opt = pickle.loads(pickle.dumps(copy.deepcopy(copy.copy(fs.SGD({"w": w}, lr=0.5)))))
    opt.step({"w": np.ones(3)})
    assert (w == 1).all()
    assert opt.state["w"]["step"] == 1
