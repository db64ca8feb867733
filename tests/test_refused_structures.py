"""Structures that do not fit, and names that cannot be, are refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import fusedstep as fs

from cases import frozen
from scenes import LR, Scene, assert_refused, small, table


class Longer(tuple):
    """Says that it has one entry more than it has; what stands in its memory behind them is nobody's."""

    def __len__(self):
        return super().__len__() + 1


#: (what, parameters, gradients, the error, its place, what is expected, what came)
CONTAINERS = [
    ("None for a list", "list", None, TypeError, "grads", "a list or a tuple, like params", "NoneType"),
    ("dict for a list", "list", {"0": 1}, TypeError, "grads", "a list or a tuple, like params", "dict"),
    ("array for a list", "list", np.ones((2, 3)), TypeError, "grads", "a list or a tuple", "numpy.ndarray"),
    ("generator for a list", "list", (x for x in "ab"), TypeError, "grads", "a list or a tuple", "generator"),
    ("str for a list", "list", "ab", TypeError, "grads", "a list or a tuple", "str"),
    ("too short", "list", lambda g: g[:1], ValueError, "grads", "2 entries", "1"),
    ("too long", "list", lambda g: [*g, g[0]], ValueError, "grads", "2 entries", "3"),
    ("nothing", "list", [], ValueError, "grads", "2 entries", "0"),
    ("one that says it is longer", "list", lambda g: Longer(g[:1]), ValueError, "grads", "2 entries", "1"),
    ("None for a dict", "dict", None, TypeError, "grads", "a dict, like params", "NoneType"),
    ("list for a dict", "dict", lambda g: [g["w"], g["net"]], TypeError, "grads", "a dict, like params", "list"),
    ("array for a dict", "dict", np.ones(3), TypeError, "grads", "a dict, like params", "numpy.ndarray"),
    ("items", "dict", lambda g: g.items(), TypeError, "grads", "a dict, like params", "dict_items"),
    ("missing", "dict", lambda g: {"net": g["net"]}, ValueError, "grads", "every name of params", "'w'"),
    ("empty dict", "dict", {}, ValueError, "grads", "every name of params", "'w'"),
    ("unknown", "dict", lambda g: {**g, "v": g["w"]}, ValueError, "grads", "only the names of params", "'v'"),
    ("unknown None", "dict", lambda g: {**g, "v": None}, ValueError, "grads", "only the names of params", "'v'"),
    ("unknown number", "dict", lambda g: {**g, 0: None}, ValueError, "grads", "only the names of params", "0"),
    ("renamed", "dict", lambda g: {"W": g["w"], "net": g["net"]}, ValueError, "grads", "every name of", "'w'"),
    ("joined", "dict", lambda g: {"w": g["w"], "net/b": g["net"]["b"]}, ValueError, "grads", "every name", "'net'"),
    ("None inside", "dict", lambda g: {**g, "net": None}, TypeError, "grads['net']", "a dict", "NoneType"),
    ("array inside", "dict", lambda g: {**g, "net": g["w"]}, TypeError, "grads['net']", "a dict", "numpy.ndarray"),
    ("missing inside", "dict", lambda g: {**g, "net": {}}, ValueError, "grads['net']", "name of params['net']", "'b'"),
    (
        "unknown inside",
        "dict",
        lambda g: {**g, "net": {**g["net"], "v": None}},
        ValueError,
        "grads['net']",
        "only the names of params['net']",
        "'v'",
    ),
    ("None for groups", "groups", None, TypeError, "grads", "a list with one entry for each group", "NoneType"),
    ("dict for groups", "groups", lambda g: g[0], TypeError, "grads", "a list with one entry for each", "dict"),
    ("flat dict", "groups", lambda g: {**g[0], "1": g[1][0]}, TypeError, "grads", "entry for each group", "dict"),
    ("one group", "groups", lambda g: g[:1], ValueError, "grads", "2 entries, one for each group", "1"),
    ("three groups", "groups", lambda g: [*g, g[0]], ValueError, "grads", "2 entries, one for each group", "3"),
    ("turned round", "groups", lambda g: g[::-1], TypeError, "grads[0]", "a dict", "list"),
    ("None for a group", "groups", lambda g: [g[0], None], TypeError, "grads[1]", "a list or a tuple", "NoneType"),
    ("as given", "groups", lambda g: [{"params": e} for e in g], ValueError, "grads[0]", "every name", "'w'"),
    (
        "as if it were no group",
        "one group",
        lambda g: g[0],
        TypeError,
        "grads",
        "a list with one entry for each",
        "dict",
    ),
    ("nothing in it", "one group", [{}], ValueError, "grads[0]", "every name of params[0] ", "'w'"),
    ("group too short", "groups", lambda g: [g[0], []], ValueError, "grads[1]", "1 entries", "0"),
]

TREES = {
    "list": lambda: [small(3), small((2, 2), np.float64)],
    "dict": lambda: {"w": small(3), "net": {"b": small(2)}},
    "groups": lambda: [{"params": {"w": small(3)}}, {"params": [small(2)]}],
    "one group": lambda: [{"params": {"w": small(3)}}],
}


@pytest.mark.parametrize("bound", [False, True], ids=["step", "bind"])
@pytest.mark.parametrize(("tree", "grads", "error", "place", "expected", "came"), **table(CONTAINERS))
def test_containers(tree, grads, error, place, expected, came, bound):
    scene = Scene(TREES[tree]())
    given = grads(scene.grads()) if callable(grads) else grads
    call = scene.opt.bind if bound else scene.opt.step
    scene.refuses(lambda: call(given), error, place, expected, came)


