"""What does not fit is refused: with the argument, what it must be, and what came, and with nothing changed."""

from __future__ import annotations

import array
import copy
import math
import re
import subprocess
import sys
import threading
import time
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import numpy_step
from fusedstep.configured import ONCE

from cases import frozen, laid_out, random, same_bytes

LR = 0.05


def assert_refused(call, error, place, expected, came, name="SGD"):
    """`<optimizer>: <place> must <expected>, got <came>`, as the error that it should be."""
    with pytest.raises((TypeError, ValueError, OverflowError, AttributeError, KeyError, RuntimeError)) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is error, message
    facts = re.fullmatch(rf"{name}: (.+?) must (.+), got (.+)", message, re.DOTALL)
    assert facts, message
    assert facts[1] == place, message
    assert expected in facts[2], message
    assert came in facts[3], message


class Scene:
    """An optimizer in the middle of a run, everything that a refused call could change, and a twin that tells."""

    def __init__(self, tree, method="SGD", **options):
        options = {"lr": LR, "momentum": 0.9} if method == "SGD" and not options else {"lr": LR, **options}
        self.rng = np.random.default_rng(1)
        self.tree, self.copies = tree, replaced(tree, lambda param: param.copy(order="K"))
        self.opt = getattr(fs, method)(self.tree, **options)
        self.twin = getattr(fs.reference, method)(self.copies, **options)
        self.go_on()
        self.go_on()

    def grads(self):
        """Right ones, in the structure of the parameters."""
        tree = [item["params"] for item in self.tree] if is_groups(self.tree) else self.tree
        return replaced(tree, lambda param: like(param, random(self.rng, param.shape, param.dtype)))

    def snapshot(self):
        return frozen([self.tree, self.opt.state_dict(), self.opt.param_groups])

    def go_on(self):
        """The optimizer works as if nothing had been refused."""
        grads = self.grads()
        self.opt.step(grads)
        self.twin.step(grads)
        assert frozen(self.tree) == frozen(self.copies)
        assert frozen(self.opt.state_dict()) == frozen(self.twin.state_dict())

    def refuses(self, call, *facts, **more):
        before = self.snapshot()
        assert_refused(call, *facts, **more)
        assert self.snapshot() == before
        self.go_on()


def is_groups(tree):
    return isinstance(tree, list) and tree and isinstance(tree[0], dict) and "params" in tree[0]


