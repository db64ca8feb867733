"""Steps on a CUDA device: the same bits as on the processor, counters that the device keeps, and clear errors.

Where there is no device, the processor plays one (cpp/tests/simulated): the same table, the same kernels' lines.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import math
import os
import pickle
import re
import shutil
import subprocess
import sys
import weakref
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import fusedstep as fs
from conftest import LAYOUTS, laid_out
from fusedstep import _core
from fusedstep.bfloat16 import bits_of
from fusedstep.encodings import bfloat16_nearest

from cases import CASES, IDS, random, same_bytes
from places import SOURCE

STEPS = 1000
SHAPES = {"w": (37, 11), "b": (130,), "empty": (0, 3), "scale": ()}


def on(device, tree):
    return {key: None if value is None else device.put(value) for key, value in tree.items()}


def start(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    layouts = dict(zip(SHAPES, [*LAYOUTS, "C"], strict=True))
    return {key: laid_out(random(rng, shape, dtype), layouts[key]) for key, shape in SHAPES.items()}


def clone(tree):
    return {key: None if value is None else value.copy(order="K") for key, value in tree.items()}


class Twins:
    """An optimizer on the processor and the same one on a device, which must stay the same."""

    def __init__(self, device, name, options, params=None):
        self.device = device
        self.here = clone(params or start())
        self.there = on(device, clone(self.here))
        self.kernel = getattr(fs, name)(self.here, **options)
        self.other = getattr(fs, name)(self.there, **options)

    def step(self, grads, numbers=None, **stages):
        """With `numbers` that lie on the device."""
        numbers, theirs = numbers or {}, on(self.device, grads)
        self.kernel.step(grads, **stages, **{name: value.item() for name, value in numbers.items()})
        self.other.step(theirs, **stages, **on(self.device, numbers))

    def check(self):
        for key, expected in self.here.items():
            assert same_bytes(self.device.get(self.there[key]), expected), key
        ours, theirs = self.kernel.state_dict(), self.other.state_dict()
        for name, entry in ours["state"].items():
            for key, value in entry.items():
                other = theirs["state"][name][key]
                assert other == value if key == "step" else same_bytes(other, value), (name, key)
        for key in ("calls", "skipped", "numbers", "groups"):
            assert theirs[key] == ours[key], key
        np.testing.assert_equal(tuple(self.other.last), tuple(self.kernel.last))


@pytest.fixture
def twins(device):
    return lambda *args, **kwargs: Twins(device, *args, **kwargs)


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


class Shifted:
    """An array whose memory begins some elements into another's."""

    def __init__(self, array, by, size):
        interface = array.__cuda_array_interface__
        self.array, itemsize = array, int(interface["typestr"][2:])
        address = interface["data"][0] + by * itemsize
        self.device = array.device
        self.__cuda_array_interface__ = {**interface, "shape": (size,), "strides": None, "data": (address, False)}


