"""Every method against its published formula, written here as the definition says it: sums over all gradients so far.

Averages are weighted sums and no recursion, the largest value so far is a maximum over all steps, RAdam's ρ_t is an
exact fraction, 1 − βᵗ comes from expm1. The package's own formulas are not asked.
"""

from __future__ import annotations

import inspect
import math
import re
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.configured import ONCE
from fusedstep.in_numpy.double_double import correction, rho

STEPS = 40
SIZE = 17
TOLERANCE = 1e-13  # of each element's largest value on the way
RATES = [0.05 * (1.2 + math.sin(step)) for step in range(STEPS)]  # never the same: shows where η stands
NEAR_1 = 1 - 2**-24


def start():
    """Some zeros as well: there every digit that differs belongs to a step."""
    theta = np.random.default_rng(3).standard_normal(SIZE)
    theta[:10] = 0
    return theta


def gradients():
    """Over three orders of magnitude, one element much larger on its first day, some zeros."""
    rng = np.random.default_rng(4)
    grads = np.exp(rng.uniform(-3, 3, SIZE)) * rng.standard_normal((STEPS, SIZE))
    grads[0, 1] *= 1e3
    grads[3, 2] = grads[:7, 3] = 0
    return grads


# The published formulas. `g` and `lr` are all gradients and learning rates so far, the last ones being of this step;
# the result is what θ loses, or None where it stays.


def ema(x, beta):
    """For every step t, (1−β) Σ β^{t−i} x_i."""
    steps = np.arange(len(x))
    age = steps[:, None] - steps
    return (1 - beta) * np.where(age < 0, 0, beta ** np.maximum(age, 0)) @ x


def unbias(beta, steps):
    """1 − βᵗ for t = 1 … steps, as accurate near β = 1 as elsewhere."""
    return np.array([-math.expm1(t * math.log(beta)) if beta else 1.0 for t in range(1, steps + 1)])[:, None]


def gd(g, lr):
    return lr[-1] * g[-1]


def decaying_sum(x, keep):
    return sum(keep ** (len(x) - 1 - i) * value for i, value in enumerate(x))


def momentum_lr_outside(g, lr, momentum, dampening=0.0):
    """v ← μv + (1−τ)g, where the first gradient is not dampened."""
    return lr[-1] * decaying_sum([g[0], *((1 - dampening) * x for x in g[1:])], momentum)


def momentum_lr_inside(g, lr, momentum):
    """Qian 1999: v ← γv + ηg, θ ← θ − v."""
    return decaying_sum([eta * x for eta, x in zip(lr, g, strict=True)], momentum)


def momentum_ema(g, lr, momentum):
    """s ← μs + (1−μ)g, θ ← θ − ηs."""
    return lr[-1] * ema(g, momentum)[-1]


def nesterov_lr_outside(g, lr, momentum):
    return lr[-1] * (g[-1] + momentum * decaying_sum(g, momentum))


def nesterov_lr_inside(g, lr, momentum):
    return momentum * momentum_lr_inside(g, lr, momentum) + lr[-1] * g[-1]


def nesterov_ema(g, lr, momentum):
    return lr[-1] * ((1 - momentum) * g[-1] + momentum * ema(g, momentum)[-1])


def adagrad_outside(g, lr, eps, lr_decay=0.0, initial_accumulator_value=0.0):
    eta = lr[-1] / (1 + (len(g) - 1) * lr_decay)
    return eta * g[-1] / (np.sqrt(initial_accumulator_value + np.sum(g**2, axis=0)) + eps)


def adagrad_inside(g, lr, eps, initial_accumulator_value=0.0):
    """Duchi et al. 2011 with δ under the root."""
    return lr[-1] * g[-1] / np.sqrt(initial_accumulator_value + np.sum(g**2, axis=0) + eps)


def windowed_adagrad_sum(g, lr, eps, window):
    return lr[-1] * g[-1] / (np.sqrt(np.sum(g[-window:] ** 2, axis=0)) + eps)


def windowed_adagrad_mean(g, lr, eps, window):
    return lr[-1] * g[-1] / (np.sqrt(np.mean(g[-window:] ** 2, axis=0)) + eps)


def windowed_adagrad_sum_inside(g, lr, eps, window):
    return lr[-1] * g[-1] / np.sqrt(np.sum(g[-window:] ** 2, axis=0) + eps)


def windowed_adagrad_mean_inside(g, lr, eps, window):
    return lr[-1] * g[-1] / np.sqrt(np.mean(g[-window:] ** 2, axis=0) + eps)


def rmsprop_outside(g, lr, alpha, eps):
    return lr[-1] * g[-1] / (np.sqrt(ema(g**2, alpha)[-1]) + eps)


def rmsprop_inside(g, lr, alpha, eps):
    return lr[-1] * g[-1] / np.sqrt(ema(g**2, alpha)[-1] + eps)


def variance(g, alpha):
    """Never negative, as variances are."""
    return np.maximum(ema(g**2, alpha) - ema(g, alpha) ** 2, 0)


def rmsprop_centered(g, lr, alpha, eps):
    """Graves 2013, §4.2."""
    return lr[-1] * g[-1] / (np.sqrt(variance(g, alpha)[-1]) + eps)


def rmsprop_centered_inside(g, lr, alpha, eps):
    return lr[-1] * g[-1] / np.sqrt(variance(g, alpha)[-1] + eps)


def rmsprop_momentum_lr_outside(g, lr, alpha, eps, momentum):
    return lr[-1] * decaying_sum(g / (np.sqrt(ema(g**2, alpha)) + eps), momentum)


def rmsprop_momentum_lr_inside(g, lr, alpha, eps, momentum):
    steps = g / np.sqrt(ema(g**2, alpha) + eps)
    return decaying_sum([eta * step for eta, step in zip(lr, steps, strict=True)], momentum)


