"""Options are taken in every form that a number has."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import fusedstep as fs

from cases import random, same_bytes


@pytest.mark.parametrize(
    "lr",
    [
        0.5,
        np.float64(0.5),
        np.float32(0.5),
        np.float16(0.5),
        np.longdouble(0.5),
        Fraction(1, 2),
        lambda step: 0.5,
        lambda step: np.float32(0.5),
        lambda step: np.array(0.5),
    ],
)
@pytest.mark.parametrize("name", fs.reference.__all__)
def test_forms_of_a_rate(name, lr):
    rng = np.random.default_rng(2)
    w, grad = random(rng, 30, np.float32), random(rng, 30, np.float32)
    start, expected = w.copy(), w.copy()
    opt, plain = getattr(fs, name)(w, lr=lr), getattr(fs, name)(expected, 0.5)
    for _ in range(2):
        opt.step(grad)
        plain.step(grad)
    assert same_bytes(w, expected)
    assert (w != start).all()
    saved = opt.state_dict()["groups"][0]["lr"]
    assert saved == "schedule" if callable(lr) else (type(saved), saved) == (float, 0.5)


@pytest.mark.parametrize("lr", [1, np.int64(1), np.uint8(1)])
def test_whole_rates(lr):
    w = np.ones(3)
    fs.SGD(w, lr=lr).step(np.full(3, 0.25))
    assert (w == 0.75).all()


def test_flags_of_numpy():
    w = np.ones(3)
    opt = fs.SGD(w, lr=0.5, maximize=np.True_)
    opt.step(np.ones(3))
    assert (w == 1.5).all()
    assert opt.param_groups[0]["maximize"] is True