@pytest.mark.parametrize("by", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_that_cannot_be_read_sixteen_bytes_at_a_time(device, by, dtype):
    rng, room = np.random.default_rng(by), 20_000
    values, grads = random(rng, room, dtype), random(rng, room, dtype)
    for size in (1, 3, 127, 128, 131, 8191, 8195, room - 4):
        here = values.copy()
        whole, grad = device.put(values), device.put(grads)
        part = slice(by, by + size)
        pair = fs.Adam(here[part], lr=0.1), fs.Adam(Shifted(whole, by, size), lr=0.1)
        for _ in range(3):
            pair[0].step(grads[part])
            pair[1].step(Shifted(grad, by, size))
        assert same_bytes(device.get(whole), here)  # what lies before and behind too


@pytest.mark.parametrize("offset", [0, 1, 2, 128, 4095, 4096, 5000, 2**32 - 3, 2**32 - 4096 - 128])
def test_shards_take_the_random_bits_of_the_whole(device, offset):
    rng = np.random.default_rng(3)
    values, grad = random(rng, 9000, np.float32), random(rng, 9000, np.float32)
    here, there = values.astype(np.float16), device.put(values.astype(np.float16))
    options = {"rounding": "stochastic", "extents": {"0": (offset, 2**33)}, "lr": 0.01}
    if offset % 128 == 0:
        options["state"] = "sq8"
    pair = fs.Adam(here, **options), fs.Adam(there, **options)
    for _ in range(3):
        pair[0].step(grad)
        pair[1].step(device.put(grad))
    assert same_bytes(device.get(there), here)


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


def test_more_than_2_31_elements(device):
    if device.simulation:
        pytest.skip("needs 17 GB on a GPU")
    size, window = 2**31 + 4099, 5000
    param, grad = (fs.cuda.Array((size,), (4,), "float32", 0) for _ in range(2))
    tail = Shifted(param, size - window, window)
    fs.SGD(tail, lr=1.0).step(fs.cuda.Array.of(np.full(window, -1.0, np.float32)))
    fs.SGD(param, lr=1.0, weight_decay=0.5).step(grad)
    assert (fs.cuda.to_host(tail) == 0.5).all()
    assert (fs.cuda.to_host(Shifted(param, 0, window)) == 0).all()


def test_stages_that_change_while_the_arrays_stay(twins):
    pair = twins("Adam", {"lr": 0.1})
    here, there = start(1), on(pair.device, start(1))
    for stages in ({}, {"clip_value": 0.5}, {"clip_value": 0.25}, {"max_norm": 0.1}, {"zero_grad": True}, {}):
        pair.kernel.step(here, **stages)
        pair.other.step(there, **stages)
        pair.check()


#: The types of parameters and of their momentum, and how the former are rounded.
STORED = [
    (np.float32, {}),
    (np.float64, {"state": "float32"}),
    (np.float16, {"state": "float16"}),
    (np.float16, {"rounding": "kahan"}),
    (fs.as_bfloat16, {"state": "bfloat16", "rounding": "kahan"}),
    (fs.as_bfloat16, {"rounding": "remainder"}),
    (fs.as_bfloat16, {"state": "sq8"}),
    (np.float32, {"state": "sq8", "buffer": "lr_inside"}),
]


def stored(values, kind):
    return kind((values.view(np.uint32) >> 16).astype(np.uint16)) if kind is fs.as_bfloat16 else values.astype(kind)


@pytest.mark.parametrize(("kind", "options"), STORED, ids=lambda value: getattr(value, "__name__", str(value)))
def test_where_momentum_leads(device, kind, options):
    """In every storage; across chunks and rows, in shards, and in arrays that begin anywhere."""
    rng, sizes, offset = np.random.default_rng(9), (20_000, 4096, 131, 0, 1), 128 * 77
    values = [random(rng, size, np.float32) for size in (*sizes, 9000)]
    options = {"lr": 0.3, "momentum": 0.9, "extents": {str(len(sizes)): (offset, 2**33)}, **options}
    pairs = [[stored(value, kind) for value in values]]
    pairs.append([device.put(array) for array in pairs[0]])
    pair = [fs.SGD(arrays, **options) for arrays in pairs]
    for t in range(4):
        for optimizer in pair:
            optimizer.param_groups[0]["lr"] = 0.3 / (1 + t)
        for actual, expected in zip(*(opt.lookahead() for opt in reversed(pair)), strict=True):
            assert same_bytes(bits_of(device.get(actual)), bits_of(expected))
        grads = [random(rng, value.size, np.float32) for value in values]
        pair[0].step(grads)
        pair[1].step([device.put(grad) for grad in grads])
    ahead = pair[1].lookahead()[0]
    assert not same_bytes(bits_of(device.get(ahead)), bits_of(device.get(pairs[1][0])))


@pytest.mark.parametrize("by", [1, 2, 4])
def test_where_momentum_leads_from_odd_places(device, by):
    rng = np.random.default_rng(by)
    values, velocity = random(rng, 9000, np.float32), random(rng, 9000, np.float32)
    here, whole, buffer = values.copy(), device.put(values), device.put(velocity)
    part = slice(by, by + 8500)
    memory = velocity[part].copy(), Shifted(buffer, 3, 8500)
    fs.cuda.to_device(memory[1], velocity[part])
    pair = [
        fs.SGD({"w": param}, lr=0.1, momentum=0.9, memory={"w": {"momentum_buffer": own}})
        for param, own in zip((here[part], Shifted(whole, by, 8500)), memory, strict=True)
    ]
    for t in range(2):
        grad = random(np.random.default_rng(t), 8500, np.float32)
        pair[0].step({"w": grad})
        pair[1].step({"w": device.put(grad)})
    assert same_bytes(device.get(pair[1].lookahead()["w"]), pair[0].lookahead()["w"])
    assert same_bytes(device.get(whole), here)


def test_parameters_without_any_momentum_are_copied(twins):
    pair = twins("SGD", {"lr": 0.1})
    pair.step(start(1))
    for key, ahead in pair.other.lookahead().items():
        assert same_bytes(pair.device.get(ahead), pair.here[key])
    assert pair.other.lookahead()["w"] is not pair.there["w"]


# Counting


NAN = np.float32(np.nan)


def spoiled(tree):
    made = clone(tree)
    made["b"][3] = NAN
    return made


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


# Graphs


@pytest.fixture
def captured(device):
    """Captures what a function puts into a stream; what is returned launches it."""
    if not device.simulation:
        torch = pytest.importorskip("torch")

        def capture(step):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph), fs.cuda.use_stream(torch.cuda.current_stream().cuda_stream):
                step()
            return graph.replay

        yield capture
        return

    def capture(step):
        with fs.cuda.use_stream(0xCA97):
            step()
        return device.simulation.fusedstep_launch_graph

    yield capture
    device.simulation.fusedstep_drop_graph()


