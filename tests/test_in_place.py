"""Updates happen in the caller's memory, at every size, position and layout, and nowhere else."""

from __future__ import annotations

import ctypes
import mmap
import pickle
import sys
from itertools import cycle

import numpy as np
import pytest

import fusedstep as fs

from cases import CASES, DTYPES, IDS, LAYOUTS, SHARED, laid_out, random, same_bytes

#: Steps that move the parameters.
STEPS = 2

#: Around the blocks at which threads cut and the size that pays for a thread; together enough for seven threads.
BORDERS = [5, 4095, 4096, 4097, 0, 8191, 8193, 1, 32767, 32768, 32769, 3 * 32768 + 5, 12287]

THREADS = (1, 2, 3, 7)

#: The decays that a case is stepped with, in turns, so that both forms of the loop run.
DECAYS = (SHARED[0], SHARED[1], SHARED[2])


class Field:
    """Arrays cut from one buffer at every offset from a cache line's start, with sentinels around each."""

    def __init__(self, sizes, dtype, first, values=None):
        self.sizes = list(sizes)
        gaps = [1 + (first + 3 * i) % 16 for i in range(len(self.sizes) + 1)]
        starts = np.cumsum(gaps[:-1]) + np.cumsum([0, *self.sizes[:-1]])
        # A sentinel that a loop steps by mistake changes: it is not zero, and neither is the one in the gradients.
        self.buffer = np.full(sum(gaps) + sum(self.sizes), 3.0, dtype)
        self.arrays = [self.buffer[start : start + size] for start, size in zip(starts, self.sizes, strict=True)]
        self.inside = np.concatenate([np.arange(a, a + n) for a, n in zip(starts, self.sizes, strict=True)])
        if values is not None:
            self.buffer[self.inside] = values

    def assert_holds(self, values):
        expected = np.full_like(self.buffer, 3.0)
        expected[self.inside] = values
        assert self.buffer.tobytes() == expected.tobytes()


