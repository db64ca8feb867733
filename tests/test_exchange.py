"""Gradients of a library that describes its arrays by DLPack's table of functions for C."""

from __future__ import annotations

import ctypes as c

import numpy as np
import pytest

import fusedstep as fs


class Tensor(c.Structure):
    _fields_ = (
        ("data", c.c_void_p),
        ("kind", c.c_int32),
        ("index", c.c_int32),
        ("ndim", c.c_int32),
        ("code", c.c_uint8),
        ("bits", c.c_uint8),
        ("lanes", c.c_uint16),
        ("shape", c.POINTER(c.c_int64)),
        ("strides", c.POINTER(c.c_int64)),
        ("byte_offset", c.c_uint64),
    )


Describe = c.PYFUNCTYPE(c.c_int, c.py_object, c.POINTER(Tensor))


class Table(c.Structure):
    pass


Table._fields_ = [
    ("major", c.c_uint32),
    ("minor", c.c_uint32),
    ("older", c.POINTER(Table)),
    ("others", c.c_void_p * 3),
    ("describe", Describe),
    ("current_work_stream", c.c_void_p),
]

capsule_of = c.PYFUNCTYPE(c.py_object, c.c_void_p, c.c_char_p, c.c_void_p)(("PyCapsule_New", c.pythonapi))


@Describe
def describe(array, described):
    array.asked += 1
    described[0] = array.tensor
    return 0


@Describe
def fail(array, described):
    array.asked += 1
    return -1


TABLE = Table(1, 3, None, describe=describe)


def numbers(*values):
    return (c.c_int64 * len(values))(*values)


class Values:
    """Twelve numbers, of which the first is behind `byte_offset`."""

    asked = 0

    def __init__(self, values, **fields):
        self.values = values
        facts = {
            "data": values.ctypes.data - 8,
            "kind": 1,
            "ndim": 2,
            "code": 2,
            "bits": 8 * values.itemsize,
            "lanes": 1,
            "shape": numbers(3, 4),
            "strides": numbers(4, 1),
            "byte_offset": 8,
        }
        self.tensor = Tensor(**{**facts, **fields})

    def untyped_storage(self):
        return self.values


def with_table(table, name=b"dlpack_exchange_api", **members):
    """A class whose instances nothing but the table describes, unless its members do."""
    capsule = capsule_of(c.addressof(table), name, None)
    return type("Values", (Values,), {"__dlpack_c_exchange_api__": capsule, "table": (table, name), **members})


def stepped(grad):
    param = np.ones((3, 4), np.float32)
    opt = fs.SGD({"w": param}, lr=0.5)
    try:
        opt.step({"w": grad})
    except (TypeError, ValueError):
        assert (param == 1).all()
        raise
    return param


VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize(
    "table",
    [TABLE, Table(1, 99, None, describe=describe), Table(2, 0, c.pointer(TABLE))],
    ids=["1.3", "1.99", "2.0 and 1.3"],
)
def test_a_table(table, dtype):
    grad = with_table(table)(VALUES.astype(dtype))
    assert (stepped(grad) == 1 - 0.5 * VALUES).all()
    assert grad.asked == 1


def test_bits_of_bfloat16():
    grad = with_table(TABLE)(np.full((3, 4), 0x3F80, np.uint16), code=4)
    assert (stepped(grad) == 0.5).all()


def of_numpy(self, **options):
    return self.values.__dlpack__(**options)


def on_the_processor(self):
    return 1, 0


IN_PYTHON = {"__dlpack__": of_numpy, "__dlpack_device__": on_the_processor}


UNKNOWN = {
    "of a version to come": Table(2, 0, None, describe=describe),
    "of a version long ago": Table(0, 9, None, describe=describe),
    "without this function": Table(1, 3, None),
}


@pytest.mark.parametrize("why", [*UNKNOWN, "of another name"])
def test_tables_that_cannot_be_used(why):
    name = b"dltensor" if why == "of another name" else b"dlpack_exchange_api"
    grad = with_table(UNKNOWN.get(why, TABLE), name)(VALUES)
    with pytest.raises(TypeError, match=r"grads\['w'\] must be a numpy.ndarray, or an array that DLPack"):
        stepped(grad)
    grad = with_table(UNKNOWN.get(why, TABLE), name, **IN_PYTHON)(VALUES)
    assert (stepped(grad) == 1 - 0.5 * VALUES).all()
    assert grad.asked == 0


WRONG = {
    "device": {"kind": 2},
    "memory": {"data": None, "byte_offset": 0},
    "shape": {"shape": numbers(4, 3)},
    "strides": {"strides": numbers(1, 3)},
    "strides that are too large": {"strides": numbers(4 + 2**62, 1)},
    "no shape": {"shape": None},
    "no strides": {"strides": None},
    "axes": {"ndim": 1},
    "integers": {"code": 0},
    "pairs": {"lanes": 2},
    "bits": {"bits": 8},
    "address": {"byte_offset": 7},
}


