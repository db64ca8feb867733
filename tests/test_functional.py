"""The methods as functions: what the classes do, with state that the caller keeps."""

from __future__ import annotations

import contextlib
import inspect
import re
import weakref
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import _core
from fusedstep.in_numpy.encodings import cast

from cases import CASES, DTYPES, IDS, SHARED, frozen, random, same_bytes

CLASSES = [getattr(fs, name) for name in fs.reference.__all__]

SHAPES = [(40,), (3, 5), (), (0,)]

#: What a state begins with is the caller's.
START = "initial_accumulator_value"

#: RAdam's variance begins with the sixth.
STEPS = 8


def function_of(cls):
    return getattr(fs.functional, fs.functional.name_of(cls))


def beginning(opt):
    """Copies of an optimizer's state: name -> an array for each parameter."""
    entries = list(opt.state.values())
    return {key: [entry[key].copy() for entry in entries] for key in entries[0] if key != "step"}


def assert_same_steps(cls, shapes, dtype, several, options):
    rng = np.random.default_rng(zlib.crc32(repr((cls.__name__, options)).encode()))
    starts = [random(rng, shape, dtype) for shape in shapes]
    params, copies = ([start.copy() for start in starts] for _ in range(2))
    opt = cls(copies if several else copies[0], lr=0.05, **options)
    states = beginning(opt)
    for step in range(1, STEPS + 1):
        grads = [random(rng, shape, dtype) for shape in shapes]
        opt.step(grads if several else grads[0])
        given = [params, grads, *(states.get(name) for name in cls.state_names)]
        if not several:
            given = [arrays and arrays[0] for arrays in given]
        function_of(cls)(*given, step=step, lr=0.05, **{key: options[key] for key in options.keys() - {START}})
    for i, entry in enumerate(opt.state.values()):
        assert same_bytes(params[i], copies[i])
        assert params[i].size == 0 or not same_bytes(params[i], starts[i])
        for name, arrays in states.items():
            assert same_bytes(arrays[i], entry[name]), name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("number", "name", "options"), [(i, *case) for i, case in enumerate(CASES)], ids=IDS)
def test_steps_of_the_class(number, name, options, dtype):
    options = {**options, **SHARED[number % len(SHARED)]}
    assert_same_steps(getattr(fs, name), SHAPES, dtype, True, options)
    assert_same_steps(getattr(fs, name), SHAPES[:1], dtype, False, options)


@pytest.mark.parametrize(("cls", "convention"), [(cls, name) for cls in CLASSES for name in cls.conventions])
def test_conventions_of_the_class(cls, convention):
    assert_same_steps(cls, SHAPES, np.float32, True, {"convention": convention})


def test_missing_gradients():
    """They skip a parameter, and its state with it."""
    params, grads, m, v = ([np.full(3, float(i)) for i in (1, 2, 3)] for _ in range(4))
    before = frozen([params[1], m[1], v[1]])
    fs.functional.adam_(params, [grads[0], None, grads[2]], m, v, step=1, lr=0.1)
    assert frozen([params[1], m[1], v[1]]) == before
    assert all((params[i] != i + 1).all() for i in (0, 2))


@pytest.mark.parametrize("cls", CLASSES)
def test_every_option_of_the_class(cls):
    taken = inspect.signature(function_of(cls)).parameters
    assert list(taken) == [
        "param",
        "grad",
        *cls.state_names,
        "step",
        "lr",
        *(name for name in cls._options if name not in ("lr", START)),
        *(["decoupled_weight_decay"] if cls.takes_decoupled_weight_decay else []),
        "convention",
        "seed",
        "rounding",
    ]
    assert all(
        taken[name].default == option.default for name, option in cls._options.items() if name in taken and name != "lr"
    )


def test_torch_spelling_of_decoupled_decay():
    def decayed(**options):
        w, m, v = (np.ones(3) for _ in range(3))
        fs.functional.adam_(w, np.ones(3), m, v, step=1, lr=0.1, weight_decay=0.5, **options)
        return w

    assert same_bytes(decayed(decoupled_weight_decay=True), decayed(decay="decoupled"))
    assert not same_bytes(decayed(decoupled_weight_decay=True), decayed())


def test_the_first_rate_is_not_known():
    """That of a class's group is; a function sees one."""
    lrs, (w, same) = [1.0, 0.5, 0.25], (np.ones(1) for _ in range(2))
    options = {"weight_decay": 0.1, "decay": "fully_decoupled"}
    opt = fs.SGD(w, lr=lambda step: lrs[step], **options)
    for step, lr in enumerate(lrs, 1):
        opt.step(np.zeros(1))
        with pytest.raises(ValueError, match=r"^sgd_: max_lr must be given with decay='fully_decoupled', got None$"):
            fs.functional.sgd_(same, np.zeros(1), step=step, lr=lr, **options)
        fs.functional.sgd_(same, np.zeros(1), step=step, lr=lr, max_lr=1.0, **options)
    assert same_bytes(w, same)


