"""Every value is taken: subnormals, infinities, NaN, both zeros and the largest numbers, in every place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import fusedstep as fs

from cases import CASES, DTYPES, IDS, LAYOUTS, OPTIONS, SHARED, assert_same_state, laid_out, pair, random, same_bytes

# T06: the contract holds for every value

#: What an option may be; its case's own value is drawn too. Every keyword of every method has a line.
VALUES = {
    "lr": [0.0, 5e-324, 1e-30, 1e-3, 0.1, 1.0, 3.0, 1e10, 1e200],
    "weight_decay": [0.0, 5e-324, 1e-8, 0.1, 1.0, 20.0, 1e200],
    "max_lr": [None, 5e-324, 0.5, 1e200],
    "momentum": [0.0, 1e-40, 0.5, 0.9, 1.0, 2.0],
    "lr_decay": [0.0, 1e-3, 1.0, 1e200],
    "initial_accumulator_value": [0.0, 1e-40, 0.1, 1e30, 1e300],
    "eps": [0.0, 5e-324, 1e-40, 1e-16, 1e-8, 0.1, 1e30, 1e300],
    "eps_root": [0.0, 5e-324, 1e-16, 0.1, 1e300],
    "alpha": [0.0, 1e-300, 0.5, 0.99, 1 - 2.0**-24, 1 - 2.0**-53],
    "rho": [0.0, 1e-300, 0.5, 0.9, 1 - 2.0**-24, 1 - 2.0**-53],
    "rectify_above": [4.0, 5.0, 6.5, 1e10],
    "rectify_after": [None, 0, 1, 5],
    "momentum_decay": [0.0, 5e-324, 4e-3, 1.0, 1e10, 1e300],
    "variance_warmup": [0, 1, 2],
    "window": [1, 2, 3],
    "betas": [(a, b) for a in (0.0, 1e-300, 0.5, 0.9, 1 - 2.0**-53) for b in (0.0, 0.5, 0.999, 1 - 2.0**-24)],
    "maximize": [False, True],
    "nesterov": [False, True],
    "amsgrad": [False, True],
    "centered": [False, True],
    "bias_correction": [False, True],
    "zero_at_zero": [False, True],
    "reduce": ["sum", "mean"],
    "decay": ["coupled", "decoupled", "fully_decoupled"],
    "amsgrad_order": ["v", "v_hat"],
    "momentum_lr": ["outside", "inside"],
    "below": ["sgd", "skip"],
    # Those whose values depend on the method, or on each other, stay the case's.
    "dampening": None,
    "buffer": None,
    "eps_place": None,
    "phi": None,
    "psi": None,
}


def keywords(name, options):
    """Those of the parts that the options choose."""
    group = getattr(fs, name)(np.zeros(1), **options).param_groups[0]
    return [key for key in group if VALUES[key] is not None]


def special(dtype):
    """The numbers at which arithmetic changes its ways."""
    info = np.finfo(dtype)
    ends = [info.max, np.sqrt(info.max), info.tiny, np.sqrt(info.tiny), info.tiny / 2, info.smallest_subnormal]
    plain = [0.0, info.eps, 0.1, 1 - info.eps / 2, 1.0, 1 + info.eps, 2.0, np.inf]
    return [dtype(sign * value) for value in ends + plain for sign in (1, -1)] + [dtype(np.nan)]


SPECIAL = {dtype: special(dtype) for dtype in DTYPES}


@st.composite
def runs(draw, name):
    """Options, a parameter, its layout, and a gradient for each step."""
    options = draw(st.sampled_from(OPTIONS[name]))
    changed = draw(st.lists(st.sampled_from(keywords(name, options)), unique=True, max_size=4))
    options = {"lr": 0.1, **options} | {key: draw(st.sampled_from(VALUES[key])) for key in changed}
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.sampled_from([(1,), (3,), (17,), (2, 5, 3), (35,), (5, 7)]))
    size = int(np.prod(shape))
    numbers = st.one_of(st.sampled_from(SPECIAL[dtype]), st.floats(width=dtype(0).itemsize * 8))

    def array():
        # One draw decides most elements and a few are drawn one by one, so that an example shrinks well.
        values = np.full(size, draw(numbers), dtype)
        for i, value in draw(st.dictionaries(st.integers(0, size - 1), numbers, max_size=12)).items():
            values[i] = value
        return values.reshape(shape)

    start = array()
    grads = [array() for _ in range(draw(st.integers(1, 4)))]
    return options, start, grads, draw(st.sampled_from(LAYOUTS)), draw(st.sampled_from(fs.available_targets()))


def check(name, run):
    options, start, grads, layout, target = run
    param, copy = laid_out(start, layout), start.copy()
    try:
        fused = getattr(fs, name)(param, **options)
    except ValueError as error:
        # Options that are impossible together are so for both.
        with pytest.raises(ValueError) as caught:
            getattr(fs.reference, name)(copy, **options)
        agreed = str(caught.value) == str(error)
        assert agreed
        reject()
    reference = getattr(fs.reference, name)(copy, **options)
    with fs.use_target(target):
        for grad in grads:
            fused.step(laid_out(grad, layout))
            reference.step(grad)
            assert same_bytes(param, copy)
            assert_same_state(fused, reference)


@pytest.mark.parametrize("name", OPTIONS)
@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_values(name, data):
    check(name, data.draw(runs(name)))


@pytest.mark.long
@pytest.mark.parametrize("name", OPTIONS)
@settings(max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_values_at_length(name, data):
    check(name, data.draw(runs(name)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shared", SHARED, ids=range(len(SHARED)))
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_all_pairs_of_special_values(name, options, shared, dtype):
    """Every parameter value meets every gradient value, and in the second step state that came of another."""
    values = np.array(SPECIAL[dtype])
    param, grad = (side.ravel() for side in np.meshgrid(values, values))
    grads = [grad, np.roll(grad, 1), np.flip(grad).copy(), np.roll(grad, 40)]
    for target in fs.available_targets():
        actual, expected = param.copy(), param.copy()
        fused, reference = pair(name, actual, expected, lr=0.05, **options, **shared)
        with fs.use_target(target):
            for each in grads:
                fused.step(each)
                reference.step(each)
        assert same_bytes(actual, expected)
        assert_same_state(fused, reference)


@pytest.mark.parametrize(("name", "options"), [("Adagrad", {}), ("Yogi", {}), ("Adaptive", {"psi": "sum"})])
def test_initial_value_beyond_the_type(name, options):
    """It is rounded like every other number, here to infinity, without a warning."""
    param, copy = np.ones(3, np.float32), np.ones(3, np.float32)
    fused, reference = pair(name, param, copy, initial_accumulator_value=1e300, **options)
    fused.step(np.ones(3, np.float32))
    reference.step(np.ones(3, np.float32))
    assert same_bytes(param, copy)
    assert_same_state(fused, reference)
    assert np.isinf(fused.state["0"]["exp_avg_sq" if name == "Yogi" else "sum"]).all()


def test_special_values_are_special():
    """Otherwise the tests with them would be tests of plain ones."""
    for dtype in DTYPES:
        values = np.array(SPECIAL[dtype])
        tiny = np.finfo(dtype).tiny
        assert ((np.abs(values) < tiny) & (values != 0)).sum() >= 4, "subnormals"
        assert np.isinf(values).sum() == 2
        assert np.isnan(values).sum() == 1
        assert (values == 0).sum() == 2
        assert np.signbit(values[values == 0]).sum() == 1
        assert (np.abs(values) == np.finfo(dtype).max).sum() == 2


# T14, where nothing else is asked for: what is not finite goes through, and stays where it is

#: More than four of the longest vectors, and a rest.
LANES = 67


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["grad", "param"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_not_finite_touches_its_own_element_only(name, options, dtype, place, poison):
    """Once in every lane of its own array; its element does what the reference does, in later steps too."""
    rng = np.random.default_rng(9)
    start, first = random(rng, LANES, dtype), random(rng, LANES, dtype)
    later = [random(rng, LANES, dtype) for _ in range(2)]
    params = [start.copy() for _ in range(LANES)]
    firsts = [first.copy() for _ in range(LANES)]
    for i in range(LANES):
        (params if place == "param" else firsts)[i][i] = poison
    clean, ill = start.copy(), start.copy()
    ill_first = first.copy()
    (ill if place == "param" else ill_first)[:] = poison
    opt = getattr(fs, name)(params, lr=0.05, **options)
    one, other = (getattr(fs.reference, name)(array, lr=0.05, **options) for array in (clean, ill))
    opt.step(firsts)
    one.step(first)
    other.step(ill_first)
    for grad in later:
        opt.step([grad] * LANES)
        one.step(grad)
        other.step(grad)
    assert np.isfinite(clean).all()
    for i, param in enumerate(params):
        expected = clean.copy()
        expected[i] = ill[i]
        assert same_bytes(param, expected)


# T15: zero is a number like others


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_zero_gradients(name, options, dtype):
    """From the start they move nothing, and everything stays finite."""
    start = random(np.random.default_rng(10), 50, dtype)
    param = start.copy()
    opt = getattr(fs, name)(param, lr=0.5, weight_decay=0.0, **options)
    for zero in (0.0, -0.0) * 6:
        opt.step(np.full(50, zero, dtype))
    assert same_bytes(param, start)
    assert all(np.isfinite(value).all() for value in opt.state["0"].values())


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e15])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_gradients_that_vanish(name, options, dtype, size):
    """Averages run down to subnormals and zero; nothing divides by what is left."""
    rng = np.random.default_rng(11)
    param = random(rng, 50, dtype)
    opt = getattr(fs, name)(param, lr=1e-3, **options)
    opt.step(dtype(size) * random(rng, 50, dtype))
    zero = np.zeros(50, dtype)
    for _ in range(300):
        opt.step(zero)
    assert np.isfinite(param).all()
    assert all(np.isfinite(value).all() for value in opt.state["0"].values())


#: States that hold squares or sizes.
NOT_NEGATIVE = {"sum", "ring", "square_avg", "acc_delta", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "exp_avg_var"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_squares_are_not_negative(name, options, dtype):
    """Whatever the gradients, and also right after they fell from large to small."""
    rng = np.random.default_rng(12)
    param = random(rng, 200, dtype)
    opt = getattr(fs, name)(param, lr=0.05, **options)
    squares = NOT_NEGATIVE & opt.state["0"].keys()
    assert squares or name in ("SGD", "Lion") or options.get("psi") == "one"
    extremes = [np.finfo(dtype).tiny ** 0.5, 1e-3, 1.0, 1e3, np.finfo(dtype).max ** 0.25]
    for step in range(40):
        opt.step(random(rng, 200, dtype) * dtype(extremes[step * 7 % 5]))
        for key in squares:
            assert (opt.state["0"][key] >= 0).all(), key
    assert np.isfinite(param).all()


#: Methods with an ε, and the options with which a zero gradient is divided by nothing but ε
EPS = [
    ("Adagrad", {}),
    ("Adagrad", {"eps_place": "inside"}),
    ("WindowedAdagrad", {}),
    ("RMSprop", {}),
    ("RMSprop", {"centered": True}),
    ("Adadelta", {}),
    ("Adam", {}),
    ("Adam", {"eps_place": "hat"}),
    ("Adam", {"eps_place": "inside"}),
    ("AdamW", {"amsgrad": True}),
    ("RAdam", {"betas": (0.9, 0.99), "rectify_after": 0}),
    ("NAdam", {}),
    ("Adamax", {}),
    ("Adamax", {"eps_place": "outside"}),
    ("AdaBelief", {}),
    ("Yogi", {"initial_accumulator_value": 0.0}),
    ("Adaptive", {"phi": "ema", "psi": "ema"}),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), EPS)
def test_zero_over_zero(name, options, dtype):
    """ε = 0 is allowed, and gives NaN where every gradient was 0; any ε > 0 gives none."""
    grad = np.resize([1.0, 0.0, -2.0], 50).astype(dtype)
    for eps, expected in ((0.0, grad == 0), (1e-8, np.zeros(50, bool))):
        param = np.ones(50, dtype)
        opt = getattr(fs, name)(param, eps=eps, **options)
        for _ in range(6):
            opt.step(grad)
        assert np.array_equal(np.isnan(param), expected)


def test_zero_at_zero():
    """optax's way out of 0/0 for Adagrad."""
    param = np.ones(3)
    fs.Adagrad(param, lr=0.5, eps=0.0, zero_at_zero=True).step(np.array([0.0, 1.0, -0.0]))
    assert param.tolist() == [1.0, 0.5, 1.0]