@pytest.mark.parametrize("stages", [{}, {"max_norm": 0.5}, {"on_nonfinite": "skip", "grad_scale": 2.0}])
@pytest.mark.parametrize("name", ["SGD", "Adam", "RAdam", "NAdam", "WindowedAdagrad"])
def test_a_captured_step_is_the_next_step_each_time(twins, captured, name, stages):
    pair = twins(name, {"lr": 0.1})
    grads = start(1)
    bound = pair.other.bind(on(pair.device, grads), **stages)
    pair.kernel.step(grads, **stages)
    bound.step()
    launch = captured(bound.step)
    pair.check()  # nothing has happened while it was captured
    for _ in range(20):
        launch()
        pair.kernel.step(grads, **stages)
    pair.check()
    bound.step()
    pair.kernel.step(grads, **stages)
    pair.check()


def test_a_captured_step_reads_the_learning_rate(twins, captured):
    pair = twins("Adam", {"lr": 0.1})
    grads = start(1)
    bound = pair.other.bind(on(pair.device, grads))
    pair.kernel.step(grads)
    bound.step()
    launch = captured(bound.step)
    for rate in (0.1, 0.5, 0.01):
        for optimizer in (pair.kernel, pair.other):
            optimizer.param_groups[0]["lr"] = rate
        fs.cuda.put_rates(pair.other)
        launch()
        pair.kernel.step(grads)
    pair.check()


def test_a_graph_keeps_what_it_was_captured_with(twins, captured):
    """Eager steps with other gradients, or with some missing, change nothing of what a launch does."""
    pair = twins("Adam", {"lr": 0.1})
    grads, others = start(1), start(2)
    there = on(pair.device, grads)
    for optimizer, own in ((pair.kernel, grads), (pair.other, there)):
        optimizer.step(own)
    launch = captured(lambda: pair.other.step(there))
    for more in (others, {**others, "w": None}, others):
        pair.step(more)
        launch()
        pair.kernel.step(grads)
        pair.check()


def test_loading_state_between_launches(twins, captured):
    pair = twins("NAdam", {"lr": 0.1})
    grads = start(1)
    bound = pair.other.bind(on(pair.device, grads))
    for _ in range(3):
        pair.kernel.step(grads)
        bound.step()
    saved = pair.kernel.state_dict()
    launch = captured(bound.step)
    for _ in range(4):
        launch()
    pair.other.load_state_dict(saved)
    for key, value in pair.here.items():
        fs.cuda.to_device(pair.there[key], value)
    launch()
    pair.kernel.step(grads)
    pair.check()


def test_the_last_outcome(twins, captured):
    pair = twins("SGD", {"lr": 0.1})
    last = []
    grads = start(1)
    for optimizer, own in ((pair.kernel, grads), (pair.other, on(pair.device, grads))):
        optimizer.step(own, max_norm=1.0)
        optimizer.step(own, norm=math.inf, on_nonfinite="skip")
        last.append((tuple(optimizer.last), optimizer.skipped))
        optimizer.step(own)
        last.append(tuple(optimizer.last))
    np.testing.assert_equal(last[:2], last[2:])
    bound = pair.other.bind(on(pair.device, grads), max_norm=1.0)
    bound.step()
    norm = pair.other.last.norm
    other = pair.other.bind(on(pair.device, start(2)), max_norm=1.0)
    other.step()
    launch = captured(other.step)
    before = pair.other.last.norm
    assert before != norm
    bound.step()
    assert pair.other.last.norm == norm
    launch()
    assert pair.other.last.norm == before


def test_steps_without_any_gradient_count_too(twins):
    pair = twins("SGD", {"lr": 0.1})
    for grads in (start(1), dict.fromkeys(SHAPES), start(2)):
        pair.step(grads, max_norm=1.0, on_nonfinite="skip")
        pair.check()


@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")
def test_what_cannot_be_captured(device, captured):
    grads = on(device, start(1))
    first = fs.SGD(on(device, start()), lr=0.1)
    with pytest.raises(RuntimeError, match="must have been run before with the same arrays"):
        captured(lambda: first.step(grads))
    scheduled = fs.SGD(on(device, start()), lr=lambda t: 0.1)
    scheduled.step(grads)
    with pytest.raises(RuntimeError, match="SGD: lr must be a number in a step that is captured, got a schedule"):
        captured(lambda: scheduled.step(grads))
    ahead = fs.SGD(on(device, start()), momentum=0.9)
    ahead.lookahead()
    with pytest.raises(RuntimeError, match="lookahead must be called outside of what is captured, got a stream that"):
        captured(ahead.lookahead)
    raising = fs.SGD(on(device, start()), lr=0.1).bind(grads, on_nonfinite="raise")
    raising.step()
    with pytest.raises(RuntimeError, match="on_nonfinite must be 'propagate' or 'skip' in a step that is captured"):
        captured(raising.step)


# Numbers of a step that lie on the device

#: What a float32 holds of 0.3 is not what a float64 does
SCALES = [0.3, 1.0, 1024.0, 1e30]


