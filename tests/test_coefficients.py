"""1 − βᵗ, ρ_t and what is made of them, against mpmath; and that the kernels compute with the same doubles."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import mpmath
import numpy as np
import pytest

import fusedstep as fs
from fusedstep.in_numpy.double_double import correction, power, rho
from fusedstep.in_numpy.formulas import fading

BETAS = [0.5, 0.6, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999, 1 - 1e-6, 1 - 2**-24, 1 - 2**-40, 1 - 2**-53, 0.3, 1e-3]
STEPS = [
    *range(1, 13),
    *sorted(random.Random(8).sample(range(13, 301), 40)),
    *(255, 256, 1000, 2000, 2047, 2048, 10_007, 99_999),
    *(2**24 - 1, 2**24, 2**24 + 1, 2**31 - 1, 2**31, 2**40 + 1),
]


@pytest.fixture(autouse=True)
def digits():
    with mpmath.workdps(80):
        yield


def ulps(actual, exact):
    """How many units in the last place of the exact value, rounded, lie between."""
    return abs(mpmath.mpf(actual) - exact) / mpmath.mpf(math.ulp(float(exact)))


def exact_correction(beta, t):
    return 1 - mpmath.mpf(beta) ** t


def exact_rho(beta, t):
    limit = 2 / (1 - mpmath.mpf(beta)) - 1
    return limit, limit - 2 * t * mpmath.mpf(beta) ** t / exact_correction(beta, t)


@pytest.mark.parametrize("beta", BETAS, ids=str)
def test_correction_is_within_one_ulp(beta):
    worst = max(ulps(correction(beta, t), exact_correction(beta, t)) for t in STEPS)
    assert worst <= 1
    assert worst <= 0.5000001, "double-double rounds once"


def test_plain_powers_are_not():
    """What the double-doubles are for: libm's power, and squaring in double, lose digits of 1 − βᵗ."""
    assert ulps(1 - 0.999**2, exact_correction(0.999, 2)) > 20
    beta = 1 - 2**-24
    assert ulps(1 - beta**2047, exact_correction(beta, 2047)) > 1000


@pytest.mark.parametrize("beta", BETAS, ids=str)
def test_power_carries_twice_the_digits(beta):
    """Each squaring doubles the relative error: it is t · 2⁻¹⁰⁴, and little where βᵗ is not little itself."""
    for t in STEPS:
        exact = mpmath.mpf(beta) ** t
        if exact > 1e-250:  # below, the low halves have no digits left
            high, low = power(beta, t)
            assert high == high + low
            assert abs(mpmath.mpf(high) + mpmath.mpf(low) - exact) <= exact * t * mpmath.mpf(2) ** -104


@pytest.mark.parametrize("beta", BETAS, ids=str)
def test_rho_is_within_four_ulps(beta):
    for t in STEPS:
        limit, length = rho(beta, t)
        exact_limit, exact_length = exact_rho(beta, t)
        assert ulps(limit, exact_limit) <= 1
        assert ulps(length, exact_length) <= 4


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.999, 1 - 2**-24])
@pytest.mark.parametrize("t", [1, 2, 5, 7, 40])
def test_rho_has_the_same_centre_of_mass(beta, t):
    """The exponential average and the simple average of length ρ_t have one centre of mass (Liu et al. 2020, §4)."""
    exact = Fraction(beta)
    centre = (1 - exact) * sum(exact ** (i - 1) * (t + 1 - i) for i in range(1, t + 1)) / (1 - exact**t)
    length = 2 * (t + 1 - centre) - 1
    assert math.isclose(rho(beta, t)[1], length, rel_tol=4 * 2**-52)
    if (beta, t) == (0.9, 7):
        assert round(float(centre), 5) == 4.41759


# Through the kernels, which have their own code for all this. Where the moments are 1, θ loses the coefficient itself.


def step_from(name, t, lr, state, grad=1.0, **options):
    """−θ after step t from θ = 0, and the optimizer's state."""
    theta = np.zeros(1)
    optimizer = getattr(fs, name)(theta, lr, **options)
    optimizer._plan.set_step("0", t - 1)
    arrays = optimizer.state["0"]
    for key, value in state.items():
        arrays[key][...] = value
    optimizer.step(np.full(1, grad))
    assert optimizer.state["0"]["step"] == t
    return -theta[0], optimizer.state["0"]


#: Methods that divide by 1 − β₁ᵗ: what makes their denominators D the given number, and their m the only moment.
FIRST_CORRECTIONS = [
    ("Adam", {"eps": 0.0}, {}, 1),
    ("Adam", {"eps": 0.0, "eps_place": "hat", "amsgrad": True}, {}, 1),
    ("AdamW", {"eps": 0.0}, {}, 1),
    ("Adamax", {"eps": 0.0}, {}, 1),
    ("RAdam", {"eps": 0.0}, {}, 1),
    ("AdaBelief", {"eps": 1.0}, {}, 2),
    ("Yogi", {"eps": 0.0}, {"exp_avg_sq": 1.0}, 1),
    ("Adaptive", {"phi": "ema", "psi": "one"}, {}, 1),
]


