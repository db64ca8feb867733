"""Storage types: the same bits as NumPy's, rounding that is what it says, and state that is saved raw."""

from __future__ import annotations

import copy
import operator
import pickle
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fusedstep as fs
from fusedstep.bfloat16 import METHODS, BFloat16, bits_of
from fusedstep.commands.contract import STORAGES, extreme, random
from fusedstep.in_numpy.code8 import decode, encode
from fusedstep.in_numpy.encodings import bfloat16_nearest, bfloat16_stochastic, cast, float16_stochastic, widen
from fusedstep.in_numpy.layout import flat
from fusedstep.in_numpy.random import Draw

from cases import CASES, IDS, same_bytes
from places import PLACES

SINGLE = np.dtype(np.float32)

NAMES = ["-".join(map(str, storage)) for storage in STORAGES]


def assert_same(place, pair, params, grads, copies):
    for kernel, reference in filter(None, (params, grads, copies)):
        assert same_bytes(place.get(kernel), reference)
    kernel, reference = (optimizer.state for optimizer in pair)
    for name, entry in reference.items():
        for key, expected in entry.items():
            actual = kernel[name][key]
            equal = actual == expected if key == "step" else same_bytes(place.get(actual), expected)
            assert equal, f"{name}/{key}"
    assert pair[0].skipped == pair[1].skipped
    np.testing.assert_equal(tuple(pair[0].last), tuple(pair[1].last))


def run(place, name, options, combination, size, stages, *, copied=True, **given):
    """Steps of the kernel and of the reference, each beside the other."""
    of_param, of_grad, of_state, rounding = combination
    rng = np.random.default_rng(size)
    start = random(rng, size, np.float64)
    params = [place.put(cast(start, of_param)), cast(start, of_param)]
    pair = [
        getattr(package, name)(param, **options, state=of_state, rounding=rounding, seed=7, **given)
        for package, param in zip((fs, fs.reference), params, strict=True)
    ]
    for t, stage in enumerate(stages):
        values = (extreme if t == len(stages) - 1 else random)(rng, size, np.float32)
        zeros, type_of_copy = np.zeros(size), ("bfloat16", "float16", "float32", "float64")[t % 4]
        grads = [place.put(cast(values, of_grad)), cast(values, of_grad)]
        copies = [place.put(cast(zeros, type_of_copy)), cast(zeros, type_of_copy)]
        for optimizer, grad, to in zip(pair, grads, copies, strict=True):
            optimizer.step(grad, copy_to=to if copied else None, **stage)
        assert_same(place, pair, params, grads, copies)
    return pair, params


STAGES = [{}, {"max_norm": 0.5, "grad_scale": 2.0}, {"clip_value": 0.1, "zero_grad": True}]


@pytest.mark.parametrize("combination", STORAGES, ids=NAMES)
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_every_method_in_every_storage(name, options, combination, place):
    size = 4096 + 130
    _, params = run(place, name, options, combination, size, STAGES, weight_average=0.9, flush_denormals=True)
    assert flat(place.get(params[0])).size == size


@pytest.mark.parametrize("combination", STORAGES, ids=NAMES)
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_every_method_with_nothing_to_carry(name, options, combination, place):
    """Such tensors have loops and kernels of their own, of which a size that is no multiple of anything takes all."""
    run(place, name, options, combination, 8192 + 130, [{}, {"max_norm": 0.5, "grad_scale": 2.0}, {}], copied=False)


@pytest.mark.parametrize("rounding", ["kahan", "remainder"])
@pytest.mark.parametrize("of_state", ["bfloat16", "sq8"])
def test_parameters_in_two_arrays_beside_few_bits(of_state, rounding, place):
    """They are not what the loops and kernels for arrays of bfloat16 and of codes take."""
    combination = ("bfloat16", "bfloat16", of_state, rounding)
    run(place, "AdamW", {}, combination, 8192 + 130, [{}, {}, {}], copied=False)


