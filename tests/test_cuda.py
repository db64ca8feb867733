"""Steps on a CUDA device: the same bits as on the processor, counters that the device keeps, and clear errors.

Where there is no device, the processor plays one (cpp/tests/simulated): the same table, the same kernels' lines.
"""

from __future__ import annotations

import copy
import doctest
import math
import pickle
import re
from itertools import chain

import numpy as np
import pytest

import fusedstep as fs

from cases import CASES, IDS, random, same_bytes
from twins import SHAPES, clone, on, spoiled, start

STEPS = 1000


# The same bits


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_a_thousand_steps(twins, name, options):
    """Through every phase of every method: the first steps, warm-ups, rings that close, averages that are full."""
    pair = twins(name, options)
    # Put there beforehand: memory that comes and goes is waited for, and these steps are to queue up.
    here = [start(seed) for seed in range(1, 98)]
    there = [on(pair.device, grads) for grads in here]
    for t in range(STEPS):
        pair.kernel.step(here[t % 97])
        pair.other.step(there[t % 97])
    pair.check()


def test_gradients_come_and_go(twins):
    """Each tensor counts for itself, so that numbers differ from tensor to tensor; NAdam carries a product as well."""
    for name in ("RAdam", "NAdam", "Adam"):
        rng, pair = np.random.default_rng(1), twins(name, {"lr": 0.1})
        for t in range(40):
            grads = start(t + 1)
            for key in grads:
                if rng.random() < 0.3:
                    grads[key] = None
            pair.step(grads)
            pair.check()
        assert len({entry["step"] for entry in pair.other.state.values()}) > 1


def test_groups_of_several_types_and_options(device):
    rng = np.random.default_rng(2)
    shapes = [(300,), (70, 3), (9000,), ()]
    types = [np.float32, np.float64, np.float32, np.float64]
    here = [random(rng, shape, dtype) for shape, dtype in zip(shapes, types, strict=True)]
    there = [device.put(array) for array in here]

    def made(arrays):
        return fs.Adam(
            [
                {"params": arrays[:2], "lr": 0.1, "weight_decay": 0.1},
                {"params": arrays[2:], "betas": (0.5, 0.75), "amsgrad": True},
            ]
        )

    pair = made(here), made(there)
    pair[0].add(added := random(rng, 5000, np.float32), lr=0.3)
    pair[1].add(elsewhere := device.put(added), lr=0.3)
    for t in range(9):
        if t == 4:
            for optimizer in pair:
                optimizer.param_groups[1]["lr"] = 0.01
                optimizer.param_groups[0]["amsgrad"] = True
                optimizer.param_groups[2]["betas"] = (0.0, 0.5)
        grads = [random(rng, array.shape, array.dtype) for array in (*here, added)]
        for optimizer, put in zip(pair, (lambda array: array, device.put), strict=True):
            gs = [put(grad) for grad in grads]
            optimizer.step([gs[:2], gs[2:4], gs[4]])
    for actual, expected in zip((*there, elsewhere), (*here, added), strict=True):
        assert same_bytes(device.get(actual), expected)


def test_functions(device):
    rng = np.random.default_rng(4)
    here = [random(rng, 300, np.float32), *(np.zeros(300, np.float32) for _ in range(2))]
    there = [device.put(array) for array in here]
    for t in (1, 2, 3):
        grad = random(rng, 300, np.float32)
        fs.functional.adam_(here[0], grad, *here[1:], step=t, lr=0.1)
        fs.functional.adam_(there[0], device.put(grad), *there[1:], step=t, lr=0.1)
    for actual, expected in zip(there, here, strict=True):
        assert same_bytes(device.get(actual), expected)


