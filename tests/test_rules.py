"""The bit contract: every method, option and type gives the reference's bytes, on every target and at every size."""

from __future__ import annotations

import numpy as np
import pytest

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
