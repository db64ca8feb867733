"""Schedules: their values, their ends, their errors, and what an optimizer does with them."""

from __future__ import annotations

import math
import pickle
import warnings
from fractions import Fraction

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import schedules
from fusedstep.schedules import (
    cosine,
    exponential,
    inverse_sqrt,
    inverse_time,
    linear_warmup,
    one_cycle,
    per_epoch,
    piecewise_constant,
    polynomial,
    step_decay,
)

EVERY = [
    piecewise_constant([10, 20], [0.1, 0.05, 0.01]),
    step_decay(0.1, step_size=3, gamma=0.5),
    exponential(0.1, gamma=0.9),
    inverse_time(0.1, decay_rate=0.01),
    inverse_sqrt(0.1, timescale=100),
    polynomial(0.1, steps=10, power=2.0, end_lr=0.01),
    cosine(0.1, steps=10, end_lr=0.01),
    one_cycle(0.1, steps=10),
    linear_warmup(0.1, steps=5),
    linear_warmup(cosine(0.1, steps=10), steps=5),
    per_epoch(exponential(0.1, gamma=0.9), steps_per_epoch=4),
]
every = pytest.mark.parametrize("schedule", EVERY, ids=repr)


def values(schedule, steps):
    return [schedule(t) for t in steps]


# Values


def test_piecewise_boundaries_belong_to_the_later_piece_and_the_last_goes_on():
    schedule = piecewise_constant([10, 20], [0.1, 0.05, 0.01])
    assert values(schedule, (0, 9, 10, 19, 20, 35, 10**12)) == [0.1, 0.1, 0.05, 0.05, 0.01, 0.01, 0.01]


def test_piecewise_without_boundaries_is_constant():
    assert values(piecewise_constant([], [0.1]), (0, 1000)) == [0.1, 0.1]


def test_step_decay():
    schedule = step_decay(0.5, step_size=3, gamma=0.5)
    assert values(schedule, range(8)) == [0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125]
    assert step_decay(1.0, step_size=2)(2) == 0.1


def test_exponential():
    assert values(exponential(3.0, gamma=0.5), range(4)) == [3.0, 1.5, 0.75, 0.375]
    assert values(exponential(0.5, gamma=2.0), range(4)) == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize("gamma", [0.995, 0.95, 1.001])
def test_exponential_rounds_the_power_once(gamma):
    schedule, power = exponential(1.0, gamma=gamma), Fraction(1)
    for t in range(2000):
        assert schedule(t) == float(power), t
        power *= Fraction(gamma)


def test_exponential_ends_at_zero():
    assert exponential(0.1, gamma=0.5)(5000) == 0.0