@pytest.mark.parametrize("combination", [one for one in STORAGES if one.rounding == "stochastic"], ids=str)
@pytest.mark.parametrize("average", [None, 0.5])
def test_tensors_have_random_bits_of_their_own(combination, average, place):
    of_param, of_grad, of_state, rounding = combination
    start, grad = (random(np.random.default_rng(i), 5000, np.float64) for i in range(2))
    pair = []
    for package, put in ((fs, place.put), (fs.reference, lambda array: array)):
        params = [put(cast(start, of_param)) for _ in range(2)]
        opt = package.AdamW(params, state=of_state, rounding=rounding, weight_average=average)
        for _ in range(3):
            opt.step([put(cast(grad, of_grad)) for _ in range(2)])
        pair.append([place.get(value) for value in [*params, *(opt.state[name]["exp_avg_sq"] for name in "01")]])
    assert all(map(same_bytes, *pair))
    assert not same_bytes(pair[0][2], pair[0][3])


@pytest.mark.parametrize("of_grad", ["float32", "bfloat16"])
@pytest.mark.parametrize("copied", [False, True])
def test_what_has_no_code_stays_without_one(of_grad, copied, place):
    """It is in the codes that the next step finds, and in nobody else's."""
    start, grad = (random(np.random.default_rng(i), 5000, np.float32) for i in range(2))
    lost = [7, 130, 131, 4999]
    worse = grad.copy()
    worse[lost] = np.nan, np.inf, -np.inf, np.nan
    ends = []
    for package, put, get in ((fs, place.put, place.get), (fs.reference, lambda array: array, np.asarray)):
        param, copy = put(start.copy()), put(start.copy())
        opt = package.Adam({"w": param}, state="sq8", lr=0.1)
        for one in (worse, grad, grad):
            opt.step({"w": put(cast(one, of_grad))}, copy_to={"w": copy} if copied else None)
        entry = opt.state["w"]
        ends.append([get(array) for array in (param, entry["exp_avg"], entry["exp_avg_sq"])])
    for array, reference in zip(*ends, strict=True):
        assert same_bytes(array, reference)
    param, m, v = ends[0]
    assert np.flatnonzero(np.isnan(param)).tolist() == lost
    assert (m[lost] == -128).all()
    assert (v[lost] == 255).all()
    assert np.count_nonzero(m == -128) == len(lost)


@pytest.mark.parametrize("target", fs.available_targets())
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("combination", STORAGES, ids=NAMES)
def test_every_target_and_number_of_threads(combination, threads, target):
    before = fs.set_num_threads(threads)
    try:
        with fs.use_target(target):
            run(
                PLACES["processor"],
                "Adam",
                {},
                combination,
                150_007,
                [{"max_norm": 1.0}, {"grad_scale": 8.0}],
                weight_average=0.5,
            )
    finally:
        fs.set_num_threads(before)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_all_bfloat16(name, options, rounding, target):
    """With nothing to carry along such a tensor is stepped in registers, not by way of tiles."""
    combination = ("bfloat16", "bfloat16", "bfloat16", rounding)
    for size in (1, 33, 4096 + 130):
        stages = [{}, {"max_norm": 0.5, "grad_scale": 2.0}, {}]
        run(PLACES["processor"], name, options, combination, size, stages, copied=False)


@pytest.mark.parametrize("threads", [1, 3])
def test_all_bfloat16_far_in_a_tensor(threads, set_threads):
    """Where the lower half of an element's number begins anew, and where that of its stretch does."""
    set_threads(threads)
    combination, size = ("bfloat16", "bfloat16", "bfloat16", "stochastic"), 150_007
    for begin in (2**32 - 4096 * 20, 2**20 - 4096):
        extents = {"0": (begin, begin + size)}
        run(PLACES["processor"], "Adam", {}, combination, size, [{}, {}], copied=False, extents=extents)


@pytest.mark.parametrize("combination", STORAGES, ids=NAMES)
def test_every_length(combination, place):
    for size in (*range(36), 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1025, 4095, 4096, 4097):
        run(place, "Adam", {"amsgrad": True}, combination, size, STAGES[:2])


