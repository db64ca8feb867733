"""A step that breaks off has changed nothing."""

from __future__ import annotations

import copy
import math
import pickle
import re
import threading
from decimal import Decimal

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import optimizer
from fusedstep.in_numpy import step as numpy_step

from cases import frozen
from scenes import LR, Scene, assert_refused, small

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("size", [10, 40_000])
def test_last_of_many(size):
    """Whatever is wrong with the last gradient, the first parameters have not moved."""
    scene = Scene([small(size) for _ in range(50)])
    for bad in (small(size + 1), small(size).astype(int), small(size)[::-1], "gradient"):
        before = scene.snapshot()
        with pytest.raises((TypeError, ValueError), match=r"^SGD: grads\[49\] must "):
            scene.opt.step([*scene.grads()[:-1], bad])
        assert scene.snapshot() == before
    scene.go_on()


class Broken(Exception):
    pass


def scheduled(schedule, groups=1):
    """An optimizer whose last group has a schedule that can be exchanged."""
    now = {"schedule": lambda step: LR}
    tree = [{"params": {str(i): small()}} for i in range(groups)]
    tree[-1]["lr"] = lambda step: now["schedule"](step)
    scene = Scene(tree, momentum=0.9)
    right, now["schedule"] = now["schedule"], schedule
    return scene, lambda: now.update(schedule=right)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("bound", [False, True], ids=["step", "bound"])
def test_schedule_that_raises(groups, bound):
    """What it raises comes through."""

    def schedule(step):
        raise Broken(step)

    scene, repair = scheduled(schedule, groups)
    grads = scene.grads()
    call = scene.opt.bind(grads).step if bound else lambda: scene.opt.step(grads)
    before = scene.snapshot()
    for _ in range(2):
        with pytest.raises(Broken, match=r"^2$"):
            call()
    assert scene.snapshot() == before
    repair()
    scene.go_on()


@pytest.mark.parametrize(
    "value",
    [NAN, INF, -1.0, 10**400, "0.5", None, np.ones(2), 1j],
    ids=["NaN", "inf", "negative", "huge", "text", "None", "two", "complex"],
)
def test_schedule_that_gives_no_rate(value):
    scene, repair = scheduled(lambda step: value)
    before = scene.snapshot()
    assert_refused(lambda: scene.opt.step(scene.grads()), ValueError, "lr", "a schedule of finite", repr(value))
    assert scene.snapshot() == before
    repair()
    scene.go_on()


@pytest.mark.parametrize("value", [NAN, -1.0, "0.5", None, np.ones(2), True], ids=str)
def test_rates_that_are_none_outside_of_a_step(value):
    now = {"lr": LR}
    opt = fs.Adaptive([{"params": [small()], "phi": "heavy_ball"}], lr=lambda step: now["lr"], psi="one")
    opt.step([[small()]])
    now["lr"] = value
    for call in (opt.lookahead, opt.adaptive_rate):
        with pytest.raises(ValueError, match=rf"lr must be a schedule of finite .*, got {re.escape(repr(value))}"):
            call()


@pytest.mark.parametrize("rate", [Decimal("0.1"), np.float32(0.1)], ids=repr)
def test_rates_that_are_numbers_of_others(rate):
    """They are made Python's own where a step does that, and everywhere else."""
    opts = [fs.SGD(np.ones(3), lr=lambda step, lr=lr: lr, momentum=0.9) for lr in (rate, float(rate))]
    rates = [fs.Adaptive(np.ones(3), lr=lambda step, lr=lr: lr, psi="sum") for lr in (rate, float(rate))]
    for opt in (*opts, *rates):
        opt.step(np.full(3, 2.0))
    assert (opts[0].lookahead() == opts[1].lookahead()).all()
    assert (rates[0].adaptive_rate() == rates[1].adaptive_rate()).all()


@pytest.mark.parametrize(
    "value",
    [NAN, INF, -1.0, "0.5", None, np.ones(2), 1j],
    ids=["NaN", "inf", "negative", "text", "None", "two", "complex"],
)
def test_first_rate_that_is_none(value):
    """`max_lr` that nobody gave is asked of the schedule, and must be as good as one that was given."""
    params = [small()]
    before = frozen(params)
    with pytest.raises(ValueError, match=r"^SGD: (max_)?lr must .*, got ") as caught:
        fs.SGD(params, lr=lambda step: value, weight_decay=0.1, decay="fully_decoupled")
    assert repr(value) in str(caught.value)
    assert frozen(params) == before


