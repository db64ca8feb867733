"""Arrays of bfloat16 as marked bits: the mark stays, and the bits are not taken for integers."""

from __future__ import annotations

import copy
import operator
import pickle

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.bfloat16 import METHODS, BFloat16
from fusedstep.in_numpy.encodings import cast

from cases import same_bytes


def test_a_mark_is_not_lost_in_silence():
    w = cast(np.ones(3), "bfloat16")
    for wrong in (lambda: w.astype(np.float32), lambda: w + w):
        with pytest.raises(TypeError):
            wrong()
    for number in (2.5, 2):
        with pytest.raises(TypeError, match="must be bits"):
            w[...] = number
    w[...] = np.uint16(0x4000)
    assert fs.as_float32(w).tolist() == [2, 2, 2]
    assert "2., 2., 2." in repr(w)
    turned = cast(np.ones((2, 3)), "bfloat16").T
    assert np.copy(turned).strides == turned.strides
    assert fs.as_float32(turned).strides == (4, 12)
    assert fs.as_float32(w[0:1].reshape(())).shape == ()
    assert same_bytes(pickle.loads(pickle.dumps(w)), w)
    assert isinstance(copy.deepcopy(w), BFloat16)


def test_numbers_that_numpy_makes_of_marked_bits():
    w = cast(np.ones((2, 3)), "bfloat16")
    fs.SGD(w, lr=0.5).step(np.ones_like(w))
    assert str(w) == str(np.full((2, 3), 0.5, np.float32))
    assert w.tolist() == [[0.5] * 3] * 2
    for made, number in ((np.zeros_like(w), 0), (np.ones_like(w), 1), (np.full_like(w, 1 + 2.0**-9), 1)):
        assert isinstance(made, BFloat16)
        assert (fs.as_float32(made) == number).all()
    w.fill(np.float64(3.0))
    assert (fs.as_float32(w) == 3).all()
    assert (np.ones_like(w, np.float32) == np.ones((2, 3), np.float32)).all()
    assert isinstance(np.copy(w), BFloat16)
    both = np.concatenate([w, np.ones_like(w)])
    assert isinstance(both, BFloat16)
    assert fs.as_float32(both).tolist() == [[3] * 3] * 2 + [[1] * 3] * 2
    assert same_bytes(np.transpose(w).copy(), w.T.copy())


READINGS = {
    "where": lambda w: np.where([True, False, True], w, 1.0),
    "concatenate": lambda w: np.concatenate([w, np.ones(3, np.float32)]),
    "np.dot": lambda w: np.dot(w, w),
    "np.sum": np.sum,
    "np.sort": np.sort,
    "norm": np.linalg.norm,
    "copyto": lambda w: np.copyto(w, 0.5, casting="unsafe"),
    "np.put": lambda w: np.put(w, 0, 2),
    "eq": lambda w: w == w.copy(),
    "ne": lambda w: w != w.copy(),
    "contains": lambda w: 0x3F80 in w,
    "+": lambda w: np.ones(3) + w,
    "+=": lambda w: operator.iadd(w, 1),
    "out": lambda w: np.add([1, 2, 3], 1, out=w, casting="unsafe"),
    "dot": lambda w: w.dot(w),
    "choose": lambda w: (w[:0]).choose([w]),
    "item": lambda w: w.item(0),
    "put": lambda w: w.put(0, 1),
    "setfield": lambda w: w.setfield(1, np.uint16),
    "searchsorted": lambda w: w.searchsorted(1),
    "partition": lambda w: w.partition(1),
    "argpartition": lambda w: w.argpartition(1),
    "clip": lambda w: w.clip(0, 1),
    "trace": lambda w: w.reshape(1, 3).trace(),
    "byteswap": lambda w: w.byteswap(inplace=True),
    "flat": lambda w: operator.setitem(w.flat, 0, 1),
    "flat =": lambda w: setattr(w, "flat", 1),
    "real =": lambda w: setattr(w, "real", 1),
    "imag": lambda w: w.imag,
    "float": lambda w: float(w[:1].reshape(())),
    "int": lambda w: int(w[:1].reshape(())),
    "complex": lambda w: complex(w[:1].reshape(())),
    "index": lambda w: operator.index(w[:1].reshape(())),
    "bool": lambda w: bool(w[:1]),
    **{
        name: operator.methodcaller(name)
        for name in (
            *("all", "any", "argmax", "argmin", "argsort", "conj", "conjugate", "cumprod", "cumsum", "max", "mean"),
            *("min", "nonzero", "prod", "round", "sort", "std", "sum", "var"),
        )
    },
}


