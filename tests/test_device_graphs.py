"""Steps that are captured in a graph, on a CUDA device or on one that the processor plays."""

from __future__ import annotations

import copy
import math
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import conftest
import fusedstep as fs

from cases import random, same_bytes
from twins import SHAPES, on, spoiled, start


@pytest.fixture
def captured(device):
    """Captures what a function puts into a stream; what is returned launches it."""
    if not device.simulation:
        torch = pytest.importorskip("torch")

        def capture(step):
            graph = torch.cuda.CUDAGraph()
            # A capture that fails leaves its stream the current one.
            with (
                torch.cuda.stream(torch.cuda.current_stream()),
                torch.cuda.graph(graph),
                fs.cuda.use_stream(torch.cuda.current_stream().cuda_stream),
            ):
                step()
            return graph.replay

        yield capture
        return

    def capture(step):
        with device.playing_capture():
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


def test_rates_for_a_graph_that_is_out_of_date(device, captured):
    """It goes on as it was captured, with the learning rates of that time, until there is another."""
    w, v, grad = (device.put(np.full(9000, value, np.float32)) for value in (8, 8, 1))
    opt = fs.SGD({"w": w}, lr=0.5)
    bound = opt.bind({"w": grad})
    bound.step()
    launch = captured(bound.step)
    opt.add({"v": v}, lr=0.25)
    opt.param_groups[0]["lr"] = 2.0
    fs.cuda.put_rates(opt)
    launch()
    assert (device.get(w) == 7).all()
    opt.step([{"w": grad}, {"v": grad}])
    assert (device.get(w) == 5).all()
    assert (device.get(v) == 7.75).all()


@pytest.mark.parametrize("buffer", ["lr_outside", "lr_inside"])
def test_where_momentum_leads_in_a_graph(twins, captured, buffer):
    """As a whole training step is captured whose gradient is taken there."""
    pair = twins("SGD", {"lr": 0.1, "momentum": 0.9, "buffer": buffer})
    grads = start(1)
    bound = pair.other.bind(on(pair.device, grads))
    there = pair.other.lookahead()
    pair.kernel.step(grads)
    bound.step()
    launch = captured(lambda: (pair.other.lookahead(), bound.step()))
    for rate in (0.1, 0.5, 0.01):
        for optimizer in (pair.kernel, pair.other):
            optimizer.param_groups[0]["lr"] = rate
        fs.cuda.put_rates(pair.other)
        pair.other.param_groups[0]["momentum"] = 0.5
        pair.other.lookahead()
        launch()  # with the momentum that was captured
        pair.other.param_groups[0]["momentum"] = 0.9
        for key, expected in pair.kernel.lookahead().items():
            assert same_bytes(pair.device.get(there[key]), expected), key
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


def test_a_graph_keeps_its_options(twins, captured):
    pair = twins("Adam", {"lr": 0.1})
    grads, first = start(1), {"weight_decay": 0.0, "betas": (0.9, 0.999)}
    bound = pair.other.bind(on(pair.device, grads))
    pair.kernel.step(grads)
    bound.step()
    launch = captured(bound.step)
    for decay in (0.1, 0.2):
        changed = {"weight_decay": decay, "betas": (0.5, 0.9)}
        for optimizer in (pair.kernel, pair.other):
            optimizer.param_groups[0].update(changed)
        pair.kernel.step(grads)
        bound.step()
        pair.check()
        pair.kernel.param_groups[0].update(first)
        pair.kernel.step(grads)
        pair.kernel.param_groups[0].update(changed)
        launch()
        pair.check()


def test_a_graph_keeps_the_states_that_options_have_given_up(device, captured):
    """Its launches go on with them."""
    w, g = (random(np.random.default_rng(i), 300, np.float32) for i in range(2))
    v = np.zeros(300, np.float32)
    opt = fs.SGD(there := device.put(w), lr=0.1, momentum=0.9)
    bound = opt.bind(device.put(g))
    bound.step()
    launch = captured(bound.step)
    opt.param_groups[0]["momentum"] = 0.0
    bound.step()
    launch()
    fs.functional.sgd_(w, g, v, step=1, lr=0.1, momentum=0.9)
    fs.functional.sgd_(w, g, step=2, lr=0.1)
    fs.functional.sgd_(w, g, v, step=3, lr=0.1, momentum=0.9)
    assert same_bytes(device.get(there), w)


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


def test_the_last_outcome_is_that_of_a_launch(twins, captured):
    """Which may follow a step of which the device knew nothing."""
    pair = twins("SGD", {"lr": 0.1, "momentum": 0.9})
    grads = start(1)
    bound = pair.other.bind(on(pair.device, grads), max_norm=1.0)
    pair.kernel.step(grads, max_norm=1.0)
    bound.step()
    launch = captured(bound.step)
    for others, stages in ((dict.fromkeys(SHAPES), {"max_norm": 2.0}), (start(2), {"norm": math.inf})):
        pair.step(others, on_nonfinite="skip", **stages)
        pair.check()
        launch()
        pair.kernel.step(grads, max_norm=1.0)
        pair.check()
        pair.step(others, on_nonfinite="skip", **stages)
        pair.check()
    launch()
    pair.kernel.step(grads, max_norm=1.0)
    for optimizer, more in ((pair.kernel, np.ones(3)), (pair.other, pair.device.put(np.ones(3)))):
        optimizer.add({"more": more})
        optimizer.lookahead()
    assert tuple(pair.other.last) == tuple(pair.kernel.last)