def test_functions_in_streams(device):
    """Where others are at work, with other arrays in each call: none may be in another's way."""
    rng, calls = np.random.default_rng(5), []
    for sizes in [(), (300,), (70, 5000, 1), (9000,), (300,), (1, 2, 3), (300, 300)]:
        here = [[random(rng, size, np.float32) for size in sizes] for _ in range(4)]
        here[3] = [np.abs(array) for array in here[3]]
        calls.append((here, [[device.put(array) for array in arrays] for arrays in here]))
    for step, (here, _) in enumerate(calls, 1):
        fs.functional.adam_(*here, step=step, lr=0.1 * step)
    for step, (_, there) in enumerate(calls, 1):
        with fs.cuda.use_stream((1, 2)[step % 2]):  # CUDA's own numbers of its default streams
            fs.functional.adam_(*there, step=step, lr=0.1 * step)
        if there[0]:
            with fs.cuda.use_stream((2, 1)[step % 2]):  # and has nothing to do there
                fs.functional.adam_(there[0], [None] * len(there[0]), *there[2:], step=1, lr=1.0)
    for call in calls:
        for expected, actual in zip(*(chain(*arrays) for arrays in call), strict=True):
            assert same_bytes(device.get(actual), expected)


def test_stages_that_change_while_the_arrays_stay(twins):
    pair = twins("Adam", {"lr": 0.1})
    here, there = start(1), on(pair.device, start(1))
    for stages in ({}, {"clip_value": 0.5}, {"clip_value": 0.25}, {"max_norm": 0.1}, {"zero_grad": True}, {}):
        pair.kernel.step(here, **stages)
        pair.other.step(there, **stages)
        pair.check()


def test_options_that_change_while_the_arrays_stay(twins):
    pair = twins("Adam", {"lr": 0.1})
    steps = pair.kernel.bind(start(1)).step, pair.other.bind(on(pair.device, start(1))).step
    for options in ({}, {"betas": (0.5, 0.9)}, {"weight_decay": 0.1}, {"lr": 0.5}, {"eps": 0.1, "maximize": True}, {}):
        for optimizer, step in zip((pair.kernel, pair.other), steps, strict=True):
            optimizer.param_groups[0].update(options)
            step()
        pair.check()


# Counting


@pytest.mark.parametrize("name", ["SGD", "RAdam", "NAdam", "WindowedAdagrad"])
def test_skipped_steps_leave_everything_and_are_counted(twins, name):
    pair = twins(name, {"lr": 0.1})
    for t in range(30):
        grads = start(t + 1)
        pair.step(spoiled(grads) if t % 3 == 1 else grads, on_nonfinite="skip")
    assert pair.other.skipped == 10
    pair.check()
    for t in range(10):
        pair.step(start(t + 50))
    pair.check()


def test_norms_that_the_caller_knows(twins):
    pair = twins("Adam", {"lr": 0.1})
    for norm in (3.0, math.inf, 0.5):
        pair.step(start(1), norm=norm, max_norm=1.0, on_nonfinite="skip")
        pair.check()
    assert pair.other.skipped == 1


def test_what_is_raised_has_changed_nothing(twins):
    pair = twins("Adam", {"lr": 0.1})
    pair.step(start(1), on_nonfinite="raise")
    for optimizer, grads in ((pair.kernel, spoiled(start(2))), (pair.other, on(pair.device, spoiled(start(2))))):
        with pytest.raises(FloatingPointError, match="Adam: grads must be finite with on_nonfinite='raise'"):
            optimizer.step(grads, on_nonfinite="raise")
    assert pair.other.skipped == 0
    pair.check()
    pair.step(start(3), max_norm=0.1)
    pair.check()


def test_schedules_are_called_with_the_steps_that_happened(device):
    seen = {"here": [], "there": []}

    def noted(where):
        return lambda t: seen[where].append(t) or 0.1 / (1 + t)

    here, there = start(), on(device, start())
    pair = fs.SGD(here, lr=noted("here")), fs.SGD(there, lr=noted("there"))
    for t in range(6):
        grads = spoiled(start(t)) if t in (1, 4) else start(t)
        pair[0].step(grads, on_nonfinite="skip")
        pair[1].step(on(device, grads), on_nonfinite="skip")
    assert seen["here"] == seen["there"] == [0, 1, 1, 2, 3, 3]
    assert same_bytes(device.get(there["w"]), here["w"])


def test_windows_whose_rate_changes(twins):
    pair = twins("WindowedAdagrad", {"window": 3})
    for t in range(5):
        for optimizer in (pair.kernel, pair.other):
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + t)
        pair.step(start(t))
    pair.check()


# What fails


