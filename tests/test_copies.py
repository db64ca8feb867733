"""Copies of an optimizer, shallow, deep and pickled: complete, and each with a state of its own."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import fusedstep as fs

from cases import CASES, DTYPES, IDS, LAYOUTS, frozen, laid_out, same_bytes
from runs import assert_same_run, clone, nested, run_of
from scenes import assert_refused


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


@pytest.mark.parametrize("reference", [False, True], ids=["kernels", "NumPy"])
def test_read_only_copies(reference):
    """As joblib's processes get large arrays: a model that holds an optimizer arrives, and only a step is refused."""
    model = Model({"w": np.ones(3), "b": np.ones(2)}, None)
    grads = {"w": np.ones(3), "b": np.ones(2)}
    model.opt = (fs.reference if reference else fs).SGD(model.params, lr=0.1, momentum=0.9, weight_average=0.9)
    model.opt.step(grads)
    buffers = []
    pickle_of = pickle.dumps(model, 5, buffer_callback=buffers.append)
    came = pickle.loads(pickle_of, buffers=[bytes(buffer) for buffer in buffers])
    assert not came.params["w"].flags.writeable
    before = frozen([model.opt.state_dict(), model.params, model.opt.average])
    for call in (came.opt.step, came.opt.bind):
        assert_refused(lambda call=call: call(grads), ValueError, "params['w']", "be writeable", "a read-only array")
        assert_refused(lambda call=call: call(grads | {"w": None}), ValueError, "params['b']", "be writeable", "read")
        assert frozen([came.opt.state_dict(), came.params, came.opt.average]) == before
    again = copy.deepcopy(came)
    for one in (model, again):
        one.opt.step(grads)
    assert frozen([again.opt.state_dict(), again.params]) == frozen([model.opt.state_dict(), model.params])
    bound = again.opt.bind(grads)
    bound.step()
    with pytest.raises(ValueError, match="must be writeable"):
        again.opt.add({"late": came.params["w"]})


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


def schedule(step):
    return 0.5 / (1 + step)


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
def test_copy_keeps_the_layout(layout):
    """In memory's order the elements are counted; NumPy's own pickle keeps it for C's and Fortran's."""
    w = laid_out(np.arange(24.0).reshape(2, 3, 4), layout)
    opt = fs.SGD({"w": w}, lr=0.5, momentum=0.5)
    assert copy.copy(opt).state["w"]["momentum_buffer"].strides == w.strides
    assert copy.deepcopy(opt).state["w"]["momentum_buffer"].strides == w.strides
    if layout != "permuted":
        assert pickle.loads(pickle.dumps(opt)).state["w"]["momentum_buffer"].strides == w.strides


def test_copy_of_a_copy():
    w = np.ones(3)
    opt = pickle.loads(pickle.dumps(copy.deepcopy(copy.copy(fs.SGD({"w": w}, lr=0.5)))))
    opt.step({"w": np.ones(3)})
    assert (w == 1).all()
    assert opt.state["w"]["step"] == 1