class Expected:
    """What the reference makes of all elements as one array: the methods know no neighbours."""

    def __init__(self, name, sizes, dtype, **options):
        rng = np.random.default_rng(11)
        self.name, self.sizes, self.dtype, self.options = name, list(sizes), dtype, options
        total = sum(self.sizes)
        # Gradient and decay pull the same way, and not over zero: no step cancels, none is lost in rounding.
        self.start = (rng.uniform(0.5, 2, total) * rng.choice((-1, 1), total)).astype(dtype)
        way = np.sign(self.start) * (-1 if options.get("maximize") else 1)
        param = self.start.copy()
        reference = getattr(fs.reference, name)(param, **options)
        self.grads, self.params, moves = [], [], 0
        while moves < STEPS:
            before = param.copy()
            self.grads.append((rng.uniform(0.5, 4, total) * way).astype(dtype))
            reference.step(self.grads[-1])
            self.params.append(param.copy())
            moved = param != before
            assert moved.all() or not moved.any(), "a method moves every element or, in a phase, none"
            moves += bool(moved.all())
            assert len(self.grads) < 10, "no phase is so long"
        self.state = dict(reference.state["0"])

    def memory(self, first):
        """Fields for every state, of one plane or several per parameter, filled with what must not stay."""
        fields = {}
        for i, (key, value) in enumerate(self.state.items()):
            if key == "step":
                continue
            planes = value.size // max(1, sum(self.sizes))
            sizes = [planes * size for size in self.sizes] if value.ndim else [1] * len(self.sizes)
            fields[key] = Field(sizes, value.dtype, first + i, np.full(sum(sizes), 77))
        return fields

    def shaped(self, key, array, size):
        value = self.state[key]
        return array.reshape((*value.shape[:-1], size)) if value.ndim else array.reshape(())

    def of_state(self, key):
        value = self.state[key]
        if value.ndim == 0:
            return np.full(len(self.sizes), value)
        ends = np.cumsum(self.sizes)[:-1]
        return np.concatenate([part.ravel() for part in np.split(value, ends, axis=-1)])

    def check(self, first):
        """Step one optimizer over all the arrays and compare the buffers, sentinels and all."""
        params = Field(self.sizes, self.dtype, first, self.start)
        memory = self.memory(first + 5)
        fused = getattr(fs, self.name)(
            params.arrays,
            memory={
                str(i): {key: self.shaped(key, field.arrays[i], size) for key, field in memory.items()}
                for i, size in enumerate(self.sizes)
            },
            **self.options,
        )
        for grad, expected in zip(self.grads, self.params, strict=True):
            field = Field(self.sizes, self.dtype, first + 9, grad)
            fused.step(field.arrays)
            params.assert_holds(expected)
            field.assert_holds(grad)
        for key, field in memory.items():
            field.assert_holds(self.of_state(key))
        assert all(fused.state[str(i)]["step"] == len(self.grads) for i in range(len(self.sizes)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("number", "name", "options"), [(i, *case) for i, case in enumerate(CASES)], ids=IDS)
def test_every_size_at_every_offset(number, name, options, dtype):
    shared = DECAYS[number % len(DECAYS)]
    expected = Expected(name, range(260), dtype, lr=0.01, **options, **shared)
    for first, target in enumerate(fs.available_targets()):
        with fs.use_target(target):
            assert fs.active_target() == target
            expected.check(first)


def at_the_end_of_memory(array):
    """A copy that ends where a page does, behind which a touch is a crash."""
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    pages = np.frombuffer(memory, np.uint8)
    mprotect = ctypes.CDLL(None).mprotect
    assert mprotect(ctypes.c_void_p(pages.ctypes.data + mmap.PAGESIZE), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    copy = pages[mmap.PAGESIZE - array.nbytes : mmap.PAGESIZE].view(array.dtype)
    copy[...] = array
    return copy


@pytest.mark.skipif(sys.platform == "win32", reason="pages are protected in another way")
@pytest.mark.parametrize("size", [1, 7, 8, 15, 17, 31, 33, 100, 511])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_nothing_behind_is_touched(dtype, size, target):
    rng = np.random.default_rng(size)
    drawn = [random(rng, (size,), dtype if dtype == "float64" else "float32") for _ in range(2)]
    if dtype == "bfloat16":
        drawn = [(array.view(np.uint32) >> 16).astype(np.uint16) for array in drawn]
    wrap, options = (fs.as_bfloat16, {"state": dtype}) if dtype == "bfloat16" else (np.asarray, {})

    def stepped(place):
        param, grad, m, v = (place(array) for array in (*drawn, np.zeros_like(drawn[0]), np.zeros_like(drawn[0])))
        states = {"w": {"exp_avg": wrap(m), "exp_avg_sq": wrap(v)}}
        opt = fs.AdamW({"w": wrap(param)}, memory=states, **options)
        for _ in range(3):
            opt.step({"w": wrap(grad)})
        return [array.tobytes() for array in (param, grad, m, v)]

    assert stepped(at_the_end_of_memory) == stepped(np.copy)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("number", "name", "options"), [(i, *case) for i, case in enumerate(CASES)], ids=IDS)
def test_borders_of_threads(number, name, options, dtype, set_threads):
    # Another decay than above, so that between them every case meets two.
    shared = DECAYS[(number + 1) % len(DECAYS)]
    expected = Expected(name, BORDERS, dtype, lr=0.01, **options, **shared)
    for threads, target in zip(THREADS, cycle(fs.available_targets())):
        set_threads(threads)
        with fs.use_target(target):
            expected.check(threads)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(
    ("name", "options"), [("SGD", {"momentum": 0.9}), ("NAdam", {}), ("WindowedAdagrad", {"window": 3})]
)
def test_every_thread_count_on_every_target(name, options, threads, dtype, target, set_threads):
    expected = Expected(name, BORDERS, dtype, lr=0.01, **options)
    set_threads(threads)
    assert fs.get_num_threads() == threads
    expected.check(threads)


@pytest.mark.parametrize("offset", [1, 4095, 4097, 12345])
@pytest.mark.parametrize("name", ["SGD", "Adam", "WindowedAdagrad"])
def test_cuts_of_shards(name, offset, set_threads):
    """A shard is cut where the whole is cut, which is at another place of its own."""
    size = 5 * 32768 + 77
    rng = np.random.default_rng(3)
    start, grad = random(rng, size, np.float32), random(rng, size, np.float32)
    copy = start.copy()
    getattr(fs.reference, name)(copy, lr=0.05).step(grad)
    for threads in (2, 3, 7):
        set_threads(threads)
        param = start.copy()
        getattr(fs, name)({"w": param}, lr=0.05, extents={"w": (offset, offset + size + 3)}).step({"w": grad})
        assert same_bytes(param, copy)


@pytest.mark.parametrize(
    "extent", [[8192, 20_000], (np.int64(8192), np.int32(20_000)), np.cumsum([8192, 11_808]).tolist()], ids=repr
)
def test_extents_are_any_pair_of_integers(extent):
    """Offsets are often sums of NumPy's."""
    opt = fs.SGD({"w": np.ones(12)}, extents={"w": extent})
    opt.add({"v": np.ones(12)}, extents={"v": extent})
    assert [opt._plan.get_extent(name) for name in "wv"] == [(8192, 20_000)] * 2


def test_neighbours_in_one_allocation():
    """Parameters, gradients and state side by side: nothing overlaps, so nothing is refused."""
    rng = np.random.default_rng(5)
    sizes = [7, 1, 33, 0, 64]
    total = sum(sizes)
    buffer = np.empty(4 * total, np.float32)
    ends = np.cumsum(sizes)[:-1]
    params, grads, m, v = (np.split(part, ends) for part in np.split(buffer, 4))
    start, grad = random(rng, total, np.float32), random(rng, total, np.float32)
    buffer[: 2 * total] = np.concatenate([start, grad])
    memory = {str(i): {"exp_avg": m[i], "exp_avg_sq": v[i]} for i in range(len(sizes))}
    fs.Adam(params, lr=0.05, memory=memory).step(grads)
    copy = start.copy()
    reference = fs.reference.Adam(copy, lr=0.05)
    reference.step(grad)
    state = reference.state["0"]
    assert same_bytes(buffer, np.concatenate([copy, grad, state["exp_avg"], state["exp_avg_sq"]]))


# Shapes and layouts

#: 0-d to 5-d, axes of size 1, and empty arrays first, in the middle and last.
SHAPES = [(0,), (), (1,), (7,), (2, 3), (5, 1, 7), (3, 0, 2), (1, 1, 1, 1, 1), (2, 3, 4, 5), (2, 1, 3, 1, 4), (0, 0)]


def like(param, values):
    """A gradient in the parameter's layout."""
    grad = np.empty_like(param, order="K", subok=False)
    grad[...] = values
    return grad


def same_strides(array, param):
    """Axes of size 1 have no stride to speak of."""
    return [s for s, n in zip(array.strides, array.shape, strict=True) if n != 1] == [
        s for s, n in zip(param.strides, param.shape, strict=True) if n != 1
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_shapes_and_layouts(name, options, layout, dtype):
    rng = np.random.default_rng(13)
    params = [laid_out(random(rng, shape, dtype), layout) for shape in SHAPES]
    copies = [param.copy(order="C") for param in params]
    addresses = [param.ctypes.data for param in params]
    fused = getattr(fs, name)(params, lr=0.05, **options)
    reference = getattr(fs.reference, name)(copies, lr=0.05, **options)
    for _ in range(STEPS):
        values = [random(rng, shape, dtype) for shape in SHAPES]
        fused.step([like(param, value) for param, value in zip(params, values, strict=True)])
        reference.step(values)
    for i, (param, copy) in enumerate(zip(params, copies, strict=True)):
        assert same_bytes(param, copy)
        state = fused.state[str(i)]
        for key, expected in reference.state[str(i)].items():
            if key == "step":
                assert state[key] == expected == STEPS
                continue
            assert same_bytes(state[key], expected)
            if param.size and expected.ndim >= param.ndim and key != "mu_product":
                assert same_strides(state[key][0] if key == "ring" else state[key], param)
    assert [param.ctypes.data for param in params] == addresses


def test_layouts_are_what_they_say():
    """Otherwise the tests of layouts would be tests of C's order."""
    values = np.arange(24.0).reshape(2, 3, 4)
    arrays = {layout: laid_out(values, layout) for layout in LAYOUTS}
    assert {layout: array.strides for layout, array in arrays.items()} == {
        "C": (96, 32, 8),
        "Fortran": (8, 16, 48),
        "permuted": (8, 64, 16),
    }
    assert all(np.array_equal(array, values) for array in arrays.values())


#: (shape, strides in elements of the parameter, of the gradient): they differ only where an axis has size 1.
ONES = [
    ((5, 1), (1, 1), (1, 999)),
    ((1, 5), (999, 1), (0, 1)),
    ((2, 1, 3), (3, 7, 1), (3, -5, 1)),
    ((1, 1), (0, 0), (17, -4)),
]


@pytest.mark.parametrize(("shape", "of_param", "of_grad"), ONES)
def test_axes_of_size_one_do_not_count(shape, of_param, of_grad):
    def strided(values, strides):
        return np.lib.stride_tricks.as_strided(values, shape, [4 * stride for stride in strides])

    size = int(np.prod(shape))
    param = np.arange(1, size + 1, dtype=np.float32)
    opt = fs.SGD(strided(param, of_param), lr=0.5, momentum=0.9)
    opt.step(strided(np.full(size, 2, np.float32), of_grad))
    assert np.array_equal(param, np.arange(size))


# Kinds of arrays


def test_memmap(tmp_path):
    rng = np.random.default_rng(17)
    start, grad = random(rng, (40, 50), np.float32), random(rng, (40, 50), np.float32)
    start.tofile(tmp_path / "param")
    grad.tofile(tmp_path / "grad")
    param = np.memmap(tmp_path / "param", np.float32, "r+", shape=(40, 50))
    read_only = np.memmap(tmp_path / "grad", np.float32, "r", shape=(40, 50))
    opt = fs.Adam({"w": param}, lr=0.05)
    opt.step({"w": read_only})
    param.flush()
    fs.reference.Adam(start, lr=0.05).step(grad)
    assert (tmp_path / "param").read_bytes() == start.tobytes()
    assert (tmp_path / "grad").read_bytes() == grad.tobytes()
    assert type(opt.state["w"]["exp_avg"]) is np.ndarray


class Labelled(np.ndarray):
    """A plain subclass: it computes as an array does."""


def test_subclass():
    rng = np.random.default_rng(19)
    start, grad = random(rng, 33, np.float64), random(rng, 33, np.float64)
    param = start.copy().view(Labelled)
    opt = fs.Adam([param], lr=0.05)
    opt.step([grad.view(Labelled)])
    opt.step([grad])
    copy = start.copy()
    reference = fs.reference.Adam(copy, lr=0.05)
    reference.step(grad)
    reference.step(grad)
    assert same_bytes(np.asarray(param), copy)
    assert type(opt.state["0"]["exp_avg"]) is np.ndarray


@pytest.mark.parametrize("dtype", DTYPES)
def test_native_order_by_its_name(dtype):
    """As NumPy has it of the memory of ctypes and multiprocessing, and of files that say how they lie."""
    kind = np.ctypeslib.as_ctypes_type(dtype)

    def shared(values):
        array = np.ctypeslib.as_array((kind * 3)(*values))
        assert array.dtype.byteorder == {"little": "<", "big": ">"}[sys.byteorder]
        return array

    w, grad, copy = shared([1, 2, 3]), shared([3, 4, 5]), shared([0, 0, 0])
    memory = {"0": {"exp_avg": shared([7] * 3), "exp_avg_sq": shared([7] * 3)}}
    opt = fs.Adam(w, lr=0.5, memory=memory)
    fs.functional.adam_(own := shared([1, 2, 3]), grad, *map(shared, [[0] * 3] * 2), step=1, lr=0.5)
    expected = np.array([1, 2, 3], dtype)
    plain = fs.Adam(expected, lr=0.5)
    for optimizer in (opt, plain):
        optimizer.step(grad, copy_to=copy)
    assert w.tobytes() == expected.tobytes() == copy.tobytes() == own.tobytes()
    assert fs.stats(grad, before=w, after=copy)["0"].stalled == 1
    plain.load_state_dict(opt.state_dict())
    opt.load_state_dict(plain.state_dict())
    pickle.loads(pickle.dumps(opt)).step(grad)
    carry = np.ones((), np.dtype(np.float64).newbyteorder("<" if sys.byteorder == "little" else ">"))
    fs.functional.nadam_(own, grad, *map(shared, [[0] * 3] * 2), carry, step=1, lr=0.5)
    assert carry < 1


def test_scalar_array():
    param = np.array(3.0)
    opt = fs.SGD(param, lr=0.5, momentum=0.9)
    opt.step(np.array(2.0))
    assert param == 2.0
    assert param.shape == opt.state["0"]["momentum_buffer"].shape == ()


def test_views_see_the_update():
    param = np.ones((4, 5), np.float32)
    column, flat = param[:, 2], param.reshape(-1)
    fs.SGD(param, lr=0.5).step(np.ones_like(param))
    assert (column == 0.5).all()
    assert (flat == 0.5).all()


def test_gradient_of_two_parameters():
    """Gradients are only read, so that one array may stand for several."""
    grad = np.full(5, 2.0)
    a, b = np.ones(5), np.zeros(5)
    opt = fs.SGD([a, b], lr=0.5)
    opt.step([grad, grad])
    opt.step([grad, grad])
    assert (a == -1).all()
    assert (b == -2).all()
    assert (grad == 2).all()


def test_read_only_gradient():
    grad = np.full(5, 2.0)
    grad.flags.writeable = False
    param = np.ones(5)
    fs.SGD(param, lr=0.5).step(grad)
    assert (param == 0).all()


@pytest.mark.parametrize("shift", range(1, 64))
@pytest.mark.parametrize("dtype", DTYPES)
def test_multiples_of_the_element(dtype, shift, target):
    """An address that only the element's size divides is as good as any; test_refused_arrays has the others."""
    itemsize = np.dtype(dtype).itemsize
    shift *= itemsize
    rng = np.random.default_rng(shift)
    start, grad = random(rng, 67, dtype), random(rng, 67, dtype)
    raw = np.zeros((3, 67 * itemsize + 64 * itemsize), np.uint8)
    param, shifted, m = (row[shift : shift + 67 * itemsize].view(dtype) for row in raw)
    param[:], shifted[:] = start, grad
    fs.SGD({"w": param}, lr=0.05, momentum=0.9, memory={"w": {"momentum_buffer": m}}).step({"w": shifted})
    copy = start.copy()
    fs.reference.SGD(copy, lr=0.05, momentum=0.9).step(grad)
    assert same_bytes(param, copy)
    assert same_bytes(m, grad)
