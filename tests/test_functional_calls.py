"""What the calls of a function share: options, and a plan that knows how the last arrays were. Nothing else is left."""

from __future__ import annotations

import contextlib
import re
import weakref
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import _core

from cases import frozen, random, same_bytes


def adam(size=3, dtype=float, **options):
    """A step of Adam from the same beginning: the bytes of what it writes."""
    w, m, v = (np.ones(size, dtype) for _ in range(3))
    fs.functional.adam_(w, np.arange(size, dtype=dtype), m, v, **{"step": 1, "lr": 0.1, **options})
    return frozen([w, m, v])


def test_options_that_are_equal_and_not_right():
    for option, right, wrong in (
        ("weight_decay", 1, True),
        ("maximize", True, 1),
        ("seed", 0, False),
        ("betas", (0, 0.5), (False, 0.5)),
        ("betas", (0.25, 0.5), (0.25 + 0j, 0.5)),
    ):
        adam(**{option: right})
        with pytest.raises(TypeError, match=f"^adam_: {option} must be .*, got {re.escape(repr(wrong))}$"):
            adam(**{option: wrong})


def test_options_that_change_where_they_are():
    class Betas(list):
        __hash__ = object.__hash__

    for betas in ([0.5, 0.5], Betas([0.5, 0.5])):
        first = adam(betas=betas)
        betas[0] = 0.0
        assert adam(betas=betas) == adam(betas=(0.0, 0.5)) != first


def blocks(shape, axes):
    """Makes dense arrays in other orders of axes than C's."""
    return lambda rng, dtype: random(rng, shape, dtype).transpose(axes)


#: How arrays can be: what makes one, the type of parameters, that of states
FORMS = [
    (lambda rng, dtype: random(rng, 40, dtype), np.float32, np.float32),
    (lambda rng, dtype: random(rng, (3, 7), dtype), np.float32, np.float32),
    (lambda rng, dtype: random(rng, (), dtype), np.float32, np.float32),
    (lambda rng, dtype: random(rng, (4, 0), dtype), np.float32, np.float32),
    (lambda rng, dtype: random(rng, 80, dtype)[3:50], np.float32, np.float32),
    (blocks((5, 6), (1, 0)), np.float32, np.float32),
    (blocks((2, 3, 4), (1, 2, 0)), np.float32, np.float32),
    (lambda rng, dtype: random(rng, 40, dtype), np.float64, np.float64),
    (lambda rng, dtype: random(rng, 40, dtype), np.float64, np.float32),
    (lambda rng, dtype: random(rng, (3, 7), dtype), np.float32, np.float16),
    (lambda rng, dtype: random(rng, 40, dtype), np.float16, np.float32),
]


def test_calls_of_every_form():
    """What a call keeps of its arrays for the next is nothing that the next could miss."""
    rng = np.random.default_rng(7)
    for turn in range(400):
        count = int(rng.integers(1, 4))
        make, dtype, kept = FORMS[rng.integers(len(FORMS))]
        if rng.integers(2):  # the form of the call before, more often than chance would have it
            make, dtype, kept = FORMS[turn // 8 % len(FORMS)]
        params, grads = ([make(rng, dtype) for _ in range(count)] for _ in range(2))
        copies = [param.copy(order="K") for param in params]
        moments, squares = ([np.zeros_like(param, kept) for param in params] for _ in range(2))
        arithmetic = np.result_type(dtype, np.float32)
        opt = fs.Adam(copies, lr=0.1, state=None if kept == arithmetic else np.dtype(kept).name)
        opt.step(grads)
        given = params, grads, moments, squares
        # Random bits, which narrow states have, count the arrays of a call.
        one_by_one = turn % 3 == 0 and np.dtype(kept).itemsize >= arithmetic.itemsize
        for arrays in zip(*given, strict=True) if one_by_one else [given]:
            fs.functional.adam_(*arrays, step=1, lr=0.1)
        for i, entry in enumerate(opt.state.values()):
            assert same_bytes(params[i], copies[i])
            assert same_bytes(moments[i], entry["exp_avg"])
            assert same_bytes(squares[i], entry["exp_avg_sq"])


def test_arrays_that_were_there_before():
    """Those of a call may be given again, and may lie where others of it did."""
    memory = np.zeros((4, 8))
    memory[:] = start = np.arange(32.0).reshape(4, 8) + 1
    seen = set()
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [0, 1, 2, 3]):
        memory[:] = start
        rows = [memory[i] for i in order]
        copies = [row.copy() for row in rows]
        fs.functional.adam_(*rows, step=3, lr=0.1)
        fs.functional.adam_(*copies, step=3, lr=0.1)
        assert all(same_bytes(row, copy) for row, copy in zip(rows, copies, strict=True))
        seen.add(memory.tobytes())
    assert len(seen) == 3
    for written in (0, 2, 3):
        fs.functional.adam_(*memory, step=3, lr=0.1)
        rows = list(memory)
        rows[written] = rows[1]  # the gradient of before
        with pytest.raises(ValueError, match=r"grad must not overlap .* in memory"):
            fs.functional.adam_(*rows, step=3, lr=0.1)


def test_shapes_without_states():
    for shape in [(4,), (3, 2), (), (5,)]:
        w = np.ones(shape)
        fs.functional.sgd_(w, np.ones(shape), step=1, lr=0.5)
        assert (w == 0.5).all()


