"""Numbers of a step that lie on the device."""

from __future__ import annotations

import gc
import math
import weakref

import numpy as np
import pytest

import fusedstep as fs

from cases import same_bytes
from twins import SHAPES, Shifted, on, start

#: What a float32 holds of 0.3 is not what a float64 does
SCALES = [0.3, 1.0, 1024.0, 1e30]


@pytest.mark.parametrize(("dtype", "shape"), [(np.float32, ()), (np.float64, (1,))])
@pytest.mark.parametrize(
    "stages",
    [
        {},
        {"max_norm": 0.5},
        {"max_norm_per_tensor": 0.1},
        {"clip_value": 0.01, "zero_grad": True},
        {"on_nonfinite": "skip"},
        {"on_nonfinite": "raise"},
        {"on_nonfinite": "skip", "norm": 3.0, "max_norm": 0.7},
    ],
    ids=str,
)
def test_a_scale_that_the_device_holds(twins, stages, dtype, shape):
    """The bits are those of a step with the number, and of what is said of it."""
    pair = twins("AdamW", {"lr": 0.1})
    for t, scale in enumerate(SCALES):
        pair.step(start(t + 1), {"grad_scale": np.full(shape, scale, dtype)}, **stages)
        pair.check()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_norm_that_the_device_holds(twins, dtype):
    pair = twins("Adam", {"lr": 0.1})
    for t, norm in enumerate((3.1, math.inf, 0.0, math.nan, 1e30)):
        numbers = {"norm": np.full((), norm, dtype), "grad_scale": np.full(1, 0.3, dtype)}
        pair.step(start(t + 1), numbers, max_norm=1.0, on_nonfinite="skip")
        pair.check()
    assert pair.other.skipped == 2
    pair.step(start(1), {"norm": np.full((), math.inf, dtype)})
    pair.check()


@pytest.mark.parametrize("number", ["norm", "grad_scale"])
@pytest.mark.parametrize("missing", [False, True], ids=["without any gradient", "with some"])
def test_numbers_on_the_device_in_every_kind_of_step(twins, number, missing):
    pair = twins("SGD", {"lr": 0.1})
    for value in (3.0, math.inf) if number == "norm" else (3.0, 0.3):
        some = start(1) if missing else {}
        pair.step(dict.fromkeys(SHAPES) | some, {number: np.full(1, value)}, on_nonfinite="skip")
        pair.check()


@pytest.mark.parametrize("known", [{}, {"norm": 2.0, "max_norm": 1.0}], ids=["measured", "known"])
@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_a_scale_that_no_caller_could_give(device, scale, known):
    """Where a number would be refused, it counts as NaN, and the norm with it."""
    there, grads = on(device, start()), on(device, start(1))
    opt, number = fs.Adam(there, lr=0.1), device.put(np.full((), scale, np.float32))
    opt.step(grads, grad_scale=number, on_nonfinite="skip", **known)
    assert opt.skipped == 1
    assert math.isnan(opt.last.norm)
    with pytest.raises(FloatingPointError, match=r"Adam: grads must be finite .* got a norm of nan"):
        opt.step(grads, grad_scale=number, on_nonfinite="raise", **known)
    assert opt.skipped == 1
    assert all(same_bytes(device.get(there[key]), value) for key, value in start().items())
    opt.step(grads, grad_scale=number, **known)
    assert math.isnan(opt.last.factor)
    assert all(np.isnan(device.get(array)).all() for array in there.values())


@pytest.mark.parametrize("norm", [-1.0, -math.inf])
def test_a_norm_that_no_caller_could_give(device, norm):
    there, grads = on(device, start()), on(device, start(1))
    opt, number = fs.SGD(there, lr=0.1), device.put(np.full((), norm))
    opt.step(grads, norm=number, max_norm=1.0, on_nonfinite="skip")
    assert opt.skipped == 1
    opt.step(grads, norm=number, max_norm=1.0)
    assert all(np.isnan(device.get(array)).all() for array in there.values())