@pytest.mark.parametrize(("dtype", "shape"), [(np.float32, ()), (np.float64, (1,))])
@pytest.mark.parametrize(
    "stages",
    [
        {},
        {"max_norm": 0.5},
        {"max_norm_per_tensor": 0.1},
        {"clip_value": 0.01, "zero_grad": True},
        {"on_nonfinite": "skip"},
        {"on_nonfinite": "raise"},
        {"on_nonfinite": "skip", "norm": 3.0, "max_norm": 0.7},
    ],
    ids=str,
)
def test_a_scale_that_the_device_holds(twins, stages, dtype, shape):
    """The bits are those of a step with the number, and of what is said of it."""
    pair = twins("AdamW", {"lr": 0.1})
    for t, scale in enumerate(SCALES):
        pair.step(start(t + 1), {"grad_scale": np.full(shape, scale, dtype)}, **stages)
        pair.check()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_norm_that_the_device_holds(twins, dtype):
    pair = twins("Adam", {"lr": 0.1})
    for t, norm in enumerate((3.1, math.inf, 0.0, math.nan, 1e30)):
        numbers = {"norm": np.full((), norm, dtype), "grad_scale": np.full(1, 0.3, dtype)}
        pair.step(start(t + 1), numbers, max_norm=1.0, on_nonfinite="skip")
        pair.check()
    assert pair.other.skipped == 2
    pair.step(start(1), {"norm": np.full((), math.inf, dtype)})
    pair.check()


@pytest.mark.parametrize("number", ["norm", "grad_scale"])
@pytest.mark.parametrize("missing", [False, True], ids=["without any gradient", "with some"])
def test_numbers_on_the_device_in_every_kind_of_step(twins, number, missing):
    pair = twins("SGD", {"lr": 0.1})
    for value in (3.0, math.inf) if number == "norm" else (3.0, 0.3):
        some = start(1) if missing else {}
        pair.step(dict.fromkeys(SHAPES) | some, {number: np.full(1, value)}, on_nonfinite="skip")
        pair.check()


@pytest.mark.parametrize("known", [{}, {"norm": 2.0, "max_norm": 1.0}], ids=["measured", "known"])
@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_a_scale_that_no_caller_could_give(device, scale, known):
    """Where a number would be refused, it counts as NaN, and the norm with it."""
    there, grads = on(device, start()), on(device, start(1))
    opt, number = fs.Adam(there, lr=0.1), device.put(np.full((), scale, np.float32))
    opt.step(grads, grad_scale=number, on_nonfinite="skip", **known)
    assert opt.skipped == 1
    assert math.isnan(opt.last.norm)
    with pytest.raises(FloatingPointError, match=r"Adam: grads must be finite .* got a norm of nan"):
        opt.step(grads, grad_scale=number, on_nonfinite="raise", **known)
    assert opt.skipped == 1
    assert all(same_bytes(device.get(there[key]), value) for key, value in start().items())
    opt.step(grads, grad_scale=number, **known)
    assert math.isnan(opt.last.factor)
    assert all(np.isnan(device.get(array)).all() for array in there.values())


@pytest.mark.parametrize("norm", [-1.0, -math.inf])
def test_a_norm_that_no_caller_could_give(device, norm):
    there, grads = on(device, start()), on(device, start(1))
    opt, number = fs.SGD(there, lr=0.1), device.put(np.full((), norm))
    opt.step(grads, norm=number, max_norm=1.0, on_nonfinite="skip")
    assert opt.skipped == 1
    opt.step(grads, norm=number, max_norm=1.0)
    assert all(np.isnan(device.get(array)).all() for array in there.values())


def test_a_scale_that_changes_between_launches(twins, captured):
    pair = twins("NAdam", {"lr": 0.1})
    grads, scale = start(1), pair.device.put(np.full((), SCALES[0], np.float32))
    bound = pair.other.bind(on(pair.device, grads), grad_scale=scale)
    bound.step()
    launch = captured(bound.step)
    pair.kernel.step(grads, grad_scale=float(np.float32(SCALES[0])))
    pair.check()
    for number in (1024, 0.7, 1e-3, 1):
        value = np.full((), number, np.float32)
        fs.cuda.to_device(scale, value)
        launch()
        pair.kernel.step(grads, grad_scale=value.item())
        pair.check()


def test_a_norm_that_changes_between_launches(twins, captured):
    pair = twins("Adam", {"lr": 0.1})
    grads, norm = start(1), pair.device.put(np.full(1, 5.0))
    bound = pair.other.bind(on(pair.device, grads), norm=norm, max_norm=1.0, on_nonfinite="skip")
    bound.step()
    launch = captured(bound.step)
    pair.kernel.step(grads, norm=5.0, max_norm=1.0)
    for value in (0.1, math.inf, 7.0, math.nan, 3.0):
        fs.cuda.to_device(norm, np.full(1, value))
        launch()
        pair.kernel.step(grads, norm=value, max_norm=1.0, on_nonfinite="skip")
        pair.check()
    assert pair.other.skipped == 2


