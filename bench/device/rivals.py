"""Other packages, on the same memory of a device."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from fusedstep.measurement.timing import Step
from fusedstep.rivals import torch_rival
from fusedstep.rivals.rival import package

from .arrays import Arrays, Part
from .capture import Captured
from .rows import ADAM, BFLOAT16, BITSANDBYTES, HALF_SQ8, MANY, SQ8, TORCH_FOREACH, TORCH_FUSED, Setting


def in_torch(array: Any) -> Any:
    """The same memory as torch's tensor; bits of bfloat16 come as signed integers, which every version takes."""
    torch, part = package("torch"), Part(array, 0, array.shape[0])
    if array.dtype != "bfloat16":
        return torch.as_tensor(part, device="cuda")
    part.__cuda_array_interface__["typestr"] = "<i2"
    return torch.as_tensor(part, device="cuda").view(torch.bfloat16)


def with_grads(params: Arrays, grads: Arrays) -> list[Any]:
    tensors = [in_torch(param).requires_grad_() for param in params]
    for tensor, grad in zip(tensors, grads, strict=True):
        tensor.grad = in_torch(grad)
    return tensors


def torch_form(form: str, setting: Setting, params: Arrays, grads: Arrays, **more: Any) -> Step:
    kind = getattr(package("torch").optim, setting.method)
    return kind(with_grads(params, grads), **setting.options, **{form: True}, **more).step


def captured(setting: Setting, params: Arrays, grads: Arrays) -> Step:
    return Captured(torch_form("fused", setting, params, grads, capturable=True))


def compiled(setting: Setting, params: Arrays, grads: Arrays) -> Step:
    torch = package("torch")
    optimizer = torch.optim.Adam(with_grads(params, grads), **setting.options, foreach=True, capturable=True)
    return torch.compile(lambda: optimizer.step(), dynamic=False)


def cupy_kernel(setting: Setting, params: Arrays, grads: Arrays) -> Step:
    """What a user of CuPy writes for one pass."""
    cupy = package("cupy")
    kernel = cupy.ElementwiseKernel(
        "float32 g, float32 rate, float32 root",
        "float32 p, float32 m, float32 v",
        "m += (g - m) * 0.1f; v = 0.999f * v + 0.001f * g * g; p -= rate * m / (sqrtf(v) * root + 1e-8f)",
        "adam",
    )
    grad, param = cupy.asarray(grads[0]), cupy.asarray(params[0])
    m, v, steps = cupy.zeros_like(param), cupy.zeros_like(param), 0

    def step() -> None:
        nonlocal steps
        steps += 1
        rate, root = setting.options["lr"] / (1 - 0.9**steps), (1 - 0.999**steps) ** -0.5
        kernel(grad, np.float32(rate), np.float32(root), param, m, v)

    return step


def in_eight_bits(setting: Setting, params: Arrays, grads: Arrays) -> Step:
    return package("bitsandbytes").optim.Adam8bit(with_grads(params, grads), **setting.options).step


#: name -> rows, and what sets it up
RIVALS: dict[str, tuple[Collection[str], Callable[[Setting, Arrays, Arrays], Step]]] = {
    TORCH_FUSED: ([*torch_rival.FUSED, BFLOAT16, MANY], partial(torch_form, "fused")),
    TORCH_FOREACH: ([*torch_rival.FOREACH, BFLOAT16, MANY], partial(torch_form, "foreach")),
    "torch fused, captured": ([MANY], captured),
    "CuPy, one kernel": ([ADAM], cupy_kernel),
    "torch.compile": ([ADAM], compiled),
    BITSANDBYTES: ([SQ8, HALF_SQ8], in_eight_bits),
}


TORCH = ("torch", "torch._dynamo")
#: name -> what it imports
PACKAGES = {
    TORCH_FUSED: TORCH,
    TORCH_FOREACH: TORCH,
    "torch fused, captured": TORCH,
    "CuPy, one kernel": ("cupy",),
    "torch.compile": TORCH,
    BITSANDBYTES: ("bitsandbytes",),
}

#: package -> how it gives back the memory that the next row needs
GIVE_BACK: dict[str, Callable[[Any], Any]] = {
    "torch._dynamo": lambda dynamo: dynamo.reset(),
    "torch": lambda torch: torch.cuda.empty_cache(),
    "cupy": lambda cupy: cupy.get_default_memory_pool().free_all_blocks(),
}


def load(names: Collection[str], rows: Collection[str]) -> None:
    """Imports what those of these rows need, for as long as it takes: where an import is broken off, none succeeds
    any more."""
    for name, (own, _) in RIVALS.items():
        needed = PACKAGES.get(name, ()) if name in names and not set(rows).isdisjoint(own) else ()
        for one in needed:
            with suppress(Exception):
                import_module(one)


def forget() -> None:
    """Whoever fails at it does not keep the others from it."""
    gc.collect()
    for name, give_back in GIVE_BACK.items():
        if name in sys.modules:
            with suppress(Exception):
                give_back(sys.modules[name])
