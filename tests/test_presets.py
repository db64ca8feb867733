"""Conventions: the algebra and the defaults of Keras, scikit-learn and optax, run beside them, and of the papers."""

from __future__ import annotations

import importlib.util
import inspect
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.options import betas

STEPS = 200
SIZE = 13
CHANGE, FALL = 100, 0.25  # before this step the learning rate falls to so much of it: where it stands begins to show
TOLERANCE = 1e-11  # of each parameter's largest value on the way; everything is float64 on both sides

DECAY = {"lr": 0.05, "weight_decay": 0.1}
ADAM = [{"lr": 0.05}, DECAY, {"lr": 0.05, "betas": (0.5, 0.9), "eps": 0.1}]
ROOT = {"lr": 0.05, "eps_root": 0.1}
CENTERED = {"lr": 0.05, "weight_decay": 0.1, "centered": True, "momentum": 0.5, "alpha": 0.99, "eps": 0.1}

#: library -> rows of: our class, what we alone are told, their class or function, what both are told.
ROWS = {
    "keras": [
        ("SGD", {}, "SGD", [{}, DECAY, {"momentum": 0.9}, {**DECAY, "momentum": 0.9, "nesterov": True}]),
        ("Adagrad", {}, "Adagrad", [{}, DECAY, {"initial_accumulator_value": 1.0, "eps": 0.1}]),
        ("RMSprop", {}, "RMSprop", [{}, DECAY, {"momentum": 0.9}, {"centered": True}, CENTERED]),
        ("Adadelta", {}, "Adadelta", [{}, DECAY, {"lr": 1.0, "rho": 0.5, "eps": 0.1}]),
        ("Adam", {}, "Adam", [{}, *ADAM, {"amsgrad": True}, {**DECAY, "amsgrad": True, "betas": (0.5, 0.9)}]),
        ("AdamW", {}, "AdamW", [{}, *ADAM, {"amsgrad": True}]),
        ("NAdam", {}, "Nadam", [{}, *ADAM]),
        ("Adamax", {}, "Adamax", [{}, *ADAM]),
        ("Lion", {}, "Lion", [{}, DECAY, {"lr": 0.05, "betas": (0.5, 0.9)}]),
    ],
    "sklearn": [
        ("SGD", {}, "SGDOptimizer", [{"lr": 0.05}, {"lr": 0.05, "momentum": 0.5}, {"lr": 0.05, "nesterov": False}]),
        ("Adam", {}, "AdamOptimizer", [{}, {"lr": 0.05, "betas": (0.5, 0.9), "eps": 0.1}]),
    ],
    "optax": [
        ("SGD", {}, "sgd", [{"lr": 0.05}, {**DECAY, "momentum": 0.9}, {**DECAY, "momentum": 0.9, "nesterov": True}]),
        ("Adagrad", {}, "adagrad", [DECAY, {"lr": 0.05, "initial_accumulator_value": 0.0, "eps": 0.0}]),
        ("RMSprop", {}, "rmsprop", [DECAY, {"lr": 0.05, "momentum": 0.9}, {"lr": 0.05, "centered": True}, CENTERED]),
        ("Adadelta", {}, "adadelta", [{"lr": 1.0}, DECAY, {"lr": 0.5, "rho": 0.5, "eps": 0.1}]),
        ("Adam", {}, "adam", [*ADAM, ROOT]),
        ("Adam", {"amsgrad": True}, "amsgrad", [*ADAM, ROOT]),
        ("AdamW", {}, "adamw", [*ADAM, ROOT]),
        ("RAdam", {}, "radam", [*ADAM, {"lr": 0.05, "betas": (0.9, 0.5)}]),
    ],
    "paper": [
        ("SGD", {}, "sgd", [{}, {"momentum": 0.9}]),
        ("Adagrad", {}, "adagrad", [{}, {"lr": 0.05, "eps": 0.1}]),
        ("WindowedAdagrad", {}, "windowed_adagrad", [{}, {"window": 3, "eps": 0.1}]),
        ("RMSprop", {}, "rmsprop", [{}, {"lr": 0.05, "alpha": 0.5, "eps": 0.1}]),
        ("Adadelta", {}, "adadelta", [{}, {"rho": 0.5, "eps": 0.1}]),
        ("Adam", {}, "adam", [{}, {"lr": 0.05, "betas": (0.5, 0.9), "eps": 0.1}]),
        ("AdamW", {}, "adamw", [{}, DECAY]),
        ("RAdam", {}, "radam", [{}, {"lr": 0.05, "betas": (0.5, 0.9), "eps": 0.1}, {"betas": (0.9, 0.5)}]),
    ],
}
CASES = [
    (library, name, told, other, both)
    for library, rows in ROWS.items()
    for name, told, other, sets in rows
    for both in sets
]
IDS = [
    f"{library}-{other}-{'-'.join(f'{key}={value}' for key, value in both.items()) or 'default'}"
    for library, _, _, other, both in CASES
]