def rmsprop_centered_momentum(g, lr, alpha, eps, momentum):
    return lr[-1] * decaying_sum(g / (np.sqrt(variance(g, alpha)) + eps), momentum)


def adadelta(g, lr, rho, eps):
    """Zeiler 2012, Algorithm 1: Δx_t = −RMS[Δx]_{t−1} / RMS[g]_t · g_t."""
    squares, deltas = 0, 0
    for x in g:
        squares = rho * squares + (1 - rho) * x**2
        delta = np.sqrt(deltas + eps) / np.sqrt(squares + eps) * x
        deltas = rho * deltas + (1 - rho) * delta**2
    return lr[-1] * delta


def m_hat(g, beta):
    return ema(g, beta)[-1] / unbias(beta, len(g))[-1]


def v_hat(g, beta):
    return ema(g**2, beta)[-1] / unbias(beta, len(g))[-1]


def adam(g, lr, betas, eps):
    """Kingma & Ba 2015, Algorithm 1."""
    return lr[-1] * m_hat(g, betas[0]) / (np.sqrt(v_hat(g, betas[1])) + eps)


def adam_hat(g, lr, betas, eps):
    """The same paper before §2.1: α_t = α √(1−β₂ᵗ) / (1−β₁ᵗ), θ ← θ − α_t m / (√v + ε̂)."""
    alpha = lr[-1] * np.sqrt(unbias(betas[1], len(g))[-1]) / unbias(betas[0], len(g))[-1]
    return alpha * ema(g, betas[0])[-1] / (np.sqrt(ema(g**2, betas[1])[-1]) + eps)


def adam_inside(g, lr, betas, eps):
    return lr[-1] * m_hat(g, betas[0]) / np.sqrt(v_hat(g, betas[1]) + eps)


def adam_root(g, lr, betas, eps, eps_root):
    return lr[-1] * m_hat(g, betas[0]) / (np.sqrt(v_hat(g, betas[1]) + eps_root) + eps)


def adam_uncorrected(g, lr, betas, eps):
    return lr[-1] * ema(g, betas[0])[-1] / (np.sqrt(ema(g**2, betas[1])[-1]) + eps)


def adam_2k(g, lr, betas, eps, variance_warmup):
    """Liu et al. 2020, §3.1: first only v; then m and θ, whose t begins there."""
    moving = g[variance_warmup:]
    return lr[-1] * m_hat(moving, betas[0]) / (np.sqrt(v_hat(g, betas[1])) + eps) if len(moving) else None


def amsgrad_v(g, lr, betas, eps):
    """Reddi et al. 2018, with the largest v corrected afterwards."""
    largest = ema(g**2, betas[1]).max(axis=0) / unbias(betas[1], len(g))[-1]
    return lr[-1] * m_hat(g, betas[0]) / (np.sqrt(largest) + eps)


def amsgrad_v_hat(g, lr, betas, eps):
    largest = (ema(g**2, betas[1]) / unbias(betas[1], len(g))).max(axis=0)
    return lr[-1] * m_hat(g, betas[0]) / (np.sqrt(largest) + eps)


def amsgrad_uncorrected(g, lr, betas, eps):
    """Reddi et al. 2018, Algorithm 2, which corrects nothing."""
    return lr[-1] * ema(g, betas[0])[-1] / (np.sqrt(ema(g**2, betas[1]).max(axis=0)) + eps)


def sma_length(beta2, t):
    """ρ∞ and ρ_t of Liu et al. 2020, exactly."""
    beta2 = Fraction(beta2)
    limit = 2 / (1 - beta2) - 1
    return limit, limit - 2 * t * beta2**t / (1 - beta2**t)


def radam(g, lr, betas, eps, above=5, after=None, place="hat", below="sgd"):
    """Liu et al. 2020, Algorithm 2; `above` is 4 there."""
    t = len(g)
    limit, length = sma_length(betas[1], t)
    if not (length > 4 and (length > above if after is None else t > after)):
        return lr[-1] * m_hat(g, betas[0]) if below == "sgd" else None
    r = math.sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))
    adam_step = {"hat": adam_hat, "outside": adam, "inside": adam_inside}[place]
    return r * adam_step(g, lr, betas, eps)


def radam_paper(g, lr, betas, eps):
    return radam(g, lr, betas, eps, above=4)


def radam_skipping(g, lr, betas, eps):
    return radam(g, lr, betas, eps, below="skip")


def radam_4step(g, lr, betas, eps):
    return radam(g, lr, betas, eps, after=4, place="outside")


def radam_inside(g, lr, betas, eps):
    return radam(g, lr, betas, eps, place="inside")


def nadam(g, lr, betas, eps, momentum_decay):
    """Dozat 2016, Algorithm 2, with μ_t = β₁(1 − 0.96^{tψ}/2)."""
    mu = [betas[0] * (1 - 0.96 ** (t * momentum_decay) / 2) for t in range(1, len(g) + 2)]
    average = mu[-1] * ema(g, betas[0])[-1] / (1 - math.prod(mu)) + (1 - mu[-2]) * g[-1] / (1 - math.prod(mu[:-1]))
    return lr[-1] * average / (np.sqrt(v_hat(g, betas[1])) + eps)


def decaying_max(x, beta):
    return np.max([beta ** (len(x) - 1 - i) * value for i, value in enumerate(x)], axis=0)


def adamax_max(g, lr, betas, eps):
    """Kingma & Ba 2015, Algorithm 2, with torch's ε."""
    return lr[-1] * m_hat(g, betas[0]) / decaying_max(np.abs(g) + eps, betas[1])


def adamax_outside(g, lr, betas, eps):
    return lr[-1] * m_hat(g, betas[0]) / (decaying_max(np.abs(g), betas[1]) + eps)


def lion(g, lr, betas):
    """Chen et al. 2023, Algorithm 2."""
    before = ema(g[:-1], betas[1])[-1] if len(g) > 1 else 0
    return lr[-1] * np.sign(betas[0] * before + (1 - betas[0]) * g[-1])