@pytest.mark.parametrize("layout", ["C", "F", "permuted"])
def test_every_order_of_axes(layout):
    """A gradient of another type has the parameter's order of elements, not its strides."""
    rng = np.random.default_rng(3)

    def laid_out(values):
        if layout == "permuted":
            return np.ascontiguousarray(values.transpose(1, 2, 0)).transpose(2, 0, 1)
        return np.asarray(values, order=layout)

    start = laid_out(random(rng, (5, 40, 30), np.float32))
    params = [start.copy(order="K") for _ in range(2)]
    pair = [fs.Adam(params[0], state="sq8"), fs.reference.Adam(params[1], state="sq8")]
    for dtype in (np.float16, np.float64):
        grad = laid_out(random(rng, (5, 40, 30), np.float32)).astype(dtype, order="K")
        for optimizer in pair:
            optimizer.step(grad)
    assert same_bytes(*params)
    assert not same_bytes(params[0], start)
    assert params[0].strides == start.strides


# Rounding


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
        got = widen(to, np.dtype(np.float64), None, "nearest")
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
        assert same_bytes(widen(theta, SINGLE, half.state["0"]["rest"], "remainder"), master)
    away = np.abs(fs.as_float32(theta) - master)
    assert (away <= 2.0**-8 * np.abs(master)).all()
    assert (away > 0).mean() > 0.9


def test_remainder_keeps_nan_and_infinity():
    values = np.array([np.nan, np.inf, -np.inf, np.finfo(np.float32).max, -0.0, 1e-45], np.float32)
    master, theta = np.zeros(6, np.float32), cast(np.zeros(6), "bfloat16")
    full, half = fs.SGD(master, lr=1.0), fs.SGD(theta, lr=1.0, rounding="remainder")
    for optimizer in (full, half):
        optimizer.step(values)
    assert same_bytes(widen(theta, SINGLE, half.state["0"]["rest"], "remainder"), master)
    for optimizer in (full, half):
        optimizer.step(np.ones(6, np.float32))
    assert same_bytes(widen(theta, SINGLE, half.state["0"]["rest"], "remainder"), master)


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
        assert np.isnan(widen(array, SINGLE, None, "nearest")).all()
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


# Codes of one byte

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


@pytest.mark.parametrize("states", ["sq8", {"exp_avg": "sq8"}, {"exp_avg_sq": "sq8"}], ids=str)
def test_blocks_of_every_size(states, place):
    """From where all become zeros to where some have no code; an element of zero in every third block."""
    sizes = np.repeat(10.0 ** np.arange(-45, 39), 128)
    rng = np.random.default_rng(9)
    start = np.ones(sizes.size, np.float32)
    params = [place.put(start.copy()), start.copy()]
    pair = [
        package.Adam(w, betas=(0.1, 0.999), state=states, seed=7)
        for package, w in zip((fs, fs.reference), params, strict=True)
    ]
    for _ in range(3):
        values = (sizes * rng.uniform(0.1, 1, sizes.size) * rng.choice([-1, 1], sizes.size)).astype(np.float32)
        values[:: 3 * 128] = 0
        grads = [place.put(values.copy()), values.copy()]
        for optimizer, grad in zip(pair, grads, strict=True):
            optimizer.step(grad)
        assert_same(place, pair, params, grads, ())
    scales = [value for name, value in pair[1].state["0"].items() if name.endswith("scale")]
    assert all((array == 0).any() and (array > 0).any() for array in scales)
    assert np.isnan(params[1]).any()


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


# State