def replaced(tree, change):
    """The same structure with other leaves; options of groups are none."""
    if isinstance(tree, dict):
        return {key: replaced(item, change) for key, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(replaced(item, change) for item in tree)
    return tree if callable(tree) else change(tree)


def like(param, values):
    made = np.empty_like(param)
    made[...] = values
    return made


def small(shape=(4, 3), dtype=np.float32):
    return random(np.random.default_rng(2), shape, dtype)


# Arrays


def misaligned(a, by):
    raw = np.zeros(a.nbytes + 64, np.uint8)
    made = raw[by : by + a.nbytes].view(a.dtype).reshape(a.shape)
    made[...] = a
    return made


def strided(a, *strides):
    """A writeable view with these strides, in elements, of memory that is large enough."""
    return np.lib.stride_tricks.as_strided(np.resize(a, 200), a.shape, [a.itemsize * stride for stride in strides])


def from_library(library, make):
    return lambda a: make(pytest.importorskip(library), a)


def torch_strided(torch, a):
    return torch.from_numpy(np.repeat(a, 2, axis=1))[:, ::2]


def torch_sparse(torch, a):
    return torch.from_numpy(a).to_sparse()


SWAPPED = np.dtype(np.float32).newbyteorder("S")
LONG = np.dtype(np.longdouble)

FLOATS = "dtype float32, float64, float16 or bfloat16"

#: (what, how it is made of a float32 array of shape (4, 3), the error, what is expected, what came)
NO_ARRAYS = [
    ("float", lambda a: 1.0, TypeError, "be a numpy.ndarray", "float"),
    ("NumPy scalar", lambda a: a[0, 0], TypeError, "be a numpy.ndarray", "numpy.float32"),
    ("str", lambda a: "w", TypeError, "be a numpy.ndarray", "str"),
    ("bytes", lambda a: a.tobytes(), TypeError, "be a numpy.ndarray", "bytes"),
    ("set", lambda a: {1.0}, TypeError, "be a numpy.ndarray", "set"),
    ("generator", lambda a: (x for x in a), TypeError, "be a numpy.ndarray", "generator (list(x) makes a list"),
    ("memoryview", lambda a: memoryview(a), TypeError, "be a numpy.ndarray", "memoryview"),
    ("array.array", lambda a: array.array("f", a.ravel()), TypeError, "be a numpy.ndarray", "array.array"),
    ("type", lambda a: np.ndarray, TypeError, "be a numpy.ndarray", "type"),
    ("JAX", from_library("jax.numpy", lambda jnp, a: jnp.array(a)), TypeError, "be a numpy.ndarray", "numpy.array(x)"),
    ("torch, int", from_library("torch", lambda torch, a: torch.from_numpy(a).int()), TypeError, "float32", "int32"),
    ("torch, bool", from_library("torch", lambda torch, a: torch.from_numpy(a).bool()), TypeError, "float32", "bool"),
    ("torch, sparse", from_library("torch", torch_sparse), TypeError, "its library can describe", "torch.strided"),
]
WRONG_TYPES = [
    ("int", lambda a: a.astype(np.int64), TypeError, FLOATS, "int64"),
    ("uint8", lambda a: abs(a).astype(np.uint8), TypeError, FLOATS, "uint8"),
    ("bool", lambda a: a > 0, TypeError, FLOATS, "bool"),
    ("object", lambda a: a.astype(object), TypeError, FLOATS, "object"),
    (
        "complex64",
        lambda a: a.astype(np.complex64),
        TypeError,
        FLOATS,
        "complex64",
    ),
    ("complex128", lambda a: a.astype(complex), TypeError, FLOATS, "complex128"),
    ("uint16", lambda a: a.astype(np.uint16), TypeError, "float16 or bfloat16", "as_bfloat16(x) marks"),
    ("byte-swapped", lambda a: a.astype(SWAPPED), TypeError, "native byte order", str(SWAPPED)),
    (
        "structured",
        lambda a: a.view([("x", np.float32)]),
        TypeError,
        FLOATS,
        "[('x', '<f4')]",
    ),
    ("record", lambda a: a.view([("x", np.float32)]).view(np.recarray), TypeError, "float32", "'x', '<f4'"),
    ("text", lambda a: a.astype("U3"), TypeError, FLOATS, "<U3"),
    ("time", lambda a: a.astype("m8[s]"), TypeError, FLOATS, "timedelta64[s]"),
    (
        "float8",
        from_library("ml_dtypes", lambda ml, a: a.astype(ml.float8_e4m3fn)),
        TypeError,
        FLOATS,
        "float8_e4m3fn",
    ),
    ("masked", lambda a: np.ma.masked_greater(a, 0), TypeError, "be a plain numpy.ndarray", "MaskedArray"),
    ("unmasked", lambda a: np.ma.masked_array(a), TypeError, "be a plain numpy.ndarray", "MaskedArray"),
]

if LONG.itemsize > 8:  # elsewhere it is float64
    WRONG_TYPES.append(("longdouble", lambda a: a.astype(LONG), TypeError, FLOATS, str(LONG)))

#: Parameters, and state memory, must be dense and writeable.
WRONG_MEMORY = [
    ("read-only", lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(4, 3), "writeable", "read-only"),
    ("broadcast", lambda a: np.broadcast_to(a[0], (4, 3)), "writeable", "read-only"),
    ("misaligned", lambda a: misaligned(a, 2), "aligned", "copy() is aligned"),
    ("zero strides", lambda a: strided(a, 0, 1), "dense", "strides (0, 4)"),
    ("torch, strided", from_library("torch", torch_strided), "dense in memory", "strides"),
    ("every other", lambda a: strided(a, 6, 2), "dense", "strides (24, 8)"),
    ("rows with gaps", lambda a: strided(a, 5, 1), "dense", "strides (20, 4)"),
    ("columns with gaps", lambda a: strided(a, 1, 7), "dense", "strides (4, 28)"),
    ("windows", lambda a: strided(a, 1, 1), "dense", "strides (4, 4)"),
    ("reversed rows", lambda a: a.copy()[::-1], "dense", "strides (-12, 4)"),
    ("reversed", lambda a: a.copy()[::-1, ::-1], "dense", "strides (-12, -4)"),
    ("odd strides", lambda a: np.ndarray((4, 3), a.dtype, bytearray(99), 0, (13, 4)), "aligned", "copy() is aligned"),
    ("field of a record", lambda a: np.zeros((4, 3), [("x", "f4"), ("y", "i4")])["x"], "dense", "strides (24, 8)"),
]

BAD_PARAMS = [
    *NO_ARRAYS,
    ("None", lambda a: None, TypeError, "be a numpy.ndarray", "NoneType"),
    *WRONG_TYPES,
    *((what, make, ValueError, expected, came) for what, make, expected, came in WRONG_MEMORY),
]

#: Gradients must be as their parameters; they are only read.
BAD_GRADS = [
    *NO_ARRAYS,
    ("list", lambda a: a.tolist(), TypeError, "be a numpy.ndarray", "list"),
    ("dict", lambda a: {"w": a}, TypeError, "be a numpy.ndarray", "dict"),
    *WRONG_TYPES,
    ("flat", lambda a: a.ravel(), ValueError, "(4, 3)", "(12,)"),
    ("turned", lambda a: a.reshape(3, 4), ValueError, "(4, 3)", "(3, 4)"),
    ("transposed", lambda a: a.T.copy(), ValueError, "(4, 3)", "(3, 4)"),
    ("one axis more", lambda a: a[None], ValueError, "(4, 3)", "(1, 4, 3)"),
    ("larger", lambda a: np.ones((4, 4), np.float32), ValueError, "(4, 3)", "(4, 4)"),
    ("a row", lambda a: a[0], ValueError, "(4, 3)", "(3,)"),
    ("one number", lambda a: np.array(1, np.float32), ValueError, "(4, 3)", "()"),
    ("empty", lambda a: a[:0], ValueError, "(4, 3)", "(0, 3)"),
    ("Fortran", lambda a: laid_out(a, "Fortran"), ValueError, "(12, 4)", "(4, 16)"),
    ("broadcast", lambda a: np.broadcast_to(a[0], (4, 3)), ValueError, "(12, 4)", "(0, 4)"),
    ("every other", lambda a: strided(a, 6, 2), ValueError, "(12, 4)", "(24, 8)"),
    ("reversed", lambda a: a[::-1], ValueError, "(12, 4)", "(-12, 4)"),
    ("misaligned", lambda a: misaligned(a, 2), ValueError, "aligned", "copy() is aligned"),
]

#: (where, parameters of which the array is one, and its place in a message)
PLACES = [
    ("array", lambda a: a, ""),
    ("first of a list", lambda a: [a, small(5), small(2)], "[0]"),
    ("last of a list", lambda a: [small(5), small(2, np.float64), small(0), a], "[3]"),
    ("dict", lambda a: {"b": small(3), "net": {"b": small(2), "w": a}}, "['net']['w']"),
    ("nested", lambda a: {"layers": [small(3), (small(2), a)]}, "['layers'][1][1]"),
    ("first of groups", lambda a: [{"params": {"w": a}}, {"params": {"b": small(3)}}], "[0]['w']"),
    ("last of groups", lambda a: [{"params": {"b": small(3)}}, {"params": {"w": a}}], "[1]['w']"),
    ("array of a group", lambda a: [{"params": small(3)}, {"params": a}], "[1]"),
]


def table(rows):
    """Rows that begin with what they are."""
    return {"argvalues": [row[1] if len(row) == 2 else row[1:] for row in rows], "ids": [row[0] for row in rows]}


@pytest.mark.parametrize(("tree", "place"), **table(PLACES))
@pytest.mark.parametrize(("make", "error", "expected", "came"), **table(BAD_PARAMS))
def test_parameters(make, error, expected, came, tree, place):
    bad = make(small())
    params = tree(bad)
    others = frozen(replaced(params, lambda param: "bad" if param is bad else param))
    assert_refused(lambda: fs.SGD(params, lr=LR), error, f"params{place}", expected, came)
    assert frozen(replaced(params, lambda param: "bad" if param is bad else param)) == others


@pytest.mark.parametrize(("make", "error", "expected", "came"), **table(BAD_PARAMS))
def test_parameters_added(make, error, expected, came):
    scene = Scene({"w": small()})
    bad = {"good": small(), "b": make(small())}
    scene.refuses(lambda: scene.opt.add(bad), error, "params['b']", expected, came)


@pytest.mark.parametrize("bound", [False, True], ids=["step", "bind"])
@pytest.mark.parametrize(("tree", "place"), **table(PLACES))
@pytest.mark.parametrize(("make", "error", "expected", "came"), **table(BAD_GRADS))
def test_gradients(make, error, expected, came, tree, place, bound):
    marked = small()
    scene = Scene(tree(marked))
    bad = make(small())
    # The structure of the parameters tells where the array stood.
    params = [item["params"] for item in scene.tree] if is_groups(scene.tree) else scene.tree
    grads = replaced(params, lambda param: bad if param is marked else param.copy(order="K"))
    call = scene.opt.bind if bound else scene.opt.step
    scene.refuses(lambda: call(grads), error, f"grads{place}", expected, came)


@pytest.mark.parametrize("place", ["[0]['w']", "[1]['b']", "[2]"])
def test_gradients_of_added_groups(place):
    """With the second group, gradients are a list of entries, and messages count them."""
    scene = Scene({"w": small()})
    scene.opt.add({"b": small()})
    scene.opt.add(small())
    grads = [{"w": small()}, {"b": small()}, small()]
    if place == "[2]":
        grads[2] = np.ones(2, np.float32)
    else:
        grads[int(place[1])][place[5]] = np.ones(2, np.float32)
    before = scene.snapshot()
    assert_refused(lambda: scene.opt.step(grads), ValueError, f"grads{place}", "(4, 3)", "(2,)")
    assert scene.snapshot() == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_misalignment(dtype):
    """By 1 to 63 bytes; what the element's size divides is accepted, with the right result in test_in_place."""
    itemsize = np.dtype(dtype).itemsize
    scene = Scene({"w": small(5, dtype)})
    for by in range(1, 64):
        bad = misaligned(small(5, dtype), by)
        if by % itemsize == 0:
            fs.SGD(bad, lr=LR)
            scene.opt.bind({"w": bad})
            continue
        assert_refused(lambda a=bad: fs.SGD(a, lr=LR), ValueError, "params", "aligned", "copy() is aligned")
        scene.refuses(lambda a=bad: scene.opt.step({"w": a}), ValueError, "grads['w']", "aligned", "copy() is aligned")


@pytest.mark.parametrize("layout", ["Fortran", "permuted"])
def test_gradients_in_another_layout(layout):
    """Their elements stand in another order than the parameter's."""
    scene = Scene({"w": laid_out(small((2, 3, 4)), layout)})
    scene.refuses(
        lambda: scene.opt.step({"w": small((2, 3, 4))}),
        ValueError,
        "grads['w']",
        f"strides of params['w'], {scene.tree['w'].strides}",
        "(48, 16, 4)",
    )


def test_read_only_memmap(tmp_path):
    small().tofile(tmp_path / "w")
    before = (tmp_path / "w").read_bytes()
    w = np.memmap(tmp_path / "w", np.float32, "r", shape=(4, 3))
    assert_refused(lambda: fs.SGD(w, lr=LR), ValueError, "params", "writeable", "read-only")
    assert (tmp_path / "w").read_bytes() == before


# Structures

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
    ("group too short", "groups", lambda g: [g[0], []], ValueError, "grads[1]", "1 entries", "0"),
]

