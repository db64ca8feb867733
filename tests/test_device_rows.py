"""Rows of 128 elements on a device: read from any address, as parts of a whole, in numbers that approximations make."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs

from cases import random, same_bytes
from twins import Shifted


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


def test_every_significand(device):
    """Tensors of codes make roots and quotients of approximations on a GPU: here of some of the floats in [1, 2) and of
    their squares, there of all."""
    begin, end = np.float32([1, 2]).view(np.uint32)
    floats = np.arange(begin, end, 509 if device.simulation else 1, np.uint32).view(np.float32)
    rng = np.random.default_rng(5)
    here = random(rng, floats.size, np.float32)
    there = device.put(here)
    pair = [fs.AdamW(param, state="sq8") for param in (here, there)]
    # The floats themselves, so that v's are spread over two binades; then any two behind each other
    for grad in (floats, *(rng.permutation(floats) * sign for sign in (1, -1, 1))):
        pair[0].step(grad)
        pair[1].step(device.put(grad))
        assert same_bytes(device.get(there), here)


#: Roots and a divisor that Newton's steps miss from an approximation that is off by one unit of its last place
ROOTS = [float.fromhex(x) for x in ("0x1.9a2854p1", "0x1.b5c076p1", "0x1.dd26e4p1", "0x1.f82294p0")]
DIVISOR = float.fromhex("0x1.fffffep0")


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        # Of squares that vanish, ε is all that is under the root.
        *(("Adam", {"lr": 1e30, "eps": x, "eps_place": "inside", "bias_correction": False}, 1e-30) for x in ROOTS),
        ("Adamax", {"lr": 1 / DIVISOR, "betas": (0.0, 0.9), "eps": 0.0, "eps_place": "outside"}, DIVISOR),
    ],
)
def test_hard_roots_and_quotients(device, name, options, size):
    here = np.zeros(8192, np.float32)
    there = device.put(here)
    grad = np.float32(size) * np.linspace(1, 2, 8192, dtype=np.float32)
    for param, own in ((here, grad), (there, device.put(grad))):
        getattr(fs, name)(param, state="sq8", **options).step(own)
    assert (here < 0).all()
    assert same_bytes(device.get(there), here)


def test_runs_of_chunks(device):
    """So many of one tensor that blocks take several behind each other, but not those that 2^32 lies between."""
    if not device.simulation:
        pytest.skip("a GPU needs more of them: bench/gpu.py compares its results")
    rng, size = np.random.default_rng(6), 2_200_000
    for extent in ({}, {"extents": {"0": (2**32 - 8192 * 129, 2**33)}}):
        for state in ("float32", "sq8"):
            pattern = random(rng, 999_983, np.float32)
            sizes = (size, 8192 * 3 + 5, 1)
            pair = [[np.resize(pattern, n) for n in sizes]]
            pair.append([device.put(array) for array in pair[0]])
            own = [fs.RMSprop(arrays, state=state, **extent) for arrays in pair]
            grads = [np.resize(pattern[::-1], n) for n in sizes]
            own[0].step(grads)
            own[1].step([device.put(grad) for grad in grads])
            for expected, actual in zip(*pair, strict=True):
                assert same_bytes(device.get(actual), expected)
            for name, entry in own[0].state.items():
                assert same_bytes(device.get(own[1].state[name]["square_avg"]), entry["square_avg"])


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
