"""Arrays that cannot be stepped are refused: with the argument, what it must be, and what came; nothing has changed."""

from __future__ import annotations

import array
from types import MappingProxyType

import numpy as np
import pytest

import fusedstep as fs

from cases import frozen, laid_out
from scenes import LR, Scene, assert_refused, is_groups, replaced, small, table


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


def like_jax(a):
    """What NumPy would take by DLPack, from a module of JAX's name."""
    members = {"__dlpack__": lambda self, **request: a.__dlpack__(**request), "__dlpack_device__": lambda self: (1, 0)}
    return type("ArrayImpl", (), {"__module__": "jaxlib._jax", **members})()


SWAPPED = np.dtype(np.float32).newbyteorder("S")
LONG = np.dtype(np.longdouble)

FLOATS = "dtype float32, float64, float16 or bfloat16"

#: (what, how it is made of a float32 array of shape (4, 3), the error, what is expected, what came)
NO_ARRAYS = [
    ("float", lambda a: 1.0, TypeError, "be a numpy.ndarray", "float (numpy.asarray(x) is an array of it)"),
    ("NumPy scalar", lambda a: a[0, 0], TypeError, "be a numpy.ndarray", "numpy.float32 (numpy.asarray(x) is"),
    ("str", lambda a: "w", TypeError, "be a numpy.ndarray", "str (dict(x) takes pairs"),
    ("bytes", lambda a: a.tobytes(), TypeError, "be a numpy.ndarray", "bytes"),
    ("set", lambda a: {1.0}, TypeError, "be a numpy.ndarray", "set"),
    ("generator", lambda a: (x for x in a), TypeError, "be a numpy.ndarray", "generator (list(x) makes a list"),
    ("mapping", lambda a: MappingProxyType({"w": a}), TypeError, "be a numpy.ndarray", "mappingproxy (dict(x) makes a"),
    ("memoryview", lambda a: memoryview(a), TypeError, "be a numpy.ndarray", "memoryview"),
    ("array.array", lambda a: array.array("f", a.ravel()), TypeError, "be a numpy.ndarray", "array.array"),
    ("type", lambda a: np.ndarray, TypeError, "be a numpy.ndarray", "type"),
    ("JAX", from_library("jax.numpy", lambda jnp, a: jnp.array(a)), TypeError, "be a numpy.ndarray", "numpy.array(x)"),
    ("JAX by name", like_jax, TypeError, "be a numpy.ndarray", "numpy.array(x) is a copy"),
    ("torch, int", from_library("torch", lambda torch, a: torch.from_numpy(a).int()), TypeError, "float32", "int32"),
    (
        "torch, complex",
        from_library("torch", lambda torch, a: torch.from_numpy(a).to(torch.complex64)),
        TypeError,
        "float32",
        "complex64",
    ),
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
        "(48, 16, 4) (a copy into an empty_like() of params['w'] has them)",
    )


def test_read_only_memmap(tmp_path):
    small().tofile(tmp_path / "w")
    before = (tmp_path / "w").read_bytes()
    w = np.memmap(tmp_path / "w", np.float32, "r", shape=(4, 3))
    assert_refused(lambda: fs.SGD(w, lr=LR), ValueError, "params", "writeable", "read-only")
    assert (tmp_path / "w").read_bytes() == before


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
            *((*row[:3], "dtype float32", row[4]) for row in WRONG_TYPES if row[0] not in PLAIN),
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
    ("a number", 0, TypeError, "memory", "dict", "int"),
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


class Two(tuple):
    def __len__(self):
        return 2


#: (what, extents of w, which has 12 elements)
BAD_EXTENTS = [
    ("negative", {"w": (-1, 20)}, ValueError, "extents['w']", "12 elements", "-1"),
    ("too far", {"w": (9, 20)}, ValueError, "extents['w']", "12 elements", "9"),
    ("too small", {"w": (0, 11)}, ValueError, "extents['w']", "12 elements", "11"),
    ("at the end of numbers", {"w": (2**63 - 1, 2**63 - 1)}, ValueError, "extents['w']", "12 elements", str(2**63 - 1)),
    ("below numbers", {"w": (0, -(2**63))}, ValueError, "extents['w']", "12 elements", str(-(2**63))),
    ("beyond numbers", {"w": (0, 2**63)}, ValueError, "extents['w']", "12 elements", str(2**63)),
    ("a number", {"w": 5}, ValueError, "extents['w']", "(offset, size of the whole)", "5"),
    ("nothing that says it is two", {"w": Two()}, ValueError, "extents['w']", "(offset, size of the whole)", "()"),
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