TREES = {
    "list": lambda: [small(3), small((2, 2), np.float64)],
    "dict": lambda: {"w": small(3), "net": {"b": small(2)}},
    "groups": lambda: [{"params": {"w": small(3)}}, {"params": [small(2)]}],
}


@pytest.mark.parametrize("bound", [False, True], ids=["step", "bind"])
@pytest.mark.parametrize(("tree", "grads", "error", "place", "expected", "came"), **table(CONTAINERS))
def test_containers(tree, grads, error, place, expected, came, bound):
    scene = Scene(TREES[tree]())
    given = grads(scene.grads()) if callable(grads) else grads
    call = scene.opt.bind if bound else scene.opt.step
    scene.refuses(lambda: call(given), error, place, expected, came)


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


def test_no_parameters_at_all():
    with pytest.raises(TypeError, match="params"):
        fs.SGD(lr=LR)


# Overlaps

OVERLAP = r"^(SGD|Adam): .+ and .+ must not overlap in memory, got arrays that share \d+ bytes$"

#: (what, parameters cut from 64 float32, the two that overlap, by how many bytes)
SHARED_PARAMS = [
    ("the same", lambda b: [b, b], "params[0]", "params[1]", 256),
    ("equal views", lambda b: [b[:8], b[:8]], "params[0]", "params[1]", 32),
    ("one element", lambda b: [b[:8], b[7:15]], "params[0]", "params[1]", 4),
    ("one element, the later first", lambda b: [b[7:15], b[:8]], "params[1]", "params[0]", 4),
    ("inside", lambda b: [b[:16], b[4:6]], "params[0]", "params[1]", 8),
    ("around", lambda b: [b[4:6], b[:16]], "params[1]", "params[0]", 8),
    ("not neighbours", lambda b: [b[:4], b[8:12], b[16:20], b[2:6]], "params[0]", "params[3]", 8),
    ("a scalar", lambda b: [b[3:4].reshape(()), b[:8]], "params[1]", "params[0]", 4),
    ("another dtype", lambda b: [b[:8], b.view(np.float64)[3:6]], "params[0]", "params[1]", 8),
    ("another layout", lambda b: [b[:12].reshape(3, 4), b[:12].reshape(4, 3).T], "params[0]", "params[1]", 48),
    ("a dict", lambda b: {"v": b[:8], "n": {"w": b[6:9]}}, "params['v']", "params['n']['w']", 8),
    ("groups", lambda b: [{"params": [b[:8]]}, {"params": [b[:8]]}], "params[0][0]", "params[1][0]", 32),
]