@pytest.mark.parametrize("combination", STORAGES, ids=NAMES)
def test_resume_is_bit_exact(combination):
    of_param, of_grad, of_state, rounding = combination
    rng = np.random.default_rng(9)
    start = cast(random(rng, 6000, np.float64), of_param)
    given = {"state": of_state, "rounding": rounding, "weight_average": 0.9, "seed": 11}

    def made():
        theta = start.copy()
        return theta, fs.Adam({"first": np.ones(3, np.float32), "w": theta}, **given)

    grads = [cast(random(rng, 6000, np.float64), of_grad) for _ in range(6)]
    straight, one = made()
    for grad in grads:
        one.step({"first": None, "w": grad})
    theta, opt = made()
    for grad in grads[:3]:
        opt.step({"first": None, "w": grad})
    saved, halted = opt.state_dict(), theta.copy()
    # The number that random bits are keyed with follows the name, not the order.
    theta = halted.copy()
    other = fs.Adam({"w": theta, "first": np.ones(3, np.float32)}, **given)
    saved["groups"][0]["params"] = ["w", "first"]
    other.load_state_dict(saved)
    for grad in grads[3:]:
        other.step({"first": None, "w": grad})
    assert same_bytes(theta, straight)
    for key, expected in one.state["w"].items():
        assert key == "step" or same_bytes(other.state["w"][key], expected)
    assert same_bytes(other.average["w"], one.average["w"])


def test_another_storage_is_refused():
    w = np.ones(5000, np.float32)
    saved = fs.Adam(w, state="sq8").state_dict()
    before = fs.Adam(w.copy(), state="bfloat16")
    with pytest.raises(ValueError, match=r"^Adam: state_dict\['storage'\]\['state'\] must be"):
        before.load_state_dict(saved)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"state": "int8"}, ValueError, "state must be None, one of 'float64'"),
        ({"state": 8}, TypeError, "state must be None"),
        ({"state": {"exp_avg": "int8"}}, ValueError, "state must be None"),
        ({"state": {"": "sq8"}}, ValueError, "state must be None"),
        ({"state": {"momentum_buffer": "sq8"}}, ValueError, "state must name states among exp_avg"),
        ({"rounding": "up"}, ValueError, "rounding must be one of"),
        ({"weight_average": 1.0}, ValueError, "weight_average must be None or a number in"),
        ({"flush_denormals": 1}, TypeError, "flush_denormals must be True or False"),
    ],
)
def test_refusals(given, error, message):
    with pytest.raises(error, match=f"^Adam: {message}"):
        fs.Adam(np.ones(3, np.float32), **given)


def test_what_only_some_types_can():
    for name, state in (("NAdam", "mu_product"), ("WindowedAdagrad", "ring")):
        with pytest.raises(ValueError, match=rf"^{name}: state must name states among .*, got '{state}'$"):
            getattr(fs, name)([], state={state: "float64"})
    with pytest.raises(TypeError, match=r"^SGD: params must be bfloat16 with rounding='remainder', got float16"):
        fs.SGD(np.ones(3, np.float16), rounding="remainder")
    with pytest.raises(ValueError, match=r"^Adam: extents\['w'\] must begin at a multiple of 128 for sq8, got 64"):
        fs.Adam({"w": np.ones(5000, np.float32)}, state="sq8", extents={"w": (64, 10_000)})
    w, bits = fs.as_bfloat16(np.full(4, 0x3F80, np.uint16)), np.full(4, 0x3F80, np.uint16)
    with pytest.raises(TypeError, match=r"grads must have dtype .*, got uint16 \(fusedstep.as_bfloat16\(x\) marks"):
        fs.SGD(w).step(bits)
    with pytest.raises(TypeError, match=r"exp_avg'\] must have dtype bfloat16, got uint16"):
        fs.Adam(w, state="bfloat16", memory={"0": {"exp_avg": bits}})
    assert (bits_of(w) == 0x3F80).all()
    with pytest.raises(TypeError, match=r"as_bfloat16: array must be a numpy.ndarray of uint16, got float32"):
        fs.as_bfloat16(np.ones(3, np.float32))
    with pytest.raises(TypeError):
        fs.as_bfloat16(np.ones(3, np.uint16)) + 1


