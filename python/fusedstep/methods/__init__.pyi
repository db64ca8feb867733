# Written by .ci/stubs from the classes: do not edit.
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, Protocol, SupportsFloat, TypeAlias, type_check_only

import numpy as np

from .._core import AnyArray
from ..optimizer import Optimizer

Real: TypeAlias = float | Fraction | np.floating[Any] | np.integer[Any]
Integer: TypeAlias = int | np.integer[Any]
Truth: TypeAlias = bool | np.bool_
Params: TypeAlias = AnyArray | Sequence[Any] | Mapping[str, Any]

__all__ = [
    "SGD",
    "AdaBelief",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adaptive",
    "Lion",
    "NAdam",
    "RAdam",
    "RMSprop",
    "WindowedAdagrad",
    "Yogi",
]

@type_check_only
class Bound(Protocol):
    def step(self) -> None: ...

@type_check_only
class Method(Optimizer):
    def step(
        self,
        grads: Params | None,
        *,
        grad_scale: AnyArray | Real = 1.0,
        max_norm: Real | None = None,
        norm: AnyArray | Real | None = None,
        max_norm_per_tensor: Real | None = None,
        clip_value: Real | None = None,
        on_nonfinite: Literal["propagate", "skip", "raise"] = "propagate",
        copy_to: Params | None = None,
        zero_grad: Truth = False,
    ) -> None: ...
    def bind(
        self,
        grads: Params | None,
        *,
        grad_scale: AnyArray | Real = 1.0,
        max_norm: Real | None = None,
        norm: AnyArray | Real | None = None,
        max_norm_per_tensor: Real | None = None,
        clip_value: Real | None = None,
        on_nonfinite: Literal["propagate", "skip", "raise"] = "propagate",
        copy_to: Params | None = None,
        zero_grad: Truth = False,
    ) -> Bound: ...

class SGD(Method):
    def __init__(
        self,
        params: Params,
        lr: Real | Callable[[int], SupportsFloat] = 0.001,
        *,
        momentum: Real = 0.0,
        dampening: Real = 0.0,
        nesterov: Truth = False,
        buffer: Literal["lr_outside", "lr_inside", "ema"] = "lr_outside",
        weight_decay: Real = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: Real | None = None,
        maximize: Truth = False,
        convention: Literal["torch", "paper", "keras", "sklearn", "optax"] = "torch",
        seed: Integer = 0,
        state: str | Mapping[str, str] | None = None,
        rounding: Literal["nearest", "stochastic", "kahan", "remainder"] = "nearest",
        weight_average: Real | None = None,
        flush_denormals: Truth = False,
        memory: Mapping[str, Mapping[str, AnyArray]] | None = None,
        extents: Mapping[str, Sequence[Integer]] | None = None,
    ) -> None: ...

class AdaBelief(Method):
    def __init__(
        self,
        params: Params,
        lr: Real | Callable[[int], SupportsFloat] = 0.001,
        *,
        betas: Iterable[Real] = (0.9, 0.999),
        eps: Real = 1e-16,
        weight_decay: Real = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: Real | None = None,
        maximize: Truth = False,
        convention: Literal["torch"] = "torch",
        seed: Integer = 0,
        state: str | Mapping[str, str] | None = None,
        rounding: Literal["nearest", "stochastic", "kahan", "remainder"] = "nearest",
        weight_average: Real | None = None,
        flush_denormals: Truth = False,
        memory: Mapping[str, Mapping[str, AnyArray]] | None = None,
        extents: Mapping[str, Sequence[Integer]] | None = None,
    ) -> None: ...