@pytest.mark.parametrize(("tree", "one", "other", "size"), **table(SHARED_PARAMS))
def test_parameters_that_overlap(tree, one, other, size):
    base = small(64)
    before = base.tobytes()
    with pytest.raises(ValueError, match="overlap") as caught:
        fs.SGD(tree(base), lr=LR)
    message = str(caught.value)
    facts = re.fullmatch(r"SGD: (.+) and (.+) must not overlap in memory, got arrays that share (\d+) bytes", message)
    assert facts, message
    assert {facts[1], facts[2]} == {one, other}
    assert int(facts[3]) == size
    assert base.tobytes() == before


def test_parameters_that_touch():
    """Neighbours are no overlap, and an empty array overlaps nothing."""
    base = small(64)
    fs.SGD([base[:8], base[8:9], base[4:4], base[9:]], lr=LR)


#: (what, memory for Adam's state of a: 8 and b: 8, cut from what the parameters do not use or do)
SHARED_MEMORY = [
    ("its parameter", lambda a, b, m: {"a": {"exp_avg": a}}),
    ("another parameter", lambda a, b, m: {"a": {"exp_avg_sq": b}}),
    ("part of a parameter", lambda a, b, m: {"b": {"exp_avg": np.ndarray(8, np.float32, a.base, 4 * 4)}}),
    ("two states", lambda a, b, m: {"a": {"exp_avg": m[:8], "exp_avg_sq": m[:8]}}),
    ("parts of two states", lambda a, b, m: {"a": {"exp_avg": m[:8], "exp_avg_sq": m[7:15]}}),
    ("two parameters' states", lambda a, b, m: {"a": {"exp_avg": m[7:15]}, "b": {"exp_avg": m[:8]}}),
]