def arguments(**changed):
    """Those of a step that is possible, with others in their places."""
    given = {"param": [np.ones(3)], "grad": [np.ones(3)], "exp_avg": [np.zeros(3)], "exp_avg_sq": [np.zeros(3)]}
    return {**given, "step": 1, "lr": 0.1, **changed}


def shared():
    both = np.zeros(3)
    return arguments(exp_avg=[both], exp_avg_sq=[both])


def twice():
    """Parameters that overlap, and states that do not fit."""
    both = np.ones(3)
    return arguments(param=[both, both], grad=[None, None], exp_avg=[np.zeros(2)] * 2, exp_avg_sq=[np.zeros(3)] * 2)


ARRAY = "a numpy.ndarray, or an array that DLPack or __cuda_array_interface__ describes"

#: keywords, the class of the error, what it says
REFUSED = [
    (arguments(wieght=1), TypeError, "arguments must be among amsgrad, .*, weight_decay, got 'wieght'"),
    (
        {key: value for key, value in arguments().items() if key != "exp_avg"},
        TypeError,
        "exp_avg must be given with these options, got None",
    ),
    (arguments(step=0), ValueError, r"step must be an integer in \[1, 2\*\*62\), got 0"),
    (arguments(step=True), TypeError, r"step must be an integer in \[1, 2\*\*62\), got True"),
    (arguments(step=1.0), TypeError, r"step must be an integer in \[1, 2\*\*62\), got 1\.0"),
    (arguments(step=2**62), ValueError, r"step must be an integer in \[1, 2\*\*62\), got 4611686018427387904"),
    (arguments(lr=-1), ValueError, r"lr must be a finite number ≥ 0 \(a schedule's is schedule\(step - 1\)\), got -1"),
    (arguments(lr=abs), TypeError, "lr must be a finite number ≥ 0 .*, got <built-in function abs>"),
    (arguments(betas=(0.9, 1)), ValueError, r"betas must be two numbers in \[0, 1\), got \(0\.9, 1\)"),
    (
        arguments(convention="caffe"),
        ValueError,
        "convention must be one with a preset for this method, .*, got 'caffe'",
    ),
    (arguments(rounding="kahan"), ValueError, "rounding must be one of 'nearest', 'stochastic', got 'kahan'"),
    (arguments(seed=-1), ValueError, r"seed must be an integer in \[0, 2\*\*63\), got -1"),
    (arguments(max_exp_avg_sq=[np.zeros(3)]), TypeError, "max_exp_avg_sq must be None with these options, got list"),
    (arguments(amsgrad=True), TypeError, "max_exp_avg_sq must be given with these options, got None"),
    (arguments(param={"w": np.ones(3)}), TypeError, "param must be an array or a list of arrays, got dict"),
    (arguments(param=[[np.ones(3)]]), TypeError, r"param\[0\] must be an array, got list"),
    (arguments(param=[{"w": np.ones(3)}]), TypeError, r"param\[0\] must be an array, got dict"),
    (arguments(param=[3]), TypeError, rf"param\[0\] must be {ARRAY}, got int"),
    (arguments(param=[np.ones(3, int)]), TypeError, r"param\[0\] must have dtype .*, got int64"),
    (arguments(grad=np.ones(3)), TypeError, r"grad must be a list or a tuple, like param, got numpy\.ndarray"),
    (arguments(grad=[]), ValueError, "grad must have 1 entries, one for each of param, got 0"),
    (arguments(grad=[np.ones(2)]), ValueError, r"grad\[0\] must have the shape of param\[0\], \(3,\), got \(2,\)"),
    (arguments(exp_avg=np.ones(3)), TypeError, r"exp_avg must be a list or a tuple, like param, got numpy\.ndarray"),
    (arguments(exp_avg=3), TypeError, "exp_avg must be a list or a tuple, like param, got int"),
    (arguments(exp_avg_sq=[]), ValueError, "exp_avg_sq must have 1 entries, one for each of param, got 0"),
    (
        arguments(exp_avg_sq=[np.zeros(3), np.zeros(3)]),
        ValueError,
        "exp_avg_sq must have 1 entries, one for each of param, got 2",
    ),
    (arguments(exp_avg=[None]), TypeError, rf"exp_avg\[0\] must be {ARRAY}, got NoneType"),
    (arguments(exp_avg=[np.ones(3, int)]), TypeError, r"exp_avg\[0\] must have dtype float64, got int64"),
    (
        arguments(exp_avg_sq=[np.ones(2)]),
        ValueError,
        r"exp_avg_sq\[0\] must have the shape of param\[0\], \(3,\), got \(2,\)",
    ),
    (shared(), ValueError, r"exp_avg\[0\] and exp_avg_sq\[0\] must not overlap in memory, got .* 24 bytes"),
    (twice(), ValueError, r"param\[0\] and param\[1\] must not overlap in memory, got .* 24 bytes"),
]