def test_bound_gradients_keep_the_numbers(device):
    there, grads = on(device, start()), on(device, start(1))
    opt, scale = fs.SGD(there, lr=0.1), device.put(np.full((), 2.0))
    kept = weakref.ref(scale)
    bound = opt.bind(grads, grad_scale=scale, norm=scale)
    del scale
    gc.collect()
    assert kept() is not None
    bound.step()
    del bound
    gc.collect()
    assert kept() is None, "a step keeps nothing"


class Movable(Shifted):
    """As torch's tensors, which could be given other memory."""

    def data_ptr(self):
        return self.__cuda_array_interface__["data"][0]


@pytest.mark.parametrize("number", ["grad_scale", "norm"])
def test_numbers_stay_where_they_are(device, number):
    values = device.put(np.ones(2))
    moved = Movable(values, 0, 1)
    bound = fs.SGD(on(device, start()), lr=0.1).bind(on(device, start(1)), **{number: moved})
    bound.step()
    moved.__cuda_array_interface__ = Movable(values, 1, 1).__cuda_array_interface__
    with pytest.raises(ValueError, match=f"SGD: {number} must stay in the memory that it was given in, got other data"):
        bound.step()


class Lent:
    """An array in the processor's memory that is not NumPy's."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self):
        return self.array.__dlpack__()

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("call", ["step", "bind"])
@pytest.mark.parametrize("number", ["grad_scale", "norm"])
def test_numbers_that_cannot_be_read(device, number, call):
    there, grads = on(device, start()), on(device, start(1))
    opt = fs.SGD(there, lr=0.1)
    odd = Shifted(device.put(np.ones(2, np.float32)), 0, 1)
    odd.__cuda_array_interface__["data"] = (odd.__cuda_array_interface__["data"][0] + 1, False)
    swapped = Shifted(device.put(np.ones(2, np.float32)), 0, 1)
    swapped.__cuda_array_interface__["typestr"] = ">f4"
    for value, error, fact in (
        (Lent(np.ones(())), ValueError, r"be on the device of params\['w'\], cuda:0, got an array on the processor"),
        (device.put(np.ones((), np.float16)), TypeError, "have dtype float32 or float64, got float16"),
        (device.put(fs.as_bfloat16(np.ones((), np.uint16))), TypeError, "have dtype .*, got bfloat16"),
        (device.put(np.ones((), np.int32)), TypeError, "have dtype float32 or float64, got int32"),
        (swapped, TypeError, "have native byte order, got >f4"),
        (device.put(np.ones(2)), ValueError, r"have one element, shape \(\) or \(1,\), got \(2,\)"),
        (device.put(np.ones((1, 1))), ValueError, r"have one element, shape \(\) or \(1,\), got \(1, 1\)"),
        (device.put(np.ones(0)), ValueError, r"have one element, shape \(\) or \(1,\), got \(0,\)"),
        (odd, ValueError, "be aligned to its elements, got"),
        (np.ones(()), TypeError, r"be .*number .*, got array\(1"),
        ("8", TypeError, "be .*number .*, got '8'"),
    ):
        with pytest.raises(error, match=f"SGD: {number} must {fact}"):
            getattr(opt, call)(grads, **{number: value})
    here, lone = fs.SGD(start(), lr=0.1), device.put(np.ones(()))
    with pytest.raises(TypeError, match=f"SGD: {number} must be .*number .*, got fusedstep.cuda.Array"):
        getattr(here, call)(start(1), **{number: lone})
    with pytest.raises(
        TypeError, match=r"SGD: max_norm must be None or a finite number > 0, got fusedstep\.cuda\.Array"
    ):
        getattr(opt, call)(grads, max_norm=lone)
    assert all(same_bytes(device.get(there[key]), value) for key, value in start().items())