@pytest.mark.parametrize("groups", [False, True], ids=["dict", "groups"])
@pytest.mark.parametrize("make", **table(SHARED_MEMORY))
def test_memory_that_overlaps(make, groups):
    base, m = small(64), np.full(64, 77, np.float32)
    a, b = base[:8], base[8:16]
    before = frozen([base, m])
    params = [{"params": {"a": a}}, {"params": {"b": b}}] if groups else {"a": a, "b": b}
    with pytest.raises(ValueError, match=OVERLAP):
        fs.Adam(params, lr=LR, memory=make(a, b, m))
    assert frozen([base, m]) == before


#: (what, the parameters that are added and memory for them; w and v are the optimizer's, m its state of w)
SHARED_ADDED = [
    ("a parameter", lambda w, v, m: ({"new": w}, {})),
    ("another parameter", lambda w, v, m: ({"new": small(3), "b": v}, {})),
    ("a part", lambda w, v, m: ({"new": w[1:]}, {})),
    ("state", lambda w, v, m: ({"new": m}, {})),
    ("part of the state", lambda w, v, m: ({"new": m[2:4]}, {})),
    ("memory in a parameter", lambda w, v, m: ({"new": small(5)}, {"new": {"momentum_buffer": w[:5]}})),
    ("memory in state", lambda w, v, m: ({"new": small(5)}, {"new": {"momentum_buffer": m[3:8]}})),
    ("memory in the new", lambda w, v, m: ({"a": (a := small(5)), "b": small(5)}, {"b": {"momentum_buffer": a}})),
]


@pytest.mark.parametrize("make", **table(SHARED_ADDED))
def test_added_overlaps(make):
    scene = Scene({"w": small(8), "v": small(8)})
    params, memory = make(scene.tree["w"], scene.tree["v"], scene.opt.state["w"]["momentum_buffer"])
    before = scene.snapshot()
    with pytest.raises(ValueError, match=OVERLAP):
        scene.opt.add(params, memory=memory)
    assert scene.snapshot() == before
    scene.go_on()


#: (what, the gradient of w, made of w, v and the optimizer's state; whose memory it shares)
SHARED_GRADS = [
    ("its parameter", lambda w, v, state: w, "params['w']"),
    ("a view of it", lambda w, v, state: w[:], "params['w']"),
    ("another parameter", lambda w, v, state: v, "params['v']"),
    ("the end of one", lambda w, v, state: np.ndarray(8, np.float32, w.base, 4 * 7), "params['w']"),
    ("the beginning of one", lambda w, v, state: np.ndarray(8, np.float32, w.base, 4 * 1), "params['w']"),
    ("its own state", lambda w, v, state: state["w"]["ring"][1], "state['w']['ring']"),
    ("its running sum", lambda w, v, state: state["w"]["sum"], "state['w']['sum']"),
    ("another's state", lambda w, v, state: state["v"]["sum"], "state['v']['sum']"),
    ("two planes of state", lambda w, v, state: state["v"]["ring"].reshape(-1)[4:12], "state['v']['ring']"),
]


@pytest.mark.parametrize("bound", [False, True], ids=["step", "bind"])
@pytest.mark.parametrize(("make", "whose"), **table(SHARED_GRADS))
def test_gradients_that_overlap(make, whose, bound):
    base = small(64)
    scene = Scene({"w": base[4:12], "v": base[16:24]}, "WindowedAdagrad", window=3)
    grads = scene.grads()
    grads["w"] = make(scene.tree["w"], scene.tree["v"], scene.opt.state)
    call = scene.opt.bind if bound else scene.opt.step
    for _ in range(2):  # no second try slips through
        scene.refuses(
            lambda: call(grads),
            ValueError,
            "grads['w']",
            f"not overlap {whose} in memory",
            "shares its memory",
            name="WindowedAdagrad",
        )


def test_overlaps_that_come_later():
    """An array that was a good gradient becomes a parameter, or a parameter's state is made anew."""
    scene = Scene({"w": small(8)})
    grad = small(8)
    scene.opt.step({"w": grad})
    scene.twin.step({"w": grad})
    scene.opt.add({"v": grad})
    before = scene.snapshot()
    assert_refused(
        lambda: scene.opt.step([{"w": grad}, {"v": small(8)}]),
        ValueError,
        "grads[0]['w']",
        "['v'] in memory",
        "shares its memory",
    )
    assert scene.snapshot() == before
    opt = fs.SGD({"w": small(8)}, lr=LR)
    opt.param_groups[0]["momentum"] = 0.9
    opt.step({"w": small(8)})
    grad = opt.state["w"]["momentum_buffer"]
    assert_refused(
        lambda: opt.step({"w": grad}),
        ValueError,
        "grads['w']",
        "not overlap state['w']['momentum_buffer']",
        "shares its memory",
    )


