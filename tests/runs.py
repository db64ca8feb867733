"""A run that stops before one of its steps, and goes on from what was saved there."""

from __future__ import annotations

import zlib

import numpy as np

from cases import LAYOUTS, frozen, laid_out, random, same_bytes

STEPS = 12

#: What is saved has parameters of every layout and an empty one.
SHAPES = {"net/w": (3, 4, 5), "net/b": (4, 3), "empty": (0, 2), "scale": ()}


def run_of(name, options, dtype):
    """Parameters in every layout, the gradients of all steps with some of them missing, and a step to stop before."""
    rng = np.random.default_rng(zlib.crc32(repr((name, options)).encode()))
    layouts = dict(zip(SHAPES, [*LAYOUTS, "C"], strict=True))
    params = {key: laid_out(random(rng, shape, dtype), layouts[key]) for key, shape in SHAPES.items()}
    grads = [
        {key: laid_out(random(rng, shape, dtype), layouts[key]) for key, shape in SHAPES.items()} for _ in range(STEPS)
    ]
    for step, key in rng.permutation([(i, key) for i in range(STEPS - 1) for key in SHAPES])[: STEPS - 2]:
        grads[int(step)][str(key)] = None
    return params, grads, int(rng.integers(1, STEPS))


def nested(flat):
    return {"net": {"w": flat["net/w"], "b": flat["net/b"]}, "empty": flat["empty"], "scale": flat["scale"]}


def clone(params):
    return {key: value.copy(order="K") for key, value in params.items()}


def assert_same_run(actual, expected, opt, uninterrupted):
    for key in expected:
        assert same_bytes(actual[key], expected[key]), key
    assert frozen(opt.state_dict()) == frozen(uninterrupted.state_dict())
