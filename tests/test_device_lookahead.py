"""Where momentum leads, on a device: in one launch, with the processor's bits."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.bfloat16 import bits_of

from cases import random, same_bytes
from twins import Shifted, start

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