def test_what_is_refused_while_another_thread_captures(twins):
    """To be asked what it has counted is what the device refuses then; it is asked later."""
    pair = twins("Adam", {"lr": 0.1})
    if not pair.device.simulation:
        pytest.skip("a capture that is spoiled on purpose")
    more, saved = pair.device.put(np.ones(3)), pair.other.state_dict()
    saved["groups"][0]["lr"] = 77.0
    with fs.cuda.use_stream(7):
        for grads in (start(1), spoiled(start(2)), spoiled(start(3))):
            pair.step(grads, on_nonfinite="skip")
        pair.device.simulation.fusedstep_begin_graph()
        for call in (lambda: pair.other.add({"more": more}), lambda: pair.other.load_state_dict(saved)):
            with pytest.raises(RuntimeError, match="the device is waited for while a graph is captured"):
                call()
        assert not pair.device.simulation.fusedstep_end_graph()
        pair.check()
        pair.step(start(4))
        pair.check()


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
    with pytest.raises(RuntimeError, match="must have been run before with the same arrays"):
        captured(ahead.lookahead)
    w = device.put(start()["w"])
    with pytest.raises(RuntimeError, match=r"^sgd_: param must not be updated by a function while a graph is captured"):
        captured(lambda: fs.functional.sgd_(w, grads["w"], step=1, lr=0.1))
    raising = fs.SGD(on(device, start()), lr=0.1).bind(grads, on_nonfinite="raise")
    raising.step()
    with pytest.raises(RuntimeError, match="on_nonfinite must be 'propagate' or 'skip' in a step that is captured"):
        captured(raising.step)


def test_what_waits_for_the_device_is_refused_in_a_graph(twins, captured):
    """And the graph goes on as if nothing had been asked."""
    pair = twins("NAdam", {"lr": 0.1})
    grads = start(1)
    there = on(pair.device, grads)
    other = pair.other
    bound = other.bind(there, max_norm=1.0, on_nonfinite="skip")
    saved, more = other.state_dict(), pair.device.put(np.ones(3))
    saved["groups"][0]["lr"] = 77.0
    for _ in range(2):
        bound.step()
        pair.kernel.step(grads, max_norm=1.0, on_nonfinite="skip")
    waiting = [
        lambda: other.last,
        lambda: other.skipped,
        lambda: other.state["w"]["step"],
        other.state_dict,
        lambda: other.load_state_dict(saved),
        lambda: copy.copy(other),
        lambda: other.add(more),
        lambda: fs.cuda.to_host(there["w"]),
        lambda: fs.cuda.to_device(there["w"], grads["w"]),
        lambda: fs.stats(there),
    ]

    def step():
        for ask in waiting:
            with pytest.raises(RuntimeError, match=": must not wait for the device while a graph is captured"):
                ask()
        assert other.param_groups[0]["lr"] == 0.1
        bound.step()

    launch = captured(step)
    for _ in range(3):
        launch()
        pair.kernel.step(grads, max_norm=1.0, on_nonfinite="skip")
    pair.check()


def test_memory_that_is_made_while_a_graph_is_captured(twins, captured):
    pair = twins("Adam", {"lr": 0.1})
    grads, made = start(1), []
    bound = pair.other.bind(on(pair.device, grads))
    bound.step()
    pair.kernel.step(grads)
    zeros = np.zeros((3, 5), np.float32)

    def step():
        made.append(fs.cuda.Array.like(zeros, 0))
        made.append(fs.cuda.Array.like(zeros, 0))
        made.pop()
        bound.step()

    launch = captured(step)
    launch()
    pair.kernel.step(grads)
    pair.check()
    assert same_bytes(fs.cuda.to_host(made[0]), zeros)


def test_a_scale_that_changes_between_launches(twins, captured):
    pair = twins("NAdam", {"lr": 0.1})
    grads, scale = start(1), pair.device.put(np.full((), 0.3, np.float32))
    bound = pair.other.bind(on(pair.device, grads), grad_scale=scale)
    bound.step()
    launch = captured(bound.step)
    pair.kernel.step(grads, grad_scale=float(np.float32(0.3)))
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


def test_a_process_whose_graphs_are_lost_is_replaced(device, monkeypatch):
    """By one failed capture, all that follow in it would fail too, and say nothing."""
    ended = []

    def refuse():
        raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    monkeypatch.setattr(os, "_exit", ended.append)
    for empty_cache, expected in ((lambda: None, []), (refuse, [1])):
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(empty_cache=empty_cache)))
        conftest.pytest_runtest_setup()
        assert ended == expected
