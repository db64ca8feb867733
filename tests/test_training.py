"""Training at length: after thousands of steps the bits are still the reference's, and fewer bits train as well."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.in_numpy.encodings import bfloat16_nearest

from cases import CASES, DTYPES, assert_same_state, pair, random, same_bytes

LENGTHS = [
    *((name, {}, 1_000) for name in ("Adam", "NAdam", "WindowedAdagrad")),
    *(pytest.param(name, options, 10_000, marks=pytest.mark.long) for name, options in CASES),
]


@pytest.mark.parametrize(("name", "options", "steps"), LENGTHS)
def test_many_steps_are_the_references(name, options, steps):
    """T05: powers vanish, averages settle and windows come round, in both types at once."""
    rng = np.random.default_rng(3)
    params = {dtype.__name__: random(rng, 37, dtype) for dtype in DTYPES}
    copies = {key: param.copy() for key, param in params.items()}
    fused, reference = pair(name, params, copies, lr=0.01, **options)
    for _ in range(steps):
        grads = {key: random(rng, 37, param.dtype) for key, param in params.items()}
        fused.step(grads)
        reference.step(grads)
        assert all(same_bytes(params[key], copies[key]) for key in params)
    assert_same_state(fused, reference)
    assert all(np.isfinite(param).all() for param in params.values())


# The digits, with a network of two hidden layers, over five seeds

STORAGES = {
    "sq8": {"state": "sq8"},
    "bfloat16, stochastic": {"state": "bfloat16", "rounding": "stochastic"},
    "bfloat16, remainder": {"rounding": "remainder"},
}
SIZES, BATCH, EPOCHS, SEEDS = (256, 128), 32, 8, range(5)


def accuracy(seed, **storage):
    """On the test images; the network is evaluated in float32, whatever the parameters' type."""
    from fusedstep.lab.data.digits import digits
    from fusedstep.lab.network import evaluate, gradient, random_weights

    rng = np.random.default_rng(seed)
    data = digits(np.float32, rng)
    weights = random_weights((data.pixels, *SIZES, data.classes), np.float32, rng)
    params = weights
    if "rounding" in storage:
        params = {name: fs.as_bfloat16(bfloat16_nearest(value)) for name, value in weights.items()}
    optimizer = fs.Adam(params, lr=1e-3, seed=seed, **storage)
    grads = {name: np.empty_like(value) for name, value in weights.items()}
    for _ in range(EPOCHS):
        for images, labels in data.batches(BATCH, rng):
            if params is not weights:
                weights = {name: fs.as_float32(value) for name, value in params.items()}
            gradient(weights, images, labels, grads)
            optimizer.step(grads)
    return evaluate(weights, *data.test)[1]


@pytest.fixture(scope="module")
def full():
    pytest.importorskip("sklearn")
    return np.array([accuracy(seed) for seed in SEEDS])


@pytest.mark.parametrize("storage", STORAGES)
def test_accuracy_is_float32s(full, storage):
    """In the mean within half a percent; a test image is 0.28 %."""
    reached = np.array([accuracy(seed, **STORAGES[storage]) for seed in SEEDS])
    assert full.mean() > 0.96
    assert reached.mean() > full.mean() - 0.005, f"{reached} against {full}"