def test_training_with_a_loss_scale_in_one_graph(twins, captured):
    """As a GradScaler does it: the scale is halved until gradients of half precision hold it, and doubled later."""
    pair = twins("Adam", {"lr": 0.1})
    rng, scale, held = np.random.default_rng(8), np.full((), 2.0**20, np.float32), {}

    def scaled():
        with np.errstate(over="ignore"):
            return {key: np.asarray(value * scale).astype(np.float16) for key, value in gradients.items()}

    gradients = {key: random(rng, shape, np.float32) for key, shape in SHAPES.items()}
    there, number = on(pair.device, scaled()), pair.device.put(scale)
    bound = pair.other.bind(there, grad_scale=number, on_nonfinite="skip")
    bound.step()
    pair.kernel.step(scaled(), grad_scale=scale.item(), on_nonfinite="skip")
    launch = captured(bound.step)
    for t in range(20):
        skipped = pair.kernel.skipped
        gradients = {key: random(rng, shape, np.float32) for key, shape in SHAPES.items()}
        held = scaled()
        for key, value in held.items():
            fs.cuda.to_device(there[key], value)
        fs.cuda.to_device(number, scale)
        launch()
        pair.kernel.step(held, grad_scale=scale.item(), on_nonfinite="skip")
        pair.check()
        scale *= 0.5 if pair.kernel.skipped > skipped else 2.0 if t % 4 == 3 else 1.0
    assert 3 < pair.other.skipped < 15


def test_bound_gradients_keep_the_numbers(device):
    there, grads = on(device, start()), on(device, start(1))
    opt, scale = fs.SGD(there, lr=0.1), device.put(np.full((), 2.0))
    kept = weakref.ref(scale)
    bound = opt.bind(grads, grad_scale=scale, norm=scale)
    del scale
    gc.collect()
    assert kept() is not None
    bound.step()
    del bound
    gc.collect()
    assert kept() is None, "a step keeps nothing"


class Movable(Shifted):
    """As torch's tensors, which could be given other memory."""

    def data_ptr(self):
        return self.__cuda_array_interface__["data"][0]


@pytest.mark.parametrize("number", ["grad_scale", "norm"])
def test_numbers_stay_where_they_are(device, number):
    values = device.put(np.ones(2))
    moved = Movable(values, 0, 1)
    bound = fs.SGD(on(device, start()), lr=0.1).bind(on(device, start(1)), **{number: moved})
    bound.step()
    moved.__cuda_array_interface__ = Movable(values, 1, 1).__cuda_array_interface__
    with pytest.raises(ValueError, match=f"SGD: {number} must stay in the memory that it was given in, got other data"):
        bound.step()