def adabelief(g, lr, betas, eps):
    """Zhuang et al. 2020, Algorithm 2."""
    s = decaying_sum((1 - betas[1]) * (g - ema(g, betas[0])) ** 2 + eps, betas[1])
    return lr[-1] * m_hat(g, betas[0]) / (np.sqrt(s / unbias(betas[1], len(g))[-1]) + eps)


def yogi(g, lr, betas, eps, initial_accumulator_value):
    """Zaheer et al. 2018, Algorithm 2, with Adam's corrections."""
    v = np.full(g.shape[1], initial_accumulator_value)
    for x in g:
        v = v - (1 - betas[1]) * np.sign(v - x**2) * x**2
    return lr[-1] * m_hat(g, betas[0]) / (np.sqrt(v / unbias(betas[1], len(g))[-1]) + eps)


MU = [{"momentum": mu} for mu in (0.9, 0.5, NEAR_1)]
EPS = [{"eps": eps} for eps in (1e-8, 0.1)]
ALPHA = [{"alpha": alpha, "eps": eps} for alpha, eps in product((0.9, 0.0, 0.5, NEAR_1), (1e-8, 0.1))]
PAIRS_OF_BETAS = [(0.9, 0.999), *product((0.0, 0.5, NEAR_1), repeat=2)]
BETAS = [{"betas": betas, "eps": eps} for betas, eps in product(PAIRS_OF_BETAS, (1e-8, 0.1))]


def times(*sets):
    return [{key: value for part in parts for key, value in part.items()} for parts in product(*sets)]


#: class, what makes it the published form, the form, and the numbers that both take; the first set is used for more.
FORMS = [
    ("SGD", {}, gd, [{}]),
    ("SGD", {}, momentum_lr_outside, times(MU, [{}, {"dampening": 0.3}])),
    ("SGD", {"buffer": "lr_inside"}, momentum_lr_inside, MU),
    ("SGD", {"buffer": "ema"}, momentum_ema, MU),
    ("SGD", {"nesterov": True}, nesterov_lr_outside, MU),
    ("SGD", {"nesterov": True, "buffer": "lr_inside"}, nesterov_lr_inside, MU),
    ("SGD", {"nesterov": True, "buffer": "ema"}, nesterov_ema, MU),
    ("Adagrad", {}, adagrad_outside, times(EPS, [{}, {"lr_decay": 0.1}, {"initial_accumulator_value": 0.1}])),
    ("Adagrad", {"eps_place": "inside"}, adagrad_inside, times(EPS, [{}, {"initial_accumulator_value": 0.1}])),
    ("WindowedAdagrad", {}, windowed_adagrad_sum, times(EPS, [{"window": k} for k in (10, 1, 2, 3, 39, 40, 41)])),
    ("WindowedAdagrad", {"reduce": "mean"}, windowed_adagrad_mean, times(EPS, [{"window": 10}, {"window": 3}])),
    ("WindowedAdagrad", {"eps_place": "inside"}, windowed_adagrad_sum_inside, times(EPS, [{"window": 10}])),
    (
        "WindowedAdagrad",
        {"eps_place": "inside", "reduce": "mean"},
        windowed_adagrad_mean_inside,
        times(EPS, [{"window": 10}]),
    ),
    ("RMSprop", {}, rmsprop_outside, ALPHA),
    ("RMSprop", {"eps_place": "inside"}, rmsprop_inside, ALPHA),
    ("RMSprop", {"centered": True}, rmsprop_centered, ALPHA),
    ("RMSprop", {"centered": True, "eps_place": "inside"}, rmsprop_centered_inside, ALPHA),
    ("RMSprop", {}, rmsprop_momentum_lr_outside, times(ALPHA, MU)),
    ("RMSprop", {"momentum_lr": "inside", "eps_place": "inside"}, rmsprop_momentum_lr_inside, times(ALPHA, MU)),
    ("RMSprop", {"centered": True}, rmsprop_centered_momentum, times(ALPHA, MU)),
    (
        "Adadelta",
        {},
        adadelta,
        [{"rho": rho, "eps": eps} for rho, eps in product((0.95, 0.0, 0.5, NEAR_1), (1e-6, 0.1))],
    ),
    ("Adam", {}, adam, BETAS),
    ("Adam", {"eps_place": "hat"}, adam_hat, [*BETAS, {"betas": (0.9, 0.999), "eps": 1e-4}]),  # the last is Adam-eps
    ("Adam", {"eps_place": "inside"}, adam_inside, BETAS),
    ("Adam", {}, adam_root, times(BETAS, [{"eps_root": 0.1}])),
    ("Adam", {"bias_correction": False}, adam_uncorrected, BETAS),
    ("Adam", {}, adam_2k, times(BETAS, [{"variance_warmup": n} for n in (5, 1, 39)])),
    ("Adam", {"amsgrad": True}, amsgrad_v, BETAS),
    ("Adam", {"amsgrad": True, "amsgrad_order": "v_hat"}, amsgrad_v_hat, BETAS),
    ("Adam", {"amsgrad": True, "bias_correction": False}, amsgrad_uncorrected, BETAS),
    ("AdamW", {"weight_decay": 0.0}, adam, BETAS),
    ("RAdam", {}, radam, BETAS),
    ("RAdam", {"rectify_above": 4.0}, radam_paper, [*BETAS, {"betas": (0.9, 0.99), "eps": 1e-8}]),
    (
        "RAdam",
        {"below": "skip"},
        radam_skipping,
        [{"betas": (0.9, 0.999), "eps": 1e-8}, {"betas": (0.5, 0.9), "eps": 0.1}],
    ),
    ("RAdam", {"rectify_after": 4, "eps_place": "outside"}, radam_4step, BETAS),
    ("RAdam", {"eps_place": "inside"}, radam_inside, BETAS),
    ("NAdam", {}, nadam, times(BETAS, [{"momentum_decay": psi} for psi in (4e-3, 1.0, 0.0)])),
    ("Adamax", {}, adamax_max, BETAS),
    ("Adamax", {"eps_place": "outside"}, adamax_outside, BETAS),
    ("Lion", {}, lion, [{"betas": (0.9, 0.99)}, *({"betas": betas} for betas in PAIRS_OF_BETAS)]),
    ("AdaBelief", {}, adabelief, BETAS),
    ("Yogi", {}, yogi, times(BETAS, [{"initial_accumulator_value": 1e-6}, {"initial_accumulator_value": 0.1}])),
]
CASES = [(name, form, formula, numbers) for name, form, formula, sets in FORMS for numbers in sets]
IDS = [f"{formula.__name__}-{'-'.join(map(str, numbers.values()))}" for _, _, formula, numbers in CASES]
FIRST = [(name, form, formula, sets[0]) for name, form, formula, sets in FORMS]
FIRST_IDS = [f"{name}-{formula.__name__}" for name, _, formula, _ in FIRST]