def test_arrays_of_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    theirs, ours = np.ones(300, ml_dtypes.bfloat16), cast(np.ones(300), "bfloat16")
    grad = random(np.random.default_rng(1), 300, np.float32)
    opts = [fs.Adam(theta, lr=0.1, state="bfloat16", rounding="stochastic") for theta in (theirs, ours)]
    for opt in opts:
        opt.step(grad.astype(ml_dtypes.bfloat16))
    assert (theirs.view(np.uint16) == bits_of(ours)).all()
    assert opts[0].state["0"]["exp_avg"].dtype == ml_dtypes.bfloat16
    assert (theirs != 1).all()


def test_functions_take_every_type():
    theta, m, v = cast(np.ones(50), "bfloat16"), np.zeros(50, np.float32), cast(np.zeros(50), "bfloat16")
    grad = random(np.random.default_rng(2), 50, np.float32)
    fs.functional.adam_(theta, grad, m, v, step=1, lr=0.1, seed=3, rounding="stochastic")
    expected = cast(np.ones(50), "bfloat16")
    opt = fs.Adam(expected, lr=0.1, state={"exp_avg_sq": "bfloat16"}, rounding="stochastic", seed=3)
    opt.step(grad)
    assert same_bytes(theta, expected)
    assert same_bytes(v, opt.state["0"]["exp_avg_sq"])


@pytest.mark.parametrize("of", ["sq8", "bfloat16"])
def test_states_that_an_option_calls_for(of):
    """They are added in the storage that was chosen, by a change and by loading."""
    rng = np.random.default_rng(4)
    start, grads = random(rng, 5000, np.float32), [random(rng, 5000, np.float32) for _ in range(3)]
    params = [start.copy(), start.copy()]
    pair = [fs.Adam(params[0], state=of), fs.reference.Adam(params[1], state=of)]
    for opt in pair:
        opt.step(grads[0])
        opt.param_groups[0]["amsgrad"] = True
        for grad in grads[1:]:
            opt.step(grad)
    assert same_bytes(*params)
    assert (pair[0].state["0"]["max_exp_avg_sq"].dtype == np.uint8) == (of == "sq8")
    other = fs.Adam(params[0].copy(), state=of)
    other.load_state_dict(pair[0].state_dict())
    for key, expected in pair[0].state["0"].items():
        assert key == "step" or same_bytes(other.state["0"][key], expected)


def test_a_mark_is_not_lost_in_silence():
    w = cast(np.ones(3), "bfloat16")
    for wrong in (lambda: w.astype(np.float32), lambda: w + w):
        with pytest.raises(TypeError):
            wrong()
    for number in (2.5, 2):
        with pytest.raises(TypeError, match="must be bits"):
            w[...] = number
    w[...] = np.uint16(0x4000)
    assert fs.as_float32(w).tolist() == [2, 2, 2]
    assert "2., 2., 2." in repr(w)
    turned = cast(np.ones((2, 3)), "bfloat16").T
    assert np.copy(turned).strides == turned.strides
    assert fs.as_float32(turned).strides == (4, 12)
    assert fs.as_float32(w[0:1].reshape(())).shape == ()
    assert same_bytes(pickle.loads(pickle.dumps(w)), w)
    assert isinstance(copy.deepcopy(w), BFloat16)


def test_numbers_that_numpy_makes_of_marked_bits():
    w = cast(np.ones((2, 3)), "bfloat16")
    fs.SGD(w, lr=0.5).step(np.ones_like(w))
    assert str(w) == str(np.full((2, 3), 0.5, np.float32))
    assert w.tolist() == [[0.5] * 3] * 2
    for made, number in ((np.zeros_like(w), 0), (np.ones_like(w), 1), (np.full_like(w, 1 + 2.0**-9), 1)):
        assert isinstance(made, BFloat16)
        assert (fs.as_float32(made) == number).all()
    w.fill(np.float64(3.0))
    assert (fs.as_float32(w) == 3).all()
    assert (np.ones_like(w, np.float32) == np.ones((2, 3), np.float32)).all()
    assert isinstance(np.copy(w), BFloat16)
    both = np.concatenate([w, np.ones_like(w)])
    assert isinstance(both, BFloat16)
    assert fs.as_float32(both).tolist() == [[3] * 3] * 2 + [[1] * 3] * 2
    assert same_bytes(np.transpose(w).copy(), w.T.copy())