class Lent:
    """An array in the processor's memory that is not NumPy's."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self):
        return self.array.__dlpack__()

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("call", ["step", "bind"])
@pytest.mark.parametrize("number", ["grad_scale", "norm"])
def test_numbers_that_cannot_be_read(device, number, call):
    there, grads = on(device, start()), on(device, start(1))
    opt = fs.SGD(there, lr=0.1)
    odd = Shifted(device.put(np.ones(2, np.float32)), 0, 1)
    odd.__cuda_array_interface__["data"] = (odd.__cuda_array_interface__["data"][0] + 1, False)
    swapped = Shifted(device.put(np.ones(2, np.float32)), 0, 1)
    swapped.__cuda_array_interface__["typestr"] = ">f4"
    for value, error, fact in (
        (Lent(np.ones(())), ValueError, r"be on the device of params\['w'\], cuda:0, got an array on the processor"),
        (device.put(np.ones((), np.float16)), TypeError, "have dtype float32 or float64, got float16"),
        (device.put(fs.as_bfloat16(np.ones((), np.uint16))), TypeError, "have dtype .*, got bfloat16"),
        (device.put(np.ones((), np.int32)), TypeError, "have dtype float32 or float64, got int32"),
        (swapped, TypeError, "have native byte order, got >f4"),
        (device.put(np.ones(2)), ValueError, r"have one element, shape \(\) or \(1,\), got \(2,\)"),
        (device.put(np.ones((1, 1))), ValueError, r"have one element, shape \(\) or \(1,\), got \(1, 1\)"),
        (device.put(np.ones(0)), ValueError, r"have one element, shape \(\) or \(1,\), got \(0,\)"),
        (odd, ValueError, "be aligned to its elements, got"),
        (np.ones(()), TypeError, r"be .*number .*, got array\(1"),
        ("8", TypeError, "be .*number .*, got '8'"),
    ):
        with pytest.raises(error, match=f"SGD: {number} must {fact}"):
            getattr(opt, call)(grads, **{number: value})
    here, lone = fs.SGD(start(), lr=0.1), device.put(np.ones(()))
    with pytest.raises(TypeError, match=f"SGD: {number} must be .*number .*, got fusedstep.cuda.Array"):
        getattr(here, call)(start(1), **{number: lone})
    with pytest.raises(
        TypeError, match=r"SGD: max_norm must be None or a finite number > 0, got fusedstep\.cuda\.Array"
    ):
        getattr(opt, call)(grads, max_norm=lone)
    assert all(same_bytes(device.get(there[key]), value) for key, value in start().items())


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


# Other libraries


class CuPy:
    """Its arrays, and a stream of its own that is the current one."""

    def __init__(self):
        self.cupy = pytest.importorskip("cupy")
        self.stream = self.cupy.cuda.Stream(non_blocking=True)
        self.put = self.see = self.cupy.asarray

    def param(self, values):
        return self.put(values)

    def get(self, array):
        return self.cupy.asnumpy(array)


class Torch:
    def __init__(self):
        self.torch = pytest.importorskip("torch")
        self.stream = self.torch.cuda.stream(self.torch.cuda.Stream())

    def put(self, values):
        return self.torch.from_numpy(values).cuda()

    def param(self, values):
        return self.torch.nn.Parameter(self.put(values))

    def see(self, array):
        return self.torch.as_tensor(array, device="cuda")

    def get(self, array):
        return array.detach().cpu().numpy()


@pytest.fixture(params=[CuPy, Torch])
def library(request, device):
    if device.simulation:
        pytest.skip("needs a GPU")
    library = request.param()
    with library.stream:
        yield library


@pytest.mark.parametrize("bound", [False, True])
def test_arrays_of_other_libraries(library, bound):
    """A step comes behind what their stream is still at, and before what they put into it next."""
    rng, size = np.random.default_rng(6), 5_000_003
    values, grad = random(rng, size, np.float32), random(rng, size, np.float32)
    here, there, own = {"w": values.copy()}, {"w": library.param(values)}, {"w": library.put(grad)}
    pair = fs.Adam(here, lr=0.1), fs.Adam(there, lr=0.1)
    step = pair[1].bind(own).step if bound else lambda: pair[1].step(own)
    for _ in range(4):
        own["w"] += 1
        step()
        own["w"] *= 2
        grad += 1
        pair[0].step({"w": grad})
        grad *= 2
    assert same_bytes(library.get(there["w"]), here["w"])
    for name in ("exp_avg", "exp_avg_sq"):
        assert same_bytes(library.get(library.see(pair[1].state["w"][name])), pair[0].state["w"][name])


def test_bfloat16_of_torch(device):
    if device.simulation:
        pytest.skip("needs a GPU")
    torch, rng = pytest.importorskip("torch"), np.random.default_rng(7)
    here, grad = (fs.as_bfloat16(bfloat16_nearest(random(rng, 9000, np.float32))) for _ in range(2))
    there, own = (torch.from_numpy(bits_of(array).view(np.int16)).cuda().view(torch.bfloat16) for array in (here, grad))
    options = {"lr": 0.01, "state": "bfloat16", "rounding": "stochastic"}
    pair = fs.Adam(here, **options), fs.Adam(there, **options)
    for _ in range(3):
        pair[0].step(grad)
        pair[1].step(own)
    assert same_bytes(there.view(torch.int16).cpu().numpy().view(np.uint16), bits_of(here))


# Refusals


def test_devices_do_not_mix(device):
    here, there = start()["w"], device.put(start()["w"])
    with pytest.raises(ValueError, match=r"SGD: params\[1\] must be on the device of params\[0\], cuda:0, got .*proc"):
        fs.SGD([there, here])
    with pytest.raises(
        ValueError, match=r"SGD: params\[1\] must be on the device of params\[0\], the pro.*got .*cuda:0"
    ):
        fs.SGD([here, there])
    with pytest.raises(ValueError, match=r"SGD: grads must be on the device of params, cuda:0, got an array on the p"):
        fs.SGD(there).step(here)
    with pytest.raises(ValueError, match=r"SGD: grads must be on the device of params, the processor, got .* cuda:0"):
        fs.SGD(here).step(there)
    with pytest.raises(ValueError, match="must be on the device of params, cuda:0"):
        fs.Adam(there, memory={"0": {"exp_avg": np.zeros_like(here)}})
    with pytest.raises(ValueError, match="copy_to must be on the device of params, cuda:0"):
        fs.SGD(there).step(device.put(here), copy_to=here)
    opt = fs.SGD(here)
    with pytest.raises(ValueError, match="must be on the device of params"):
        opt.add(there)
    grouped = fs.SGD([{"params": {"w": here}}])
    with pytest.raises(ValueError, match=r"SGD: params\['v'\] must be on the device of params\[0\]\['w'\]"):
        grouped.add({"v": there})
    with pytest.raises(ValueError, match=r"stats: grads\[1\] must be on the device of grads\[0\], cuda:0"):
        fs.stats([there, here])
    with pytest.raises(ValueError, match=r"stats: grads\[2\] must be on the device of grads\[1\], the processor, got"):
        fs.stats([None, here, there])
    with pytest.raises(ValueError, match="stats: before must be on the device of grads, cuda:0"):
        fs.stats(there, before=here, after=here)


def test_the_same_three_facts(device):
    there = device.put(start()["w"])
    opt = fs.SGD({"w": there})
    for grad, error, fact in (
        (device.put(np.zeros(5, np.float32)), ValueError, r"shape of params\['w'\], \(37, 11\), got \(5,\)"),
        (device.put(np.zeros((37, 11), np.int32)), TypeError, "float32.*, got int32"),
        (device.put(np.asfortranarray(np.zeros((37, 11), np.float32))), ValueError, "strides"),
        (there, ValueError, "overlap"),
        (7, TypeError, "got int"),
    ):
        with pytest.raises(error, match=rf"SGD: grads\['w'\] must .*{fact}"):
            opt.step({"w": grad})
    read_only = Shifted(there, 0, 100)
    read_only.__cuda_array_interface__["data"] = (read_only.__cuda_array_interface__["data"][0], True)
    with pytest.raises(ValueError, match="params must be writeable, got a read-only array"):
        fs.SGD(read_only)
    every_other = Shifted(there, 0, 100)
    every_other.__cuda_array_interface__["strides"] = (8,)
    with pytest.raises(ValueError, match="params must be dense in memory"):
        fs.SGD(every_other)
    odd = Shifted(there, 0, 100)
    odd.__cuda_array_interface__["data"] = (odd.__cuda_array_interface__["data"][0] + 1, False)
    with pytest.raises(ValueError, match="params must be aligned to its elements"):
        fs.SGD(odd)
    with pytest.raises(ValueError, match="must not overlap"):
        fs.SGD([Shifted(there, 0, 100), Shifted(there, 99, 100)])


class Described:
    """An array as its library's class describes it: by the dict that a CUDA array has."""

    def __init__(self, array, **facts):
        self.array, self.asked, self.facts = array, 0, facts

    @property
    def __cuda_array_interface__(self):
        self.asked += 1
        return {**self.array.__cuda_array_interface__, **self.facts}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("strides", ["given", None])