@pytest.mark.parametrize("lr", [1.0, 0.3, 1e-7, 1e-300, 5e-324, 1e300])
@pytest.mark.parametrize("gamma", [10.0, 1.25, 2.0, 1e100, 1.7e308])
def test_growth_up_to_the_largest_number_and_beyond(gamma, lr):
    """Whatever is between: γᵗ alone may be too large, and so are the halves of a factor before it is."""
    smooth, steps = exponential(lr, gamma), step_decay(lr, 3, gamma)
    end = int((1024 - math.log2(lr)) / math.log2(gamma))
    for t in sorted({*range(0, end, end // 20 + 1), *range(max(0, end - 3), end + 4)}):
        try:
            expected = float(Fraction(lr) * Fraction(gamma) ** t)
        except OverflowError:
            expected = math.inf
        assert smooth(t) == steps(3 * t) == pytest.approx(expected, rel=2.0**-51, abs=0), t
    assert smooth(end + 3) == math.inf


def test_far_beyond_the_largest_number():
    assert values(exponential(1.0, gamma=10.0), (308, 309, 10**6, 2**63 - 1)) == [1e308, *[math.inf] * 3]
    assert values(step_decay(1.0, 1, 10.0), (307, 400)) == [1e307, math.inf]
    assert values(exponential(0.0, gamma=1.5), (0, 5000, 2**63 - 1)) == [0.0] * 3
    assert exponential(1.0, gamma=1.0 + 2.0**-52)(2**63 - 1) == math.inf
    assert linear_warmup(exponential(1.0, gamma=10.0), 5)(400) == math.inf


def test_inverse_time():
    assert values(inverse_time(0.8, decay_rate=0.25), (0, 4, 12)) == [0.8, 0.4, 0.2]
    assert values(inverse_time(0.8, decay_rate=0), (0, 4)) == [0.8, 0.8]


def test_inverse_sqrt():
    assert values(inverse_sqrt(0.8, timescale=5), (0, 15, 75)) == [0.8, 0.4, 0.2]
    assert values(inverse_sqrt(0.8), (0, 3)) == [0.8, 0.4]


def test_polynomial():
    assert values(polynomial(1.0, steps=4), range(6)) == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert values(polynomial(1.0, steps=4, power=0.5), (0, 3, 4, 5)) == [1.0, 0.5, 0.0, 0.0]
    assert values(polynomial(1.0, steps=2, power=3, end_lr=0.5), range(4)) == [1.0, 0.5625, 0.5, 0.5]


def test_polynomial_rounds_a_whole_power_once():
    schedule = polynomial(1.0, steps=1000, power=4)
    for t in range(1000):
        assert schedule(t) == float(Fraction((1000 - t) / 1000) ** 4), t


@pytest.mark.parametrize("power", [2.0**63, 1e100, 1e200, 1.7e308])
def test_polynomial_of_the_largest_powers(power):
    assert values(polynomial(1.0, 10, power, 0.25), (0, 1, 9, 10, 11)) == [1.0, *[0.25] * 4]
    assert polynomial(1.0, 2**53, power)(1) == 0.0


def test_cosine():
    schedule = cosine(1.0, steps=6, end_lr=0.5)
    assert values(schedule, (0, 3, 6, 7, 12, 10**12)) == [1.0, 0.75, 0.5, 0.5, 0.5, 0.5]
    assert schedule(2) == pytest.approx(0.875, rel=1e-15)
    assert cosine(1.0, steps=6)(6) == 0.0


@pytest.mark.parametrize(("form", "quarter"), [("cos", (2 - math.sqrt(2)) / 4), ("linear", 0.25)])
def test_one_cycle(form, quarter):
    schedule = one_cycle(1.0, steps=18, pct_start=0.5, anneal_strategy=form, div_factor=4, final_div_factor=8)
    assert values(schedule, (0, 4, 8, 17, 18, 10**12)) == [0.25, 0.625, 1.0, 0.03125, 0.03125, 0.03125]
    assert schedule(2) == pytest.approx(0.25 + 0.75 * quarter, rel=1e-15)


def test_one_cycle_without_a_rise():
    assert one_cycle(1.0, steps=10, pct_start=0.1)(0) == 1.0
    assert values(one_cycle(1.0, steps=2, pct_start=0, anneal_strategy="linear"), (1, 2)) == [4e-6, 4e-6]
    assert one_cycle(1.0, steps=1)(0) == 4e-6


@pytest.mark.parametrize(("lr", "end"), [(0.1, 0.03), (0.3, 1e-17), (1e-3, 0.7), (0.7, 0.1)])
@pytest.mark.parametrize("steps", [1, 3, 7, 1000])
def test_ends_are_exact(lr, end, steps):
    for schedule in (
        cosine(lr, steps, end),
        polynomial(lr, steps, 1.0, end),
        polynomial(lr, steps, 1.5, end),
    ):
        assert values(schedule, (0, steps, steps + 1, 3 * steps)) == [lr, end, end, end]


@every
def test_values_are_python_floats(schedule):
    assert {type(schedule(t)) for t in (0, 3, 1000)} == {float}


# Joining


def test_warmup_of_a_number():
    assert values(linear_warmup(0.5, steps=4), range(6)) == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    assert values(linear_warmup(0.3, steps=1), range(3)) == [0.3, 0.3, 0.3]
    assert values(linear_warmup(0.1, steps=49), (48, 49, 10**12)) == [0.1, 0.1, 0.1]


def test_schedule_begins_after_the_warmup_at_its_own_step_0():
    called = []

    def after(step):
        called.append(step)
        return 0.5 / (1 + step)

    assert values(linear_warmup(after, steps=4), range(7)) == [0.125, 0.25, 0.375, 0.5, 0.5, 0.25, 0.5 / 3]
    assert called == [0, 0, 0, 0, 0, 1, 2]


def test_warmup_then_inverse_sqrt_is_the_transformers():
    schedule = linear_warmup(inverse_sqrt(0.1, timescale=8), steps=8)
    for t in range(8, 500):
        assert schedule(t) == pytest.approx(0.1 * math.sqrt(8 / t), rel=1e-15)


def test_per_epoch():
    schedule = per_epoch(piecewise_constant([10, 20], [0.1, 0.05, 0.01]), steps_per_epoch=600)
    steps = (0, 5999, 6000, 11999, 12000, 20999, 10**9)
    assert values(schedule, steps) == [0.1, 0.1, 0.05, 0.05, 0.01, 0.01, 0.01]


def test_joins_nest():
    inner = per_epoch(exponential(1.0, gamma=0.5), steps_per_epoch=3)
    assert values(linear_warmup(inner, steps=2), range(9)) == [0.5, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    outer = per_epoch(linear_warmup(exponential(1.0, gamma=0.5), steps=2), steps_per_epoch=2)
    assert values(outer, range(8)) == [0.5, 0.5, 1, 1, 1, 1, 0.5, 0.5]


# torch


def torch_rates(make, lr, steps):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    rates = []
    with warnings.catch_warnings():
        # SequentialLR calls its schedulers in a way that torch itself has deprecated.
        warnings.filterwarnings("ignore", "The epoch parameter", UserWarning)
        scheduler = make(torch.optim.lr_scheduler, optimizer)
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return rates


def warmup_then_cosine(torch_schedulers, optimizer):
    warmup = torch_schedulers.LinearLR(optimizer, start_factor=1 / 8, total_iters=7)
    after = torch_schedulers.CosineAnnealingLR(optimizer, T_max=20)
    return torch_schedulers.SequentialLR(optimizer, [warmup, after], milestones=[8])


TORCH = {
    "MultiStepLR": (
        piecewise_constant([3, 8], [0.1, 0.05, 0.025]),
        lambda lrs, o: lrs.MultiStepLR(o, milestones=[3, 8], gamma=0.5),
        20,
    ),
    "StepLR": (step_decay(0.1, 3, 0.3), lambda lrs, o: lrs.StepLR(o, step_size=3, gamma=0.3), 20),
    "StepLR's default": (step_decay(0.1, 3), lambda lrs, o: lrs.StepLR(o, step_size=3), 20),
    "ExponentialLR": (exponential(0.1, 0.93), lambda lrs, o: lrs.ExponentialLR(o, gamma=0.93), 200),
    "PolynomialLR": (
        polynomial(0.1, 20, 2.5),
        lambda lrs, o: lrs.PolynomialLR(o, total_iters=20, power=2.5),
        25,
    ),
    "PolynomialLR's default": (polynomial(0.1, 5), lambda lrs, o: lrs.PolynomialLR(o), 8),
    "CosineAnnealingLR": (
        cosine(0.1, 20, 0.01),
        lambda lrs, o: lrs.CosineAnnealingLR(o, T_max=20, eta_min=0.01),
        21,
    ),
    "OneCycleLR": (
        one_cycle(0.1, 30),
        lambda lrs, o: lrs.OneCycleLR(o, 0.1, total_steps=30, cycle_momentum=False),
        30,
    ),
    "OneCycleLR, a peak between two steps": (
        one_cycle(0.1, 31, pct_start=0.45, anneal_strategy="linear", div_factor=10, final_div_factor=100),
        lambda lrs, o: lrs.OneCycleLR(
            o,
            0.1,
            total_steps=31,
            pct_start=0.45,
            anneal_strategy="linear",
            div_factor=10,
            final_div_factor=100,
            cycle_momentum=False,
        ),
        31,
    ),
    "LinearLR": (
        linear_warmup(0.1, 8),
        lambda lrs, o: lrs.LinearLR(o, start_factor=1 / 8, total_iters=7),
        20,
    ),
    "SequentialLR": (linear_warmup(cosine(0.1, 20), 8), warmup_then_cosine, 28),
}


@pytest.mark.parametrize("name", TORCH)
def test_equals_torch(name):
    schedule, make, steps = TORCH[name]
    theirs = torch_rates(make, 0.1, steps)
    assert values(schedule, range(steps)) == pytest.approx(theirs, rel=1e-12, abs=0)


# Values of Python


@every
def test_pickles_compares_and_prints_as_the_call_that_makes_it(schedule):
    copy = pickle.loads(pickle.dumps(schedule))
    assert copy == schedule
    assert hash(copy) == hash(schedule)
    assert values(copy, range(30)) == values(schedule, range(30))
    assert eval(repr(schedule), vars(schedules)) == schedule


def test_different_schedules_differ():
    assert len({*EVERY}) == len(EVERY)
    assert cosine(0.1, 10) != cosine(0.1, 11)
    assert cosine(0.1, 10) != polynomial(0.1, 10)


@every
def test_is_frozen(schedule):
    with pytest.raises(AttributeError, match="cannot assign"):
        schedule.lr = 0.2


def test_does_not_follow_its_arguments():
    boundaries, rates = [1, 2], np.array([0.1, 0.2, 0.3])
    schedule = piecewise_constant(boundaries, rates)
    boundaries[0], rates[:] = 2, 9
    assert schedule == piecewise_constant((1, 2), (0.1, 0.2, 0.3))


def test_takes_numpy_numbers():
    schedule = exponential(np.float64(0.5), gamma=np.float32(0.5))
    assert (type(schedule.lr), type(schedule.gamma)) == (float, float)
    assert schedule(np.int64(2)) == 0.125


def test_every_public_name_has_an_example_and_its_errors():
    assert {type(schedule).__name__ for schedule in EVERY} == set(schedules.__all__)
    for name in schedules.__all__:
        document = getattr(schedules, name).__doc__
        assert all(part in document for part in (".. math::", "Args:", "Raises:", ">>> ")), name


# Errors

RATE, POSITIVE, COUNT = "a finite number ≥ 0", "a finite number > 0", "an integer ≥ 1"
INCREASING, NUMBERS = "increasing integers ≥ 1", "finite numbers ≥ 0"

#: the schedule, right arguments, and for each argument what it must be
ARGUMENTS = [
    (
        step_decay,
        {"lr": 0.1, "step_size": 3, "gamma": 0.5},
        {"lr": RATE, "step_size": COUNT, "gamma": POSITIVE},
    ),
    (exponential, {"lr": 0.1, "gamma": 0.5}, {"lr": RATE, "gamma": POSITIVE}),
    (inverse_time, {"lr": 0.1, "decay_rate": 0.5}, {"lr": RATE, "decay_rate": RATE}),
    (inverse_sqrt, {"lr": 0.1, "timescale": 5}, {"lr": RATE, "timescale": POSITIVE}),
    (
        polynomial,
        {"lr": 0.1, "steps": 5, "power": 2, "end_lr": 0.0},
        {"lr": RATE, "steps": COUNT, "power": POSITIVE, "end_lr": RATE},
    ),
    (cosine, {"lr": 0.1, "steps": 5, "end_lr": 0.0}, {"lr": RATE, "steps": COUNT, "end_lr": RATE}),
    (
        one_cycle,
        {"max_lr": 0.1, "steps": 5, "pct_start": 0.5, "div_factor": 2.0, "final_div_factor": 3.0},
        {
            "max_lr": RATE,
            "steps": COUNT,
            "pct_start": "a number in [0, 1)",
            "div_factor": "a finite number ≥ 1",
            "final_div_factor": "a finite number ≥ 1",
        },
    ),
    (
        linear_warmup,
        {"lr": 0.1, "steps": 5},
        {"lr": f"{RATE} or a schedule (a callable: step -> lr)", "steps": COUNT},
    ),
    (per_epoch, {"schedule": cosine(0.1, 5), "steps_per_epoch": 5}, {"steps_per_epoch": COUNT}),
]

#: what each kind of argument refuses because of its type, and because of its value
REFUSED = {
    COUNT: ([True, 2.0, "5", None], [0, -1]),
    RATE: ([True, "0.1", None, 1j, [0.1]], [-0.1, math.nan, math.inf]),
    POSITIVE: ([False, "0.1", None], [0, -0.1, math.nan, math.inf]),
    "a number in [0, 1)": ([True, "0.1", None], [-0.1, 1, math.nan, math.inf]),
    "a finite number ≥ 1": ([True, "0.1", None], [0.99, math.nan, math.inf]),
    f"{RATE} or a schedule (a callable: step -> lr)": ([True, "0.1", None], [-0.1, math.nan, math.inf]),
}

BAD = [
    pytest.param(make, right | {name: value}, name, expected, error, id=f"{make.__name__}-{name}-{value!r}")
    for make, right, arguments in ARGUMENTS
    for name, expected in arguments.items()
    for error, refused in zip((TypeError, ValueError), REFUSED[expected], strict=True)
    for value in refused
]


def assert_refused(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert type(raised.value) is error
    assert str(raised.value) == message


@pytest.mark.parametrize(("make", "arguments", "name", "expected", "error"), BAD)
def test_refuses(make, arguments, name, expected, error):
    message = f"{make.__name__}: {name} must be {expected}, got {arguments[name]!r}"
    assert_refused(lambda: make(**arguments), error, message)


@pytest.mark.parametrize(
    ("boundaries", "rates", "error", "message"),
    [
        (5, [0.1], TypeError, f"boundaries must be {INCREASING}, got 5"),
        (np.array(5), [0.1], TypeError, f"boundaries must be {INCREASING}, got array(5)"),
        ("5", [0.1, 0.2], TypeError, f"boundaries must be {INCREASING}, got '5'"),
        ({3: 0.1}, [0.1, 0.2], TypeError, f"boundaries must be {INCREASING}, got {{3: 0.1}}"),
        ([True], [0.1, 0.2], TypeError, f"boundaries must be {INCREASING}, got [True]"),
        ([1.0], [0.1, 0.2], TypeError, f"boundaries must be {INCREASING}, got [1.0]"),
        ([0], [0.1, 0.2], ValueError, f"boundaries must be {INCREASING}, got [0]"),
        ([3, 3], [0.1] * 3, ValueError, f"boundaries must be {INCREASING}, got (3, 3)"),
        ([1, 5, 3], [0.1] * 4, ValueError, f"boundaries must be {INCREASING}, got (1, 5, 3)"),
        ([], 0.1, TypeError, f"values must be {NUMBERS}, got 0.1"),
        ([], {0.1}, TypeError, f"values must be {NUMBERS}, got {{0.1}}"),
        ([], [True], TypeError, f"values must be {NUMBERS}, got [True]"),
        ([], ["0.1"], TypeError, f"values must be {NUMBERS}, got ['0.1']"),
        ([3], [0.1, -0.1], ValueError, f"values must be {NUMBERS}, got [0.1, -0.1]"),
        ([3], [0.1, math.nan], ValueError, f"values must be {NUMBERS}, got [0.1, nan]"),
        ([3], [math.inf, 0.1], ValueError, f"values must be {NUMBERS}, got [inf, 0.1]"),
        ([3], [0.1], ValueError, f"values must be 2 {NUMBERS}, one more than boundaries, got (0.1,)"),
        ([], [], ValueError, f"values must be 1 {NUMBERS}, one more than boundaries, got ()"),
        ([], [0.1, 0.2], ValueError, f"values must be 1 {NUMBERS}, one more than boundaries, got (0.1, 0.2)"),
    ],
)
def test_piecewise_refuses(boundaries, rates, error, message):
    assert_refused(lambda: piecewise_constant(boundaries, rates), error, f"piecewise_constant: {message}")


@pytest.mark.parametrize("form", ["cosine", "COS", "", None, True])
def test_one_cycle_refuses_another_form(form):
    error = ValueError if isinstance(form, str) else TypeError
    message = f"one_cycle: anneal_strategy must be one of 'cos', 'linear', got {form!r}"
    assert_refused(lambda: one_cycle(0.1, 10, anneal_strategy=form), error, message)


@pytest.mark.parametrize("inner", [0.1, None, "cosine"])
def test_per_epoch_refuses_what_is_no_schedule(inner):
    message = f"per_epoch: schedule must be a schedule (a callable: step -> lr), got {inner!r}"
    assert_refused(lambda: per_epoch(inner, 10), TypeError, message)


@every
@pytest.mark.parametrize(
    ("step", "error"),
    [(-1, ValueError), (True, TypeError), (1.0, TypeError), ("1", TypeError), (None, TypeError)],
)
def test_refuses_a_step(schedule, step, error):
    message = f"{type(schedule).__name__}: step must be an integer ≥ 0, got {step!r}"
    assert_refused(lambda: schedule(step), error, message)


# In an optimizer


@every
def test_optimizer_applies_each_steps_value(schedule):
    w, expected = np.zeros(2), 0.0
    opt = fs.SGD(w, lr=schedule)
    for t in range(25):
        opt.step(np.ones(2))
        expected -= schedule(t)
        assert w.tolist() == [expected, expected], t


def test_optimizer_takes_a_plain_function():
    w = np.zeros(1)
    opt = fs.SGD(w, lr=lambda step: 1.0 if step % 2 else 0.25)
    for expected in (-0.25, -1.25, -1.5, -2.5):
        opt.step(np.ones(1))
        assert w[0] == expected


def test_bound_gradients_advance_the_schedule():
    w, g = np.zeros(1), np.ones(1)
    bound = fs.SGD(w, lr=linear_warmup(0.5, steps=2)).bind(g)
    for expected in (-0.25, -0.75, -1.25):
        bound.step()
        assert w[0] == expected


def test_groups_have_schedules_of_their_own():
    a, b = np.zeros(1), np.zeros(1)
    opt = fs.SGD([{"params": {"a": a}}, {"params": {"b": b}, "lr": step_decay(1.0, 1, 0.5)}], lr=0.125)
    for _ in range(3):
        opt.step([{"a": np.ones(1)}, {"b": np.ones(1)}])
    assert (a[0], b[0]) == (-0.375, -1.75)


def test_a_schedule_counts_calls_and_not_a_parameters_own_steps():
    w, b = np.zeros(1), np.zeros(1)
    opt = fs.SGD({"w": w, "b": b}, lr=step_decay(1.0, 1, 0.5))
    opt.step({"w": np.ones(1), "b": None})
    opt.step({"w": None, "b": np.ones(1)})
    opt.step({"w": np.ones(1), "b": None})
    assert (w[0], b[0]) == (-1.25, -0.5)
    assert opt.state["b"]["step"] == 1


def test_a_schedule_set_between_steps_finds_the_count_of_calls():
    w = np.zeros(1)
    opt = fs.SGD(w, lr=0.5)
    opt.step(np.ones(1))
    opt.param_groups[0]["lr"] = step_decay(1.0, 1, 0.5)
    opt.step(np.ones(1))
    assert w[0] == -1.0


def test_resumed_run_continues_the_schedule():
    schedule = linear_warmup(cosine(0.1, steps=6), steps=3)
    w = np.ones(3)
    opt = fs.SGD(w, lr=schedule, momentum=0.9)
    for _ in range(4):
        opt.step(np.full(3, 0.5))
    restored = w.copy()
    other = fs.SGD(restored, lr=schedule, momentum=0.9)
    other.load_state_dict(opt.state_dict())
    for _ in range(6):
        opt.step(np.full(3, 0.5))
        other.step(np.full(3, 0.5))
        assert restored.tobytes() == w.tobytes()
    assert w[0] != 1.0


def test_pickled_optimizer_continues_the_schedule():
    opt = fs.SGD({"w": np.zeros(1)}, lr=step_decay(1.0, 1, 0.5))
    opt.step({"w": np.ones(1)})
    copy = pickle.loads(pickle.dumps(opt))
    assert copy.param_groups[0]["lr"] == step_decay(1.0, 1, 0.5)
    copy.param_groups[0]["lr"], seen = lambda step: seen.append(step) or 0.5, []
    copy.step({"w": np.ones(1)})
    assert seen == [1]


@pytest.mark.parametrize("rate", [math.nan, math.inf, -0.1])
def test_impossible_value_changes_nothing(rate):
    w = np.zeros(2)
    opt = fs.SGD(w, lr=lambda step: rate if step == 1 and broken else 0.5, momentum=0.5)
    broken = True
    opt.step(np.ones(2))
    before, buffer = w.copy(), opt.state["0"]["momentum_buffer"].copy()
    with pytest.raises(ValueError, match=r"SGD: lr must be .*, got .* at step 1"):
        opt.step(np.ones(2))
    assert w.tobytes() == before.tobytes()
    assert opt.state["0"]["momentum_buffer"].tobytes() == buffer.tobytes()
    assert (opt.state_dict()["calls"], opt.state["0"]["step"]) == (1, 1)
    broken = False
    opt.step(np.ones(2))
    assert w.tolist() == [-1.25, -1.25]


def test_schedule_that_raises_changes_nothing():
    def schedule(step):
        raise LookupError("no rate for this step")

    w = np.zeros(2)
    opt = fs.SGD(w, lr=schedule)
    with pytest.raises(LookupError, match="no rate for this step"):
        opt.step(np.ones(2))
    assert w.tolist() == [0.0, 0.0]
    assert opt.state_dict()["calls"] == 0


def test_growth_beyond_all_floats_is_refused():
    opt = fs.SGD(np.zeros(1), lr=per_epoch(exponential(1.0, gamma=1e200), steps_per_epoch=1))
    opt.step(np.ones(1))
    opt.step(np.ones(1))
    with pytest.raises(ValueError, match="SGD: lr must be"):
        opt.step(np.ones(1))