def published(formula, numbers, weight_decay=0.0, decay="coupled", max_lr=None, maximize=False):
    """The path of θ. In a step in which it stays, nothing decays, not even through the gradient."""
    theta, path, seen = start(), [], []
    for t, (grad, lr) in enumerate(zip(gradients(), RATES, strict=True), 1):
        g = -grad if maximize else grad
        step = formula(np.array([*seen, g]), RATES[:t], **numbers)
        if step is not None and decay == "coupled":
            g = g + weight_decay * theta
            step = formula(np.array([*seen, g]), RATES[:t], **numbers)
        seen.append(g)
        if step is not None:
            shrink = {"coupled": 0.0, "decoupled": lr, "fully_decoupled": lr / (max_lr or RATES[0])}[decay]
            theta = theta * (1 - shrink * weight_decay) - step
        path.append(theta)
    return np.array(path)


def ours(name, options, step=lambda optimizer, grad: optimizer.step(grad)):
    theta, path = start(), []
    optimizer = getattr(fs, name)(theta, RATES.__getitem__, **options)
    for grad in gradients():
        step(optimizer, grad)
        path.append(theta.copy())
    return np.array(path)


def assert_follows(actual, expected):
    error = np.abs(actual - expected).max(axis=0) / np.abs(expected).max(axis=0)
    assert error.max() <= TOLERANCE


@cache
def expected_path(index):
    _, _, formula, numbers = CASES[index]
    return published(formula, numbers)


@pytest.mark.parametrize("index", range(len(CASES)), ids=IDS)
def test_path_is_the_published_one(index):
    name, form, _, numbers = CASES[index]
    assert_follows(ours(name, form | numbers), expected_path(index))


@pytest.mark.parametrize(
    "shared",
    [
        {"maximize": True},
        {"weight_decay": 0.3, "decay": "coupled"},
        {"weight_decay": 0.3, "decay": "coupled", "maximize": True},
        {"weight_decay": 0.3, "decay": "decoupled"},
        {"weight_decay": 0.3, "decay": "decoupled", "maximize": True},
        {"weight_decay": 0.3, "decay": "fully_decoupled"},
        {"weight_decay": 0.3, "decay": "fully_decoupled", "max_lr": 0.2},
    ],
    ids=lambda shared: "-".join(map(str, shared.values())),
)
@pytest.mark.parametrize(("name", "form", "formula", "numbers"), FIRST, ids=FIRST_IDS)
def test_decay_and_direction(name, form, formula, numbers, shared):
    assert_follows(ours(name, form | numbers | shared), published(formula, numbers, **shared))


BROKEN = {"idle": lambda optimizer, grad: None, "ascending": lambda optimizer, grad: optimizer.step(-grad)}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("index", range(len(CASES)), ids=IDS)
def test_idle_and_ascending_fail(index, broken):
    name, form, _, numbers = CASES[index]
    with pytest.raises(AssertionError):
        assert_follows(ours(name, form | numbers, BROKEN[broken]), expected_path(index))


def test_every_method_has_a_published_form():
    assert {name for name, *_ in FORMS} | {"Adaptive"} == set(fs.reference.__all__)


# What the forms promise beyond their paths


ADAM_FORMS = [
    {},
    {"amsgrad": True},
    {"amsgrad": True, "amsgrad_order": "v_hat"},
    {"bias_correction": False},
    {"variance_warmup": 3, "amsgrad": True, "amsgrad_order": "v_hat"},
]


@pytest.mark.parametrize(
    ("name", "options", "places"),
    [
        *(("Adam", options, ["hat", "inside"]) for options in ADAM_FORMS),
        *(
            ("Adaptive", {"phi": "ema", "psi": "ema_max", "amsgrad_order": order}, ["hat", "inside"])
            for order in ("v", "v_hat")
        ),
        ("RAdam", {}, ["hat", "inside"]),
        ("RMSprop", {"momentum": 0.9}, ["inside"]),
        ("Adagrad", {"zero_at_zero": True}, ["inside"]),
        ("WindowedAdagrad", {"reduce": "mean"}, ["inside"]),
        ("Adamax", {}, ["max"]),
    ],
)
def test_without_eps_its_place_is_nothing(name, options, places):
    """Where ε stands is all that distinguishes the places: with ε = 0 they are one."""
    expected = ours(name, {**options, "eps": 0.0, "eps_place": "outside"})
    for place in places:
        actual = ours(name, {**options, "eps": 0.0, "eps_place": place})
        assert np.array_equal(np.isnan(actual), np.isnan(expected)), place  # 0/0 where all gradients were 0
        numbers = ~np.isnan(expected).any(axis=0)
        assert_follows(actual[:, numbers], expected[:, numbers])