BUSY = "^SGD: a step or a copy must be over before the next begins, got a second call during one"

#: What a schedule must not do to the optimizer that asks it.
MEDDLING = {
    "step": lambda opt, grads, state: opt.step(grads),
    "bind": lambda opt, grads, state: opt.bind(grads),
    "bound step": lambda opt, grads, state: state["bound"].step(),
    "add": lambda opt, grads, state: opt.add({"late": small()}),
    "load_state_dict": lambda opt, grads, state: opt.load_state_dict(state["saved"]),
    "copy": lambda opt, grads, state: copy.copy(opt),
}


@pytest.mark.parametrize("meddle", MEDDLING.values(), ids=MEDDLING)
def test_calls_during_a_step(meddle):
    """A step must be over before the next begins."""
    scene, repair = scheduled(lambda step: meddle(scene.opt, grads, state) or LR)
    grads, state = scene.grads(), {"saved": scene.opt.state_dict()}
    state["saved"]["groups"][0]["weight_decay"] = 0.5  # would show if it were taken
    state["bound"] = scene.opt.bind(grads)
    before = scene.snapshot()
    with pytest.raises(RuntimeError, match=BUSY):
        scene.opt.step(grads)
    assert scene.snapshot() == before
    repair()
    state["bound"].step()
    scene.twin.step(grads)
    scene.go_on()


def test_reference_that_is_asked_in_the_middle_of_its_step(monkeypatch):
    w = np.ones(3)
    opt = fs.reference.SGD(w, lr=0.5)
    monkeypatch.setattr("fusedstep.in_numpy.step.update", lambda *arguments: opt.step(np.ones(3)))
    with pytest.raises(RuntimeError, match=BUSY):
        opt.step(np.ones(3))
    monkeypatch.undo()
    opt.step(np.ones(3))
    assert (w == 0.5).all()


