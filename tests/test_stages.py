"""What a step does beside the update: unscaling, clipping, skipping, averaging, copying, zeroing."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.in_numpy.norms import block_sum, square_sum

from cases import CASES, IDS, assert_same_state, random, same_bytes

EVERY = {"grad_scale": 3.0, "max_norm": 0.7, "clip_value": 0.01, "zero_grad": True}


def tree(rng, dtype=np.float32):
    return {
        "w": random(rng, (70, 90), dtype),
        "b": [random(rng, 17, dtype), np.zeros(0, dtype)],
        "c": random(rng, (), dtype),
    }


def changed(params, make):
    if isinstance(params, dict):
        return {key: changed(value, make) for key, value in params.items()}
    return [changed(one, make) for one in params] if isinstance(params, list) else make(params)


def leaves(params):
    if isinstance(params, dict):
        return [leaf for value in params.values() for leaf in leaves(value)]
    return [leaf for one in params for leaf in leaves(one)] if isinstance(params, list) else [params]


def assert_same_trees(actual, expected):
    for a, b in zip(leaves(actual), leaves(expected), strict=True):
        assert same_bytes(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "stages", [EVERY, {"max_norm_per_tensor": 0.3}, {"norm": 3.0, "max_norm": 0.1}, {"clip_value": 0.5}]
)
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_same_bits_as_numpy(name, options, stages, dtype, place):
    rng = np.random.default_rng(1)
    copies = tree(rng, dtype)
    params = changed(copies, lambda param: place.put(param.copy()))
    pair = [getattr(fs, name)(params, **options, weight_average=0.75, flush_denormals=True)]
    pair.append(getattr(fs.reference, name)(copies, **options, weight_average=0.75, flush_denormals=True))
    for _ in range(2):
        twins = changed(copies, lambda param: random(rng, param.shape, dtype))
        grads = changed(twins, lambda grad: place.put(grad.copy()))
        too = changed(copies, lambda param: np.zeros(param.shape, np.float16))
        to = changed(too, lambda array: place.put(array.copy()))
        with np.errstate(over="ignore"):
            pair[0].step(grads, copy_to=to, **stages)
            pair[1].step(twins, copy_to=too, **stages)
        for actual, expected in ((params, copies), (grads, twins), (to, too), (pair[0].average, pair[1].average)):
            assert_same_trees(changed(actual, place.get), expected)
        assert_same_state(*pair, place.get)
        np.testing.assert_equal(tuple(pair[0].last), tuple(pair[1].last))


class Rows(np.ndarray):
    """It stays two-dimensional and multiplies in a way of its own, as a matrix, and may have more axes."""

    def reshape(self, *shape):
        return np.atleast_2d(super().reshape(*shape))

    def __mul__(self, other):
        raise AssertionError("elements were multiplied by the subclass")


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (np.float32, {"weight_average": 0.75, "flush_denormals": True}),
        (np.float64, {}),
        (np.float16, {"rounding": "stochastic"}),
        (np.float16, {"rounding": "kahan"}),
    ],
)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("kind", "name"), [(np.matrix, "AdamW"), (Rows, "AdamW"), (Rows, "WindowedAdagrad")])
def test_subclasses_are_plain_arrays(kind, name, order, dtype, options):
    """In the reference as in the kernels: parameters, gradients, states and copies."""
    rng = np.random.default_rng(3)
    start = random(rng, (3, 4), dtype)
    params = [start.copy(order).view(kind) for _ in range(2)]
    made = []
    for module, param in zip((fs, fs.reference), params, strict=True):
        cls = getattr(module, name)
        plain = cls(param, lr=0.1, **options).state["0"]
        memory = {key: value.view(kind) for key, value in plain.items() if key != "step" and value.ndim > 1}
        made.append(cls(param, lr=0.1, memory={"0": memory}, **options))
    for _ in range(3):
        grad = random(rng, (3, 4), np.float32)
        grads = [grad.copy(order).view(kind) for _ in range(2)]
        copies = [np.zeros((3, 4), np.float16, order).view(kind) for _ in range(2)]
        for opt, grad, to in zip(made, grads, copies, strict=True):
            opt.step(grad, copy_to=to, **EVERY)
        for actual, expected in (params, grads, copies):
            assert type(expected) is kind
            assert same_bytes(np.asarray(actual), np.asarray(expected))
        assert not np.asarray(grads[1]).any()
    assert_same_state(*made, np.asarray)
    assert not same_bytes(np.asarray(params[1]), start)


def test_norm_is_the_norm():
    rng = np.random.default_rng(2)
    w = random(rng, 50_000, np.float32)
    for dtype in (np.float16, np.float32, np.float64):
        grad = (random(rng, 50_000, np.float32) / 64).astype(dtype)
        opt = fs.SGD(w.copy())
        opt.step(grad, grad_scale=4.0, on_nonfinite="skip")
        expected = math.sqrt(math.fsum(x * x for x in grad.astype(float).tolist())) / 4
        assert abs(opt.last.norm / expected - 1) < 1e-13
        assert opt.last.factor == 0.25
        assert opt.last.norm == math.sqrt(square_sum(grad, 0)) / 4


@pytest.mark.parametrize("offset", [0, 1, 4095, 4096, 5000])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 4095, 4096, 4097, 9000, 70_000])
def test_norm_by_blocks(size, offset, place):
    """The bits of the norm depend on where a shard begins in its tensor, and on nothing else."""
    assert_norm(random(np.random.default_rng(size), size, np.float32), offset, place)


@pytest.mark.parametrize("offset", [0, 4096, 250_000, 262_144, 270_000])
def test_norm_by_pages(offset, place):
    """64 blocks of the tensor are added up apart."""
    whole, shards = [], []
    for seed in (4, 5, 6):
        rng = np.random.default_rng(seed)
        grad = random(rng, 600_000, np.float64) * 2.0 ** rng.integers(0, 8, 600_000)
        assert_norm(grad, offset, place)
        norm = math.sqrt(square_sum(grad, offset))
        whole.append(norm == math.sqrt(block_sum(grad**2)))
        shards.append(norm == math.sqrt(square_sum(grad, offset % 4096)))
    assert not all(whole), "without pages it would be the same"
    assert all(shards) == (offset % 262_144 == 0), "pages that are counted in the shard would be seen"


@pytest.mark.parametrize("order", ["ew", "we", "ewe"])
def test_empty_shards_have_no_part_in_norms(order, place):
    """Far in their tensors, where a page of sums has begun."""
    names = {f"{name}{i}": name for i, name in enumerate(order)}
    values = {"e": np.ones(0, np.float32), "w": np.full(20_000, 0.5, np.float32)}
    params = {name: place.put(values[kind].copy()) for name, kind in names.items()}
    extents = {name: (24_576, 24_576) for name, kind in names.items() if kind == "e"}
    opt = fs.SGD(params, extents=extents)
    opt.step({name: place.put(values[kind]) for name, kind in names.items()}, max_norm=1.0)
    assert opt.last.norm == math.sqrt(square_sum(values["w"], 0))


def assert_norm(grad, offset, place):
    expected = math.sqrt(square_sum(grad, offset))
    for target in fs.available_targets():
        for threads in (1, 3):
            before = fs.set_num_threads(threads)
            with fs.use_target(target):
                opt = fs.SGD({"w": place.put(np.zeros_like(grad))}, extents={"w": (offset, 10**6)})
                opt.step({"w": place.put(grad)}, on_nonfinite="skip")
            fs.set_num_threads(before)
            assert opt.last.norm == expected


def test_clipping_is_torchs():
    """The parameters move by the clipped gradient: factor max/(norm + 1e-6), at most 1."""
    grad = np.array([3.0, 4.0])
    for most, factor in ((1.0, 1 / (5 + 1e-6)), (10.0, 1.0)):
        w = np.zeros(2)
        opt = fs.SGD(w, lr=1.0)
        opt.step(grad, max_norm=most)
        assert opt.last == (5.0, factor, False)
        assert same_bytes(w, -(factor * grad))
    assert same_bytes(grad, np.array([3.0, 4.0]))


def test_agreement_with_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    values, grads = [random(rng, n, np.float64) for n in (100, 7)], [random(rng, n, np.float64) for n in (100, 7)]
    ours = [value.copy() for value in values]
    theirs = [torch.from_numpy(value.copy()).requires_grad_() for value in values]
    opt, other = fs.Adam(ours, lr=0.1), torch.optim.Adam(theirs, lr=0.1, foreach=False)
    for step in range(20):
        for theta, grad in zip(theirs, grads, strict=True):
            theta.grad = torch.from_numpy(grad * (step + 1))
        norm = torch.nn.utils.clip_grad_norm_(theirs, 1.5)
        other.step()
        opt.step([grad * (step + 1) for grad in grads], max_norm=1.5)
        assert abs(opt.last.norm / float(norm) - 1) < 1e-12
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a - b.detach().numpy()).max() < 1e-11


def test_order_of_the_stages():
    """Unscaled, then clipped by value, then turned, then decayed."""
    w = np.array([2.0])
    fs.SGD(w, lr=1.0, weight_decay=0.5, maximize=True).step(np.array([40.0]), grad_scale=4.0, clip_value=3.0)
    assert w[0] == 2.0 - (-3.0 + 0.5 * 2.0)


def test_each_tensor_by_its_own_norm():
    a, b = np.zeros(2), np.zeros(1)
    opt = fs.SGD([a, b], lr=1.0)
    opt.step([np.array([3.0, 4.0]), np.array([0.5])], max_norm_per_tensor=1.0)
    assert opt.last.factor == 1 / (5 + 1e-6)
    assert b[0] == -0.5
    assert abs(np.linalg.norm(a) - 1) < 1e-6


@pytest.mark.parametrize("package", [fs, fs.reference], ids=["fused", "reference"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("lane", [0, 1, 7, 15, 16, 4095, 4096, 4999])
def test_skip_leaves_every_byte(lane, bad, package):
    rng = np.random.default_rng(4)
    params = [random(rng, 5000, np.float32), random(rng, 3, np.float32)]
    opt = package.Adam(params, lr=0.1, weight_average=0.9)
    grads = [random(rng, 5000, np.float32), random(rng, 3, np.float32)]
    opt.step(grads)
    copies = [np.full(5000, 7, np.float16), np.full(3, 7, np.float16)]
    broken = [grads[0].copy(), grads[1].copy()]
    broken[0][lane] = bad

    def everything():
        arrays = [*params, *broken, *copies, *leaves(opt.average)]
        state = [value for entry in opt.state.values() for value in entry.values()]
        return [array.tobytes() if isinstance(array, np.ndarray) else array for array in (*arrays, *state)]

    before = everything()
    stages = {"copy_to": copies, "zero_grad": True, "max_norm": 1.0}
    opt.step(broken, on_nonfinite="skip", **stages)
    assert everything() == before
    assert opt.last.skipped
    assert opt.skipped == 1
    with pytest.raises(
        FloatingPointError, match=r"^Adam: grads must be finite with on_nonfinite='raise', got a norm of"
    ):
        opt.step(broken, on_nonfinite="raise", **stages)
    assert everything() == before
    assert opt.skipped == 1
    opt.step(grads, on_nonfinite="raise", **stages)
    assert everything() != before
    assert not opt.last.skipped
    assert opt.state["0"]["step"] == 2


def test_propagate_lets_them_through():
    w = np.ones(3)
    opt = fs.SGD(w, lr=1.0)
    opt.step(np.array([1.0, np.nan, np.inf]))
    assert np.isnan(w[1])
    assert np.isinf(w[2])
    assert opt.skipped == 0


def test_schedule_does_not_count_skipped_steps():
    seen = []
    w = np.zeros(1)
    opt = fs.SGD(w, lr=lambda step: seen.append(step) or 0.5)
    for value in (1.0, np.nan, 1.0):
        opt.step(np.array([value]), on_nonfinite="skip")
    assert seen[-1] == 1
    assert w[0] == -1.0


def test_average_in_words():
    w = np.array([1.0], np.float32)
    opt = fs.SGD(w, lr=1.0, weight_average=0.5)
    for expected in (0.5, -0.25):
        opt.step(np.ones(1, np.float32))
        assert opt.average[0] == expected
    (group,) = fs.SGD([{"params": {"w": w}}], weight_average=0.5).average
    assert group.keys() == {"w"}
    without = fs.SGD(np.ones(1))
    with pytest.raises(AttributeError, match=r"^SGD: average needs weight_average"):
        _ = without.average
    assert not hasattr(without, "average")  # whoever asks for that, or for all there is, gets an answer
    assert "average" not in dict(inspect.getmembers(without))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_flushed_denormals(dtype):
    """Gradients and states below every normal number count as 0; without the mode they are kept."""
    tiny = dtype(np.finfo(dtype).smallest_normal / 4)
    for flush in (False, True):
        w = np.ones(20, dtype)
        opt = fs.Adam(w, betas=(0.5, 0.5), flush_denormals=flush)
        opt.step(np.full(20, tiny))
        assert (opt.state["0"]["exp_avg"] != 0).all() == (not flush)
        opt.step(np.full(20, np.finfo(dtype).smallest_normal))
        assert (opt.state["0"]["exp_avg"] != 0).all() == (not flush)
        opt.step(np.full(20, -8 * np.finfo(dtype).smallest_normal))
        assert (opt.state["0"]["exp_avg"] < 0).all()


@pytest.mark.parametrize("package", [fs, fs.reference], ids=["fused", "reference"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_smallest_normal_numbers_are_not_flushed(dtype, package):
    least = np.finfo(dtype).smallest_normal
    w, grads = np.zeros(3, dtype), np.array([least, -least, np.nextafter(least, dtype(0))])
    package.SGD(w, lr=1.0, flush_denormals=True).step(grads)
    assert w.tolist() == [-least, least, 0]


@pytest.mark.parametrize("package", [fs, fs.reference], ids=["fused", "reference"])
@pytest.mark.parametrize("bad", range(3))
def test_norms_that_are_no_numbers(bad, package):
    """Without ``on_nonfinite`` they reach what is divided by them."""
    grads = [np.ones(2) for _ in range(3)]
    grads[bad][1] = np.nan
    for stage in ("max_norm", "max_norm_per_tensor"):
        params = [np.zeros(2) for _ in range(3)]
        opt = package.SGD(params, lr=0.5)
        opt.step(grads, **{stage: 1.0})
        assert np.isnan(opt.last.factor)
        expected = [stage == "max_norm" or i == bad for i in range(3)]
        assert [bool(np.isnan(param).all()) for param in params] == expected


def test_bound_stages():
    w, g, half = np.zeros(3), np.array([3.0, 4.0, 0.0]), np.zeros(3, np.float16)
    opt = fs.SGD(w, lr=1.0)
    bound = opt.bind(g, max_norm=1.0, copy_to=half, zero_grad=True)
    bound.step()
    assert (g == 0).all()
    assert abs(np.linalg.norm(w) - 1) < 1e-6
    assert same_bytes(half, w.astype(np.float16))
    g[:] = 1, 0, 0
    bound.step()
    assert abs(w[0] + 1.6) < 1e-5
    opt.step(np.zeros(3))
    assert opt.last.factor == 1


class Described:
    """An array of another library, which only a device could read."""

    __dlpack__ = None

    def __repr__(self) -> str:  # the same in every process that collects it
        return "Described()"


REFUSED = [
    ({"grad_scale": 0.0}, ValueError, "grad_scale must be a finite number > 0, got 0.0"),
    ({"grad_scale": math.nan}, ValueError, "grad_scale must be a finite number > 0"),
    ({"grad_scale": "8"}, TypeError, "grad_scale must be a finite number > 0"),
    ({"max_norm": -1.0}, ValueError, "max_norm must be None or a finite number > 0"),
    ({"max_norm": 1.0, "max_norm_per_tensor": 1.0}, ValueError, "max_norm must be None with max_norm_per_tensor"),
    ({"norm": 10**400}, ValueError, "norm must be None or a number ≥ 0"),
    ({"norm": -1.0}, ValueError, "norm must be None or a number ≥ 0"),
    ({"norm": [1.0]}, TypeError, "norm must be"),
    ({"norm": True}, TypeError, "norm must be"),
    ({"grad_scale": Described()}, TypeError, "grad_scale must be a finite number > 0"),
    ({"clip_value": math.inf}, ValueError, "clip_value must be"),
    ({"on_nonfinite": "ignore"}, ValueError, "on_nonfinite must be one of 'propagate', 'skip', 'raise'"),
    ({"zero_grad": 1}, TypeError, "zero_grad must be True or False"),
    ({"max_nrom": 1.0}, TypeError, "step's keywords must be among clip_value, copy_to, grad_scale, max_norm"),
    ({"copy_to": np.zeros(4)}, ValueError, "copy_to must have the shape of params"),
    ({"copy_to": [np.zeros(3)]}, TypeError, "copy_to must be a numpy.ndarray"),
    ({"copy_to": np.zeros(3, int)}, TypeError, "copy_to must have dtype"),
    ({"copy_to": np.frombuffer(bytes(24))}, ValueError, "copy_to must be writeable"),
]


@pytest.mark.parametrize("call", ["step", "bind"])
@pytest.mark.parametrize("package", [fs, fs.reference], ids=["fused", "reference"])
@pytest.mark.parametrize(("stages", "error", "message"), REFUSED, ids=[str(list(row[0].items())) for row in REFUSED])
def test_refusals(stages, error, message, package, call):
    w = np.ones(3)
    opt = package.SGD(w)
    with pytest.raises(error, match=f"^SGD: {message}"):
        getattr(opt, call)(np.ones(3), **stages)
    assert (w == 1).all()
    assert opt.state["0"]["step"] == 0


def test_what_is_written_must_lie_apart():
    w, g = np.ones(3), np.ones(3)
    opt = fs.SGD([w, np.ones(3)])
    fixed = np.ones(3)
    fixed.flags.writeable = False
    for grads, stages, message in (
        ([g, g], {"zero_grad": True}, r"grads\[0\] and grads\[1\] must not overlap"),
        ([g, fixed], {"zero_grad": True}, r"grads\[1\] must be writeable"),
        ([g, None], {"copy_to": [g, None]}, r"grads\[0\] must not overlap copy_to\[0\]"),
        ([g, None], {"copy_to": [w, None]}, r"copy_to\[0\] must not overlap params\[0\]"),
        ([g, None], {"copy_to": [g, None], "zero_grad": True}, "must not overlap"),
    ):
        with pytest.raises(ValueError, match=f"^SGD: {message}" if message[0] != "m" else message):
            opt.step(grads, **stages)
        assert (g == 1).all()
        assert (w == 1).all()
    opt.step([g, g])
    assert (w < 1).all()


def test_parameters_without_gradients_are_left_out():
    a, b, to = np.ones(2), np.ones(2), [np.zeros(2, np.float32), np.zeros(2, np.float32)]
    opt = fs.SGD([a, b], lr=1.0, weight_average=0.5)
    opt.step([None, np.array([3.0, 4.0])], max_norm=1.0, copy_to=to)
    assert opt.last.norm == 5.0
    assert (a == 1).all()
    assert (to[0] == 0).all()
    assert same_bytes(to[1], b.astype(np.float32))
    assert (opt.average[0] == 1).all()


@pytest.mark.parametrize("package", [fs, fs.reference], ids=["fused", "reference"])
@pytest.mark.parametrize("bound", [False, True], ids=["step", "bind"])
def test_options_that_change_before_the_step(bound, package):
    """The gradient's type, the copy and the zeroes belong to the step, whatever it takes over on its way."""
    memory, w, to = np.ones(8, np.float16), np.zeros(4, np.float32), np.zeros(4, np.float16)
    opt = package.SGD(w, lr=1.0)
    held = opt.bind(memory[:4], copy_to=to, zero_grad=True) if bound else None
    for lr, momentum, expected in ((0.5, 0.5, -0.5), (0.25, 0.0, -0.75), (0.25, 0.5, -1.0)):
        opt.param_groups[0].update(lr=lr, momentum=momentum)
        memory[:] = 1
        held.step() if held else opt.step(memory[:4], copy_to=to, zero_grad=True)
        assert (w == expected).all()
        assert (to == expected).all()
        assert memory.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    opt.param_groups[0].update(lr=1.0, momentum=0.0)
    late = opt.bind(memory[:4])
    memory[:] = 1
    late.step()
    late.step()
    assert (w == -3.0).all()


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.float16])
def test_any_number_is_a_norm(kind):
    w = np.ones(3)
    opt = fs.SGD(w)
    opt.step(np.ones(3), norm=kind("inf"), on_nonfinite="skip")
    assert opt.skipped == 1
    opt.step(np.array([3.0, 4.0, 0.0]), norm=kind(5.0), max_norm=1.0)
    assert opt.last == (5.0, 1 / (5 + 1e-6), False)
    opt.step(np.zeros(3), norm=kind(0.0), max_norm=1.0)
    assert opt.last == (0.0, 1.0, False)


@pytest.mark.parametrize("window", [2, 3, 5])
def test_flushed_windows(window):
    """Squares in the ring stay as they are, whatever their size; sums below the normal numbers are 0."""
    thetas = []
    for package in (fs, fs.reference):
        w = np.zeros(3, np.float32)
        opt = package.WindowedAdagrad(w, window=window, flush_denormals=True, eps=0.0, lr=1.0)
        for size in (1e-20, 1e-20, 1e-20, 1e-19, 1e-19, 1e-18, 1e-17):
            opt.step(np.full(3, size, np.float32))
        thetas.append((w, opt.state["0"]["sum"], opt.state["0"]["ring"]))
    for mine, other in zip(*thetas, strict=True):
        assert same_bytes(mine, other)
