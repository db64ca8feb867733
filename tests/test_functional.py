"""The methods as functions: what the classes do, with state that the caller keeps."""

from __future__ import annotations

import inspect
import re
import zlib

import numpy as np
import pytest

import fusedstep as fs
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
