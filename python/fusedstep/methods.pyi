# Written by .ci/stubs from the classes: do not edit.
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from .optimizer import Optimizer

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Params: TypeAlias = Array | Sequence[Any] | Mapping[str, Any]

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

class SGD(Optimizer):
    def __init__(
        self,
        params: Params,
        lr: float | Callable[[int], float] = 0.001,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        buffer: Literal["lr_outside", "lr_inside", "ema"] = "lr_outside",
        weight_decay: float = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: float | None = None,
        maximize: bool = False,
        convention: str = "torch",
        seed: int = 0,
        memory: Mapping[str, Mapping[str, Array]] | None = None,
        extents: Mapping[str, tuple[int, int]] | None = None,
    ) -> None: ...

class AdaBelief(Optimizer):
    def __init__(
        self,
        params: Params,
        lr: float | Callable[[int], float] = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: float = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: float | None = None,
        maximize: bool = False,
        convention: str = "torch",
        seed: int = 0,
        memory: Mapping[str, Mapping[str, Array]] | None = None,
        extents: Mapping[str, tuple[int, int]] | None = None,
    ) -> None: ...

class Adadelta(Optimizer):
    def __init__(
        self,
        params: Params,
        lr: float | Callable[[int], float] = 1.0,
        *,
        rho: float = 0.9,
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: float | None = None,
        maximize: bool = False,
        convention: str = "torch",
        seed: int = 0,
        memory: Mapping[str, Mapping[str, Array]] | None = None,
        extents: Mapping[str, tuple[int, int]] | None = None,
    ) -> None: ...

class Adagrad(Optimizer):
    def __init__(
        self,
        params: Params,
        lr: float | Callable[[int], float] = 0.01,
        *,
        lr_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        eps_place: Literal["outside", "inside"] = "outside",
        zero_at_zero: bool = False,
        weight_decay: float = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: float | None = None,
        maximize: bool = False,
        convention: str = "torch",
        seed: int = 0,
        memory: Mapping[str, Mapping[str, Array]] | None = None,
        extents: Mapping[str, tuple[int, int]] | None = None,
    ) -> None: ...

class Adam(Optimizer):
    def __init__(
        self,
        params: Params,
        lr: float | Callable[[int], float] = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        amsgrad: bool = False,
        amsgrad_order: Literal["v", "v_hat"] = "v",
        eps_place: Literal["outside", "hat", "inside"] = "outside",
        eps_root: float = 0.0,
        bias_correction: bool = True,
        variance_warmup: int = 0,
        weight_decay: float = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: float | None = None,
        maximize: bool = False,
        decoupled_weight_decay: bool = ...,
        convention: str = "torch",
        seed: int = 0,
        memory: Mapping[str, Mapping[str, Array]] | None = None,
        extents: Mapping[str, tuple[int, int]] | None = None,
    ) -> None: ...

class AdamW(Optimizer):
    def __init__(
        self,
        params: Params,
        lr: float | Callable[[int], float] = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        amsgrad: bool = False,
        amsgrad_order: Literal["v", "v_hat"] = "v",
        eps_place: Literal["outside", "hat", "inside"] = "outside",
        eps_root: float = 0.0,
        bias_correction: bool = True,
        variance_warmup: int = 0,
        weight_decay: float = 0.01,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "decoupled",
        max_lr: float | None = None,
        maximize: bool = False,
        convention: str = "torch",
        seed: int = 0,
        memory: Mapping[str, Mapping[str, Array]] | None = None,
        extents: Mapping[str, tuple[int, int]] | None = None,
    ) -> None: ...

class Adamax(Optimizer):
    def __init__(
        self,
        params: Params,
        lr: float | Callable[[int], float] = 0.002,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        eps_place: Literal["max", "outside"] = "max",
        weight_decay: float = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: float | None = None,
        maximize: bool = False,
        convention: str = "torch",
        seed: int = 0,
        memory: Mapping[str, Mapping[str, Array]] | None = None,
        extents: Mapping[str, tuple[int, int]] | None = None,
    ) -> None: ...