class Adadelta(Method):
    def __init__(
        self,
        params: Params,
        lr: Real | Callable[[int], SupportsFloat] = 1.0,
        *,
        rho: Real = 0.9,
        eps: Real = 1e-06,
        weight_decay: Real = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: Real | None = None,
        maximize: Truth = False,
        convention: Literal["torch", "paper", "keras", "optax"] = "torch",
        seed: Integer = 0,
        state: str | Mapping[str, str] | None = None,
        rounding: Literal["nearest", "stochastic", "kahan", "remainder"] = "nearest",
        weight_average: Real | None = None,
        flush_denormals: Truth = False,
        memory: Mapping[str, Mapping[str, AnyArray]] | None = None,
        extents: Mapping[str, Sequence[Integer]] | None = None,
    ) -> None: ...

class Adagrad(Method):
    def __init__(
        self,
        params: Params,
        lr: Real | Callable[[int], SupportsFloat] = 0.01,
        *,
        lr_decay: Real = 0.0,
        initial_accumulator_value: Real = 0.0,
        eps: Real = 1e-10,
        eps_place: Literal["outside", "inside"] = "outside",
        zero_at_zero: Truth = False,
        weight_decay: Real = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: Real | None = None,
        maximize: Truth = False,
        convention: Literal["torch", "paper", "keras", "optax"] = "torch",
        seed: Integer = 0,
        state: str | Mapping[str, str] | None = None,
        rounding: Literal["nearest", "stochastic", "kahan", "remainder"] = "nearest",
        weight_average: Real | None = None,
        flush_denormals: Truth = False,
        memory: Mapping[str, Mapping[str, AnyArray]] | None = None,
        extents: Mapping[str, Sequence[Integer]] | None = None,
    ) -> None: ...

class Adam(Method):
    def __init__(
        self,
        params: Params,
        lr: Real | Callable[[int], SupportsFloat] = 0.001,
        *,
        betas: Iterable[Real] = (0.9, 0.999),
        eps: Real = 1e-08,
        amsgrad: Truth = False,
        amsgrad_order: Literal["v", "v_hat"] = "v",
        eps_place: Literal["outside", "hat", "inside"] = "outside",
        eps_root: Real = 0.0,
        bias_correction: Truth = True,
        variance_warmup: Integer = 0,
        weight_decay: Real = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: Real | None = None,
        maximize: Truth = False,
        decoupled_weight_decay: Truth = False,
        convention: Literal["torch", "paper", "keras", "sklearn", "optax"] = "torch",
        seed: Integer = 0,
        state: str | Mapping[str, str] | None = None,
        rounding: Literal["nearest", "stochastic", "kahan", "remainder"] = "nearest",
        weight_average: Real | None = None,
        flush_denormals: Truth = False,
        memory: Mapping[str, Mapping[str, AnyArray]] | None = None,
        extents: Mapping[str, Sequence[Integer]] | None = None,
    ) -> None: ...

class AdamW(Adam):
    def __init__(
        self,
        params: Params,
        lr: Real | Callable[[int], SupportsFloat] = 0.001,
        *,
        betas: Iterable[Real] = (0.9, 0.999),
        eps: Real = 1e-08,
        amsgrad: Truth = False,
        amsgrad_order: Literal["v", "v_hat"] = "v",
        eps_place: Literal["outside", "hat", "inside"] = "outside",
        eps_root: Real = 0.0,
        bias_correction: Truth = True,
        variance_warmup: Integer = 0,
        weight_decay: Real = 0.01,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "decoupled",
        max_lr: Real | None = None,
        maximize: Truth = False,
        convention: Literal["torch", "paper", "keras", "optax"] = "torch",
        seed: Integer = 0,
        state: str | Mapping[str, str] | None = None,
        rounding: Literal["nearest", "stochastic", "kahan", "remainder"] = "nearest",
        weight_average: Real | None = None,
        flush_denormals: Truth = False,
        memory: Mapping[str, Mapping[str, AnyArray]] | None = None,
        extents: Mapping[str, Sequence[Integer]] | None = None,
    ) -> None: ...