@pytest.mark.parametrize("beta", BETAS, ids=str)
@pytest.mark.parametrize(("name", "options", "state", "D"), FIRST_CORRECTIONS)
def test_first_correction_in_the_kernels(name, options, state, D, beta):
    m = beta + (1 - beta)  # of a moment and a gradient of 1
    for t in STEPS:
        c = correction(beta, t)
        lr = 1.99 * c  # the quotient is just below 2, where doubles lie closest: c's neighbours give others
        assert lr / math.nextafter(c, 0) > lr / c > lr / math.nextafter(c, 2)
        actual, _ = step_from(name, t, lr, {"exp_avg": 1.0, **state}, betas=(beta, 0.0), **options)
        assert actual == lr / c * m / D
        assert ulps(lr * m / (actual * D), exact_correction(beta, t)) <= 3


@pytest.mark.parametrize("beta", BETAS, ids=str)
def test_second_correction_in_the_kernels(beta):
    v = beta + (1 - beta)
    options = {"betas": (0.0, beta), "eps": 0.0}
    moments = {"exp_avg_sq": 1.0}
    for t in STEPS:
        c = correction(beta, t)
        actual, _ = step_from("Adam", t, 1.0, moments, **options)
        assert actual == 1 / (math.sqrt(v) * (1 / math.sqrt(c)))
        assert ulps(actual * actual, exact_correction(beta, t)) <= 6
        assert step_from("Adam", t, 1.0, moments, eps_place="hat", **options)[0] == math.sqrt(c) / math.sqrt(v)
        inside, _ = step_from("Adam", t, 1.0, moments, eps_place="inside", betas=(0.0, beta), eps=0.25)
        assert inside == 1 / (math.sqrt(v + 0.25 * c) * (1 / math.sqrt(c)))
        _, state = step_from("Adam", t, 1.0, moments, amsgrad=True, amsgrad_order="v_hat", **options)
        assert state["max_exp_avg_sq"] == 1 / c * v
        pair, _ = step_from("Adaptive", t, 1.0, moments, phi="ema", psi="ema", **options)
        assert pair == actual


@pytest.mark.parametrize("beta", BETAS, ids=str)
@pytest.mark.parametrize("above", [4.0, 5.0])
def test_rectifier_in_the_kernels(above, beta):
    v = beta + (1 - beta)
    rectified = 0
    for t in STEPS:
        c = correction(beta, t)
        limit, length = rho(beta, t)
        options = {"betas": (0.0, beta), "eps": 0.0, "rectify_above": above}
        actual, _ = step_from("RAdam", t, 1.0, {"exp_avg_sq": 1.0}, **options)
        outside, _ = step_from("RAdam", t, 1.0, {"exp_avg_sq": 1.0}, eps_place="outside", **options)
        if length > above:
            rectified += 1
            r = math.sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))
            assert actual == r * math.sqrt(c) / math.sqrt(v)
            assert outside == r / (math.sqrt(v) * (1 / math.sqrt(c)))
            assert 0 < r <= 1
        else:
            assert actual == outside == 1
    assert (rectified > 0) == (rho(beta, 1)[0] > 4)


def test_powers_of_a_fraction_are_rounded_once():
    """The C library's are not, and differ between machines."""
    rng = np.random.default_rng(5)
    some = [*rng.uniform(0, 3, 300), *10 ** rng.uniform(-9, 4.2, 300)]
    with mpmath.workdps(60):
        for psi in map(float, (0.0, 5e-324, 4e-3, 1.0, 2.0, *some, 2.0**15, 1e300)):
            assert fading(psi) == float(mpmath.power(0.96, psi))


@pytest.mark.parametrize("psi", [4e-3, 1.0, 0.0, 0.123])
@pytest.mark.parametrize("beta", BETAS, ids=str)
def test_nadam_in_the_kernels(beta, psi):
    m, slower = beta + (1 - beta), fading(psi)
    for t in STEPS:
        now, following = (beta * (1 - 0.5 * sum(power(slower, i))) for i in (t, t + 1))
        product = 0.75 * now
        state = {"exp_avg": 1.0, "exp_avg_sq": 1.0, "mu_product": 0.75}
        options = {"eps": 0.0, "momentum_decay": psi}
        actual, after = step_from("NAdam", t, 1.0, state, betas=(beta, 0.0), **options)
        assert actual == following / (1 - product * following) * m + (1 - now) / (1 - product)
        assert after["mu_product"] == product
        # With β₁ = 0 the gradient alone is left, over the root of the corrected v.
        actual, _ = step_from("NAdam", t, 1.0, state, betas=(0.0, beta), **options)
        assert actual == 1 / (math.sqrt(m) * (1 / math.sqrt(correction(beta, t))))


def test_counter_goes_on_past_the_borders():
    """Of one byte, of 2²⁴ in float32, of 32 bits: the next step is the next integer, in coefficients as well."""
    for t in (255, 256, 2047, 2**24 - 1, 2**24, 2**24 + 1, 2**31 - 1, 2**31, 2**32):
        for dtype in (np.float32, np.float64):
            theta = np.zeros(3, dtype)
            optimizer = fs.Adam(theta, betas=(1 - 2**-24, 1 - 2**-40))
            reference = fs.reference.Adam(theta.copy(), betas=(1 - 2**-24, 1 - 2**-40))
            for each in (optimizer, reference):
                each._plan.set_step("0", t - 1)
                for _ in range(2):
                    each.step(np.array([1.0, -2.0, 3.0], dtype))
                assert each.state["0"]["step"] == t + 1
            assert optimizer._plan.param("0").tobytes() == reference._plan.param("0").tobytes()
