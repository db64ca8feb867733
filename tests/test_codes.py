"""Codes of one byte: what they stand for, blocks of all kinds, and what they save."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fusedstep as fs
from fusedstep.commands.contract import random
from fusedstep.in_numpy.code8 import decode, encode

EVERY_CODE = {True: np.arange(-127, 128, dtype=np.int8), False: np.arange(255, dtype=np.uint8)}


@pytest.mark.parametrize("exponent", [-90, -3, 0, 60])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_codes_stand_for_themselves(signed, exponent):
    """What is representable stays as it is, in a block whose largest number has the same e."""
    largest = 126 if signed else 251
    codes = np.concatenate([np.resize(EVERY_CODE[signed][np.abs(EVERY_CODE[signed].astype(int)) <= largest], 127 * 4)])
    codes = np.insert(codes, range(0, codes.size, 127), largest).astype(EVERY_CODE[signed].dtype)
    scales = np.full(4, 2.0**exponent, np.float32)
    values = decode(codes, scales, signed)
    for bits in (None, np.zeros(512, np.uint32)):
        again, its = encode(values, signed, bits)
        assert (its == scales).all()
        assert (again == codes).all()


def test_codes_are_ordered_and_zero_is_one():
    for signed, codes in EVERY_CODE.items():
        padded = np.resize(codes, 256)
        values = decode(padded, np.ones(2, np.float32), signed)[: codes.size]
        assert (np.diff(values) > 0).all()
        assert values[codes == 0] == 0
    assert np.isnan(decode(np.array([-128], np.int8), np.ones(1, np.float32), True)).all()
    assert np.isnan(decode(np.array([255], np.uint8), np.ones(1, np.float32), False)).all()


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_one_code_is_near(signed):
    """Within a 16th of itself, or of c."""
    rng = np.random.default_rng(8)
    values = random(rng, 128 * 50, np.float32)
    values = values if signed else np.abs(values)
    codes, scales = encode(values, signed, None)
    near = np.abs(decode(codes, scales, signed) - values)
    c = np.repeat(scales, 128) * (2.0**-7 if signed else 2.0**-15)
    assert (near <= (np.abs(values) + c) / 31).all()
    assert np.unique(codes).size > 60


@pytest.mark.parametrize("x", [0.3, 0.011, 1e-4, 3e-6, 1e-6, 1e-12])
def test_codes_of_squares_are_unbiased(x):
    """T16: over all random bits, the mean is the number itself; the first code's where that would sometimes be 0."""
    every = np.arange(2**16, dtype=np.uint32).reshape(-1, 128)
    values = np.full(every.shape, x, np.float32)
    values[:, 0] = 1  # what the scale of each block is made for
    codes, scales = encode(values.ravel(), False, every.ravel())
    got = decode(codes, scales, False).astype(np.float64).reshape(every.shape)[:, 1:]
    first = decode(np.ones(1, np.uint8), scales[:1], False)[0]
    assert abs(got.mean() - max(np.float32(x), first)) <= np.ptp(got) * 2**-13
    assert len(np.unique(got)) == (2 if x > first else 1)


def test_blocks_that_are_special():
    tiny = np.full(128, 1e-31, np.float32)
    outlier = np.full(128, 1e-3, np.float32)
    outlier[77] = 1e6
    broken = np.ones(128, np.float32)
    broken[[3, 5, 9]] = np.nan, np.inf, 1e-20
    ragged = np.full(7, 0.5, np.float32)
    values = np.concatenate([np.zeros(128, np.float32), tiny, outlier, broken, ragged])
    for signed in (True, False):
        codes, scales = encode(values, signed, None)
        back = decode(codes, scales, signed)
        assert (back[:256] == 0).all()
        assert (scales[:2] == 0).all()
        assert abs(back[256 + 77] / 1e6 - 1) < 0.04
        assert (np.isnan(back[384:512]) == np.isin(np.arange(128), [3, 5])).all()
        assert (np.abs(back[512:] / 0.5 - 1) < 0.04).all()
        assert (back[256:384] > 0).all() != signed  # v does not become zero; m may
    assert (
        encode(np.array([-1.0, 1.0], np.float32), True, None)[0][0] == -encode(np.ones(1, np.float32), True, None)[0][0]
    )


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_any_bits_have_a_code(seed, signed):
    """Whatever the bits of a block are: NaN where they are not finite, and near the number elsewhere."""
    bits = np.random.default_rng(seed).integers(0, 2**32, 128, dtype=np.uint32)
    values = bits.view(np.float32)
    values = values if signed else np.abs(values)
    values[np.abs(values) > 2.0**100] = np.inf
    with np.errstate(all="ignore"):
        codes, scales = encode(values, signed, None)
        back = decode(codes, scales, signed)
    assert (np.isnan(back) == ~np.isfinite(values)).all()


def test_small_tensors_keep_float32_and_say_so():
    opt = fs.Adam({"large": np.ones(4096, np.float32), "small": np.ones(4095, np.float32)}, state="sq8")
    saved = opt.state_dict()["state"]
    assert saved["large"]["exp_avg"].dtype == np.int8
    assert saved["large"]["exp_avg_sq"].dtype == np.uint8
    assert saved["large"]["exp_avg_scale"].shape == (32,)
    assert saved["small"]["exp_avg"].dtype == np.float32
    assert "exp_avg_scale" not in saved["small"]
    shard = fs.Adam({"w": np.ones(100, np.float32)}, state="sq8", extents={"w": (128, 4096)})
    assert shard.state["w"]["exp_avg"].dtype == np.int8
    started = fs.Adagrad({"w": np.ones(4096, np.float32)}, state="sq8", initial_accumulator_value=0.125).state["w"]
    assert np.allclose(decode(started["sum"], started["sum_scale"], False), 0.125, rtol=1e-3)
    with pytest.raises(ValueError, match=r"a scale for each block of 128 elements, shape \(32,\), got \(33,\)$"):
        fs.Adam(np.ones(4096), state="sq8", memory={"0": {"exp_avg_scale": np.zeros(33, np.float32)}})


def test_state_of_a_quarter():
    w = np.ones(1_000_000, np.float32)
    state = fs.Adam(w, state="sq8").state["0"]
    assert sum(array.nbytes for key, array in state.items() if key != "step") / w.size <= 2.07