def test_gradients_of_a_library_for_devices(device, dtype, order, strides):
    """A quick look asks once."""
    values = np.asarray(start()["w"], order=order)
    grad = np.asarray(start(1)["w"], dtype, order=order)
    here, there = values.copy("K"), device.put(values)
    facts = {"strides": strides} if strides is None and order == "C" else {}
    described = Described(device.put(grad), **facts)
    fs.SGD({"w": here}, lr=0.5).step({"w": grad})
    opt = fs.SGD({"w": there}, lr=0.5)
    for asked in (1, 2):
        opt.step({"w": described})
        assert described.asked == asked
        if asked == 1:
            assert same_bytes(fs.cuda.to_host(there), here)


OTHER_FACTS = {
    "shape": ({"shape": (11, 37), "strides": None}, "shape of params"),
    "fewer axes": ({"shape": (407,), "strides": None}, "shape of params"),
    "strides": ({"strides": (4, 148)}, "strides of params"),
    "strides that are no elements": ({"strides": (44, 6)}, "strides of params"),
    "strides that are too large": ({"strides": (44 + 2**62, 4)}, "strides of params"),
    "a shape that is too large": ({"shape": (37, 2**62), "strides": None}, "too big|shape of params"),
    "strides of fewer axes": ({"strides": (4,)}, "describes itself"),
    "numbers that are none": ({"shape": ("a", "b")}, ""),
    "no memory": ({"data": (0, False)}, "numbers in memory"),
    "data that is none": ({"data": ()}, ""),
    "type": ({"typestr": "<i4"}, "int32"),
    "order of bytes": ({"typestr": ">f4"}, "native byte order"),
    "a type that is none": ({"typestr": 4}, ""),
    "a mask": ({"mask": np.zeros((37, 11), bool)}, "mask"),
}


@pytest.mark.parametrize("what", OTHER_FACTS)
def test_gradients_of_a_library_for_devices_that_are_refused(device, what):
    facts, said = OTHER_FACTS[what]
    there = device.put(start()["w"])
    opt = fs.SGD({"w": there}, lr=0.5)
    with pytest.raises((TypeError, ValueError), match=r"SGD: grads\['w'\] must .*" + said):
        opt.step({"w": Described(device.put(start(1)["w"]), **facts)})
    assert same_bytes(fs.cuda.to_host(there), start()["w"])


class Key:
    """Taken for a name, and then it does something."""

    def __init__(self, name, act):
        self.name, self.act = name, act

    def __hash__(self):
        return hash(self.name)

    def __eq__(self, other):
        return self.act()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["strides", "mask"])
def test_dicts_that_raise(device, error, name):
    def act():
        raise error

    class Raising(Described):
        @property
        def __cuda_array_interface__(self):
            known = self.array.__cuda_array_interface__
            return {Key(name, act): 0, **{key: value for key, value in known.items() if key != name}}

    there = device.put(start()["w"])
    opt = fs.SGD({"w": there}, lr=0.5)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else TypeError):
        opt.step({"w": Raising(device.put(start(1)["w"]))})
    assert same_bytes(fs.cuda.to_host(there), start()["w"])