def test_random_bits_of_every_call():
    """A seed is a call's own; arrays of a list have numbers as well."""

    def rounded(seed):
        w = fs.as_bfloat16(np.full((2, 100), 0x3F80, np.uint16))
        fs.functional.sgd_(
            list(w), list(np.full((2, 100), 0.01, np.float32)), step=1, lr=0.1, rounding="stochastic", seed=seed
        )
        return [row.tobytes() for row in w]

    first, second = rounded(0), rounded(1)
    assert rounded(0) == first
    assert len({*first, *second}) == 4


def test_more_options_than_are_remembered():
    decays = [0.5 * number for number in range(2 * fs.functional.REMEMBERED)]
    once = [adam(weight_decay=decay) for decay in decays]
    assert [adam(weight_decay=decay) for decay in decays] == once
    assert len({repr(result) for result in once}) == len(decays)


def test_what_calls_is_used_again(monkeypatch):
    """Calls one after the other take one, also behind one that was refused."""
    made, Function = [], _core.Function
    monkeypatch.setattr(_core, "Function", lambda *args: made.append(args) or Function(*args))
    options = {"weight_decay": 0.8125}  # no other test's: theirs would be remembered
    first = adam(**options)
    with pytest.raises(ValueError, match="must have the shape of param"):
        fs.functional.adam_(np.ones(3), np.ones(4), np.ones(3), np.ones(3), step=1, lr=0.1, **options)
    assert adam(**options) == first
    assert len(made) == 1


def test_nothing_is_left_of_a_call():
    """Neither of one that was refused: the next has steps, rates, types and shapes of its own."""
    alone = adam(step=1)
    adam(7, np.float32, step=5, lr=0.5)
    with pytest.raises(ValueError, match="must not overlap"):
        fs.functional.adam_(w := np.ones(3), np.ones(3), w, np.ones(3), step=9, lr=0.9)
    with pytest.raises(ValueError, match="must have the shape of param"):
        fs.functional.adam_(np.ones(3), np.ones(4), np.ones(3), np.ones(3), step=9, lr=0.9)
    narrow = [np.ones(3), np.ones(3), np.ones(3, np.float16), np.ones(3, np.float32)]
    fs.functional.adam_(*narrow, step=1, lr=0.1)
    fs.functional.adam_([], [], [], [], step=1, lr=0.1)
    assert adam(step=1) == alone


def test_arrays_are_let_go():
    def gone(*shape, **options):
        arrays = [np.ones(shape) for _ in range(4)]
        with contextlib.suppress(ValueError):
            fs.functional.adam_(*arrays, **{"step": 1, "lr": 0.1, **options})
        return [weakref.ref(array) for array in arrays]

    assert not any(ref() is not None for ref in [*gone(3), *gone(4), *gone(3, weight_decay=-1.0)])


def test_calls_at_the_same_time():
    """Of the same options; long enough that they let each other run."""
    size, threads = 100_000, 4

    def steps(seed):
        rng, results = np.random.default_rng(seed), []
        for step in range(1, 30):
            w, g, m = (random(rng, size, np.float32) for _ in range(3))
            fs.functional.adam_(w, g, m, v := np.abs(m), step=step, lr=0.1)
            results.append(zlib.crc32(b"".join([w, m, v])))
        return results

    alone = [steps(seed) for seed in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(steps, range(threads))) == alone
    assert len({result for results in alone for result in results}) == 29 * threads


def test_a_call_within_a_call():
    """What describes an array may run anything."""

    class Gradient:
        def __init__(self):
            self.results = []

        def __dlpack_device__(self):
            return np.ones(3).__dlpack_device__()

        def __dlpack__(self, **options):
            self.results.append(adam())
            return np.arange(3.0).__dlpack__(**options)

    alone, outer = adam(), Gradient()
    w, m, v = (np.ones(3) for _ in range(3))
    fs.functional.adam_(w, outer, m, v, step=1, lr=0.1)
    assert outer.results
    assert {repr(result) for result in [*outer.results, frozen([w, m, v])]} == {repr(alone)}


class Asked(np.ndarray):
    """Whoever checks it asks for a mask; what is to happen then."""

    happens = staticmethod(lambda: None)

    @property
    def mask(self):
        self.happens()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_list_with_another_type_by_now(dtype):
    """It changes while a call of a kind that the function knows is read: no array is taken for one of that type."""
    w, grads = [np.ones(()).view(Asked), np.ones(())], [np.ones(()), np.ones(())]
    fs.functional.sgd_(w, grads, step=1, lr=0.5)
    memory = np.ones(16, dtype)
    w[0].happens = lambda: w.__setitem__(1, memory[:1].reshape(()))
    fs.functional.sgd_(w, grads, step=1, lr=0.5)
    assert memory.tolist() == [0.5] + [1.0] * 15


def test_an_array_that_is_read_only_by_now():
    """Since it was checked: neither that call nor the next lacks the arrays behind it."""
    w, grads, buffers = ([np.full(3, start) for _ in range(4)] for start in (1.0, 1.0, 0.0))
    asked = [*buffers[:3], buffers[3].view(Asked)]
    asked[3].happens = lambda: buffers[1].setflags(write=False)
    for given in (asked, buffers):
        fs.functional.sgd_(w, grads, given, step=1, lr=0.25, momentum=0.5)
        buffers[1].setflags(write=True)
    assert all((array == 1 - 0.25 - 0.25 * 1.5).all() for array in w)