#: What they call our keywords, where they call them something else.
NAMES = {
    "keras": {"lr": ["learning_rate"], "betas": ["beta_1", "beta_2"], "eps": ["epsilon"], "alpha": ["rho"]},
    "sklearn": {"lr": ["learning_rate_init"], "betas": ["beta_1", "beta_2"], "eps": ["epsilon"]},
    "optax": {"lr": ["learning_rate"], "betas": ["b1", "b2"], "alpha": ["decay"]},
    "paper": {},
}


def translated(library, options):
    theirs = {}
    for key, value in options.items():
        names = NAMES[library].get(key, [key])
        theirs |= zip(names, value if len(names) > 1 else [value], strict=True)
    return theirs


def start():
    return np.random.default_rng(1).standard_normal(SIZE)


def gradients():
    """Prescribed, so that nothing makes a difference grow. Some are 0, and one element's first ten."""
    rng = np.random.default_rng(2)
    sizes = np.exp(rng.uniform(-3, 3, SIZE))
    for step in range(STEPS):
        grad = sizes * rng.standard_normal(SIZE)
        grad[step % SIZE] = 0
        grad[0] *= step >= 10
        yield grad


# The libraries run in processes of their own. They read environment variables once, choose types for all that the
# process does, and start threads, after which a process cannot fork without a warning.


def in_keras(optimizer, options):
    import keras

    keras.config.set_floatx("float64")
    optimizer = optimizer(**options)
    variable = keras.Variable(start(), dtype="float64")
    for step, grad in enumerate(gradients()):
        if step == CHANGE:
            optimizer.learning_rate = optimizer.learning_rate * FALL
        optimizer.apply([keras.ops.convert_to_tensor(grad, dtype="float64")], [variable])
        yield keras.ops.convert_to_numpy(variable.value).copy()


def in_sklearn(optimizer, options):
    param = start()
    optimizer = optimizer([param], **options)
    for step, grad in enumerate(gradients()):
        if step == CHANGE:
            optimizer.learning_rate *= FALL
            optimizer.learning_rate_init *= FALL
        optimizer.update_params([param], [grad])
        yield param.copy()


def in_optax(optimizer, options):
    import jax
    import optax

    jax.config.update("jax_enable_x64", True)
    lr = options.pop("learning_rate")
    schedule = optax.piecewise_constant_schedule(lr, {CHANGE: FALL})
    decay = 0.0
    if "weight_decay" not in inspect.signature(optimizer).parameters:
        decay = options.pop("weight_decay", 0.0)  # users of optax put it in front, which couples it
    chain = optax.chain(optax.add_decayed_weights(decay), optimizer(schedule, **options))
    param = jax.numpy.asarray(start())
    state = chain.init(param)

    @jax.jit
    def step(param, state, grad):
        update, state = chain.update(grad, state, param)
        return optax.apply_updates(param, update), state

    for grad in gradients():
        param, state = step(param, state, grad)
        yield np.array(param)


# The papers in plain NumPy, with their defaults. Gradients come with what the learning rate has fallen to.


def sgd(theta, grads, lr=0.01, momentum=0.0):
    v = 0
    for fall, g in grads:
        v = momentum * v + lr * fall * g
        theta = theta - v
        yield theta


def adagrad(theta, grads, lr=0.01, eps=1e-8):
    G = 0
    for fall, g in grads:
        G = G + g**2
        theta = theta - lr * fall * g / np.sqrt(G + eps)
        yield theta


