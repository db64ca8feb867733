"""State: what it is called, where it lies, and what is not kept in it (T23)."""

from __future__ import annotations

import copy
import gc
import operator
import pickle
import weakref

import numpy as np
import pytest

import fusedstep as fs

from cases import CASES, DTYPES, IDS, frozen, random
from runs import assert_same_run, clone, nested, run_of

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


@pytest.mark.parametrize("name", [0, None, "v", ("w",)], ids=repr)
def test_state_of_nobody(name):
    """As a mapping says it."""
    state = fs.Adam({"w": np.ones(3)}).state
    assert name not in state
    assert state.get(name) is None
    with pytest.raises(KeyError):
        state[name]


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
    for change in (
        lambda entry: entry.update(step=7),
        lambda entry: entry.pop("step"),
        lambda entry: entry.popitem(),
        lambda entry: entry.setdefault("velocity", 7),
        lambda entry: entry.clear(),
        lambda entry: operator.delitem(entry, "step"),
        lambda entry: operator.ior(entry, {"step": 7}),
    ):
        with pytest.raises(TypeError, match=r"^state: .* must be changed by load_state_dict\(\), .* got a change of"):
            change(opt.state["w"])
    opt.state["w"]["momentum_buffer"] *= 2
    assert (opt.state["w"]["momentum_buffer"] == 2).all()
    assert opt.state["w"] | {"step": 7} == {**opt.state["w"], "step": 7}
    for copied in (copy.copy, copy.deepcopy, lambda entry: pickle.loads(pickle.dumps(entry))):
        kept = copied(opt.state["w"])
        kept["step"] = 7
        assert type(kept) is dict
    assert opt.state["w"]["step"] == 1


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
