"""Bound gradients: steps with what is in the same arrays, as long as these are what was bound."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import fusedstep as fs

from cases import CASES, IDS, assert_same_state, random, same_bytes
from process import output


@pytest.mark.parametrize("optimizers", [fs, fs.reference], ids=["fused", "reference"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_bound_steps(name, options, optimizers):
    """They are the steps that the same values give, also of a parameter without a gradient."""
    rng = np.random.default_rng(6)
    params = {"w": random(rng, (3, 5), np.float32), "none": random(rng, 2, np.float32), "b": random(rng, 7, np.float64)}
    copies = {key: value.copy() for key, value in params.items()}
    opt, unbound = getattr(optimizers, name)(params, lr=0.05, **options), getattr(fs, name)(copies, lr=0.05, **options)
    grads = {"w": np.zeros((3, 5), np.float32), "none": None, "b": np.zeros(7)}
    bound = opt.bind(grads)
    assert all(same_bytes(params[key], copies[key]) for key in params), "binding is not a step"
    for _ in range(3):
        for grad in (grads["w"], grads["b"]):
            grad[...] = random(rng, grad.shape, grad.dtype)
        assert bound.step() is None
        assert unbound.step(grads) is None
        assert all(same_bytes(params[key], copies[key]) for key in params)
    assert_same_state(opt, unbound)
    assert opt.state["none"]["step"] == 0


@pytest.mark.parametrize("module", [fs, fs.reference], ids=["fused", "reference"])
def test_bound_gradients_stay_those_that_were_bound(module):
    """Whatever becomes of what they came in."""
    params = {"net": [np.zeros(3), np.zeros(2)], "w": np.zeros(2)}
    grads = {"net": [np.ones(3), np.ones(2)], "w": np.ones(2)}
    bound = module.SGD(params, lr=1.0).bind(grads)
    grads["w"], grads["net"][0] = np.full(2, 7.0), None
    bound.step()
    assert all((array == -1).all() for array in (*params["net"], params["w"]))


def test_a_group_may_join_while_a_structure_is_put_together(tmp_path):
    """The collector runs anything, in Python 3.11 wherever a list is made."""
    program = """
        import gc
        import numpy as np
        import fusedstep as fs

        class Late:
            def __init__(self):
                self.cycle = self

            def __del__(self):
                for _ in range(4):
                    opt.add([np.ones(2)])

        for threshold in range(1, 100):
            gc.disable()
            opt = fs.SGD([{"params": [np.ones(3)]} for _ in range(16)], lr=0.1)
            leaves = {name: opt._plan.param(name) for name in opt._plan.names()}
            gc.collect()
            Late()
            gc.set_threshold(threshold, 1, 1)
            gc.enable()
            try:
                assert len(opt._plan.structure(leaves)) == 16
            except KeyError:  # it has joined before that
                assert len(opt.param_groups) > 16
            gc.set_threshold(700, 10, 10)
    """
    output(tmp_path, program)


def test_bound_keeps_what_it_needs():
    w = np.ones(100_000)
    bound = fs.SGD(w, lr=0.5).bind(np.ones(100_000))
    gc.collect()
    others = [np.full(100_000, 7.0) for _ in range(8)]
    bound.step()
    assert (w == 0.5).all()
    del others


def test_bound_and_unbound_in_turns():
    w, g = np.ones(3), np.ones(3)
    opt = fs.SGD(w, lr=0.25)
    one, two = opt.bind(g), opt.bind(np.full(3, 2.0))
    one.step()
    opt.step(np.full(3, -1.0))
    one.step()
    two.step()
    one.step()
    assert (w == 0).all()
    assert opt.state["0"]["step"] == 5


def test_nothing_stays_of_what_was_bound():
    params, copies = ([np.full(2, value), np.full(2, value)] for value in (1.0, 0.0))
    opt = fs.SGD(params, lr=0.25)
    opt.bind([np.ones(2), np.ones(2)], copy_to=copies).step()
    opt.step([np.ones(2), None])
    assert [array[0] for array in (*params, *copies)] == [0.5, 0.75, 0.75, 0.75]


def test_bound_takes_changed_options():
    w, g = np.ones(3), np.ones(3)
    opt = fs.SGD(w, lr=0.25)
    bound = opt.bind(g)
    bound.step()
    opt.param_groups[0]["lr"] = 0.5
    bound.step()
    assert (w == 0.25).all()
    opt.param_groups[0]["momentum"] = 0.5  # calls for a state that was not there when the gradients were bound
    bound.step()
    bound.step()
    assert (w == -1.0).all()


def add(opt):
    opt.add({"b": np.ones(2)})


def load(opt):
    opt.load_state_dict(opt.state_dict())


@pytest.mark.parametrize("optimizers", [fs, fs.reference], ids=["fused", "reference"])
@pytest.mark.parametrize("change", [add, load])
def test_bound_becomes_invalid(change, optimizers):
    w = np.ones(3)
    opt = optimizers.SGD({"w": w}, lr=0.5)
    bound = opt.bind({"w": np.ones(3)})
    bound.step()
    change(opt)
    with pytest.raises(RuntimeError, match=r"^SGD: bound gradients must be bound again"):
        bound.step()
    assert (w == 0.5).all()
    assert opt.state["w"]["step"] == 1
    if change is load:
        opt.bind({"w": np.ones(3)}).step()
        assert (w == 0).all()


def test_bound_stays_valid_where_nothing_was_added():
    w = np.ones(3)
    opt = fs.SGD({"w": w}, lr=0.5)
    bound = opt.bind({"w": np.ones(3)})
    with pytest.raises(ValueError, match="overlap"):
        opt.add({"b": w})
    bound.step()
    assert (w == 0.5).all()