def test_dicts_that_change_while_they_are_read(device):
    class Changing(Described):
        @property
        def __cuda_array_interface__(self):
            known = self.array.__cuda_array_interface__
            return (given := {Key("mask", lambda: given.pop("shape", None) and False): 0, **known})

    there = device.put(start()["w"])
    opt = fs.SGD({"w": there}, lr=0.5)
    with contextlib.suppress(TypeError):
        opt.step({"w": Changing(device.put(start(1)["w"]))})
    assert opt.state["w"]["step"] in (0, 1)


def test_gradients_at_odd_addresses(device):
    grad = device.put(start(1)["w"])
    address, _ = grad.__cuda_array_interface__["data"]
    opt = fs.SGD({"w": device.put(start()["w"])}, lr=0.5)
    with pytest.raises(ValueError, match=r"grads\['w'\] must be aligned to its elements"):
        opt.step({"w": Described(grad, data=(address + 2, False))})


def test_windows_whose_rate_changes(twins):
    pair = twins("WindowedAdagrad", {"window": 3})
    for t in range(5):
        for optimizer in (pair.kernel, pair.other):
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + t)
        pair.step(start(t))
    pair.check()


def test_copies_are_of_dense_arrays(device):
    sparse = Shifted(device.put(start()["w"]), 0, 100)
    sparse.__cuda_array_interface__["strides"] = (8,)
    for call in (fs.cuda.to_host, lambda array: fs.cuda.to_device(array, np.zeros(100, np.float32))):
        with pytest.raises(ValueError, match="array must be dense in memory, got strides"):
            call(sparse)


def test_streams(device):
    array = device.put(start()["w"])
    assert fs.cuda.current_stream(array) == 0
    with fs.cuda.use_stream(77):
        assert fs.cuda.current_stream(array) == 77
    assert fs.cuda.current_stream(array) == 0


def test_streams_of_cupy(monkeypatch):
    """CuPy has a current stream for each device."""
    current = [0]

    @contextlib.contextmanager
    def as_current(device):
        current.append(device)
        yield
        current.pop()

    cupy = ModuleType("cupy")
    cupy.cuda = SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=100 + current[-1]))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    array = type("ndarray", (), {"__module__": "cupy", "device": as_current(1)})()
    assert fs.cuda.current_stream(array) == 101
    assert current == [0]


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


# Without a device


def alone(code):
    """A process in which nothing of CUDA is loaded yet."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads what a process has mapped")
def test_nothing_of_cuda_is_loaded_until_an_array_asks():
    code = "import numpy as np, fusedstep as fs; fs.SGD(np.ones(3)).step(np.ones(3))"
    assert "cuda" not in alone(code + "; print(open('/proc/self/maps').read())")


def test_why_not():
    code = "import fusedstep as fs; print(fs.cuda.available(), fs.cuda.device_count(), fs.cuda.why_not())"
    available, count, reason = alone(code).split(maxsplit=2)
    if available == "True":
        assert int(count) > 0
        assert reason.strip() == "None"
    else:
        assert count == "0"
        assert any(fact in reason for fact in ("no part for CUDA", "no driver", "no GPU"))


def test_without_the_compiled_part(tmp_path):
    with pytest.raises(RuntimeError, match="this build of fusedstep has no part for CUDA"):
        fs.cuda.load(tmp_path / "fusedstep_cuda.so")


def test_a_library_of_another_build_is_not_called(tmp_path, monkeypatch):
    """It is found where ours would be, has a function, and whoever called that would be lost."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if not compiler:
        pytest.skip("a compiler is not there")
    library, source = tmp_path / "fusedstep_cuda.so", tmp_path / "old.cpp"
    name = "fusedstep_backend_" + "0" * 16
    source.write_text(
        f'extern "C" void* fusedstep_backend() {{ return 0; }}\nextern "C" void* {name}() {{ return 0; }}'
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    code = f"""
import functools, pathlib, fusedstep as fs
fs.cuda.load = functools.partial(fs.cuda.load, pathlib.Path({str(library)!r}))
print(fs.cuda.available(), fs.cuda.why_not())
"""
    told = alone(code)
    assert told.startswith("False fusedstep_cuda.so must be of the same build as fusedstep's module, got another's")
    assert str(library) in told


@pytest.mark.parametrize("room", ["rules", "storage", "methods", "kernel"])
def test_other_headers_make_another_build(room, tmp_path):
    """A change of any file that the two sides share."""
    if not shutil.which("cmake"):
        pytest.skip("cmake is not there")
    tree, folder = tmp_path / "cpp", tmp_path / "build"
    shutil.copytree(SOURCE, tree)

    def configured():
        subprocess.run(["cmake", "-S", tree, "-B", folder, "-DFUSEDSTEP_CUDA=OFF"], check=True, capture_output=True)
        return re.search(r'"(fusedstep_backend_\w{16})"', (folder / "backend_name.hpp").read_text())[1]

    assert configured() == _core.backend_name
    header = sorted((tree / room).glob("*.hpp"))[-1]
    header.write_text(header.read_text() + "// another\n")
    assert configured() != _core.backend_name