@pytest.mark.parametrize("phi", ["heavy_ball", "nesterov"])
@pytest.mark.parametrize("order", ["v", "v_hat"])
@pytest.mark.parametrize("place", ["outside", "hat", "inside"])
def test_where_eta_stands_is_nothing_while_it_is_constant(phi, order, place):
    """What a buffer with η in it remembers is divided by ψ as it is in this step, and by nothing of earlier ones."""

    def path(buffer):
        theta, options = start(), {"eps": 0.1, "eps_root": 0.2, "eps_place": place, "amsgrad_order": order}
        optimizer = fs.Adaptive(theta, 0.05, phi=phi, psi="ema_max", buffer=buffer, **options)
        return np.array([optimizer.step(grad) or theta.copy() for grad in gradients()])

    assert_follows(path("lr_inside"), path("lr_outside"))


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "Adagrad", "WindowedAdagrad", "RAdam", "NAdam", "Adamax"])
def test_without_eps_a_gradient_of_zero_gives_nan(name):
    theta = np.ones(3)
    optimizer = getattr(fs, name)(theta, eps=0.0, **({"rectify_above": 4.0} if name == "RAdam" else {}))
    for _ in range(5):  # RAdam divides from its fifth step on
        optimizer.step(np.array([1.0, 0.0, -1.0]))
    assert np.isnan(theta).tolist() == [False, True, False]