class Adamax(Method):
    def __init__(
        self,
        params: Params,
        lr: Real | Callable[[int], SupportsFloat] = 0.002,
        *,
        betas: Iterable[Real] = (0.9, 0.999),
        eps: Real = 1e-08,
        eps_place: Literal["max", "outside"] = "max",
        weight_decay: Real = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: Real | None = None,
        maximize: Truth = False,
        convention: Literal["torch", "keras"] = "torch",
        seed: Integer = 0,
        state: str | Mapping[str, str] | None = None,
        rounding: Literal["nearest", "stochastic", "kahan", "remainder"] = "nearest",
        weight_average: Real | None = None,
        flush_denormals: Truth = False,
        memory: Mapping[str, Mapping[str, AnyArray]] | None = None,
        extents: Mapping[str, Sequence[Integer]] | None = None,
    ) -> None: ...

class Adaptive(Method):
    def __init__(
        self,
        params: Params,
        lr: Real | Callable[[int], SupportsFloat] = 0.001,
        *,
        phi: Literal["gradient", "heavy_ball", "ema", "nesterov"] = "gradient",
        psi: Literal["one", "sum", "window", "ema", "ema_max", "infinity"] = "one",
        momentum: Real = 0.9,
        dampening: Real = 0.0,
        buffer: Literal["lr_outside", "lr_inside", "ema"] = "lr_outside",
        betas: Iterable[Real] = (0.9, 0.999),
        bias_correction: Truth = True,
        eps: Real = 1e-08,
        eps_place: Literal["outside", "hat", "inside", "max"] = "outside",
        eps_root: Real = 0.0,
        initial_accumulator_value: Real = 0.0,
        lr_decay: Real = 0.0,
        zero_at_zero: Truth = False,
        window: Integer = 10,
        reduce: Literal["sum", "mean"] = "sum",
        amsgrad_order: Literal["v", "v_hat"] = "v",
        weight_decay: Real = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: Real | None = None,
        maximize: Truth = False,
        convention: Literal["torch"] = "torch",
        seed: Integer = 0,
        state: str | Mapping[str, str] | None = None,
        rounding: Literal["nearest", "stochastic", "kahan", "remainder"] = "nearest",
        weight_average: Real | None = None,
        flush_denormals: Truth = False,
        memory: Mapping[str, Mapping[str, AnyArray]] | None = None,
        extents: Mapping[str, Sequence[Integer]] | None = None,
    ) -> None: ...
    def adaptive_rate(self) -> Any: ...

class Lion(Method):
    def __init__(
        self,
        params: Params,
        lr: Real | Callable[[int], SupportsFloat] = 0.0001,
        *,
        betas: Iterable[Real] = (0.9, 0.99),
        weight_decay: Real = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "decoupled",
        max_lr: Real | None = None,
        maximize: Truth = False,
        convention: Literal["torch", "keras"] = "torch",
        seed: Integer = 0,
        state: str | Mapping[str, str] | None = None,
        rounding: Literal["nearest", "stochastic", "kahan", "remainder"] = "nearest",
        weight_average: Real | None = None,
        flush_denormals: Truth = False,
        memory: Mapping[str, Mapping[str, AnyArray]] | None = None,
        extents: Mapping[str, Sequence[Integer]] | None = None,
    ) -> None: ...

class NAdam(Method):
    def __init__(
        self,
        params: Params,
        lr: Real | Callable[[int], SupportsFloat] = 0.002,
        *,
        betas: Iterable[Real] = (0.9, 0.999),
        eps: Real = 1e-08,
        momentum_decay: Real = 0.004,
        weight_decay: Real = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: Real | None = None,
        maximize: Truth = False,
        decoupled_weight_decay: Truth = False,
        convention: Literal["torch", "keras"] = "torch",
        seed: Integer = 0,
        state: str | Mapping[str, str] | None = None,
        rounding: Literal["nearest", "stochastic", "kahan", "remainder"] = "nearest",
        weight_average: Real | None = None,
        flush_denormals: Truth = False,
        memory: Mapping[str, Mapping[str, AnyArray]] | None = None,
        extents: Mapping[str, Sequence[Integer]] | None = None,
    ) -> None: ...