@pytest.mark.parametrize(
    ("name", "steps", "changed"),
    [("RAdam", 0, {}), ("Adam", 2, {"lr": 0.5}), ("Adam", 2, {"amsgrad": True}), ("NAdam", 2, {"weight_decay": 0.1})],
)
def test_a_device_that_is_full_has_changed_nothing(twins, device, name, steps, changed):
    """At each place where a step may find no room, a second attempt is the step."""
    if not hasattr(device.simulation, "fusedstep_fail_after"):
        pytest.skip("a device that can be made full")
    fail_after, places = device.simulation.fusedstep_fail_after, range(60)
    for place in places:
        device.simulation.fusedstep_forget_kernels()
        pair = twins(name, {"lr": 0.1})
        for t in range(steps):
            pair.step(start(t), on_nonfinite="skip")
        for optimizer in (pair.kernel, pair.other):
            optimizer.param_groups[0].update(changed)
        theirs, refused = on(pair.device, start(7)), False
        fail_after(place)
        try:
            pair.other.step(theirs, on_nonfinite="skip")
        except RuntimeError:
            refused = True
        fail_after(-1)
        if refused:
            pair.other.step(theirs, on_nonfinite="skip")
        pair.kernel.step(start(7), on_nonfinite="skip")
        pair.step(start(8))
        pair.check()
        if not refused:
            break
    assert place in places[1:-1]


# State


def test_state_moves_between_processor_and_device(device):
    """A run that changes its place every few steps goes on as the one that stays."""
    for name, options in (("Adam", {"state": "sq8"}), ("RAdam", {}), ("NAdam", {}), ("WindowedAdagrad", {"window": 3})):
        stays = {"w": random(np.random.default_rng(5), 5000, np.float32)}
        moves = clone(stays)
        expected = getattr(fs, name)(stays, lr=0.1, **options)
        saved, there = None, False
        for t in range(12):
            if t % 3 == 0:
                there = not there
                held = on(device, moves) if there else moves
                moving = getattr(fs, name)(held, lr=0.1, **options)
                if saved:
                    moving.load_state_dict(saved)
            grads = {"w": random(np.random.default_rng(t), 5000, np.float32)}
            expected.step(grads)
            moving.step(on(device, grads) if there else grads)
            saved = moving.state_dict()
            if there:
                moves = {key: device.get(value) for key, value in held.items()}
        assert same_bytes(moves["w"], stays["w"])
        assert all(isinstance(value, (int, np.ndarray)) for value in saved["state"]["w"].values())


@pytest.mark.parametrize("again", [copy.deepcopy, lambda opt: pickle.loads(pickle.dumps(opt))], ids=["copy", "pickle"])
def test_copies(device, again):
    there = on(device, start())
    first = fs.Adam(there, lr=0.1, weight_average=0.9)
    first.step(on(device, start(1)), on_nonfinite="skip")
    second = again(first)
    for optimizer in (first, second):
        optimizer.step(on(device, start(2)))
    states = first.state_dict()["state"], second.state_dict()["state"]
    for key in SHAPES:
        for name in ("exp_avg", "exp_avg_sq", "average"):
            assert same_bytes(states[0][key][name], states[1][key][name])
    assert second.state["w"]["step"] == 2
    second.step(on(device, start(3)))
    assert first.state["w"]["step"] == 2


def test_state_lies_on_the_device_and_is_live(device):
    there = on(device, start())
    opt = fs.Adam(there, lr=0.1)
    moment = opt.state["w"]["exp_avg"]
    assert isinstance(moment, fs.cuda.Array)
    opt.step(on(device, start(1)))
    assert np.asarray(moment).any()
    assert same_bytes(np.asarray(moment), fs.cuda.to_host(moment))
    with pytest.raises(ValueError, match="must be copied"):
        np.asarray(moment, copy=False) if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else moment.__array__(
            copy=False
        )


def test_streams(device):
    array = device.put(start()["w"])
    assert fs.cuda.current_stream(array) == 0
    with fs.cuda.use_stream(77):
        assert fs.cuda.current_stream(array) == 77
    assert fs.cuda.current_stream(array) == 0