def test_look_ahead_is_nesterovs_method():
    """v ← γv + η∇f(θ − γv), θ ← θ − v on a quadratic; the reformulated method runs along the points ahead."""
    rng = np.random.default_rng(5)
    curvature = np.diag([1.0, 10.0, 30.0])
    theta, v, gamma, eta = rng.standard_normal(3), np.zeros(3), 0.9, 0.01
    moved, reformulated = theta.copy(), theta.copy()
    optimizer = fs.SGD(moved, eta, momentum=gamma, buffer="lr_inside")
    other = fs.SGD(reformulated, eta, momentum=gamma, buffer="lr_inside", nesterov=True)
    for _ in range(STEPS):
        v = gamma * v + eta * curvature @ (theta - gamma * v)
        theta = theta - v
        optimizer.step(curvature @ optimizer.lookahead())
        other.step(curvature @ reformulated)
        np.testing.assert_allclose(moved, theta, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(reformulated, optimizer.lookahead(), rtol=0, atol=TOLERANCE)
    assert np.abs(moved - reformulated).max() > 1e-3


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
def test_variance_warmup_leaves_m_and_theta(amsgrad, decay, weight_decay):
    """Not multiplied by 0, which would turn an infinity into NaN: untouched."""
    theta = np.ones(SIZE)
    options = {"variance_warmup": 3, "amsgrad": amsgrad, "decay": decay, "weight_decay": weight_decay}
    optimizer = fs.Adam(theta, **options)
    state = optimizer.state["0"]
    for step, grad in enumerate(gradients()[:5]):
        grad[0] = np.inf if step < 3 else grad[0]
        before = state["exp_avg_sq"].copy()
        optimizer.step(grad)
        assert not np.array_equal(state["exp_avg_sq"], before)
        moved = step >= 3
        assert (theta[4:] != 1).all() == moved
        assert (state["exp_avg"][4:] != 0).all() == moved
        assert not np.isnan(theta).any()


@pytest.mark.parametrize("reduce", ["sum", "mean"])
@pytest.mark.parametrize("window", [1, 2, 3, 5, 10])
def test_window_forgets_huge_gradients(window, reduce):
    """Small integers and two gradients of 2⁴⁰⁰: every sum is exact in any order, so every bit is known."""
    rng = np.random.default_rng(6)
    grads = rng.integers(1, 9, (60, 8)).astype(float)
    grads[20, ::2] = grads[27, 1::2] = 2.0**400
    theta, expected = np.ones(8), np.ones(8)
    optimizer = fs.WindowedAdagrad(theta, 0.1, window=window, reduce=reduce, eps=0.1)
    for t, grad in enumerate(grads, 1):
        optimizer.step(grad)
        squares = [sum(column) for column in (grads[max(0, t - window) : t] ** 2).T]
        q = 1 / math.sqrt(min(t, window)) if reduce == "mean" else 1.0
        expected -= 0.1 * grad / (np.sqrt(squares) * q + 0.1)
        assert np.array_equal(theta, expected)
        for name in ("sum", "ring"):
            assert (optimizer.state["0"][name] >= 0).all()


def first_step_that_moves(**options):
    theta = np.ones(1)
    optimizer = fs.RAdam(theta, below="skip", **options)
    for step in range(1, 300):
        optimizer.step(np.ones(1))
        if theta != 1:
            return step
    return None


@pytest.mark.parametrize("beta2", [0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999])
def test_first_rectified_step(beta2):
    """ρ_t > 4 holds from t = 5 on and ρ_t ≥ 5 from t = 6 on, for every β₂ in use."""
    lengths = [sma_length(beta2, t)[1] for t in range(1, 8)]
    assert lengths[3] <= 4 < lengths[4] < 5 < lengths[5]
    betas = (0.9, beta2)
    assert first_step_that_moves(betas=betas, rectify_above=4.0) == 5
    assert first_step_that_moves(betas=betas) == 6
    assert first_step_that_moves(betas=betas, rectify_after=4) == 5
    assert first_step_that_moves(betas=betas, rectify_after=0) == 5  # r_t needs ρ_t > 4, whatever is asked for
    assert first_step_that_moves(betas=betas, rectify_after=10) == 11
    assert first_step_that_moves(betas=betas, convention="paper") == 5


@pytest.mark.parametrize("options", [{}, {"rectify_above": 4.0}, {"rectify_after": 0}])
@pytest.mark.parametrize("beta2", [0.0, 0.3, 0.5, 0.6])
def test_radam_without_long_memory_is_sgd_with_momentum(beta2, options):
    """ρ∞ ≤ 4 there: r_t, which divides by ρ∞ − 4, is never computed."""
    assert sma_length(beta2, 1)[0] <= 4
    actual = ours("RAdam", {"betas": (0.9, beta2), **options})
    assert np.array_equal(actual, ours("Adaptive", {"phi": "ema", "psi": "one", "betas": (0.9, 0.0)}))
    theta = start()
    sgd = fs.SGD(theta, lambda k: RATES[k] / correction(0.9, k + 1), momentum=0.9, buffer="ema")
    for grad in gradients():
        sgd.step(grad)
    assert np.array_equal(actual[-1], theta)
    assert (theta != start()).all()
    assert first_step_that_moves(betas=(0.9, beta2), **options) is None


def test_first_corrected_moment_is_the_gradient():
    """With β₁ = 0.9, and ten times the moment that is not corrected."""
    grad = gradients()[0]
    steps = {}
    for corrected in (True, False):
        theta = np.zeros(SIZE)
        fs.Adaptive(theta, 1.0, phi="ema", betas=(0.9, 0.999), bias_correction=corrected).step(grad)
        steps[corrected] = -theta
    np.testing.assert_allclose(steps[True], grad, rtol=4e-16)
    np.testing.assert_allclose(steps[True], 10 * steps[False], rtol=4e-16)


def test_first_steps_of_adam_and_rmsprop():
    """Adam's has the size of η; RMSProp's is 1/√(1−α) times as large, 3.2 η, because a small average divides."""
    adam_theta, rmsprop_theta = np.zeros(2), np.zeros(2)
    fs.Adam(adam_theta, 0.01, eps=0.0).step(np.array([100.0, -1e-5]))
    fs.RMSprop(rmsprop_theta, 0.01, alpha=0.9, eps=0.0).step(np.array([100.0, -1e-5]))
    np.testing.assert_allclose(adam_theta, [-0.01, 0.01], rtol=1e-15)
    np.testing.assert_allclose(rmsprop_theta, np.sqrt(10) * np.array([-0.01, 0.01]), rtol=1e-15)


@pytest.mark.parametrize(
    ("name", "options", "end"),
    [
        ("Adam", {}, 1),
        ("Adam", {"amsgrad": True}, -1),
        ("Adaptive", {"phi": "ema", "psi": "ema"}, 1),
        ("Adaptive", {"phi": "ema", "psi": "ema_max"}, -1),
    ],
)
def test_adam_diverges_where_amsgrad_converges(name, options, end):
    """Reddi et al. 2018, Theorem 1: f_t(x) = Cx in every third step and −x otherwise, on [−1, 1], is least at −1."""
    C, alpha = 4.0, 0.5
    x = np.zeros(1)
    options = {**options, "betas": (0.0, 1 / (1 + C**2)), "bias_correction": False}
    optimizer = getattr(fs, name)(x, lambda t: alpha / math.sqrt(t + 1), **options)
    regret = 0.0
    for t in range(6000):
        slope = C if t % 3 == 0 else -1.0
        regret += slope * (x[0] + 1)
        optimizer.step(np.array([slope]))
        np.clip(x, -1, 1, out=x)
    assert abs(x[0] - end) < 0.05
    assert (regret / 6000 > 0.5) == (end == 1)


# The generic method is the named ones, bit for bit


DECAY = {"weight_decay": 0.3}

#: name, its options, and the pair of φ and ψ that it is
PAIRS = [
    ("SGD", {}, {}),
    ("SGD", {"momentum": 0.9}, {"phi": "heavy_ball"}),
    ("SGD", {"momentum": 0.5, "dampening": 0.3}, {"phi": "heavy_ball", "momentum": 0.5, "dampening": 0.3}),
    ("SGD", {"momentum": 0.9, "buffer": "lr_inside"}, {"phi": "heavy_ball", "buffer": "lr_inside"}),
    ("SGD", {"momentum": 0.9, "buffer": "ema"}, {"phi": "heavy_ball", "buffer": "ema"}),
    ("SGD", {"momentum": 0.9, "nesterov": True}, {"phi": "nesterov"}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "buffer": "lr_inside"}, {"phi": "nesterov", "buffer": "lr_inside"}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "buffer": "ema"}, {"phi": "nesterov", "buffer": "ema"}),
    ("Adagrad", {}, {"psi": "sum", "eps": 1e-10}),
    ("Adagrad", {"eps": 0.1, "eps_place": "inside"}, {"psi": "sum", "eps": 0.1, "eps_place": "inside"}),
    ("Adagrad", {"lr_decay": 0.1, "eps": 1e-8}, {"psi": "sum", "lr_decay": 0.1}),
    (
        "Adagrad",
        {"initial_accumulator_value": 0.1, "zero_at_zero": True, "eps": 0.0},
        {"psi": "sum", "initial_accumulator_value": 0.1, "zero_at_zero": True, "eps": 0.0},
    ),
    ("WindowedAdagrad", {}, {"psi": "window", "eps": 1e-10}),
    ("WindowedAdagrad", {"window": 3, "eps": 0.1}, {"psi": "window", "window": 3, "eps": 0.1}),
    ("WindowedAdagrad", {"reduce": "mean", "eps": 1e-8}, {"psi": "window", "reduce": "mean"}),
    ("RMSprop", {"alpha": 0.9}, {"psi": "ema", "betas": (0.0, 0.9), "bias_correction": False}),
    (
        "RMSprop",
        {"eps": 0.1, "eps_place": "inside"},
        {"psi": "ema", "betas": (0.0, 0.99), "bias_correction": False, "eps": 0.1, "eps_place": "inside"},
    ),
    ("Adam", {}, {"phi": "ema", "psi": "ema"}),
    ("AdamW", {"weight_decay": 0.0}, {"phi": "ema", "psi": "ema"}),
    ("Adam", {"eps": 1e-4, "eps_place": "hat"}, {"phi": "ema", "psi": "ema", "eps": 1e-4, "eps_place": "hat"}),
    ("Adam", {"eps": 0.1, "eps_place": "inside"}, {"phi": "ema", "psi": "ema", "eps": 0.1, "eps_place": "inside"}),
    (
        "Adam",
        {"betas": (0.5, 0.9), "eps_root": 0.1},
        {"phi": "ema", "psi": "ema", "betas": (0.5, 0.9), "eps_root": 0.1},
    ),
    ("Adam", {"bias_correction": False}, {"phi": "ema", "psi": "ema", "bias_correction": False}),
    ("Adam", {"amsgrad": True}, {"phi": "ema", "psi": "ema_max"}),
    ("Adam", {"amsgrad": True, "amsgrad_order": "v_hat"}, {"phi": "ema", "psi": "ema_max", "amsgrad_order": "v_hat"}),
    ("Adam", {"amsgrad": True, "bias_correction": False}, {"phi": "ema", "psi": "ema_max", "bias_correction": False}),
    ("Adamax", {}, {"phi": "ema", "psi": "infinity"}),
    (
        "Adamax",
        {"eps_place": "outside", "eps": 0.1},
        {"phi": "ema", "psi": "infinity", "eps_place": "outside", "eps": 0.1},
    ),
]