@pytest.mark.parametrize("several", [1, 2])
@pytest.mark.parametrize(("given", "error", "says"), REFUSED, ids=[says for *_, says in REFUSED])
def test_refused(given, error, says, several):
    """Behind a call with as many arrays, of which it keeps how they are, and behind one with others."""
    fs.functional.adam_(*([np.ones(3) for _ in range(several)] for _ in range(4)), step=1, lr=0.1)
    before = frozen(given)
    with pytest.raises(error, match=f"^adam_: {says}") as raised:
        fs.functional.adam_(**given)
    assert type(raised.value) is error
    assert frozen(given) == before


def test_what_is_refused_behind_a_narrow_state():
    """The type of that was its call's alone."""

    def step(*states):
        fs.functional.adam_(np.ones(3), np.ones(3), *states, step=1, lr=0.1)

    for kept in (np.float16, np.float64):
        step(np.zeros(3, kept), np.zeros(3))
        with pytest.raises(TypeError, match=r"^adam_: exp_avg must have dtype float64, got >f2$"):
            step(np.zeros(3, ">f2"), np.zeros(3))


def test_rings_that_are_refused():
    def step(ring):
        fs.functional.windowed_adagrad_(
            np.ones((4, 3)), np.ones((4, 3)), np.zeros((4, 3)), ring, step=1, lr=0.1, window=5
        )

    step(np.zeros((5, 4, 3)))
    for shape in [(4, 4, 3), (4, 3), (), (5, 4, 3, 1)]:
        says = rf"ring must have the shape of 5 arrays like param, \(5, 4, 3\), got {re.escape(str(shape))}"
        with pytest.raises(ValueError, match=f"^windowed_adagrad_: {says}"):
            step(np.zeros(shape))


def test_refused_by_place():
    w, g, m, v = (np.ones(3) for _ in range(4))
    adam_ = fs.functional.adam_
    with pytest.raises(TypeError, match=r"^adam_\(\) takes at most 5 positional arguments, but 6 were given$"):
        adam_(w, g, m, v, None, 1, step=1, lr=0.1)
    for again in ("param", "exp_avg"):
        with pytest.raises(TypeError, match=rf"^adam_\(\) got multiple values for argument '{again}'$"):
            adam_(w, g, m, v, step=1, lr=0.1, **{again: w})
    with pytest.raises(TypeError, match=r"^adam_\(\) missing 1 required keyword-only argument: 'lr'$"):
        adam_(w, g, m, v, step=1)
    with pytest.raises(TypeError, match=r"^adam_\(\) missing 2 required positional arguments: 'param' and 'grad'$"):
        adam_(step=1, lr=0.1)
    with pytest.raises(ValueError, match=r"^adam_: exp_avg must have the shape of param, \(3,\), got \(2,\)$"):
        adam_(w, g, m[:2], v, step=1, lr=0.1)
    with pytest.raises(TypeError, match=rf"^adam_: exp_avg must be {re.escape(ARRAY)}, got list$"):
        adam_(w, g, [m], v, step=1, lr=0.1)
    with pytest.raises(ValueError, match=r"^adam_: param and exp_avg must not overlap in memory, got arrays that"):
        adam_(w, g, w, v, step=1, lr=0.1)
    assert all((array == 1).all() for array in (w, g, m, v))


def test_functions_take_every_type():
    theta, m, v = cast(np.ones(50), "bfloat16"), np.zeros(50, np.float32), cast(np.zeros(50), "bfloat16")
    grad = random(np.random.default_rng(2), 50, np.float32)
    fs.functional.adam_(theta, grad, m, v, step=1, lr=0.1, seed=3, rounding="stochastic")
    expected = cast(np.ones(50), "bfloat16")
    opt = fs.Adam(expected, lr=0.1, state={"exp_avg_sq": "bfloat16"}, rounding="stochastic", seed=3)
    opt.step(grad)
    assert same_bytes(theta, expected)
    assert same_bytes(v, opt.state["0"]["exp_avg_sq"])


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


# What calls share


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


def test_plans_are_used_again(monkeypatch):
    """Calls one after the other take one, also behind one that was refused."""
    made, Plan = [], _core.Plan
    monkeypatch.setattr(_core, "Plan", lambda *args, **options: made.append(args) or Plan(*args, **options))
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