def test_reference_that_breaks_off(monkeypatch):
    """An interrupt in the middle of its step leaves none of the gradients to the next one."""
    a, b = np.ones(3), np.ones(3)
    opt = fs.reference.SGD([a, b], lr=0.5)

    def broken(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(numpy_step, "apply", broken)
        with pytest.raises(KeyboardInterrupt):
            opt.step([np.full(3, 7.0), np.full(3, 8.0)])
    assert (a == 1).all()
    opt.step([None, np.ones(3)])
    assert (a == 1).all()
    assert (b == 0.5).all()
    assert [entry["step"] for entry in opt.state.values()] == [0, 1]


def small_steps():
    w, grad = np.ones(3), np.ones(3)
    return w, grad, fs.SGD(w, lr=0.5, momentum=0.5)


@pytest.mark.parametrize("call", ["state_dict", "load_state_dict", "copy", "deepcopy", "pickle"])
def test_steps_while_state_is_copied_or_filled(monkeypatch, call):
    """All of it is of one moment."""
    w, grad, opt = small_steps()
    opt.step(grad)
    saved, before = opt.state_dict(), frozen(w)
    copying = {
        "state_dict": opt.state_dict,
        "load_state_dict": lambda: opt.load_state_dict(saved),
        "copy": lambda: copy.copy(opt),
        "deepcopy": lambda: copy.deepcopy(opt),
        "pickle": lambda: pickle.dumps(opt),
    }[call]
    part = "assign" if call == "load_state_dict" else "copy_of"
    with monkeypatch.context() as patch:
        patch.setattr(f"fusedstep.state.{part}", lambda *arguments: opt.step(grad))
        with pytest.raises(RuntimeError, match=BUSY):
            copying()
    assert frozen(w) == before
    copying()
    opt.step(grad)
    assert opt.state["0"]["step"] == 2


def test_steps_while_a_group_is_added(monkeypatch):
    """None of them finds states that have not got their first values."""
    opt, late = fs.Adagrad({"early": np.ones(3)}, initial_accumulator_value=1), np.ones(2)
    grads = [{"early": np.ones(3)}, {"late": np.ones(2)}]

    def interrupted(*arguments):
        with pytest.raises(RuntimeError, match=BUSY.replace("SGD", "Adagrad")):
            opt.step(grads)
        initialize(*arguments)

    initialize = optimizer.initialize
    monkeypatch.setattr(optimizer, "initialize", interrupted)
    opt.add({"late": late})
    assert (late == 1).all()
    opt.step(grads)
    assert (opt.state["late"]["sum"] == 2).all()


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_adding_that_breaks_off(monkeypatch, error):
    """A group without its first state would be stepped all the same."""
    early, late = np.ones(3), np.ones(2)
    opt = fs.Adagrad({"early": early}, initial_accumulator_value=1)
    bound, before = opt.bind({"early": np.ones(3)}), (repr(opt), repr(opt.state_dict()))

    def broken(*arguments):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(optimizer, "initialize", broken)
        with pytest.raises(error):
            opt.add({"late": late}, lr=0.5)
    assert (repr(opt), repr(opt.state_dict())) == before
    with pytest.raises(RuntimeError, match="must be bound again"):
        bound.step()
    opt.step({"early": np.ones(3)})
    opt.add({"late": late}, lr=0.5)
    opt.step([{"early": None}, {"late": np.ones(2)}])
    assert [entry["step"] for entry in opt.state.values()] == [1, 1]
    assert (late == 1 - 0.5 / (np.sqrt(2) + 1e-10)).all()


@pytest.mark.parametrize("call", ["lookahead", "adaptive_rate"])
def test_steps_while_what_they_change_is_read(monkeypatch, call):
    """Numbers of before and after a step would be mixed."""
    w = np.ones(3)
    opt = fs.Adaptive(w, lr=0.5, phi="heavy_ball", psi="one")
    opt.step(np.ones(3))
    before = frozen(w)
    for module in ("momentum", "adaptive"):
        monkeypatch.setattr(f"fusedstep.methods.{module}.numbers", lambda *arguments: opt.step(np.ones(3)))
    with pytest.raises(RuntimeError, match=BUSY.replace("SGD", "Adaptive")):
        getattr(opt, call)()
    assert frozen(w) == before


def test_options_that_another_thread_brings_while_a_step_takes_over_its_own():
    w, grad, opt = small_steps()
    opt.step(grad)
    inside, go_on = threading.Event(), threading.Event()

    class Slow(float):
        def __float__(self):
            inside.set()
            go_on.wait(60)
            return 0.25

    opt.param_groups[0]["lr"] = Slow(0.25)
    stepping = threading.Thread(target=opt.step, args=(grad,))
    stepping.start()
    try:
        assert inside.wait(60)
        with pytest.raises(RuntimeError, match=BUSY):
            opt._adopt({0: {**opt.param_groups[0], "lr": 0.5, "momentum": 0.0}})
    finally:
        go_on.set()
        stepping.join()
    assert opt.param_groups[0]["momentum"] == 0.5
    assert (w == 1 - 0.5 - 0.25 * 1.5).all()


def test_options_that_end_while_others_are_taken_over():
    """What the last options leave behind ends once, when the new ones are there."""

    class Last:
        def __del__(self):
            taken.append(opt._plan.take_changes(opt))

    taken, refreshed = [], []
    opt = fs.SGD(small(), lr=LR, momentum=0.5)
    group = opt.param_groups[0]
    options = dict(group)
    group.clear()
    group.update({"initial_lr": Last(), **options})  # the first of all
    opt.step(small())
    refresh = opt._refresh
    opt._refresh = lambda groups: (refreshed.append(groups), refresh(groups))
    group["initial_lr"] = group["momentum"] = 0.25
    assert not taken
    opt.step(small())
    assert (len(taken), refreshed) == (1, [[0]])


def test_rate_of_a_dict_that_answers_for_itself():
    """What it holds counts, and nothing of its class is run."""

    class Liar(dict):
        lies = False

        def __getitem__(self, key):
            if self.lies:
                opt.param_groups.clear()
                return math.nan
            return super().__getitem__(key)

    params = [np.ones(3), np.ones(3)]
    opt = fs.SGD([{"params": param} for param in params], lr=0.5)
    opt.param_groups[0] = group = Liar(opt.param_groups[0])
    opt.step([np.ones(3)] * 2)
    group["lr"], group.lies = 0.25, True
    opt.step([np.ones(3)] * 2)
    assert (params[0] == 0.25).all()
    assert (params[1] == 0).all()


def test_other_optimizers_during_a_step():
    """They are nobody's business."""
    w, v = np.ones(3), np.ones(3)
    inner = fs.SGD(v, lr=0.5)

    def schedule(step):
        inner.step(np.ones(3))
        return 0.25

    fs.SGD(w, lr=schedule).step(np.ones(3))
    assert (v == 0.5).all()
    assert (w == 0.75).all()