def in_type(name, options, dtype, step=lambda optimizer, grad: optimizer.step(grad), lr=RATES.__getitem__):
    theta = start().astype(dtype)
    optimizer = getattr(fs, name)(theta, lr, **options)
    for grad in gradients():
        step(optimizer, grad.astype(dtype))
    return theta


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shared", [{}, {**DECAY, "decay": "coupled"}, {**DECAY, "decay": "decoupled", "maximize": True}]
)
@pytest.mark.parametrize(("name", "options", "pair"), PAIRS)
def test_adaptive_pair_is_the_named_method(name, options, pair, shared, dtype):
    expected = in_type(name, options | shared, dtype)
    assert in_type("Adaptive", pair | shared, dtype).tobytes() == expected.tobytes()
    for broken in BROKEN.values():
        assert in_type("Adaptive", pair | shared, dtype, broken).tobytes() != expected.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("above", [4.0, 5.0])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9)])
def test_radam_is_a_pair_with_a_schedule(betas, above, dtype):
    """From the first rectified step on, RAdam is the pair of averages with the learning rate η·r_t.

    Before that, the pair takes steps of size 0, which gathers the same averages, and gets RAdam's parameters.
    """

    def rectified(k):
        limit, length = rho(betas[1], k + 1)
        if length <= above:
            return 0.0
        return RATES[k] * math.sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))

    theta, pair = start().astype(dtype), start().astype(dtype)
    radam = fs.RAdam(theta, RATES.__getitem__, betas=betas, rectify_above=above)
    adaptive = fs.Adaptive(pair, rectified, phi="ema", psi="ema", betas=betas, eps_place="hat")
    compared = 0
    for k, grad in enumerate(gradients().astype(dtype)):
        radam.step(grad)
        adaptive.step(grad)
        if rectified(k) == 0:
            assert pair.tobytes() != theta.tobytes()
            pair[...] = theta
        else:
            assert pair.tobytes() == theta.tobytes()
            compared += 1
    assert compared == STEPS - (4 if above == 4 else 5)


# Every hyper-parameter matters


#: Not hyper-parameters: a convention is nothing but others' values, and storage changes no equation.
OTHERS = {"params", *ONCE}

E1 = {"eps": 0.1}
ALL_DECAYS = ["coupled", "decoupled", "fully_decoupled"]

#: option -> pairs of what else is chosen and values that must all give different results
MATTERS = {
    "lr": [({}, [0.05, 0.06])],
    "weight_decay": [({"decay": decay}, [0.0, 0.1, 0.3]) for decay in ALL_DECAYS],
    "decay": [({**DECAY, "max_lr": 0.5}, ALL_DECAYS)],
    "decoupled_weight_decay": [({"weight_decay": 0.1}, [False, True])],
    "max_lr": [({**DECAY, "decay": "fully_decoupled"}, [None, 0.5, 0.9])],
    "maximize": [({}, [False, True]), (DECAY, [False, True])],
    "momentum": [({}, [0.0, 0.5, 0.9])],
    "dampening": [({"momentum": 0.9}, [0.0, 0.5, 1.0])],
    "nesterov": [({"momentum": 0.9, "buffer": buffer}, [False, True]) for buffer in ("lr_outside", "lr_inside", "ema")],
    "buffer": [
        ({"momentum": 0.9, "nesterov": nesterov}, ["lr_outside", "lr_inside", "ema"]) for nesterov in (False, True)
    ],
    "lr_decay": [({}, [0.0, 0.1])],
    "initial_accumulator_value": [({}, [1e-6, 0.1, 1.0])],
    "eps": [({}, [1e-8, 1e-3, 0.1])],
    "eps_place": [(E1, ["outside", "inside"])],
    "zero_at_zero": [({"eps": 0.0}, [False, True])],
    "window": [({}, [1, 2, 3, 10])],
    "reduce": [({}, ["sum", "mean"])],
    "alpha": [({}, [0.0, 0.9, 0.99])],
    "centered": [({}, [False, True]), ({"momentum": 0.9}, [False, True])],
    "momentum_lr": [({"momentum": 0.9, "centered": centered}, ["outside", "inside"]) for centered in (False, True)],
    "rho": [({}, [0.5, 0.9])],
    "betas": [({}, [(0.9, 0.999), (0.8, 0.999), (0.9, 0.99)])],
}
PLACES = ["outside", "hat", "inside"]
ADAM = {
    "eps": [({"eps_place": place}, [1e-8, 1e-3, 0.1]) for place in PLACES],
    "eps_place": [
        (E1, PLACES),
        (E1 | {"amsgrad": True}, PLACES),
        (E1 | {"amsgrad": True, "amsgrad_order": "v_hat"}, ["outside", "inside"]),
    ],
    "eps_root": [({"eps_place": place}, [0.0, 0.1]) for place in PLACES] + [({"amsgrad": True}, [0.0, 0.1])],
    "amsgrad": [({}, [False, True])],
    "amsgrad_order": [({"amsgrad": True}, ["v", "v_hat"])],
    "bias_correction": [({"eps_place": place}, [False, True]) for place in PLACES]
    + [({"amsgrad": True}, [False, True])],
    "variance_warmup": [({}, [0, 1, 5]), ({"amsgrad": True}, [0, 1, 5])],
}
BALL = [{"phi": phi, "psi": psi} for phi in ("heavy_ball", "nesterov") for psi in ("one", "sum", "window", "ema")]
ROOTS = [{"psi": psi} for psi in ("sum", "window", "ema", "ema_max")]
AVERAGES = [{"phi": "ema"}, {"psi": "ema"}, {"psi": "ema_max"}, {"phi": "ema", "psi": "ema_max"}]

