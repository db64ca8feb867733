"""A step with all its stages, in NumPy, tensor by tensor."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import _core
from ..cuda import on_host
from ..stages import DEFAULTS, measure
from .code8 import decode, encode
from .encodings import narrow, widen
from .formulas import apply
from .layout import flat, planes
from .norms import in_order, square_sum
from .random import Draw

#: Added to the norm that is divided by, as in torch.nn.utils.clip_grad_norm_.
CLIP_EPS = 1e-6


class Work(NamedTuple):
    """One parameter in one step."""

    name: str
    group: int
    t: int
    lr: float
    grad: np.ndarray
    copy_to: np.ndarray | None


def step(optimizer: Any, grads: Any, stages: dict[str, Any] | None) -> None:
    def work(made: list[Any]) -> None:
        run(optimizer, [Work(*one) for one in made], stages or DEFAULTS)

    optimizer._plan.lend(optimizer, grads, stages, work)


def run(optimizer: Any, work: list[Work], stages: dict[str, Any]) -> None:
    plan = optimizer._plan
    with np.errstate(all="ignore"):
        squares = [square_sum(one.grad, plan.get_extent(one.name)[0]) for one in work] if measure(stages) else []
        norm = norm_of(squares, stages)
        if stages["on_nonfinite"] != "propagate" and not math.isfinite(norm):
            plan.skip(norm, stages["on_nonfinite"] == "raise")
            return
        scale = stages["grad_scale"]
        factor = factor_of(stages["max_norm"], norm, scale)
        factors = [factor] * len(work)
        if stages["max_norm_per_tensor"] is not None:
            each = [math.sqrt(square) / scale for square in squares]
            factors = [factor_of(stages["max_norm_per_tensor"], size, scale) for size in each]
        for one, f in zip(work, factors, strict=True):
            update(optimizer, one, f, stages)
    sized = [f for f, one in zip(factors, work, strict=True) if one.grad.size]
    least = min(sized, key=lambda f: f if f == f else -math.inf, default=factor)
    plan.advance([one.name for one in work], norm, least)


def norm_of(squares: list[float], stages: dict[str, Any]) -> float:
    if stages["norm"] is not None:
        return float(stages["norm"])
    if not measure(stages):
        return math.nan
    return math.sqrt(in_order(squares)) / stages["grad_scale"]


def factor_of(most: float | None, norm: float, grad_scale: float) -> float:
    """f of g ← f·g, for gradients of this norm. A NaN stays."""
    if most is None:
        return 1 / grad_scale
    clip = most / (norm + CLIP_EPS)
    return (1.0 if clip > 1 else clip) / grad_scale


def update(optimizer: Any, one: Work, f: float, stages: dict[str, Any]) -> None:
    plan, storage = optimizer._plan, optimizer._storage
    param, arrays = plan.param(one.name), plan.arrays(one.name)
    real, rest = arithmetic(param), arrays.get("rest")
    companions = {spec.name: spec for spec in plan.companions(one.name)}
    draw = Draw(optimizer._seed, one.t, plan.get_number(one.name), plan.get_extent(one.name)[0])
    least = np.finfo(real).smallest_normal

    def flushed(x: np.ndarray) -> np.ndarray:
        return np.where(np.abs(x) < least, real.type(0), x) if storage["flush_denormals"] else x

    theta, state = numbers(optimizer, one.name)
    g = widen(one.grad, real)
    if f != 1:
        g = real.type(f) * g
    if stages["clip_value"] is not None:
        most = real.type(stages["clip_value"])
        g = np.where(g > most, most, np.where(g < -most, -most, g))
    g = flushed(g)

    apply(optimizer._method, theta, g, state, one.t, one.lr, optimizer.param_groups[one.group])
    for name, values in state.items():
        if companions[name].kind == "like_param":
            values[...] = flushed(values)
            store(arrays, companions[name], values, draw)

    if param.dtype != real:
        random = draw.bits(0, theta.size) if storage["rounding"] == "stochastic" else None
        narrow(param, theta, random, rest)
        theta = widen(param, real, rest)
    if "average" in arrays:
        decay, average = storage["weight_average"], flat(arrays["average"])
        average[...] = real.type(decay) * average + real.type(1 - decay) * theta
    if one.copy_to is not None:
        narrow(one.copy_to, theta)
    if stages["zero_grad"]:
        flat(one.grad)[...] = 0


def arithmetic(param: np.ndarray) -> np.dtype[Any]:
    """The type that a parameter's step is calculated in."""
    return np.dtype(np.float64 if param.dtype == np.float64 else np.float32)


def numbers(optimizer: Any, name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A parameter and its states as they are calculated with, each in a row: views where they are stored so here."""
    plan = optimizer._plan
    param = on_host(plan.param(name))
    arrays = {state: on_host(array) for state, array in plan.arrays(name).items()}
    real = arithmetic(param)
    theta = flat(param) if param.dtype == real else widen(param, real, arrays.get("rest"))
    states = [spec for spec in plan.companions(name) if spec.role == "state"]
    return theta, {spec.name: load(arrays, spec, real, param) for spec in states}


def load(arrays: dict[str, np.ndarray], spec: _core.Companion, real: np.dtype[Any], param: np.ndarray) -> np.ndarray:
    """The numbers of a state in a row: a view where it is of the arithmetic's type, otherwise a copy."""
    array = arrays[spec.name]
    if spec.kind == "scalar":
        return array
    if spec.kind == "ring":
        return planes(array, param)
    if spec.dtype in ("int8", "uint8"):
        return decode(flat(array), arrays[f"{spec.name}_scale"], spec.is_signed).astype(real)
    return flat(array) if array.dtype == real else widen(array, real)


def store(arrays: dict[str, np.ndarray], spec: _core.Companion, values: np.ndarray, draw: Draw) -> None:
    array = arrays[spec.name]
    random = draw.bits(spec.draw, values.size) if spec.draw >= 0 else None
    if spec.dtype in ("int8", "uint8"):
        flat(array)[...], arrays[f"{spec.name}_scale"][...] = encode(values, spec.is_signed, random)
    elif array.dtype != values.dtype:
        narrow(array, values, random)