def test_memory_that_was_let_go():
    """State that is no longer called for claims nothing: its memory may become a gradient."""
    memory = np.zeros(8, np.float32)
    opt = fs.SGD({"w": small(8)}, lr=LR, momentum=0.9, memory={"w": {"momentum_buffer": memory}})
    opt.param_groups[0]["momentum"] = 0.0
    opt.step({"w": small(8)})
    opt.step({"w": memory})
    assert opt.state["w"]["step"] == 2


# Memory and extents

ADAM = {"exp_avg", "exp_avg_sq"}

#: Refused before their type is looked at.
PLAIN = ("masked", "unmasked")

#: (what, memory, the error, its place, what is expected, what came)
BAD_MEMORY = [
    *(
        (what, {"w": {"exp_avg": make}}, error, "memory['w']['exp_avg']", expected, came)
        for what, make, error, expected, came in [
            *NO_ARRAYS,
            *(
                (*row[:3], "dtype float32", row[0] if row[0] == "uint16" else row[4])
                for row in WRONG_TYPES
                if row[0] not in PLAIN
            ),
            *(row for row in WRONG_TYPES if row[0] in PLAIN),
            ("float64", lambda a: a.astype(np.float64), TypeError, "float32", "float64"),
            ("flat", lambda a: a.ravel(), ValueError, "(4, 3)", "(12,)"),
            ("Fortran", lambda a: laid_out(a, "Fortran"), ValueError, "(12, 4)", "(4, 16)"),
            ("reversed", lambda a: a[::-1], ValueError, "(12, 4)", "(-12, 4)"),
            ("misaligned", lambda a: misaligned(a, 2), ValueError, "aligned", "copy() is aligned"),
            ("read-only", WRONG_MEMORY[0][1], ValueError, "writeable", "read-only"),
        ]
    ),
    ("unknown name", {"v": {}}, ValueError, "memory", "name the parameters", "'v'"),
    ("unknown state", {"w": {"exp_max": small()}}, ValueError, "memory['w']", "name states", "'exp_max'"),
    ("a number", 5, TypeError, "memory", "dict", "int"),
    ("a list", [small()], TypeError, "memory", "dict", "list"),
    ("a number of one", {"w": 5}, TypeError, "memory['w']", "dict", "int"),
    ("an array of one", {"w": small()}, TypeError, "memory['w']", "dict", "ndarray"),
]


@pytest.mark.parametrize("added", [False, True], ids=["constructor", "add"])
@pytest.mark.parametrize(("memory", "error", "place", "expected", "came"), **table(BAD_MEMORY))
def test_memory(memory, error, place, expected, came, added):
    good = np.full((4, 3), 77, np.float32)
    if isinstance(memory, dict) and isinstance(memory.get("w"), dict):
        memory = {"w": {key: make(small()) if callable(make) else make for key, make in memory["w"].items()}}
        memory["w"].setdefault("exp_avg_sq", good)
    params = {"w": small()}
    before = frozen(params)
    if added:
        scene = Scene({"b": small()}, "Adam")
        call = lambda: scene.opt.add(params, memory=memory)  # noqa: E731
        scene.refuses(call, error, place, expected, came, name="Adam")
    else:
        assert_refused(lambda: fs.Adam(params, memory=memory), error, place, expected, came, name="Adam")
    assert frozen(params) == before
    assert (good == 77).all(), "nothing is written where something else is refused"


#: (what, extents of w, which has 12 elements)
BAD_EXTENTS = [
    ("negative", {"w": (-1, 20)}, ValueError, "extents['w']", "12 elements", "-1"),
    ("too far", {"w": (9, 20)}, ValueError, "extents['w']", "12 elements", "9"),
    ("too small", {"w": (0, 11)}, ValueError, "extents['w']", "12 elements", "11"),
    ("at the end of numbers", {"w": (2**63 - 1, 2**63 - 1)}, ValueError, "extents['w']", "12 elements", str(2**63 - 1)),
    ("beyond numbers", {"w": (0, 2**63)}, ValueError, "extents['w']", "12 elements", str(2**63)),
    ("a number", {"w": 5}, ValueError, "extents['w']", "(offset, size of the whole)", "5"),
    ("one number", {"w": (5,)}, ValueError, "extents['w']", "(offset, size of the whole)", "(5,)"),
    ("three numbers", {"w": (5, 20, 30)}, ValueError, "extents['w']", "(offset, size of the whole)", "(5, 20, 30)"),
    ("floats", {"w": (0.0, 20.0)}, ValueError, "extents['w']", "(offset, size of the whole)", "(0.0, 20.0)"),
    ("text", {"w": ("0", "20")}, ValueError, "extents['w']", "(offset, size of the whole)", "('0', '20')"),
    ("unknown", {"v": (0, 20)}, ValueError, "extents", "name the parameters", "'v'"),
]


