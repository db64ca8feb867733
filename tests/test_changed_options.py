"""Options that change between steps, by hand and by schedules."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs

from cases import assert_same_state, random, same_bytes

#: (method, options, what changes after two steps, and again after four)
CHANGES = [
    ("SGD", {}, {"lr": 0.5}, {"lr": 0.25}),
    ("SGD", {}, {"momentum": 0.9}, {"momentum": 0.5, "nesterov": True}),
    ("SGD", {"momentum": 0.9}, {"momentum": 0}, {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9}, {"buffer": "lr_inside"}, {"buffer": "ema"}),
    ("SGD", {"momentum": 0.9, "dampening": 0.1}, {"dampening": 0.5}, {"maximize": True}),
    ("SGD", {}, {"weight_decay": 0.1}, {"decay": "decoupled"}),
    ("SGD", {"weight_decay": 0.1}, {"decay": "fully_decoupled", "max_lr": 0.5}, {"max_lr": 0.25}),
    ("Adagrad", {}, {"lr_decay": 0.5, "eps": 0.1}, {"eps_place": "inside"}),
    ("WindowedAdagrad", {"window": 3}, {"reduce": "mean"}, {"eps": 0.1}),
    ("RMSprop", {}, {"centered": True}, {"momentum": 0.9, "momentum_lr": "inside"}),
    ("Adadelta", {}, {"rho": 0.5}, {"eps": 0.1}),
    ("Adam", {}, {"betas": (0.5, 0.9)}, {"betas": [0.8, 0.99]}),
    ("Adam", {}, {"amsgrad": True}, {"amsgrad": False}),
    ("Adam", {"amsgrad": True}, {"amsgrad_order": "v_hat"}, {"bias_correction": False}),
    ("Adam", {"amsgrad": True, "amsgrad_order": "v_hat"}, {"eps_place": "hat", "eps_root": 0.1}, {"eps": 0.1}),
    ("AdamW", {}, {"weight_decay": 0.5}, {"lr": np.float32(0.25)}),
    ("RAdam", {}, {"below": "skip"}, {"rectify_after": 4, "eps_place": "outside"}),
    ("NAdam", {}, {"momentum_decay": 1.0}, {"betas": (0.5, 0.5)}),
    ("Adamax", {}, {"eps_place": "outside", "eps": 0.1}, {"lr": 1}),
    ("Lion", {}, {"betas": (0.5, 0.5)}, {"lr": 0.25}),
    ("AdaBelief", {}, {"eps": 0.1}, {"maximize": True}),
    ("Yogi", {}, {"eps": 0.1}, {"lr": lambda step: 1 / (1 + step)}),
    ("Adaptive", {"phi": "ema", "psi": "ema_max"}, {"amsgrad_order": "v_hat"}, {"eps_place": "hat"}),
    ("Adaptive", {}, fs.Adaptive([], psi="window", window=3).param_groups[0], {"reduce": "mean"}),
]


@pytest.mark.parametrize(("name", "options", "first", "second"), CHANGES)
def test_changed_options(name, options, first, second):
    """The next step has them; state that they call for is there, starting at its beginning."""
    rng = np.random.default_rng(8)
    w = random(rng, 50, np.float32)
    copy, still = w.copy(), w.copy()
    opt = getattr(fs, name)(w, lr=0.1, **options)
    reference = getattr(fs.reference, name)(copy, lr=0.1, **options)
    unchanged = getattr(fs, name)(still, lr=0.1, **options)
    for changes in ({}, first, second):
        for optimizer in (opt, reference):
            optimizer.param_groups[0].update(changes)
        for _ in range(2):
            grad = random(rng, 50, np.float32)
            opt.step(grad)
            reference.step(grad)
            unchanged.step(grad)
        assert same_bytes(w, copy)
        assert_same_state(opt, reference)
        assert same_bytes(w, still) == (not changes), "the change matters"


def test_states_of_changed_options_begin_as_ever():
    opt = fs.Adaptive(np.ones(3))
    opt.param_groups[0].update(fs.Adaptive([], psi="sum", initial_accumulator_value=4.0).param_groups[0])
    opt.step(np.ones(3))
    assert (opt.state["0"]["sum"] == 5).all()
    opt, reference = (kind.Adaptive(np.ones(3), phi="ema", psi="ema_max") for kind in (fs, fs.reference))
    for psi in ("ema_max", "window"):
        for one in (opt, reference):
            one.param_groups[0].clear()
            one.param_groups[0].update(fs.Adaptive([], phi="ema", psi=psi).param_groups[0])
            for step in range(5):
                one.step(np.array([0.5, 2.0, 3.0]) * (step + 1))
    assert_same_state(opt, reference)


class Asked(np.ndarray):
    """What makes memory for its state asks for its address; what is to happen then."""

    happens = staticmethod(lambda: None)

    @property
    def ctypes(self):
        self.happens()
        return super().ctypes


def test_a_rate_that_changes_while_options_are_taken_over():
    """Another thread may change it then: the next step has it."""
    w, same = np.ones(3).view(Asked), np.ones(3)
    opt, twin = fs.SGD(w, lr=1.0), fs.SGD(same, lr=1.0)
    w.happens = lambda: opt.param_groups[0].update(lr=0.25)
    for one in (opt, twin):
        one.param_groups[0]["momentum"] = 0.5
        one.step(np.ones(3))
    twin.param_groups[0]["lr"] = 0.25
    for one in (opt, twin):
        one.step(np.ones(3))
    assert same_bytes(w.view(np.ndarray), same)


def test_a_state_that_is_read_only_by_now():
    """Since it was checked, while options are taken over: the tensors behind it have their states."""
    params, copies = [np.ones(3), np.ones(3).view(Asked), np.ones(3)], [np.ones(3) for _ in range(3)]
    opt, twin = fs.RMSprop(params, lr=0.5), fs.RMSprop(copies, lr=0.5)
    params[1].happens = lambda: opt.state["0"]["square_avg"].setflags(write=False)
    for one in (opt, twin):
        one.step([np.ones(3)] * 3)
        one.param_groups[0]["momentum"] = 0.5
        one.step([np.ones(3)] * 3)
    assert all(same_bytes(param.view(np.ndarray), copy) for param, copy in zip(params, copies, strict=True))


def test_a_rate_that_goes_while_options_are_taken_over():
    """The next step misses it, and nothing else is missing then."""
    w = np.ones(3).view(Asked)
    opt = fs.SGD(w, lr=1.0)
    w.happens = lambda: opt.param_groups[0].pop("lr", None)
    opt.param_groups[0]["momentum"] = 0.5
    opt.step(np.ones(3))
    with pytest.raises(ValueError, match=r"^SGD: param_groups\[0\] must keep all its options, got none for lr$"):
        opt.step(np.ones(3))
    opt.param_groups[0]["lr"] = 1.0
    opt.step(np.ones(3))
    assert w.tolist() == [1.0 - 1.0 - 1.5] * 3


def test_change_by_hand():
    """In numbers that need no reference, one group changed and the other not."""
    a, b = np.ones(3), np.ones(3)
    opt = fs.SGD([{"params": a}, {"params": b}], lr=0.25)
    ones = [np.ones(3), np.ones(3)]
    opt.step(ones)
    opt.param_groups[1]["lr"] *= 2
    opt.step(ones)
    assert (a == 0.5).all()
    assert (b == 0.25).all()


def test_schedulers_may_leave_their_mark():
    """torch's schedulers write `initial_lr` into the groups."""
    w = np.ones(3)
    opt = fs.SGD(w, lr=0.25)
    opt.param_groups[0]["initial_lr"] = 0.25
    opt.param_groups[0]["lr"] = 0.5
    opt.step(np.ones(3))
    assert (w == 0.5).all()
    opt.load_state_dict(opt.state_dict())  # which leaves it out
    assert opt.param_groups[0]["initial_lr"] == 0.25