class Adaptive(Optimizer):
    def __init__(
        self,
        params: Params,
        lr: float | Callable[[int], float] = 0.001,
        *,
        phi: Literal["gradient", "heavy_ball", "ema", "nesterov"] = "gradient",
        psi: Literal["one", "sum", "window", "ema", "ema_max", "infinity"] = "one",
        momentum: float = 0.9,
        dampening: float = 0.0,
        buffer: Literal["lr_outside", "lr_inside", "ema"] = "lr_outside",
        betas: tuple[float, float] = (0.9, 0.999),
        bias_correction: bool = True,
        eps: float = 1e-08,
        eps_place: Literal["outside", "hat", "inside", "max"] = "outside",
        eps_root: float = 0.0,
        initial_accumulator_value: float = 0.0,
        lr_decay: float = 0.0,
        zero_at_zero: bool = False,
        window: int = 10,
        reduce: Literal["sum", "mean"] = "sum",
        amsgrad_order: Literal["v", "v_hat"] = "v",
        weight_decay: float = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: float | None = None,
        maximize: bool = False,
        convention: str = "torch",
        seed: int = 0,
        memory: Mapping[str, Mapping[str, Array]] | None = None,
        extents: Mapping[str, tuple[int, int]] | None = None,
    ) -> None: ...
    def adaptive_rate(self) -> Any: ...

class Lion(Optimizer):
    def __init__(
        self,
        params: Params,
        lr: float | Callable[[int], float] = 0.0001,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "decoupled",
        max_lr: float | None = None,
        maximize: bool = False,
        convention: str = "torch",
        seed: int = 0,
        memory: Mapping[str, Mapping[str, Array]] | None = None,
        extents: Mapping[str, tuple[int, int]] | None = None,
    ) -> None: ...

class NAdam(Optimizer):
    def __init__(
        self,
        params: Params,
        lr: float | Callable[[int], float] = 0.002,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        momentum_decay: float = 0.004,
        weight_decay: float = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: float | None = None,
        maximize: bool = False,
        decoupled_weight_decay: bool = ...,
        convention: str = "torch",
        seed: int = 0,
        memory: Mapping[str, Mapping[str, Array]] | None = None,
        extents: Mapping[str, tuple[int, int]] | None = None,
    ) -> None: ...

class RAdam(Optimizer):
    def __init__(
        self,
        params: Params,
        lr: float | Callable[[int], float] = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-08,
        eps_place: Literal["hat", "outside", "inside"] = "hat",
        rectify_above: float = 5.0,
        rectify_after: int | None = None,
        below: Literal["sgd", "skip"] = "sgd",
        weight_decay: float = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: float | None = None,
        maximize: bool = False,
        decoupled_weight_decay: bool = ...,
        convention: str = "torch",
        seed: int = 0,
        memory: Mapping[str, Mapping[str, Array]] | None = None,
        extents: Mapping[str, tuple[int, int]] | None = None,
    ) -> None: ...

class RMSprop(Optimizer):
    def __init__(
        self,
        params: Params,
        lr: float | Callable[[int], float] = 0.01,
        *,
        alpha: float = 0.99,
        eps: float = 1e-08,
        momentum: float = 0.0,
        centered: bool = False,
        eps_place: Literal["outside", "inside"] = "outside",
        momentum_lr: Literal["outside", "inside"] = "outside",
        weight_decay: float = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: float | None = None,
        maximize: bool = False,
        convention: str = "torch",
        seed: int = 0,
        memory: Mapping[str, Mapping[str, Array]] | None = None,
        extents: Mapping[str, tuple[int, int]] | None = None,
    ) -> None: ...

class WindowedAdagrad(Optimizer):
    def __init__(
        self,
        params: Params,
        lr: float | Callable[[int], float] = 0.01,
        *,
        window: int = 10,
        reduce: Literal["sum", "mean"] = "sum",
        eps: float = 1e-10,
        eps_place: Literal["outside", "inside"] = "outside",
        weight_decay: float = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: float | None = None,
        maximize: bool = False,
        convention: str = "torch",
        seed: int = 0,
        memory: Mapping[str, Mapping[str, Array]] | None = None,
        extents: Mapping[str, tuple[int, int]] | None = None,
    ) -> None: ...

class Yogi(Optimizer):
    def __init__(
        self,
        params: Params,
        lr: float | Callable[[int], float] = 0.01,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 0.001,
        initial_accumulator_value: float = 1e-06,
        weight_decay: float = 0.0,
        decay: Literal["coupled", "decoupled", "fully_decoupled"] = "coupled",
        max_lr: float | None = None,
        maximize: bool = False,
        convention: str = "torch",
        seed: int = 0,
        memory: Mapping[str, Mapping[str, Array]] | None = None,
        extents: Mapping[str, tuple[int, int]] | None = None,
    ) -> None: ...