@pytest.mark.parametrize("added", [False, True], ids=["constructor", "add"])
@pytest.mark.parametrize(("extents", "error", "place", "expected", "came"), **table(BAD_EXTENTS))
def test_extents(extents, error, place, expected, came, added):
    if added:
        scene = Scene({"b": small()})
        scene.refuses(lambda: scene.opt.add({"w": small()}, extents=extents), error, place, expected, came)
    else:
        assert_refused(lambda: fs.SGD({"w": small()}, extents=extents), error, place, expected, came)


# Hyper-parameters

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
        else:
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
    ("Adaptive", {"phi": "nesterov"}, {"dampening": 0.1}, ValueError, "dampening", "Nesterov", "0.1"),
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


# T19: all or nothing


@pytest.mark.parametrize("size", [10, 40_000])
def test_last_of_many(size):
    """Whatever is wrong with the last gradient, the first parameters have not moved."""
    scene = Scene([small(size) for _ in range(50)])
    for bad in (small(size + 1), small(size).astype(int), small(size)[::-1], "gradient"):
        before = scene.snapshot()
        with pytest.raises((TypeError, ValueError), match=r"^SGD: grads\[49\] must "):
            scene.opt.step([*scene.grads()[:-1], bad])
        assert scene.snapshot() == before
    scene.go_on()


class Broken(Exception):
    pass


def scheduled(schedule, groups=1):
    """An optimizer whose last group has a schedule that can be exchanged."""
    now = {"schedule": lambda step: LR}
    tree = [{"params": {str(i): small()}} for i in range(groups)]
    tree[-1]["lr"] = lambda step: now["schedule"](step)
    scene = Scene(tree, momentum=0.9)
    right, now["schedule"] = now["schedule"], schedule
    return scene, lambda: now.update(schedule=right)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("bound", [False, True], ids=["step", "bound"])
def test_schedule_that_raises(groups, bound):
    """What it raises comes through."""

    def schedule(step):
        raise Broken(step)

    scene, repair = scheduled(schedule, groups)
    grads = scene.grads()
    call = scene.opt.bind(grads).step if bound else lambda: scene.opt.step(grads)
    before = scene.snapshot()
    for _ in range(2):
        with pytest.raises(Broken, match=r"^2$"):
            call()
    assert scene.snapshot() == before
    repair()
    scene.go_on()


@pytest.mark.parametrize(
    "value",
    [NAN, INF, -1.0, 10**400, "0.5", None, np.ones(2), 1j],
    ids=["NaN", "inf", "negative", "huge", "text", "None", "two", "complex"],
)
def test_schedule_that_gives_no_rate(value):
    scene, repair = scheduled(lambda step: value)
    before = scene.snapshot()
    assert_refused(lambda: scene.opt.step(scene.grads()), ValueError, "lr", "a schedule of finite", repr(value))
    assert scene.snapshot() == before
    repair()
    scene.go_on()


@pytest.mark.parametrize(
    "value",
    [NAN, INF, -1.0, "0.5", None, np.ones(2), 1j],
    ids=["NaN", "inf", "negative", "text", "None", "two", "complex"],
)
def test_first_rate_that_is_none(value):
    """`max_lr` that nobody gave is asked of the schedule, and must be as good as one that was given."""
    params = [small()]
    before = frozen(params)
    with pytest.raises(ValueError, match=r"^SGD: (max_)?lr must .*, got ") as caught:
        fs.SGD(params, lr=lambda step: value, weight_decay=0.1, decay="fully_decoupled")
    assert repr(value) in str(caught.value)
    assert frozen(params) == before


#: What a schedule must not do to the optimizer that asks it.
MEDDLING = {
    "step": lambda opt, grads, state: opt.step(grads),
    "bind": lambda opt, grads, state: opt.bind(grads),
    "bound step": lambda opt, grads, state: state["bound"].step(),
    "add": lambda opt, grads, state: opt.add({"late": small()}),
    "load_state_dict": lambda opt, grads, state: opt.load_state_dict(state["saved"]),
    "copy": lambda opt, grads, state: copy.copy(opt),
}


@pytest.mark.parametrize("meddle", MEDDLING.values(), ids=MEDDLING)
def test_calls_during_a_step(meddle):
    """A step must be over before the next begins."""
    scene, repair = scheduled(lambda step: meddle(scene.opt, grads, state) or LR)
    grads, state = scene.grads(), {"saved": scene.opt.state_dict()}
    state["saved"]["groups"][0]["weight_decay"] = 0.5  # would show if it were taken
    state["bound"] = scene.opt.bind(grads)
    before = scene.snapshot()
    with pytest.raises(RuntimeError, match=r"^SGD: a step must be over before .*, got a second call during one"):
        scene.opt.step(grads)
    assert scene.snapshot() == before
    repair()
    state["bound"].step()
    scene.twin.step(grads)
    scene.go_on()