def test_replaced_group_is_not_ignored():
    """Whoever puts another dict into the list means it: it holds, or it is an error."""
    w = np.ones(3)
    opt = fs.SGD(w, lr=0.25)
    opt.param_groups[0] = {**opt.param_groups[0], "lr": 0.5}
    refused = ""
    try:
        opt.step(np.ones(3))
    except ValueError as error:
        refused = str(error)
    assert (w == (1.0 if "param_groups" in refused else 0.5)).all()


@pytest.mark.parametrize("change", [list.pop, list.clear, lambda groups: groups.append(dict(groups[0]))])
def test_list_of_groups_keeps_its_length(change):
    w = np.ones(3)
    opt = fs.SGD([{"params": w}, {"params": np.ones(2)}], lr=0.25)
    change(opt.param_groups)
    with pytest.raises((TypeError, ValueError), match="param_groups"):
        opt.step([np.ones(3), np.ones(2)])
    assert (w == 1).all()


def test_list_of_groups_stays_the_same_list():
    """Another one would not be looked at."""
    opt = fs.SGD(np.ones(3), lr=0.25)
    groups = opt.param_groups
    with pytest.raises(AttributeError, match=r"^SGD: param_groups must be changed in place, got a new list$"):
        opt.param_groups = [{**groups[0], "lr": 0.5}]
    assert opt.param_groups is groups


def test_schedule_counts_steps_done():
    """From 0, once in a step, and not where a step was refused; a parameter that skips does not matter."""
    asked = []

    def schedule(step):
        asked.append(step)
        return 0.5**step

    a, b = np.zeros(3), np.zeros(3)
    opt = fs.SGD([a, b], lr=schedule)
    opt.step([np.ones(3), None])
    with pytest.raises(ValueError, match="shape"):
        opt.step([np.ones(3), np.ones(4)])
    opt.step([np.ones(3), np.ones(3)])
    opt.step([None, np.ones(3)])
    assert asked == [0, 1, 2]
    assert (a == -1.5).all()
    assert (b == -0.75).all()


def test_schedules_of_groups():
    a, b, c = np.zeros(3), np.zeros(3), np.zeros(3)
    groups = [{"params": a, "lr": lambda step: 1.0 + step}, {"params": b}, {"params": c, "lr": lambda step: 0}]
    opt = fs.SGD(groups, lr=0.5)
    for _ in range(3):
        opt.step([np.ones(3)] * 3)
    assert (a == -6).all()
    assert (b == -1.5).all()
    assert (c == 0).all()


def test_schedule_given_between_steps():
    """It begins with the steps that are done."""
    w = np.zeros(3)
    opt = fs.SGD(w, lr=1.0)
    opt.step(np.ones(3))
    opt.param_groups[0]["lr"] = lambda step: 10.0**step
    opt.step(np.ones(3))
    opt.param_groups[0]["lr"] = 100.0
    opt.step(np.ones(3))
    assert (w == -111).all()
