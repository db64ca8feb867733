"""The optimizer that is one of torch's, with tensors on a CUDA device; on the processor it does the same."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.bfloat16 import bits_of
from fusedstep.in_numpy.encodings import bfloat16_nearest

from cases import random, same_bytes

torch = pytest.importorskip("torch")

from fusedstep.torch import Optimizer  # noqa: E402 (which needs torch)

OPTIONS = {"lr": 0.1, "state": "bfloat16", "rounding": "stochastic", "weight_decay": 0.1}


@pytest.fixture(params=["cpu", "cuda"])
def where(request):
    if request.param == "cuda" and request.getfixturevalue("device").simulation:
        pytest.skip("needs a GPU")
    return request.param


def values(seed):
    rng = np.random.default_rng(seed)
    return random(rng, (37, 11), np.float32), fs.as_bfloat16(bfloat16_nearest(random(rng, 9000, np.float32)))


def tensor(array, where):
    """In memory of its own."""
    bits = torch.from_numpy(array.view(np.ndarray).view(np.int16 if array.itemsize == 2 else array.dtype)).clone()
    return (bits.view(torch.bfloat16) if array.itemsize == 2 else bits).to(where)


def clones(arrays):
    return [array.copy() for array in arrays]


def parameters(arrays, where):
    return [torch.nn.Parameter(tensor(array, where)) for array in arrays]


def equal(found, expected):
    assert found.dtype == (torch.bfloat16 if expected.itemsize == 2 else torch.float32)
    held = found.detach().cpu()
    held = held.view(torch.int16) if expected.itemsize == 2 else held
    return same_bytes(held.numpy().view(bits_of(expected).dtype), bits_of(expected))


def step(optimizer, params, twin, seed):
    """The same one of both, which then have the same bits everywhere."""
    grads = values(seed)
    for param, grad in zip(params, grads, strict=True):
        param.grad = tensor(grad, param.device)
    optimizer.step(max_norm=0.5)
    twin.step(list(grads), max_norm=0.5)
    assert optimizer.inner.last == twin.last
    for number, param in enumerate(params):
        state = optimizer.state[param]
        assert state["step"] == twin.state[str(number)]["step"]
        for name in ("exp_avg", "exp_avg_sq"):
            assert state[name].device == param.device
            assert equal(state[name], twin.state[str(number)][name])


def test_steps_and_state(where):
    """Which goes on elsewhere."""
    here = list(values(0))
    params = parameters(here, where)
    twin, optimizer = fs.AdamW(here, **OPTIONS), Optimizer(params, fs.AdamW, **OPTIONS)
    for seed in (1, 2, 3):
        step(optimizer, params, twin, seed)
    saved = optimizer.state_dict()
    for place in ("cpu", where):
        others, again = parameters(here, place), fs.AdamW(clones(here), **OPTIONS)
        again.load_state_dict(twin.state_dict())
        resumed = Optimizer(others, fs.AdamW, **OPTIONS)
        resumed.load_state_dict(saved)
        step(resumed, others, again, 4)
    assert all(map(equal, params, here))


def test_a_model_that_goes_elsewhere_behind_its_optimizer(where):
    here = list(values(0))
    params = parameters(here, "cpu")
    twin, optimizer = fs.AdamW(here, **OPTIONS), Optimizer(params, fs.AdamW, **OPTIONS)
    step(optimizer, params, twin, 1)
    for param in params:
        param.data = param.data.to(where)
    for seed in (2, 3):
        step(optimizer, params, twin, seed)
    assert all(map(equal, params, here))


def test_a_scaler(where):
    w = torch.nn.Parameter(torch.ones(9000, device=where))
    optimizer, scaler = Optimizer([w], fs.SGD, lr=0.5), torch.amp.GradScaler(where, init_scale=4.0)
    for factor, left in ((torch.inf, 1.0), (1.0, 0.5), (1.0, 0.0)):
        optimizer.zero_grad()
        scaler.scale(w.sum() * factor).backward()
        scaler.step(optimizer)
        scaler.update()
        assert (w == left).all()


def test_a_graph(device):
    if device.simulation:
        pytest.skip("needs a GPU")
    w = torch.nn.Parameter(torch.full((9000,), 8.0, device="cuda"))
    w.grad = torch.ones_like(w)
    optimizer, graph = Optimizer([w], fs.SGD, lr=0.5), torch.cuda.CUDAGraph()
    optimizer.step()
    # A capture that fails leaves its stream the current one.
    with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):
        optimizer.step()
    for rate, left in ((0.5, 7.0), (0.25, 6.75)):
        optimizer.param_groups[0]["lr"] = rate
        fs.cuda.put_rates(optimizer)
        graph.replay()
        assert (w == left).all()