def test_reference_that_is_asked_in_the_middle_of_its_step(monkeypatch):
    w = np.ones(3)
    opt = fs.reference.SGD(w, lr=0.5)
    monkeypatch.setattr("fusedstep.numpy_step.update", lambda *arguments: opt.step(np.ones(3)))
    with pytest.raises(RuntimeError, match=r"^SGD: a step must be over before .*, got a second call during one"):
        opt.step(np.ones(3))
    monkeypatch.undo()
    opt.step(np.ones(3))
    assert (w == 0.5).all()


def test_reference_that_breaks_off(monkeypatch):
    """An interrupt in the middle of its step leaves none of the gradients to the next one."""
    a, b = np.ones(3), np.ones(3)
    opt = fs.reference.SGD([a, b], lr=0.5)

    def broken(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(numpy_step, "apply", broken)
        with pytest.raises(KeyboardInterrupt):
            opt.step([np.full(3, 7.0), np.full(3, 8.0)])
    assert (a == 1).all()
    opt.step([None, np.ones(3)])
    assert (a == 1).all()
    assert (b == 0.5).all()
    assert [entry["step"] for entry in opt.state.values()] == [0, 1]


def test_other_optimizers_during_a_step():
    """They are nobody's business."""
    w, v = np.ones(3), np.ones(3)
    inner = fs.SGD(v, lr=0.5)

    def schedule(step):
        inner.step(np.ones(3))
        return 0.25

    fs.SGD(w, lr=schedule).step(np.ones(3))
    assert (v == 0.5).all()
    assert (w == 0.75).all()


# Threads of the caller


def run_together(*works):
    """Run functions in threads of their own; what one of them raises is raised here."""
    failures = []

    def guarded(work):
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def test_second_thread_in_a_step():
    """It gets an error that says so, and the step that it disturbed is none the worse."""
    inside, tried = threading.Event(), threading.Event()

    def schedule(step):
        inside.set()
        assert tried.wait(60)
        return LR

    w = small(200_000)
    expected, grad = w.copy(), small(200_000)
    opt = fs.SGD(w, lr=schedule, momentum=0.9)

    def disturb():
        assert inside.wait(60)
        try:
            with pytest.raises(RuntimeError, match=r"^SGD: a step must be over before the next begins"):
                opt.step(grad)
        finally:
            tried.set()

    run_together(lambda: opt.step(grad), disturb)
    fs.reference.SGD(expected, lr=LR, momentum=0.9).step(grad)
    assert same_bytes(w, expected)
    assert opt.state["0"]["step"] == 1


def test_threads_on_one_optimizer():
    """Each step happens whole or not at all, whatever the threads."""
    w = small(300_000)
    expected, grad = w.copy(), small(300_000)
    opt = fs.SGD(w, lr=LR, momentum=0.9)
    done = []

    def work():
        for _ in range(30):
            try:
                opt.step(grad)
            except RuntimeError as error:
                assert "a step must be over" in str(error)  # noqa: PT017
            else:
                done.append(1)

    run_together(work, work, work)
    assert len(done) >= 1
    assert opt.state["0"]["step"] == opt.state_dict()["calls"] == len(done)
    reference = fs.reference.SGD(expected, lr=LR, momentum=0.9)
    for _ in done:
        reference.step(grad)
    assert same_bytes(w, expected)
    assert same_bytes(opt.state["0"]["momentum_buffer"], reference.state["0"]["momentum_buffer"])


def test_threads_on_different_optimizers(set_threads):
    """They share the pool of threads, and nothing else."""
    set_threads(3)
    names = ["SGD", "Adam", "Lion", "WindowedAdagrad"]
    params = [small(150_000 + i) for i in range(len(names))]
    copies = [param.copy() for param in params]
    grads = [small(param.size) for param in params]

    def work(i):
        opt = getattr(fs, names[i])(params[i], lr=LR)
        for _ in range(20):
            opt.step(grads[i])

    run_together(*(lambda i=i: work(i) for i in range(len(names))))
    for name, param, expected, grad in zip(names, params, copies, grads, strict=True):
        reference = getattr(fs.reference, name)(expected, lr=LR)
        for _ in range(20):
            reference.step(grad)
        assert same_bytes(param, expected)


def test_large_steps_let_others_run():
    """The interpreter is released: another thread gets on between the beginning and the end of a step.

    With the switch interval out of reach, the interpreter is handed over only where it is given away, so that a step
    that keeps it can never pass.
    """
    w, grad = small(2_000_000), small(2_000_000)
    opt = fs.Adam(w, lr=LR)
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(1e-4)  # gives the interpreter away

    interval = sys.getswitchinterval()
    counter = threading.Thread(target=count)
    counter.start()
    try:
        sys.setswitchinterval(1000)
        for _ in range(500):
            before = counted[0]
            opt.step(grad)
            if counted[0] > before:
                break
        else:
            pytest.fail("no other thread ran during 500 steps")
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        counter.join(60)