#: the same for classes that differ
OWN = {
    "Adam": ADAM,
    "AdamW": ADAM,
    "RAdam": {
        "eps": [({"eps_place": place}, [1e-8, 1e-3, 0.1]) for place in PLACES],
        "eps_place": [(E1, PLACES)],
        "rectify_above": [({}, [4.0, 5.0, 9.0])],
        "rectify_after": [({}, [None, 4, 9])],
        "below": [({}, ["sgd", "skip"])],
    },
    "NAdam": {"momentum_decay": [({}, [0.0, 4e-3, 1.0])]},
    "Adamax": {
        "eps": [({"eps_place": p}, [0.01, 0.1]) for p in ("max", "outside")],
        "eps_place": [(E1, ["max", "outside"])],
    },
    "Lion": {"betas": [({}, [(0.9, 0.99), (0.5, 0.99), (0.9, 0.5)])]},
    "Adaptive": {
        "phi": [
            ({"psi": psi}, ["gradient", "heavy_ball", "ema", "nesterov"]) for psi in ("one", "sum", "ema", "ema_max")
        ],
        "psi": [({"phi": phi}, ["one", "sum", "window", "ema", "ema_max", "infinity"]) for phi in ("gradient", "ema")],
        "momentum": [(parts, [0.0, 0.5, 0.9]) for parts in BALL],
        "dampening": [(parts, [0.0, 0.5]) for parts in BALL if parts["phi"] == "heavy_ball"],
        "buffer": [(parts, ["lr_outside", "lr_inside", "ema"]) for parts in BALL],
        "betas": [
            ({"phi": "ema"}, [(0.9, 0.999), (0.5, 0.999)]),
            ({"psi": "infinity"}, [(0.9, 0.999), (0.9, 0.9)]),
            *(({"phi": "ema", "psi": psi}, [(0.9, 0.999), (0.5, 0.999), (0.9, 0.9)]) for psi in ("ema", "ema_max")),
        ],
        "bias_correction": [(parts, [False, True]) for parts in AVERAGES],
        "eps": [(parts, [1e-8, 1e-3, 0.1]) for parts in ROOTS] + [({"psi": "infinity"}, [0.01, 0.1])],
        "eps_place": [
            *(({**E1, "psi": psi}, PLACES) for psi in ("ema", "ema_max")),
            *(({**E1, "psi": psi}, ["outside", "inside"]) for psi in ("sum", "window")),
            ({**E1, "psi": "infinity"}, ["max", "outside"]),
        ],
        "eps_root": [(parts, [0.0, 0.1]) for parts in ROOTS],
        "initial_accumulator_value": [({"psi": "sum"}, [0.0, 0.1])],
        "lr_decay": [({"psi": "sum"}, [0.0, 0.1])],
        "zero_at_zero": [({"psi": "sum", "eps": 0.0}, [False, True])],
        "window": [({"psi": "window"}, [1, 2, 3, 10])],
        "reduce": [({"psi": "window"}, ["sum", "mean"])],
        "amsgrad_order": [({"psi": "ema_max"}, ["v", "v_hat"])],
    },
}
HYPER = [
    (name, option)
    for name in fs.reference.__all__
    for option in inspect.signature(getattr(fs, name)).parameters
    if option not in OTHERS
]


@pytest.mark.parametrize("package", [fs, fs.reference], ids=["fused", "reference"])
@pytest.mark.parametrize(("name", "option"), HYPER)
def test_every_hyper_parameter_matters(name, option, package):
    for others, values in OWN.get(name, {}).get(option) or MATTERS[option]:
        results = {}
        for value in values:
            theta = start()
            given = {"lr": RATES.__getitem__, **others, option: value}
            optimizer = getattr(package, name)(theta, **given)
            for grad in gradients():
                optimizer.step(grad)
            results.setdefault(theta.tobytes(), []).append(value)
        assert len(results) == len(values), f"with {others}, these give one result: {list(results.values())}"


@pytest.mark.parametrize(("name", "option"), HYPER)
def test_every_choice_is_among_those_that_matter(name, option):
    rows = OWN.get(name, {}).get(option) or MATTERS[option]
    choices = getattr(getattr(fs, name)._keywords()[option], "names", ())
    assert set(choices) <= {value for _, values in rows for value in values}
    assert all(len(values) > 1 for _, values in rows)


@pytest.mark.parametrize("name", fs.reference.__all__)
def test_unknown_keyword_is_an_error_that_lists_the_known(name):
    cls = getattr(fs, name)
    with pytest.raises(TypeError) as error:
        cls(start(), learning_rate=0.1)
    message = re.fullmatch(f"{name}: options must be among (.*), got 'learning_rate'", str(error.value))
    known = set(inspect.signature(cls).parameters) - {"params"}
    if name == "Adaptive":  # it takes the keywords of the parts that are chosen
        known = {"lr", "weight_decay", "decay", "max_lr", "maximize", "phi", "psi"}
        known |= {*ONCE}
    assert set(message[1].split(", ")) == known
