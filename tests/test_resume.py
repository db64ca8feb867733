"""What is saved: plain data, from which a run goes on bit for bit (T22)."""

from __future__ import annotations

import copy
import io
import json

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.bfloat16 import bits_of

from cases import CASES, DTYPES, IDS, LAYOUTS, frozen, laid_out, same_bytes
from runs import assert_same_run, clone, nested, run_of


def options_of(opt):
    """Options that another optimizer of the same parts may begin with, which loading must replace."""
    parts = {key: opt.param_groups[0][key] for key in ("phi", "psi") if key in opt.param_groups[0]}
    return {"lr": 0.7, "weight_decay": 0.2, "seed": 5, **parts}


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


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_saved_keeps_the_layout(layout, place):
    """Bytes of a file are then in the order of those in memory."""
    w = place.put(laid_out(np.ones((2, 3, 4), np.float32), layout))
    opt = fs.SGD({"w": w}, lr=0.5, momentum=0.5, weight_average=0.5)
    entry = opt.state_dict()["state"]["w"]
    assert entry["momentum_buffer"].strides == entry["average"].strides == w.strides


def test_an_axis_of_one_element_has_no_place():
    w = np.ones((3, 1, 4), np.float32)
    layouts = fs.Adam({"w": w}).state_dict()["layouts"]
    strange = np.lib.stride_tricks.as_strided(w, w.shape, (16, 4, 4))
    assert fs.Adam({"w": strange}).state_dict()["layouts"] == layouts
    assert layouts["w"] == {"shape": [3, 1, 4], "dtype": "float32", "order": [0, 2]}
    assert fs.Adam({"w": w}).state["w"]["exp_avg"].strides == w.strides


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