def test_names_that_break_off():
    """What is raised while names are looked for comes out."""

    class Broken:
        def __hash__(self):
            return hash("w")

        def __eq__(self, other):
            raise KeyboardInterrupt

    scene = Scene({"w": small()})
    with pytest.raises(KeyboardInterrupt):
        scene.opt.step({Broken(): small()})
    scene.go_on()


def interrupt(*_):
    raise KeyboardInterrupt


def test_masks_that_break_off():
    """What lies under a mask is not stepped because nobody could say that there is one."""
    param = small()
    before = param.copy()
    with pytest.raises(KeyboardInterrupt):
        fs.SGD(param, lr=LR).step(small().view(type("Broken", (np.ndarray,), {"mask": property(interrupt)})))
    assert (param == before).all()


def test_descriptions_that_break_off():
    with pytest.raises(KeyboardInterrupt):
        fs.SGD(small(), lr=LR).step(type("Broken", (), {"__cuda_array_interface__": property(interrupt)})())


def test_rates_that_break_off():
    opt = fs.SGD(small(), lr=lambda _: type("Broken", (), {"__float__": interrupt})())
    with pytest.raises(KeyboardInterrupt):
        opt.step(small())


def test_names_that_empty_their_dict():
    """One that is compared with a parameter's may take itself away."""

    class Last(str):
        __hash__ = str.__hash__

        def __eq__(self, other):
            if armed:
                grads.clear()
            return NotImplemented

    armed = False
    scene = Scene({"w": small()})
    grads = {"w": small()}
    grads[Last("v")] = None
    armed = True
    scene.refuses(lambda: scene.opt.step(grads), ValueError, "grads", "only the names of params", "'v'")


#: (what, parameters, the error, its place, what is expected, what came)
NAMES = [
    ("empty", {"": small()}, ValueError, "params", "names that are not empty", "''"),
    ("with a slash", {"a/b": small()}, ValueError, "params", "without '/'", "'a/b'"),
    ("only a slash", {"/": small()}, ValueError, "params", "without '/'", "'/'"),
    ("a number", {0: small()}, TypeError, "params", "strings as names", "0"),
    ("None", {None: small()}, TypeError, "params", "strings as names", "None"),
    ("bytes", {b"w": small()}, TypeError, "params", "strings as names", "b'w'"),
    ("a tuple", {("a", "b"): small()}, TypeError, "params", "strings as names", "('a', 'b')"),
    ("no text", {"\ud800": small()}, ValueError, "params", "names", "\\ud800"),
    ("inside", {"net": {"a/b": small()}}, ValueError, "params['net']", "without '/'", "'a/b'"),
    ("inside a list", {"net": [{1: small()}]}, TypeError, "params['net'][0]", "strings as names", "1"),
    ("nothing", None, TypeError, "params", "be a numpy.ndarray", "NoneType"),
    ("not a group", [{"params": small()}, small()], TypeError, "params[1]", "be a group like the others", "ndarray"),
    ("no group first", [small(), {"params": small()}], TypeError, "params[0]", "be a group like the others", "ndarray"),
    ("no params", [{"params": small()}, {"lr": 1}], TypeError, "params[1]", "dict with 'params'", "dict"),
    (
        "twice",
        [{"params": {"w": small()}}, {"params": {"w": small()}}],
        ValueError,
        "params[1]['w']",
        "have a name of its own",
        "'w' a second time",
    ),
    (
        "a number that a list gives",
        [{"params": {"1": small()}}, {"params": [small()]}],
        ValueError,
        "params[1][0]",
        "have a name of its own",
        "'1' a second time",
    ),
]


@pytest.mark.parametrize(("params", "error", "place", "expected", "came"), **table(NAMES))
def test_names(params, error, place, expected, came):
    before = frozen(params)
    assert_refused(lambda: fs.SGD(params, lr=LR), error, place, expected, came)
    assert frozen(params) == before


@pytest.mark.parametrize(
    ("params", "error", "place", "expected", "came"),
    **table([row for row in NAMES if not isinstance(row[1], list)]),
)
def test_names_added(params, error, place, expected, came):
    scene = Scene({"w": small()})
    scene.refuses(lambda: scene.opt.add(params), error, place, expected, came)


def test_name_added_twice():
    scene = Scene({"w": small()})
    scene.refuses(
        lambda: scene.opt.add({"b": small(), "w": small()}),
        ValueError,
        "params['w']",
        "have a name of its own",
        "'w' a second time",
    )


def test_of_several_foreign_names_the_first_is_told():
    """Whatever the seed of the process's hashes is."""
    names = dict.fromkeys("qwertyuiopasdfghjklzxcvbnm"[::-1], (0, 4096))
    for options in ({"memory": names}, {"extents": names}, {"memory": {"first": names}}):
        with pytest.raises(ValueError, match=r", got 'm'$"):
            fs.Adam({"first": small()}, **options)


@pytest.mark.parametrize("own", ["own = []; own.append(own)", "own = {}; own['w'] = own"], ids=["list", "dict"])
def test_containers_that_hold_themselves(own):
    """An error rather than a crash, which is why another process tries."""
    code = f"""
import fusedstep as fs
{own}
try:
    fs.SGD(own)
except (RecursionError, ValueError) as error:
    print(type(error).__name__)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout.strip()) in ((0, "RecursionError"), (0, "ValueError")), run.stderr


def test_how_deep_containers_may_be():
    tree = small()
    for _ in range(100):
        tree = [tree]
    fs.SGD(tree)
    with pytest.raises(ValueError, match=r"^SGD: params must be nested at most 100 deep"):
        fs.SGD([tree])


def test_no_parameters_at_all():
    with pytest.raises(TypeError, match="params"):
        fs.SGD(lr=LR)