@pytest.mark.parametrize("stream", [True, False, None, 7.0, "7", object()], ids=lambda stream: type(stream).__name__)
def test_streams_that_are_no_handles(stream):
    came = re.escape(repr(stream))
    with pytest.raises(
        TypeError, match=rf"^use_stream: stream must be the handle of a stream, an integer, got {came}$"
    ):
        fs.cuda.use_stream(stream)


def test_what_only_the_processor_can_do(device):
    there = device.put(start()["w"])
    with pytest.raises(
        TypeError, match="the reference needs arrays in the memory of the processor, got ones on cuda:0"
    ):
        fs.reference.SGD(there).step(device.put(start()["w"]))
    with pytest.raises(TypeError, match="stats: the reference needs arrays in the memory of the processor"):
        fs.reference.stats(there)


def test_arrays_of_the_device(device):
    values = fs.as_bfloat16(np.arange(6, dtype=np.uint16).reshape(2, 3))
    array = fs.cuda.Array.of(values)
    assert repr(array) == "fusedstep.cuda.Array(shape=(2, 3), dtype=bfloat16, device=0)"
    assert isinstance(fs.cuda.to_host(array), type(values))
    assert (fs.cuda.to_host(array).view(np.ndarray) == values.view(np.ndarray)).all()
    assert array.nbytes == 12
    assert not np.asarray(fs.cuda.Array((1000,), (4,), "float32", 0)).any()
    again = pickle.loads(pickle.dumps(array))
    assert (fs.cuda.to_host(again).view(np.ndarray) == values.view(np.ndarray)).all()
    ones = fs.cuda.Array.of(fs.as_bfloat16(np.full(3, 0x3F80, np.uint16)))
    assert (np.asarray(ones, dtype=np.float32) == 1).all()
    with pytest.raises(ValueError, match=r"values must have shape \(3,\) and dtype bfloat16, got \(1,\) and bfloat16"):
        fs.cuda.to_device(ones, fs.as_bfloat16(np.zeros(1, np.uint16)))
    with pytest.raises(ValueError, match=r"dtype bfloat16, got .* and float32"):
        fs.cuda.to_device(ones, np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="must be on a CUDA device, got BFloat16"):
        fs.cuda.to_host(values)


def test_docstrings(device):
    failed, attempted = doctest.testmod(fs.cuda)
    assert failed == 0
    assert attempted > 20


def test_what_is_no_array_and_no_device(device):
    there, count = fs.cuda.Array.of(np.ones(3)), fs.cuda.device_count()
    calls = {
        "Array.of: values must be a numpy.ndarray, got list": lambda: fs.cuda.Array.of([1.0]),
        "to_device: values must be a numpy.ndarray, got list": lambda: fs.cuda.to_device(there, [1.0]),
        f"Array: device must be the number of a device, below {count}, got {count}": lambda: fs.cuda.Array.of(
            np.ones(3), count
        ),
        f"Array: device must be the number of a device, below {count}, got 'cuda'": lambda: fs.cuda.Array(
            (3,), (4,), "float32", "cuda"
        ),
        "put_rates: optimizer must be one of fusedstep's, got int": lambda: fs.cuda.put_rates(3),
        "use_stream: stream must be the handle of a stream, an integer, got 'a'": lambda: fs.cuda.use_stream("a"),
        "use_stream: stream must be the handle of a stream, an integer, got -1": lambda: fs.cuda.use_stream(-1),
        "fusedstep.cuda.Array: len() needs an axis, got shape ()": lambda: len(fs.cuda.Array.of(np.ones(()))),
    }
    for says, call in calls.items():
        with pytest.raises((TypeError, ValueError), match=f"^{re.escape(says)}$"):
            call()
    assert (fs.cuda.to_host(there) == 1).all()
    with fs.cuda.use_stream(np.int64(0)):
        assert fs.cuda.current_stream(there) == 0


def test_copies_of_an_array_go_to_its_device(device, monkeypatch):
    """Another device may not be there, so that what would be made is asked for."""
    array = device.put(np.ones(3, np.float32))
    monkeypatch.setattr(array, "device", fs.cuda.Device(1))
    monkeypatch.setattr(fs.cuda.Array, "of", lambda values, device=0: (values.tolist(), device))
    assert copy.copy(array) == ([1, 1, 1], 1)