class RAdam(Method):
    def __init__(
        self,
        params: Params,
        lr: Real | Callable[[int], SupportsFloat] = 0.001,
        *,
        betas: Iterable[Real] = (0.9, 0.999),
        eps: Real = 1e-08,
        eps_place: Literal["hat", "outside", "inside"] = "hat",
        rectify_above: Real = 5.0,
        rectify_after: Integer | None = None,
        below: Literal["sgd", "skip"] = "sgd",
        weight_decay: Real = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: Real | None = None,
        maximize: Truth = False,
        decoupled_weight_decay: Truth = False,
        convention: Literal["torch", "paper", "optax"] = "torch",
        seed: Integer = 0,
        state: str | Mapping[str, str] | None = None,
        rounding: Literal["nearest", "stochastic", "kahan", "remainder"] = "nearest",
        weight_average: Real | None = None,
        flush_denormals: Truth = False,
        memory: Mapping[str, Mapping[str, AnyArray]] | None = None,
        extents: Mapping[str, Sequence[Integer]] | None = None,
    ) -> None: ...

class RMSprop(Method):
    def __init__(
        self,
        params: Params,
        lr: Real | Callable[[int], SupportsFloat] = 0.01,
        *,
        alpha: Real = 0.99,
        eps: Real = 1e-08,
        momentum: Real = 0.0,
        centered: Truth = False,
        eps_place: Literal["outside", "inside"] = "outside",
        momentum_lr: Literal["outside", "inside"] = "outside",
        weight_decay: Real = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: Real | None = None,
        maximize: Truth = False,
        convention: Literal["torch", "paper", "keras", "optax"] = "torch",
        seed: Integer = 0,
        state: str | Mapping[str, str] | None = None,
        rounding: Literal["nearest", "stochastic", "kahan", "remainder"] = "nearest",
        weight_average: Real | None = None,
        flush_denormals: Truth = False,
        memory: Mapping[str, Mapping[str, AnyArray]] | None = None,
        extents: Mapping[str, Sequence[Integer]] | None = None,
    ) -> None: ...

class WindowedAdagrad(Method):
    def __init__(
        self,
        params: Params,
        lr: Real | Callable[[int], SupportsFloat] = 0.01,
        *,
        window: Integer = 10,
        reduce: Literal["sum", "mean"] = "sum",
        eps: Real = 1e-10,
        eps_place: Literal["outside", "inside"] = "outside",
        weight_decay: Real = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: Real | None = None,
        maximize: Truth = False,
        convention: Literal["torch", "paper"] = "torch",
        seed: Integer = 0,
        state: str | Mapping[str, str] | None = None,
        rounding: Literal["nearest", "stochastic", "kahan", "remainder"] = "nearest",
        weight_average: Real | None = None,
        flush_denormals: Truth = False,
        memory: Mapping[str, Mapping[str, AnyArray]] | None = None,
        extents: Mapping[str, Sequence[Integer]] | None = None,
    ) -> None: ...

class Yogi(Method):
    def __init__(
        self,
        params: Params,
        lr: Real | Callable[[int], SupportsFloat] = 0.01,
        *,
        betas: Iterable[Real] = (0.9, 0.999),
        eps: Real = 0.001,
        initial_accumulator_value: Real = 1e-06,
        weight_decay: Real = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: Real | None = None,
        maximize: Truth = False,
        convention: Literal["torch"] = "torch",
        seed: Integer = 0,
        state: str | Mapping[str, str] | None = None,
        rounding: Literal["nearest", "stochastic", "kahan", "remainder"] = "nearest",
        weight_average: Real | None = None,
        flush_denormals: Truth = False,
        memory: Mapping[str, Mapping[str, AnyArray]] | None = None,
        extents: Mapping[str, Sequence[Integer]] | None = None,
    ) -> None: ...
