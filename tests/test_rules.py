"""The bit contract: every method, option and type gives the reference's bytes, on every target and at every size."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs

from cases import CASES, DTYPES, IDS, SHARED, assert_same_state, pair, random, same_bytes

STEPS = 8


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shared", SHARED, ids=range(len(SHARED)))
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_same_bytes(name, options, shared, dtype, target):
    rng = np.random.default_rng(7)
    param = random(rng, 131, dtype)
    copy = param.copy()
    fused, reference = pair(name, param, copy, lr=0.05, **options, **shared)
    for _ in range(STEPS):
        grad = random(rng, 131, dtype)
        fused.step(grad)
        reference.step(grad)
        assert same_bytes(param, copy)
        assert_same_state(fused, reference)


@pytest.mark.parametrize("module", [fs, fs.reference], ids=["fused", "reference"])
@pytest.mark.parametrize("name", ["SGD", "Own"])
def test_a_subclass_is_the_method_that_it_is_made_of(module, name):
    own = type(name, (module.Lion,), {})
    param, copy = np.ones(3), np.ones(3)
    own(param, lr=0.1).step(np.full(3, 2.0))
    module.Lion(copy, lr=0.1).step(np.full(3, 2.0))
    assert same_bytes(param, copy)
    assert (param != 1).all()