READINGS = {
    "where": lambda w: np.where([True, False, True], w, 1.0),
    "concatenate": lambda w: np.concatenate([w, np.ones(3, np.float32)]),
    "np.dot": lambda w: np.dot(w, w),
    "np.sum": np.sum,
    "np.sort": np.sort,
    "norm": np.linalg.norm,
    "copyto": lambda w: np.copyto(w, 0.5, casting="unsafe"),
    "np.put": lambda w: np.put(w, 0, 2),
    "==": lambda w: w == w.copy(),
    "in": lambda w: 0x3F80 in w,
    "+": lambda w: np.ones(3) + w,
    "+=": lambda w: operator.iadd(w, 1),
    "out": lambda w: np.add([1, 2, 3], 1, out=w, casting="unsafe"),
    "dot": lambda w: w.dot(w),
    "choose": lambda w: (w[:0]).choose([w]),
    "item": lambda w: w.item(0),
    "put": lambda w: w.put(0, 1),
    "setfield": lambda w: w.setfield(1, np.uint16),
    "searchsorted": lambda w: w.searchsorted(1),
    "partition": lambda w: w.partition(1),
    "argpartition": lambda w: w.argpartition(1),
    "clip": lambda w: w.clip(0, 1),
    "trace": lambda w: w.reshape(1, 3).trace(),
    "byteswap": lambda w: w.byteswap(inplace=True),
    "flat": lambda w: operator.setitem(w.flat, 0, 1),
    "flat =": lambda w: setattr(w, "flat", 1),
    "real =": lambda w: setattr(w, "real", 1),
    "imag": lambda w: w.imag,
    "float": lambda w: float(w[:1].reshape(())),
    "int": lambda w: int(w[:1].reshape(())),
    "complex": lambda w: complex(w[:1].reshape(())),
    "index": lambda w: operator.index(w[:1].reshape(())),
    "bool": lambda w: bool(w[:1]),
    **{
        name: operator.methodcaller(name)
        for name in (
            *("all", "any", "argmax", "argmin", "argsort", "conj", "conjugate", "cumprod", "cumsum", "max", "mean"),
            *("min", "nonzero", "prod", "round", "sort", "std", "sum", "var"),
        )
    },
}


@pytest.mark.parametrize("read", READINGS.values(), ids=READINGS)
def test_marked_bits_are_not_taken_for_integers(read):
    w = cast(np.ones(3), "bfloat16")
    with pytest.raises(TypeError, match=r"^BFloat16: bits must not be taken for integers, got \S+ \(fused"):
        read(w)
    assert (fs.as_float32(w) == 1).all()


def test_every_method_that_takes_integers_was_tried():
    """What was before NumPy 2 can be tried only there."""
    tried = {*READINGS, *(f"__{name}__" for name in READINGS)}
    assert {*METHODS} - tried == {"itemset", "newbyteorder", "ptp"}
    moving = {name for name in vars(np.ndarray) if name[0] != "_" and callable(getattr(np.ndarray, name))} - {*METHODS}
    assert moving <= {
        *("astype", "compress", "copy", "diagonal", "dump", "dumps", "fill", "flatten", "getfield", "ravel", "repeat"),
        *("reshape", "resize", "setflags", "squeeze", "swapaxes", "take", "to_device", "tobytes", "tofile", "tolist"),
        *("tostring", "transpose", "view"),
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.astype(int),
        lambda w: w.astype(np.float32, subok=False),
        lambda w: w.astype(">u2"),
        lambda w: w.astype(dtype=ml_dtypes_bfloat16()),
        lambda w: w.view(np.float16),
        lambda w: w.view(np.int16, BFloat16),
        lambda w: w.getfield(np.int8),
        lambda w: setattr(w, "dtype", np.int16),
        lambda w: np.ones(3, np.int16).view(BFloat16),
    ],
)
def test_marked_bits_stay_uint16(change):
    w = cast(np.ones(3), "bfloat16")
    with pytest.raises(TypeError, match=r"^BFloat16: bits must stay uint16, got \S+ \(fusedstep.as_float32 reads"):
        change(w)
    assert w.dtype == np.uint16
    assert fs.as_float32(w).tolist() == [1] * 3


