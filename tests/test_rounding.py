"""Rounding to fewer bits: to nearest as others have it, stochastic without bias, and what keeps what it cuts off."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.commands.contract import random
from fusedstep.in_numpy.encodings import bfloat16_nearest, bfloat16_stochastic, cast, float16_stochastic, widen
from fusedstep.in_numpy.layout import flat
from fusedstep.in_numpy.random import Draw

from cases import same_bytes

SINGLE = np.dtype(np.float32)


def test_bfloat16_is_that_of_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = values[~np.isnan(values)]
    assert (bfloat16_nearest(values) == values.astype(ml_dtypes.bfloat16).view(np.uint16)).all()


def test_float16_is_numpys():
    """Every float16, the numbers half-way between two, and their neighbours, through the kernel."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    exact = halves[~np.isnan(halves)].astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        middles = exact + np.spacing(np.abs(halves[~np.isnan(halves)])).astype(np.float32) / 2
    values = np.concatenate([exact, middles, np.nextafter(middles, np.inf), np.nextafter(middles, -np.inf)])
    values = values[np.isfinite(values)].astype(np.float32)
    theta, copy = np.zeros_like(values), np.zeros(values.size, np.float16)
    fs.SGD(theta, lr=1.0).step(-values, copy_to=copy)
    with np.errstate(over="ignore"):
        assert same_bytes(copy, (0 + values).astype(np.float16))


@pytest.mark.parametrize("target", fs.available_targets())
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_every_nan_of_bfloat16_stays_one(rounding, target):
    """Where all is bfloat16, a NaN is rounded like a number: none may be carried into its sign."""
    every = np.arange(2**16, dtype=np.uint16)
    nans = every[(every & 0x7FFF) > 0x7F80]

    def ones():
        return fs.as_bfloat16(np.full(nans.size, 0x3F80, np.uint16))

    def bits(array):
        return np.asarray(array).view(np.uint16)

    for which in ("param", "grad", "exp_avg", "exp_avg_sq"):
        param, grad = ones(), ones()
        opt = fs.Adam({"w": param}, state="bfloat16", rounding=rounding)
        bits({"param": param, "grad": grad, **opt.state["w"]}[which])[...] = nans
        with fs.use_target(target):
            for _ in range(3):
                opt.step({"w": grad})
        assert np.isnan(widen(param, SINGLE)).all()

    largest = np.array(2**63 - 1, np.int64).view(np.float64).item()  # as a float it has 23 bits as well
    param = ones()
    with fs.use_target(target):
        fs.Adam({"w": param}, state="bfloat16", rounding=rounding).step({"w": ones()}, max_norm=1.0, norm=largest)
    assert np.isnan(widen(param, SINGLE)).all()


@pytest.mark.parametrize("rounded", [bfloat16_stochastic, float16_stochastic])
def test_stochastic_rounding_is_unbiased(rounded):
    """Over all random bits, the mean is the number itself, but for what 16 bits cannot tell."""
    every = np.arange(2**16, dtype=np.uint32)
    for x in (1.0, 1.001, -3.1415926, 6.1e-5, -3.0e-6, 1.2e-7):
        values = np.full(every.size, x, np.float32)
        to = (
            fs.as_bfloat16(np.zeros(every.size, np.uint16))
            if rounded is bfloat16_stochastic
            else np.zeros(every.size, np.float16)
        )
        flat(to).view(np.uint16)[...] = rounded(values, every)
        got = widen(to, np.dtype(np.float64))
        spread = np.ptp(got)
        assert abs(got.mean() - float(np.float32(x))) <= spread * 2**-13  # a float16 looks at 13 bits
        assert len(np.unique(got)) <= 2


def test_random_bits_are_uniform_and_their_own():
    """An element's bits over the steps, and a step's over the elements; another seed, tensor or array has others."""
    steps = np.stack([Draw(1, t, 0, 0).bits(0, 8) for t in range(20_000)]).astype(np.float64)
    assert (np.abs(steps.mean(axis=0) / 2**16 - 0.5) < 0.01).all()
    for element in steps.T:
        counts = np.histogram(element, bins=16, range=(0, 2**16))[0]
        assert ((counts - 1250) ** 2 / 1250).sum() < 45  # chi-square with 15 degrees of freedom: 1 in 10,000
    follows = (steps[1:, 0] > 2**15) == (steps[:-1, 0] > 2**15)
    assert abs(follows.mean() - 0.5) < 0.015
    base = Draw(1, 1, 1, 0).bits(0, 1000)
    assert np.abs(np.histogram(base, bins=10, range=(0, 2**16))[0] - 100).max() < 20
    others = [Draw(2, 1, 1, 0).bits(0, 1000), Draw(1, 2, 1, 0).bits(0, 1000), Draw(1, 1, 2, 0).bits(0, 1000)]
    for other in (*others, Draw(1, 1, 1, 0).bits(1, 1000)):
        assert (other == base).mean() < 0.01
    assert (Draw(1, 1, 1, 500).bits(0, 500) == base[500:]).all()


