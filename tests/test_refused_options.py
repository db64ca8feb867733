"""Hyper-parameters that cannot be are refused, wherever they are given."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.configured import ONCE

from cases import frozen
from scenes import LR, Scene, assert_refused, small

NAN, INF = math.nan, math.inf

#: What no number may be: (value, error)
NO_NUMBERS = [
    (NAN, ValueError),
    (INF, ValueError),
    (-INF, ValueError),
    (np.float32("nan"), ValueError),
    (10**400, ValueError),
    ("0.5", TypeError),
    (None, TypeError),
    (True, TypeError),
    (np.True_, TypeError),
    ([0.5], TypeError),
    ((0.5,), TypeError),
    ({}, TypeError),
    (1j, TypeError),
    (np.array(0.5), TypeError),
    (np.array([0.5]), TypeError),
    (Decimal("0.5"), TypeError),
]
NEGATIVE = [(-1.0, ValueError), (-1, ValueError), (-5e-324, ValueError), (Fraction(-1, 2), ValueError)]
FRACTION = [*NO_NUMBERS, *NEGATIVE, (1.0, ValueError), (1, ValueError), (1.5, ValueError)]
WHOLE = [*NO_NUMBERS[5:], (1.0, TypeError), (1.5, TypeError), (NAN, TypeError), (-1, ValueError), (2**63, ValueError)]
NO_FLAGS = [(0, TypeError), (1, TypeError), (None, TypeError), ("True", TypeError), (1.0, TypeError), ([], TypeError)]
NO_NAMES = [("", ValueError), ("nothing", ValueError), (None, TypeError), (0, TypeError), (True, TypeError)]
NO_PAIRS = [
    (0.9, TypeError),
    (None, TypeError),
    ("ab", TypeError),
    ((), TypeError),
    ((0.9,), TypeError),
    ({0.9, 0.99}, TypeError),
    ({0.9: 1, 0.99: 2}, TypeError),
    ((0.9, 0.9, 0.9), TypeError),
    ((0.9, "0.9"), TypeError),
    ((None, 0.9), TypeError),
    ((True, 0.9), TypeError),
    ((0.9, 1.0), ValueError),
    ((1.0, 0.9), ValueError),
    ((-0.1, 0.9), ValueError),
    ((0.9, NAN), ValueError),
    ((INF, 0.9), ValueError),
    ((0.9, 10**400), ValueError),
]

#: keyword -> what its messages say is expected, and what is refused. A keyword that is new is missed here.
REFUSED = {
    "lr": ("a finite number ≥ 0 or a schedule", NO_NUMBERS + NEGATIVE),
    "weight_decay": ("a finite number ≥ 0", NO_NUMBERS + NEGATIVE),
    "max_lr": (
        "None or a finite number > 0",
        [row for row in NO_NUMBERS if row[0] is not None] + NEGATIVE + [(0.0, ValueError)],
    ),
    "momentum": ("a finite number ≥ 0", NO_NUMBERS + NEGATIVE),
    "dampening": ("a finite number", NO_NUMBERS),
    "lr_decay": ("a finite number ≥ 0", NO_NUMBERS + NEGATIVE),
    "initial_accumulator_value": ("a finite number ≥ 0", NO_NUMBERS + NEGATIVE),
    "eps": ("a finite number ≥ 0", NO_NUMBERS + NEGATIVE),
    "eps_root": ("a finite number ≥ 0", NO_NUMBERS + NEGATIVE),
    # torch refuses a negative one too; 0.96^(tψ) would overflow.
    "momentum_decay": ("a finite number ≥ 0", NO_NUMBERS + NEGATIVE),
    "alpha": ("a number in [0, 1)", FRACTION),
    "rho": ("a number in [0, 1)", FRACTION),
    "rectify_above": ("a finite number ≥ 4", [*NO_NUMBERS, (3.9, ValueError), (-5.0, ValueError)]),
    "rectify_after": ("None or an integer ≥ 0", [row for row in WHOLE if row[0] is not None]),
    "variance_warmup": ("an integer ≥ 0", WHOLE),
    "window": ("an integer ≥ 1", [*WHOLE, (0, ValueError)]),
    "betas": ("two numbers in [0, 1)", NO_PAIRS),
    "maximize": ("True or False", NO_FLAGS),
    "decoupled_weight_decay": ("True or False", NO_FLAGS),
    "nesterov": ("True or False", NO_FLAGS),
    "amsgrad": ("True or False", NO_FLAGS),
    "centered": ("True or False", NO_FLAGS),
    "bias_correction": ("True or False", NO_FLAGS),
    "zero_at_zero": ("True or False", NO_FLAGS),
    "decay": ("one of 'coupled', 'decoupled', 'fully_decoupled'", NO_NAMES),
    "buffer": ("one of 'lr_outside', 'lr_inside', 'ema'", NO_NAMES),
    "amsgrad_order": ("one of 'v', 'v_hat'", NO_NAMES),
    "momentum_lr": ("one of 'outside', 'inside'", NO_NAMES),
    "below": ("one of 'sgd', 'skip'", NO_NAMES),
    "reduce": ("one of 'sum', 'mean'", NO_NAMES),
    "eps_place": ("one of '", NO_NAMES),
    "phi": ("one of 'gradient', 'heavy_ball', 'ema', 'nesterov'", NO_NAMES),
    "psi": ("one of 'one', 'sum', 'window', 'ema', 'ema_max', 'infinity'", NO_NAMES),
}

#: The generic method takes a keyword with these parts.
PARTS = {
    "momentum": {"phi": "heavy_ball"},
    "dampening": {"phi": "heavy_ball"},
    "buffer": {"phi": "nesterov"},
    "betas": {"phi": "ema"},
    "bias_correction": {"psi": "ema"},
    "eps": {"psi": "sum"},
    "eps_place": {"psi": "ema"},
    "eps_root": {"psi": "window"},
    "initial_accumulator_value": {"psi": "sum"},
    "lr_decay": {"psi": "sum"},
    "zero_at_zero": {"psi": "sum"},
    "window": {"psi": "window"},
    "reduce": {"psi": "window"},
    "amsgrad_order": {"psi": "ema_max"},
}


def keywords():
    """Every method with every hyper-parameter that its signature has."""
    others = {"params", *ONCE}
    return [
        (name, keyword)
        for name in fs.reference.__all__
        for keyword in getattr(fs, name).__signature__.parameters
        if keyword not in others
    ]


def constructed(name, parts, bad):
    params = [small(), small(3)]
    return lambda: getattr(fs, name)(params, **parts, **bad), params


def constructed_in_a_group(name, parts, bad):
    params = [small(), small(3)]
    groups = [{"params": params[0]}, {"params": params[1], **bad}]
    return lambda: getattr(fs, name)(groups, **parts), params


@pytest.mark.parametrize("way", [constructed, constructed_in_a_group])
@pytest.mark.parametrize(("name", "keyword"), keywords())
def test_hyper_parameters_given(name, keyword, way):
    expected, values = REFUSED[keyword]
    parts = PARTS.get(keyword, {}) if name == "Adaptive" else {}
    for value, error in values:
        call, params = way(name, parts, {keyword: value})
        before = frozen(params)
        assert_refused(call, error, keyword, expected, repr(value), name=name)
        assert frozen(params) == before


@pytest.mark.parametrize("way", ["add", "changed"])
@pytest.mark.parametrize(("name", "keyword"), keywords())
def test_hyper_parameters_later(name, keyword, way):
    expected, values = REFUSED[keyword]
    scene = Scene({"w": small()}, name, **(PARTS.get(keyword, {}) if name == "Adaptive" else {"weight_decay": 0.1}))
    for value, error in values:
        if way == "add":
            call = lambda bad=value: scene.opt.add({"b": small()}, **{keyword: bad})  # noqa: E731
            scene.refuses(call, error, keyword, expected, repr(value), name=name)
        elif keyword in scene.opt.param_groups[0]:  # which has no other spellings
            refuses_change(scene, {keyword: value}, error, keyword, expected, repr(value))


def refuses_change(scene, changes, *facts):
    """A step, a bound one and a binding refuse the groups as they are; put right, the run goes on."""
    name, group, grads = type(scene.opt).__name__, scene.opt.param_groups[0], scene.grads()
    bound, right, before = scene.opt.bind(grads), dict(group), frozen([scene.tree, scene.opt.state_dict()])
    group.update(changes)
    for call in (lambda: scene.opt.step(grads), bound.step, lambda: scene.opt.bind(grads)):
        assert_refused(call, *facts, name=name)
    group.clear()
    group.update(right)
    assert frozen([scene.tree, scene.opt.state_dict()]) == before
    scene.go_on()


#: (method, options of the optimizer, options that are impossible with them, error, place, expected, came)
IMPOSSIBLE = [
    ("SGD", {"momentum": 0.9}, {"nesterov": True, "dampening": 0.1}, ValueError, "dampening", "Nesterov", "0.1"),
    ("SGD", {"momentum": 0.9}, {"buffer": "lr_inside", "dampening": 0.1}, ValueError, "dampening", "lr_inside", "0.1"),
    ("SGD", {"momentum": 0.9}, {"buffer": "ema", "dampening": -1.0}, ValueError, "dampening", "'ema'", "-1.0"),
    ("SGD", {"momentum": 0.9, "dampening": 0.5}, {"nesterov": True}, ValueError, "dampening", "Nesterov", "0.5"),
    ("SGD", {}, {"decay": "fully_decoupled", "lr": 0}, ValueError, "max_lr", "given where the first", "None"),
    ("Adagrad", {}, {"eps_place": "hat"}, ValueError, "eps_place", "'outside', 'inside'", "'hat'"),
    ("WindowedAdagrad", {}, {"eps_place": "max"}, ValueError, "eps_place", "'outside', 'inside'", "'max'"),
    ("RMSprop", {}, {"eps_place": "hat"}, ValueError, "eps_place", "'outside', 'inside'", "'hat'"),
    ("Adam", {}, {"eps_place": "max"}, ValueError, "eps_place", "'outside', 'hat', 'inside'", "'max'"),
    ("Adamax", {}, {"eps_place": "inside"}, ValueError, "eps_place", "'max', 'outside'", "'inside'"),
    ("Adaptive", {"phi": "nesterov"}, {"dampening": -0.1}, ValueError, "dampening", "Nesterov", "-0.1"),
    ("Adaptive", {"phi": "heavy_ball", "dampening": 0.1}, {"buffer": "ema"}, ValueError, "dampening", "'ema'", "0.1"),
    ("Adaptive", {"psi": "sum"}, {"eps_place": "hat"}, ValueError, "eps_place", "psi='sum'", "'hat'"),
    ("Adaptive", {"psi": "window"}, {"eps_place": "max"}, ValueError, "eps_place", "psi='window'", "'max'"),
    ("Adaptive", {"psi": "ema"}, {"eps_place": "max"}, ValueError, "eps_place", "psi='ema'", "'max'"),
    ("Adaptive", {"psi": "ema_max"}, {"eps_place": "max"}, ValueError, "eps_place", "psi='ema_max'", "'max'"),
    ("Adaptive", {"psi": "infinity"}, {"eps_place": "hat"}, ValueError, "eps_place", "psi='infinity'", "'hat'"),
    ("Adaptive", {}, {"momentum": 0.9}, TypeError, "options", "phi, psi", "'momentum'"),
    ("Adaptive", {"phi": "heavy_ball"}, {"betas": (0.9, 0.9)}, TypeError, "options", "phi, psi", "'betas'"),
    ("Adaptive", {"psi": "one"}, {"eps": 1e-8}, TypeError, "options", "phi, psi", "'eps'"),
    ("Adaptive", {"psi": "sum"}, {"window": 3}, TypeError, "options", "phi, psi", "'window'"),
    ("Adaptive", {"psi": "infinity"}, {"eps_root": 0.1}, TypeError, "options", "phi, psi", "'eps_root'"),
    (
        "Adaptive",
        {"psi": "ema"},
        {"amsgrad_order": "v"},
        TypeError,
        "options",
        "phi, psi",
        "'amsgrad_order'",
    ),
    ("Adam", {"decay": "coupled"}, {"decay": "coupled", "decoupled_weight_decay": True}, ValueError, "decay", "", ""),
    *(
        (name, {}, {"decoupled_weight_decay": True}, TypeError, "options", "among", "'decoupled_weight_decay'")
        for name in ("SGD", "Adagrad", "AdamW", "Lion", "Adamax", "Adaptive")
    ),
    *(
        (name, {}, {keyword: value}, TypeError, "options", "among", repr(keyword))
        for name in ("SGD", "Adam")
        for keyword, value in {
            "foreach": True,
            "fused": None,
            "capturable": False,
            "differentiable": False,
            "learning_rate": 0.1,
            "Lr": 0.1,
            "beta1": 0.9,
        }.items()
    ),
]


@pytest.mark.parametrize("way", ["constructor", "group", "add", "changed"])
@pytest.mark.parametrize(("name", "options", "bad", "error", "place", "expected", "came"), IMPOSSIBLE)
def test_impossible_together(name, options, bad, error, place, expected, came, way):
    facts = error, place, expected, came
    if way == "constructor":
        call, params = constructed(name, {}, {**options, **bad})
    elif way == "group":
        call, params = constructed_in_a_group(name, options, bad)
    else:
        scene = Scene({"w": small()}, name, **{"weight_decay": 0.1, **options})
        if way == "add":
            scene.refuses(lambda: scene.opt.add({"b": small()}, **bad), *facts, name=name)
        else:
            refuses_change(scene, bad, *facts)
        return
    before = frozen(params)
    assert_refused(call, *facts, name=name)
    assert frozen(params) == before


@pytest.mark.parametrize("name", [name for name in fs.reference.__all__ if name != "Adaptive"])
def test_unknown_keywords_list_the_known(name):
    """All that the constructor has, so that whoever mistyped one finds it."""
    with pytest.raises(TypeError, match=rf"^{name}: options must be among .*, got 'foreach'$") as caught:
        getattr(fs, name)(small(), foreach=True)
    known = re.fullmatch(r".*among (.*), got 'foreach'", str(caught.value))[1].split(", ")
    assert set(known) == set(getattr(fs, name).__signature__.parameters) - {"params"}
    assert known == sorted(known)


#: (keyword of every constructor, value, error, what is expected)
CONSTRUCTOR = [
    ("seed", -1, ValueError, "an integer"),
    ("seed", 2**63, ValueError, "an integer"),
    ("seed", "1", TypeError, "an integer"),
    ("seed", None, TypeError, "an integer"),
    ("seed", True, TypeError, "an integer"),
    ("seed", 1.0, TypeError, "an integer"),
    ("convention", "nobody", ValueError, "'torch', 'paper', 'keras'"),
    ("convention", "", ValueError, "'torch', 'paper', 'keras'"),
    ("convention", None, TypeError, "'torch', 'paper', 'keras'"),
    ("convention", 3, TypeError, "'torch', 'paper', 'keras'"),
    ("convention", ["torch"], TypeError, "'torch', 'paper', 'keras'"),
    ("decoupled_weight_decay", "no", TypeError, "True or False"),
    ("decoupled_weight_decay", None, TypeError, "True or False"),
    ("decoupled_weight_decay", 1, TypeError, "True or False"),
]


@pytest.mark.parametrize(("keyword", "value", "error", "expected"), CONSTRUCTOR)
def test_constructor_keywords(keyword, value, error, expected):
    call, params = constructed("Adam", {}, {keyword: value})
    before = frozen(params)
    assert_refused(call, error, keyword, expected, repr(value), name="Adam")
    assert frozen(params) == before


@pytest.mark.parametrize(
    ("name", "convention"),
    [("Lion", "sklearn"), ("RMSprop", "sklearn"), ("Adaptive", "keras"), ("AdaBelief", "paper"), ("Yogi", "optax")],
)
def test_conventions_that_lack_the_method(name, convention):
    call, _ = constructed(name, {}, {"convention": convention})
    assert_refused(call, ValueError, "convention", "'torch'", repr(convention), name=name)


def test_every_keyword_by_position_but_two():
    """A forgotten name would be taken for another option."""
    with pytest.raises(TypeError):
        fs.SGD(small(), 0.1, 0.9)


@pytest.mark.parametrize("keyword", ["lr", "momentum", "decay"])
def test_options_that_were_taken_away(keyword):
    scene = Scene({"w": small()})
    group, before = scene.opt.param_groups[0], frozen([scene.tree, dict(scene.opt.state)])
    value = group.pop(keyword)
    assert_refused(
        lambda: scene.opt.step(scene.grads()), ValueError, "param_groups[0]", "keep all its options", keyword
    )
    assert frozen([scene.tree, dict(scene.opt.state)]) == before
    group[keyword] = value
    scene.go_on()


def test_options_as_attributes():
    """Setting one there would change nothing."""
    scene = Scene({"w": small()})
    with pytest.raises(AttributeError, match="param_groups"):
        scene.opt.lr = 0.5
    scene.go_on()


@pytest.mark.parametrize("option", ["lr", "weight_decay", "decay", "max_lr", "maximize", "betas"])
def test_options_are_no_attributes(option):
    for asked in (fs.AdamW, fs.AdamW(np.ones(3))):
        with pytest.raises(AttributeError, match=option):
            getattr(asked, option)


@pytest.mark.parametrize(("name", "options"), [("WindowedAdagrad", {}), ("Adaptive", {"psi": "window"})])
def test_window_that_changes(name, options):
    """Its state has another size, and half of what it should hold was never kept."""
    scene = Scene({"w": small()}, name, window=3, **options)
    refuses_change(scene, {"window": 4}, ValueError, "window", "3", "4")
    refuses_change(scene, {"window": 2}, ValueError, "window", "3", "2")


def test_second_group_refused():
    """The first group's change, which was possible, does not half happen."""
    scene = Scene([{"params": {"w": small()}}, {"params": {"b": small()}}])
    before = frozen([scene.tree, dict(scene.opt.state)])
    first, second = scene.opt.param_groups
    first["momentum"], second["lr"] = 0.0, -1.0
    assert_refused(lambda: scene.opt.step(scene.grads()), ValueError, "lr", "a finite number", "-1.0")
    first["momentum"], second["lr"] = 0.9, LR
    assert frozen([scene.tree, dict(scene.opt.state)]) == before
    scene.go_on()