def windowed_adagrad(theta, grads, lr=0.01, eps=1e-8, window=10):
    squares = []
    for fall, g in grads:
        squares = [*squares, g**2][-window:]
        theta = theta - lr * fall * g / np.sqrt(np.sum(squares, axis=0) + eps)
        yield theta


def rmsprop(theta, grads, lr=1e-4, alpha=0.9, eps=1e-8):
    r = 0
    for fall, g in grads:
        r = alpha * r + (1 - alpha) * g**2
        theta = theta - lr * fall * g / np.sqrt(r + eps)
        yield theta


def adadelta(theta, grads, lr=1.0, rho=0.95, eps=1e-6):
    squares, deltas = 0, 0
    for fall, g in grads:
        squares = rho * squares + (1 - rho) * g**2
        delta = -np.sqrt(deltas + eps) / np.sqrt(squares + eps) * g
        deltas = rho * deltas + (1 - rho) * delta**2
        theta = theta + lr * fall * delta
        yield theta


def adam(theta, grads, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
    m, v, (beta1, beta2) = 0, 0, betas
    for t, (fall, g) in enumerate(grads, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        theta = theta - lr * fall * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        yield theta


def adamw(theta, grads, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    m, v, (beta1, beta2) = 0, 0, betas
    for t, (fall, g) in enumerate(grads, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        theta = theta - lr * fall * (m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps) + weight_decay * theta)
        yield theta


def radam(theta, grads, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
    m, v, (beta1, beta2) = 0, 0, betas
    limit = 2 / (1 - beta2) - 1
    for t, (fall, g) in enumerate(grads, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        step = m / (1 - beta1**t)
        rho = limit - 2 * t * beta2**t / (1 - beta2**t)
        if rho > 4:
            r = np.sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))
            step = step * r * np.sqrt(1 - beta2**t) / (np.sqrt(v) + eps)
        theta = theta - lr * fall * step
        yield theta


def in_paper(optimizer, options):
    return optimizer(start(), ((1 if step < CHANGE else FALL, g) for step, g in enumerate(gradients())), **options)


# The libraries in plain NumPy, where their algebra is not torch's: nothing has to be installed for these.


def moments(grads):
    """m and v beside each learning rate, and what m̂ and v̂ divide them by."""
    m, v = 0, 0
    for t, (fall, g) in enumerate(grads, 1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        yield fall, m, v, 1 - 0.9**t, 1 - 0.999**t


def keras_adam(theta, grads, lr=1e-3, eps=1e-7):
    for fall, m, v, of_m, of_v in moments(grads):
        theta = theta - lr * fall * np.sqrt(of_v) / of_m * m / (np.sqrt(v) + eps)
        yield theta


def keras_adamax(theta, grads, lr=1e-3, eps=1e-7):
    m, u = 0, 0
    for t, (fall, g) in enumerate(grads, 1):
        m = 0.9 * m + 0.1 * g
        u = np.maximum(0.999 * u, np.abs(g))
        theta = theta - lr * fall / (1 - 0.9**t) * m / (u + eps)
        yield theta


def keras_rmsprop(theta, grads, lr=1e-3, eps=1e-7, momentum=0.0):
    r, b = 0, 0
    for fall, g in grads:
        r = 0.9 * r + 0.1 * g**2
        b = momentum * b + lr * fall * g / np.sqrt(r + eps)
        theta = theta - b
        yield theta


def sklearn_sgd(theta, grads, lr=1e-3, momentum=0.9):
    v = 0
    for fall, g in grads:
        v = momentum * v - lr * fall * g
        theta = theta + momentum * v - lr * fall * g
        yield theta


def optax_adagrad(theta, grads, lr, eps=1e-7, initial_accumulator_value=0.1):
    G = initial_accumulator_value
    for fall, g in grads:
        G = G + g**2
        theta = theta - lr * fall * np.divide(g, np.sqrt(G + eps), out=np.zeros(SIZE), where=G > 0)
        yield theta


def optax_adam(theta, grads, lr, eps=1e-8, eps_root=0.0):
    for fall, m, v, of_m, of_v in moments(grads):
        theta = theta - lr * fall * (m / of_m) / (np.sqrt(v / of_v + eps_root) + eps)
        yield theta


def optax_amsgrad(theta, grads, lr, eps=1e-8, eps_root=0.0):
    largest = 0
    for fall, m, v, of_m, of_v in moments(grads):
        largest = np.maximum(largest, v / of_v)
        theta = theta - lr * fall * (m / of_m) / (np.sqrt(largest + eps_root) + eps)
        yield theta


#: library -> the module with its optimizers, and how they step
LIBRARIES = {
    "keras": ("keras.optimizers", in_keras),
    "sklearn": ("sklearn.neural_network._stochastic_optimizers", in_sklearn),
    "optax": ("optax", in_optax),
    "paper": (__name__, in_paper),
}


def run(library):
    """All that a library has to say: the path of every case, and the default keywords of every optimizer."""
    module, steps = LIBRARIES[library]
    paths, defaults = {}, {}
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"KERAS_BACKEND": "torch", "KERAS_HOME": home, "JAX_PLATFORMS": "cpu"}
        module = importlib.import_module(module)
        for index, (of, _, _, other, both) in enumerate(CASES):
            if of == library:
                optimizer = getattr(module, other)
                paths[index] = np.array(list(steps(optimizer, translated(library, both))))
                defaults[other] = default_keywords(optimizer)
    if library == "sklearn":
        # The estimators give the optimizers their keywords, and have the defaults that people meet.
        from sklearn.neural_network import MLPRegressor

        given = default_keywords(MLPRegressor)
        given["nesterov"] = given["nesterovs_momentum"]
        defaults = {other: {key: given[key] for key in own if key in given} for other, own in defaults.items()}
    return paths, defaults


def default_keywords(optimizer):
    parameters = inspect.signature(optimizer).parameters.values()
    return {p.name: p.default for p in parameters if isinstance(p.default, (int, float, tuple, type(None)))}


NEEDS = {"keras": ["keras", "torch"], "sklearn": ["sklearn"], "optax": ["optax", "jax"]}


@pytest.fixture(scope="module")
def libraries():
    """What each library says that is installed."""
    installed = [name for name, needs in NEEDS.items() if all(map(importlib.util.find_spec, needs))]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return dict(zip(installed, pool.map(run, installed), strict=True)) | {"paper": run("paper")}


def of_library(libraries, library):
    if library not in libraries:
        pytest.skip(f"{library} is not installed")
    return libraries[library]


def path(name, step=lambda optimizer, grad: optimizer.step(grad), **options):
    """The parameters after each step."""
    param = start()
    optimizer = getattr(fs, name)(param, **options)
    values = []
    for index, grad in enumerate(gradients()):
        if index == CHANGE:
            optimizer.param_groups[0]["lr"] *= FALL
        step(optimizer, grad)
        values.append(param.copy())
    return np.array(values)


def assert_same_path(actual, expected, tolerance=TOLERANCE):
    error = np.abs(actual - expected).max(axis=0) / np.abs(expected).max(axis=0)
    assert error.max() <= tolerance


@pytest.mark.parametrize("index", range(len(CASES)), ids=IDS)
def test_path_is_theirs(libraries, index):
    library, name, told, _, both = CASES[index]
    paths, _ = of_library(libraries, library)
    assert_same_path(path(name, convention=library, **told, **both), paths[index])


#: As in ROWS.
ALGEBRA = [
    ("keras", "Adam", {}, keras_adam, {}),
    ("keras", "Adamax", {}, keras_adamax, {}),
    ("keras", "RMSprop", {}, keras_rmsprop, {"momentum": 0.9}),
    ("sklearn", "SGD", {}, sklearn_sgd, {}),
    ("optax", "Adagrad", {}, optax_adagrad, {"lr": 0.05}),
    ("optax", "Adagrad", {}, optax_adagrad, {"lr": 0.05, "initial_accumulator_value": 0.0, "eps": 0.0}),
    ("optax", "Adam", {}, optax_adam, ROOT),
    ("optax", "Adam", {"amsgrad": True}, optax_amsgrad, ROOT),
]


@pytest.mark.parametrize(("library", "name", "told", "formula", "both"), ALGEBRA)
def test_algebra_is_theirs(library, name, told, formula, both):
    """As the libraries publish it, which need not be here. Where η stands shows when it falls."""
    expected = np.array(list(in_paper(formula, both)))
    assert_same_path(path(name, convention=library, **told, **both), expected, 1e-12)


BROKEN = {
    "idle": lambda optimizer, grad: None,
    "ascending": lambda optimizer, grad: optimizer.step(-grad),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("index", range(len(CASES)), ids=IDS)
def test_idle_and_ascending_fail(libraries, index, broken):
    library, name, told, _, both = CASES[index]
    paths, _ = of_library(libraries, library)
    with pytest.raises(AssertionError):
        assert_same_path(path(name, BROKEN[broken], convention=library, **told, **both), paths[index])


SETTINGS = [
    (library, name, key)
    for library, rows in ROWS.items()
    for name in dict.fromkeys(row[0] for row in rows)
    for key, value in getattr(fs, name).conventions[library].items()
    if value != getattr(fs, name)._options[key].default
    and (library, name, key) != ("optax", "AdamW", "amsgrad_order")  # optax has no such pair, and we offer it
]


@pytest.mark.parametrize(("library", "name", "key"), SETTINGS)
def test_every_setting_of_a_preset_matters(libraries, library, name, key):
    """With torch's value in its place, some path leaves theirs: no setting is there untested."""
    paths, _ = of_library(libraries, library)
    default = getattr(fs, name)._options[key].default
    for index, (of, ours, told, _, both) in enumerate(CASES):
        if (of, ours) == (library, name) and key not in both:
            try:
                assert_same_path(path(name, convention=library, **{key: default}, **told, **both), paths[index])
            except AssertionError:
                return
    pytest.fail(f"no case tells {key} apart")


@pytest.mark.parametrize(
    ("library", "name", "other"), [(library, row[0], row[2]) for library, rows in ROWS.items() for row in rows]
)
def test_defaults_are_theirs(libraries, library, name, other):
    _, defaults = of_library(libraries, library)
    options = getattr(fs, name)(start(), convention=library).param_groups[0]
    ours = translated(library, {key: options[key] for key in options.keys() - {"decay"}})  # to optax, that is α
    theirs = {key: value or 0 for key, value in defaults[other].items()}  # None: no momentum, no decay
    if library == "optax":
        theirs.pop("learning_rate", None)  # to be given there
    shared = ours.keys() & theirs.keys()
    assert shared or name == "SGD"
    assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}


CONVENTIONS = ["paper", "keras", "sklearn", "optax"]
CLASSES = [getattr(fs, name) for name in fs.reference.__all__]
PRESETS = [(cls, convention) for cls in CLASSES for convention in cls.conventions]


def test_every_preset_is_compared():
    compared = {(getattr(fs, name), library) for library, name, *_ in CASES}
    assert compared == set(PRESETS)
    assert list(ROWS) == ["keras", "sklearn", "optax", "paper"]


#: All that each convention changes of torch's defaults: the table of conventions, with the numbers of the libraries.
TABLE = {
    "paper": {
        "SGD": {"lr": 1e-2, "buffer": "lr_inside"},
        "Adagrad": {"eps": 1e-8, "eps_place": "inside"},
        "WindowedAdagrad": {"eps": 1e-8, "eps_place": "inside"},
        "RMSprop": {"lr": 1e-4, "alpha": 0.9, "eps_place": "inside"},
        "Adadelta": {"rho": 0.95},
        "Adam": {},
        "AdamW": {},
        "RAdam": {"rectify_above": 4.0},
    },
    "keras": {
        "SGD": {"lr": 1e-2, "buffer": "lr_inside", "decay": "decoupled"},
        "Adagrad": {
            "lr": 1e-3,
            "initial_accumulator_value": 0.1,
            "eps": 1e-7,
            "eps_place": "inside",
            "decay": "decoupled",
        },
        "RMSprop": {
            "lr": 1e-3,
            "alpha": 0.9,
            "eps": 1e-7,
            "eps_place": "inside",
            "momentum_lr": "inside",
            "decay": "decoupled",
        },
        "Adadelta": {"lr": 1e-3, "rho": 0.95, "eps": 1e-7, "decay": "decoupled"},
        "Adam": {"eps": 1e-7, "eps_place": "hat", "decay": "decoupled"},
        "AdamW": {"eps": 1e-7, "eps_place": "hat", "weight_decay": 4e-3},
        "NAdam": {"lr": 1e-3, "eps": 1e-7, "momentum_decay": 1.0, "decay": "decoupled"},
        "Adamax": {"lr": 1e-3, "eps": 1e-7, "eps_place": "outside", "decay": "decoupled"},
        "Lion": {"lr": 1e-3},
    },
    "sklearn": {
        "SGD": {"momentum": 0.9, "nesterov": True, "buffer": "lr_inside"},
        "Adam": {"eps_place": "hat"},
    },
    "optax": {
        "SGD": {},
        "Adagrad": {"initial_accumulator_value": 0.1, "eps": 1e-7, "eps_place": "inside", "zero_at_zero": True},
        "RMSprop": {"alpha": 0.9, "eps_place": "inside", "momentum_lr": "inside"},
        "Adadelta": {},
        "Adam": {"amsgrad_order": "v_hat"},
        "AdamW": {"amsgrad_order": "v_hat", "weight_decay": 1e-4},
        "RAdam": {"eps_place": "outside"},
    },
}


def test_presets_are_those_of_the_table():
    changed = {}
    for cls, convention in PRESETS:
        torchs, theirs = (cls(start(), convention=which).param_groups[0] for which in ("torch", convention))
        differing = {key: value for key, value in theirs.items() if value != torchs[key]}
        changed.setdefault(convention, {})[cls.__name__] = differing
    assert changed == TABLE


@pytest.mark.parametrize("convention", [*CONVENTIONS, "caffe"])
@pytest.mark.parametrize("cls", CLASSES)
def test_method_that_a_convention_lacks(cls, convention):
    if (cls, convention) in PRESETS:
        assert cls(start(), convention=convention)
        return
    known = ", ".join(repr(name) for name in ["torch", *cls.conventions])
    with pytest.raises(ValueError) as error:
        cls(start(), convention=convention)
    assert str(error.value) == (
        f"{cls.__name__}: convention must be one with a preset for this method, {known}, got {convention!r}"
    )


def test_torchs_spelling_wins():
    assert fs.Adam([], convention="keras", decoupled_weight_decay=False).param_groups[0]["decay"] == "coupled"


@pytest.mark.parametrize(("cls", "convention"), PRESETS)
def test_explicit_arguments_win(cls, convention):
    """Torch's defaults, given one by one, stand against the preset's, and leave the rest of it."""
    preset = cls.conventions[convention]
    for key in preset:
        given = cls._options[key].default
        group = cls(start(), convention=convention, **{key: given}).param_groups[0]
        expected = {**preset, key: given}
        assert {name: group[name] for name in expected} == expected
    assert cls(start(), 0.125, convention=convention).param_groups[0]["lr"] == 0.125


@pytest.mark.parametrize(("cls", "convention"), PRESETS)
def test_groups_and_additions_take_the_preset(cls, convention):
    preset = cls.conventions[convention] | {"lr": 0.125}
    optimizer = cls([{"params": {"a": start()}, "lr": 0.125}], convention=convention)
    optimizer.add({"b": start()}, lr=0.125)
    for group in optimizer.param_groups:
        assert {name: group[name] for name in preset} == preset


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("convention", ["torch", *CONVENTIONS])
def test_defaults_are_as_checked(cls, convention):
    """Nobody checks a default again."""
    if convention in ("torch", *cls.conventions):
        for key, default in cls._preset(convention).items():
            assert repr(cls._checked(key, default)) == repr(default), key


def test_impossible_defaults():
    """A class that has them cannot be written."""
    with pytest.raises(ValueError, match=r"^Wrong: betas must be two numbers in \[0, 1\), got \(2, 3\)$"):
        type("Wrong", (fs.Adam,), {"betas": betas(2, 3)})
    with pytest.raises(ValueError, match=r"^Wrong: eps must be a finite number ≥ 0, got -1$"):
        type("Wrong", (fs.Adam,), {"conventions": {"mine": {"eps": -1}}})


@pytest.mark.parametrize("cls", CLASSES)
def test_torch_is_the_default(cls):
    assert cls(start()).param_groups == cls(start(), convention="torch").param_groups


@pytest.mark.parametrize("cls", CLASSES)
def test_what_a_convention_sets_is_told(cls):
    told = " ".join(cls.__doc__.split())
    for name, preset in cls.conventions.items():
        sets = ", ".join(f"{option}={value!r}" for option, value in preset.items())
        assert (f"``{name}`` ({sets})" if sets else f"``{name}``") in told