def test_bits_beyond_two_to_the_32():
    begin = 2**32 - 5
    bits = Draw(3, 1, 0, begin).bits(0, 10)
    assert (bits[5:] == Draw(3, 1, 0, 2**32).bits(0, 5)).all()
    assert (bits[:5] == Draw(3, 1, 0, begin).bits(0, 5)).all()


@pytest.mark.parametrize("of", ["bfloat16", "sq8"])
def test_a_shard_is_rounded_like_its_part_of_the_whole(of):
    rng = np.random.default_rng(5)
    start, grad, cut = random(rng, 20_000, np.float32), random(rng, 20_000, np.float32), 8192
    whole, parts = start.copy(), [start[:cut].copy(), start[cut:].copy()]
    one = fs.Adam({"w": whole}, state=of, seed=4)
    shards = [
        fs.Adam({"w": part}, state=of, seed=4, extents={"w": (offset, whole.size)})
        for part, offset in zip(parts, (0, cut), strict=True)
    ]
    for _ in range(3):
        one.step({"w": grad})
        for shard, part in zip(shards, (grad[:cut], grad[cut:]), strict=True):
            shard.step({"w": part})
    assert same_bytes(np.concatenate(parts), whole)


def test_v_rounds_stochastically_and_m_to_nearest():
    """v's average comes out right although a step changes it by less than half a unit; rounded to nearest it stays."""
    n = 20_000
    opt = fs.Adam(np.zeros(n, np.float32), state="bfloat16", betas=(0.9, 0.999))
    grad = np.ones(n, np.float32)
    for _ in range(500):
        opt.step(grad)
    expected = 1 - 0.999**500
    v, m = (fs.as_float32(opt.state["0"][name]) for name in ("exp_avg_sq", "exp_avg"))
    assert abs(v.mean() / expected - 1) < 0.01
    assert np.unique(v).size > 5
    assert np.unique(m).size == 1


@pytest.mark.parametrize("name", ["SGD", "Adam", "Lion"])
def test_remainder_is_float32_training(name):
    """bfloat16 with its rest: bit for bit the parameters of float32, and they are the nearer bfloat16."""
    rng = np.random.default_rng(6)
    master = random(rng, 5000, np.float32)
    master = fs.as_float32(cast(master, "bfloat16"))
    theta = cast(master, "bfloat16")
    full, half = getattr(fs, name)(master, lr=0.01), getattr(fs, name)(theta, lr=0.01, rounding="remainder")
    for _ in range(20):
        grad = random(rng, 5000, np.float32)
        full.step(grad)
        half.step(grad)
        assert same_bytes(widen(theta, SINGLE, half.state["0"]["rest"]), master)
    away = np.abs(fs.as_float32(theta) - master)
    assert (away <= 2.0**-8 * np.abs(master)).all()
    assert (away > 0).mean() > 0.9


def test_remainder_keeps_nan_and_infinity():
    values = np.array([np.nan, np.inf, -np.inf, np.finfo(np.float32).max, -0.0, 1e-45], np.float32)
    master, theta = np.zeros(6, np.float32), cast(np.zeros(6), "bfloat16")
    full, half = fs.SGD(master, lr=1.0), fs.SGD(theta, lr=1.0, rounding="remainder")
    for optimizer in (full, half):
        optimizer.step(values)
    assert same_bytes(widen(theta, SINGLE, half.state["0"]["rest"]), master)
    for optimizer in (full, half):
        optimizer.step(np.ones(6, np.float32))
    assert same_bytes(widen(theta, SINGLE, half.state["0"]["rest"]), master)


#: The first and the last of either sign
NAN_BITS = (0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("of", "rounding"),
    [*product(["bfloat16", "float16"], ["nearest", "stochastic", "kahan"]), ("bfloat16", "remainder")],
)
def test_every_nan_stays_one(of, rounding, target):
    """Rounding would carry the last ones over the sign, to zero. A NaN has no rest, whatever its bits."""
    grad = np.array(NAN_BITS * 20, np.uint32).view(np.float32)
    theta, narrow = cast(np.zeros(grad.size), of), cast(np.zeros(grad.size), of)
    opt = fs.SGD(theta, lr=1.0, rounding=rounding)
    opt.step(grad, copy_to=narrow)
    for array in (theta, narrow):
        assert np.isnan(widen(array, SINGLE)).all()
    assert not flat(opt.state["0"].get("rest", np.zeros(1))).any()


@pytest.mark.parametrize("rounding", ["stochastic", "kahan", "remainder"])
def test_small_steps_are_not_lost(rounding):
    """1,000 steps of 1e-4 from 1: to nearest, bfloat16 stays at 1."""
    thetas = {how: cast(np.ones(4096), "bfloat16") for how in ("nearest", rounding)}
    for how, theta in thetas.items():
        opt = fs.SGD(theta, lr=1e-4, rounding=how)
        for _ in range(1000):
            opt.step(np.ones(4096, np.float32))
    assert (fs.as_float32(thetas["nearest"]) == 1).all()
    assert abs(fs.as_float32(thetas[rounding]).mean() - 0.9) < 2.0**-8
