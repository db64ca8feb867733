"""Storage types: the same bits as NumPy's, in every method, and state that is saved raw."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.bfloat16 import bits_of
from fusedstep.commands.contract import STORAGES, extreme, random
from fusedstep.in_numpy.encodings import cast
from fusedstep.in_numpy.layout import flat

from cases import CASES, IDS, same_bytes
from places import PLACES

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
    """Where the lower half of an element's number begins anew, and where that of its stretch does. Threads take two
    tiles at least: of two neighbouring tiles one has no thread's end behind it."""
    set_threads(threads)
    combination, size = ("bfloat16", "bfloat16", "bfloat16", "stochastic"), 150_007
    for begin in (2**32 - 4096 * 20, 2**32 - 4096 * 21, 2**20 - 4096):
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


def test_small_shards_may_begin_anywhere():
    w = np.ones(10, np.float32)
    fs.Adam({"w": w}, state="sq8", extents={"w": (100, 1000)}).step({"w": w.copy()})
    assert (w != 1).all()