def ml_dtypes_bfloat16():
    return pytest.importorskip("ml_dtypes").bfloat16


def test_views_of_marked_bits():
    w = cast(np.ones(4), "bfloat16")
    for dtype in (np.uint16, np.int16, np.uint8, np.uint32):
        bits = w.view(dtype)
        assert type(bits) is np.ndarray
        assert np.shares_memory(bits, w)
    assert type(w.view(np.ndarray)) is np.ndarray
    assert all(type(own) is BFloat16 for own in (w.view(), w.view(BFloat16), w.astype(np.uint16), fs.as_bfloat16(w)))
    assert type(np.empty_like(w, np.int8)) is np.ndarray
    w.view(np.int16)[0] = 0x4000
    assert w.tolist() == [2, 1, 1, 1]
    assert f"{w[:1].reshape(())}" == "2.0"


def test_views_of_marked_bits_as_those_of_ml_dtypes():
    theirs = cast(np.ones(3), "bfloat16").view(ml_dtypes_bfloat16())
    assert type(theirs) is np.ndarray
    assert theirs.tolist() == [1, 1, 1]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("part", [np.s_[:], np.s_[:, 1:], np.s_[1], np.s_[::-1]])
def test_marked_bits_are_moved(protocol, part, tmp_path):
    w = cast(np.arange(12.0).reshape(3, 4).T, "bfloat16")[part]
    np.save(tmp_path / "w.npy", w)
    copies = [pickle.loads(pickle.dumps(w, protocol)), copy.copy(w), copy.deepcopy(w), w.copy("K")]
    copies.append(fs.as_bfloat16(np.load(tmp_path / "w.npy")))
    for made in copies:
        assert type(made) is BFloat16
        assert same_bytes(made, w)


def test_masks_are_not_dropped():
    bits = np.ma.array(np.full(2, 0x3F80, np.uint16), mask=[True, False])
    with pytest.raises(TypeError, match=r"^as_bfloat16: array must be a plain numpy.ndarray of uint16, got Masked"):
        fs.as_bfloat16(bits)
    assert fs.as_float32(fs.as_bfloat16(bits.data)).tolist() == [1, 1]


@pytest.mark.parametrize("name", fs.reference.__all__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_every_function_in_every_type(name, dtype):
    """Beside the class, whose state the function is given."""
    rng = np.random.default_rng(2)
    start, grad = random(rng, 50, np.float32).astype(dtype), random(rng, 50, np.float32)
    cls = getattr(fs, name)
    theta, of_class = start.copy(), start.copy()
    opt = cls(of_class, lr=0.1)
    before = {key: value.copy() for key, value in opt.state["0"].items() if key != "step"}
    opt.step(grad)
    function = getattr(fs.functional, fs.functional.name_of(cls))
    function(theta, grad, **before, step=1, lr=0.1)
    assert same_bytes(theta, of_class)
    assert (theta != start).any()
    assert all(same_bytes(value, opt.state["0"][key]) for key, value in before.items())


def test_functions_take_one_type_for_a_list():
    params = [np.ones(3, np.float32), np.ones(3, np.float32)]
    states = [cast(np.zeros(3), "bfloat16"), np.zeros(3, np.float32)]
    with pytest.raises(TypeError, match=r"^lion_: exp_avg must have one type in all its arrays, got"):
        fs.functional.lion_(params, [np.ones(3)] * 2, states, step=1, lr=0.1)


def test_small_shards_may_begin_anywhere():
    w = np.ones(10, np.float32)
    fs.Adam({"w": w}, state="sq8", extents={"w": (100, 1000)}).step({"w": w.copy()})
    assert (w != 1).all()