@pytest.mark.parametrize("what", WRONG)
def test_arrays_that_need_a_longer_look(what):
    grad = with_table(TABLE)(VALUES, **WRONG[what])
    with pytest.raises(TypeError, match=r"grads\['w'\] must be a numpy.ndarray, or an array that DLPack"):
        stepped(grad)
    assert grad.asked == 1


@pytest.mark.parametrize("table", [TABLE, Table(1, 3, None)], ids=["a table", "methods"])
def test_arrays_on_a_device_that_cannot_be_used(monkeypatch, table):
    def load():
        raise RuntimeError("this build has no part for it")

    if fs.cuda._loaded:
        pytest.skip("it can be used already")
    monkeypatch.setattr(fs.cuda, "load", load)
    array = with_table(table, **IN_PYTHON | {"__dlpack_device__": lambda self: (2, 1)})(VALUES, kind=2, index=1)
    message = (
        r"^AdamW: params\['w'\] must be in the processor's memory, got an array on cuda:1 \(this build has no part"
    )
    with pytest.raises(TypeError, match=message):
        fs.AdamW({"w": array})


def test_an_error_of_the_library_leads_to_a_longer_look():
    table = Table(1, 3, None, describe=fail)
    grad = with_table(table, **IN_PYTHON)(VALUES)
    assert (stepped(grad) == 1 - 0.5 * VALUES).all()
    assert grad.asked == 2  # also where Python's methods are asked otherwise


def test_classes_that_inherit_a_table():
    """Their arrays may lie elsewhere than the class above them knows."""
    above = with_table(TABLE, **IN_PYTHON)
    for cls, asked in ((above, 1), (type("Below", (above,), {}), 0)):
        grad = cls(VALUES)
        assert (stepped(grad) == 1 - 0.5 * VALUES).all()
        assert grad.asked == asked


def test_arrays_that_nothing_is_known_to_keep():
    cls = with_table(TABLE, untyped_storage=property(), **IN_PYTHON)
    grad = cls(VALUES)
    assert (stepped(grad) == 1 - 0.5 * VALUES).all()
    assert grad.asked == 0


def test_views_of_negatives():
    def is_neg(self):
        return True

    grad = with_table(TABLE, is_neg=is_neg)(VALUES)
    with pytest.raises(TypeError, match=r"grads\['w'\] must have its numbers in memory, got a view of their negatives"):
        stepped(grad)
    assert grad.asked == 0


def test_what_keeps_the_memory():
    """The array and its storage, through the step."""
    kept = []

    class Storage:
        def __del__(self):
            kept.append("storage")

    class Own(with_table(TABLE)):
        __dlpack_c_exchange_api__ = with_table(TABLE).__dlpack_c_exchange_api__

        def untyped_storage(self):
            return Storage()

        def __del__(self):
            kept.append("array")

    grads = {"w": Own(VALUES)}

    def lr(step):
        grads.clear()
        kept.append(step)
        return 0.5

    fs.SGD({"w": np.ones((3, 4), np.float32)}, lr=lr).step(grads)
    assert kept == [0, "array", "storage"]


def test_memory_that_is_given_up_while_it_is_looked_at():
    """What keeps it is asked first."""

    def moved(self):
        self.tensor.data = later.ctypes.data - 8
        return later

    later = VALUES * 2
    grad = with_table(TABLE, untyped_storage=moved)(VALUES)
    assert (stepped(grad) == 1 - 0.5 * later).all()


pointer_of = c.PYFUNCTYPE(c.c_void_p, c.py_object, c.c_char_p)(("PyCapsule_GetPointer", c.pythonapi))


@pytest.mark.parametrize("lanes", [0, 2, 4])
def test_elements_of_several_numbers(lanes):
    """An array of one vector is none of one number."""

    class Vectors(Values):
        def __dlpack__(self):
            capsule = self.values.__dlpack__()
            tensor = Tensor.from_address(pointer_of(capsule, b"dltensor"))
            tensor.lanes, tensor.shape[0] = lanes, 1
            return capsule

        def __dlpack_device__(self):
            return 1, 0

    values = np.ones(4, np.float32)
    for opt, grad in ((lambda: fs.SGD(Vectors(values)), None), (lambda: fs.SGD(values[:1].copy()), Vectors(values))):
        with pytest.raises(TypeError, match=rf"must have dtype float32, .* got \|V{4 * lanes}"):
            opt().step(grad)


class Interruption(KeyboardInterrupt):
    pass


def test_an_interruption_goes_through():
    def interrupted(self):
        raise Interruption

    with pytest.raises(Interruption):
        stepped(with_table(TABLE, untyped_storage=interrupted)(VALUES))