@pytest.mark.parametrize("read", READINGS.values(), ids=READINGS)
def test_marked_bits_are_not_taken_for_integers(read):
    w = cast(np.ones(3), "bfloat16")
    with pytest.raises(TypeError, match=r"^BFloat16: bits must not be taken for integers, got \S+ \(fused"):
        read(w)
    assert (fs.as_float32(w) == 1).all()


def test_every_method_that_takes_integers_was_tried():
    """What was before NumPy 2 can be tried only there."""
    tried = {*READINGS, *(f"__{name}__" for name in READINGS)}
    assert {*METHODS} - tried == {"itemset", "newbyteorder", "ptp"}
    moving = {name for name in vars(np.ndarray) if name[0] != "_" and callable(getattr(np.ndarray, name))} - {*METHODS}
    assert moving <= {
        *("astype", "compress", "copy", "diagonal", "dump", "dumps", "fill", "flatten", "getfield", "ravel", "repeat"),
        *("reshape", "resize", "setflags", "squeeze", "swapaxes", "take", "to_device", "tobytes", "tofile", "tolist"),
        *("tostring", "transpose", "view"),
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.astype(int),
        lambda w: w.astype(np.float32, subok=False),
        lambda w: w.astype(">u2"),
        lambda w: w.astype(dtype=ml_dtypes_bfloat16()),
        lambda w: w.view(np.float16),
        lambda w: w.view(np.int16, BFloat16),
        lambda w: w.getfield(np.int8),
        lambda w: setattr(w, "dtype", np.int16),
        lambda w: np.ones(3, np.int16).view(BFloat16),
    ],
)
def test_marked_bits_stay_uint16(change):
    w = cast(np.ones(3), "bfloat16")
    with pytest.raises(TypeError, match=r"^BFloat16: bits must stay uint16, got \S+ \(fusedstep.as_float32 reads"):
        change(w)
    assert w.dtype == np.uint16
    assert fs.as_float32(w).tolist() == [1] * 3


def ml_dtypes_bfloat16():
    return pytest.importorskip("ml_dtypes").bfloat16


def test_views_of_marked_bits():
    w = cast(np.ones(4), "bfloat16")
    for dtype in (np.uint16, np.int16, np.uint8, np.uint32):
        bits = w.view(dtype)
        assert type(bits) is np.ndarray
        assert np.shares_memory(bits, w)
    assert type(w.view(np.ndarray)) is np.ndarray
    assert all(type(own) is BFloat16 for own in (w.view(), w.view(BFloat16), w.astype(np.uint16), fs.as_bfloat16(w)))
    assert type(np.empty_like(w, np.int8)) is np.ndarray
    w.view(np.int16)[0] = 0x4000
    assert w.tolist() == [2, 1, 1, 1]
    assert f"{w[:1].reshape(())}" == "2.0"


def test_views_of_marked_bits_as_those_of_ml_dtypes():
    theirs = cast(np.ones(3), "bfloat16").view(ml_dtypes_bfloat16())
    assert type(theirs) is np.ndarray
    assert theirs.tolist() == [1, 1, 1]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("part", [np.s_[:], np.s_[:, 1:], np.s_[1], np.s_[::-1]])
def test_marked_bits_are_moved(protocol, part, tmp_path):
    w = cast(np.arange(12.0).reshape(3, 4).T, "bfloat16")[part]
    np.save(tmp_path / "w.npy", w)
    copies = [pickle.loads(pickle.dumps(w, protocol)), copy.copy(w), copy.deepcopy(w), w.copy("K")]
    copies.append(fs.as_bfloat16(np.load(tmp_path / "w.npy")))
    for made in copies:
        assert type(made) is BFloat16
        assert same_bytes(made, w)


def test_masks_are_not_dropped():
    bits = np.ma.array(np.full(2, 0x3F80, np.uint16), mask=[True, False])
    with pytest.raises(TypeError, match=r"^as_bfloat16: array must be a plain numpy.ndarray of uint16, got Masked"):
        fs.as_bfloat16(bits)
    assert fs.as_float32(fs.as_bfloat16(bits.data)).tolist() == [1, 1]
