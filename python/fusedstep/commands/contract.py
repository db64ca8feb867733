"""The bit contract: the methods, options, types and numbers that it is checked with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Options = dict[str, Any]

#: Method -> keyword sets. Together the sets of a method use every keyword that it has; a new method or option is a row.
OPTIONS: dict[str, list[Options]] = {
    "SGD": [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.3},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "buffer": "lr_inside"},
        {"momentum": 0.9, "buffer": "lr_inside", "nesterov": True},
        {"momentum": 0.9, "buffer": "ema"},
        {"momentum": 0.9, "buffer": "ema", "nesterov": True},
    ],
    "Adagrad": [
        {},
        {"eps_place": "inside", "initial_accumulator_value": 0.1},
        {"lr_decay": 0.1, "zero_at_zero": True, "eps": 0.1},
    ],
    "WindowedAdagrad": [
        {"window": 1},
        {"window": 2},
        {"window": 3, "reduce": "mean", "eps": 0.1, "eps_place": "inside"},
        {},
    ],
    "RMSprop": [
        {},
        {"eps": 0.1, "eps_place": "inside", "alpha": 0.5},
        {"momentum": 0.9},
        {"momentum": 0.9, "momentum_lr": "inside"},
        {"centered": True},
        {"centered": True, "momentum": 0.5, "eps_place": "inside"},
    ],
    "Adadelta": [{}, {"rho": 0.5, "eps": 0.1}],
    "Adam": [
        {},
        {"eps_place": "hat", "eps": 0.1},
        {"eps_place": "inside", "eps_root": 0.1},
        {"eps_root": 0.01, "eps": 0.1},
        {"eps_place": "hat", "eps_root": 0.01},
        {"amsgrad": True},
        {"amsgrad": True, "amsgrad_order": "v_hat", "betas": (0.5, 0.9)},
        {"bias_correction": False},
        {"variance_warmup": 3},
        {"variance_warmup": 2, "amsgrad": True},
    ],
    "AdamW": [
        {},
        {"amsgrad": True},
        {"eps_place": "hat", "eps_root": 0.01, "eps": 0.1},
        {"amsgrad": True, "amsgrad_order": "v_hat", "betas": (0.5, 0.9), "variance_warmup": 2},
        {"bias_correction": False},
    ],
    "RAdam": [
        {},
        {"rectify_above": 4.0, "eps_place": "outside", "eps": 0.1},
        {"rectify_after": 6, "eps_place": "inside"},
        {"below": "skip", "betas": (0.5, 0.99)},
        {"betas": (0.9, 0.5)},
    ],
    "NAdam": [{}, {"momentum_decay": 1.0, "betas": (0.5, 0.9), "eps": 0.1}],
    "Adamax": [{}, {"eps_place": "outside", "eps": 0.1, "betas": (0.5, 0.9)}],
    "Lion": [{}, {"betas": (0.5, 0.5)}],
    "AdaBelief": [{}, {"eps": 0.01, "betas": (0.5, 0.9)}],
    "Yogi": [{}, {"eps": 0.1, "betas": (0.5, 0.9), "initial_accumulator_value": 0.1}],
    "Adaptive": [
        *(
            {"phi": phi, "psi": psi}
            for phi in ("gradient", "heavy_ball", "ema", "nesterov")
            for psi in ("one", "sum", "window", "ema", "ema_max", "infinity")
        ),
        {"phi": "heavy_ball", "psi": "one", "momentum": 0.0},
        {
            "phi": "heavy_ball",
            "psi": "sum",
            "dampening": 0.3,
            "lr_decay": 0.1,
            "zero_at_zero": True,
            "eps": 0.1,
        },
        {
            "phi": "heavy_ball",
            "psi": "window",
            "buffer": "ema",
            "window": 3,
            "reduce": "mean",
            "eps_place": "inside",
        },
        {
            "phi": "nesterov",
            "psi": "sum",
            "buffer": "lr_inside",
            "eps_root": 0.01,
            "initial_accumulator_value": 0.1,
        },
        {"phi": "nesterov", "psi": "ema", "buffer": "ema", "momentum": 0.5, "eps_place": "hat"},
        {"phi": "ema", "psi": "ema", "bias_correction": False, "eps_place": "inside", "eps_root": 0.1},
        {"phi": "ema", "psi": "ema_max", "amsgrad_order": "v_hat", "betas": (0.5, 0.9)},
        {"phi": "ema", "psi": "infinity", "eps_place": "outside", "eps": 0.1, "betas": (0.5, 0.9)},
        {"phi": "nesterov", "psi": "ema_max", "buffer": "lr_inside", "eps_place": "hat", "eps": 0.1},
    ],
}

#: What every method has, each with numbers that show.
SHARED: list[Options] = [
    {},
    {"weight_decay": 0.1, "decay": "coupled"},
    {"weight_decay": 0.1, "decay": "decoupled", "maximize": True},
    {"weight_decay": 0.1, "decay": "fully_decoupled", "max_lr": 0.5},
    {"maximize": True, "weight_decay": 0.3, "decay": "coupled"},
]

#: Every method with every one of its keyword sets.
CASES: list[tuple[str, Options]] = [(name, options) for name, sets in OPTIONS.items() for options in sets]

DTYPES = (np.float32, np.float64)


class Storage(NamedTuple):
    """How numbers are kept: the types of parameters, gradients and states, and how parameters are rounded."""

    param: str
    grad: str
    state: str | None = None
    rounding: str = "nearest"

    def in_words(self) -> str:
        if self == Storage(self.param, self.param):
            return self.param
        return f"{self.param} ({self.rounding}), gradients {self.grad}, states {self.state or 'as calculated'}"


#: Every type in every role, every rounding, and every way of a kernel through them.
STORAGES = [
    Storage("float32", "bfloat16", None, "nearest"),
    Storage("float32", "float64", "float64", "nearest"),
    Storage("float32", "float32", "sq8", "nearest"),
    Storage("float32", "float16", "bfloat16", "stochastic"),
    Storage("float64", "float32", "float32", "nearest"),
    Storage("float64", "float64", "sq8", "nearest"),
    Storage("float64", "bfloat16", "float16", "nearest"),
    Storage("bfloat16", "bfloat16", None, "nearest"),
    Storage("bfloat16", "bfloat16", "bfloat16", "nearest"),
    Storage("bfloat16", "bfloat16", "bfloat16", "stochastic"),
    Storage("bfloat16", "float32", None, "kahan"),
    Storage("bfloat16", "bfloat16", "sq8", "stochastic"),
    Storage("bfloat16", "float16", None, "remainder"),
    Storage("float16", "float16", "float16", "stochastic"),
    Storage("float16", "bfloat16", None, "kahan"),
    Storage("float16", "float32", "sq8", "nearest"),
]


def random(rng: np.random.Generator, shape: Any, dtype: Any) -> np.ndarray:
    """Normal numbers over several magnitudes, none of them zero."""
    values = rng.standard_normal(shape) * np.exp(rng.uniform(-3, 3, shape))
    return np.where(np.abs(values) < 1e-3, 1e-3, values).astype(dtype)


def extreme(rng: np.random.Generator, shape: Any, dtype: Any) -> np.ndarray:
    """Random numbers, a few of which are zeros, subnormal, tiny, huge, infinite or NaN."""
    limits = np.finfo(dtype)
    least, tiny, most = (float(x) for x in (limits.smallest_subnormal, limits.smallest_normal, limits.max))
    sizes = [0.0, least, 12345 * least, tiny, tiny**0.5, 1.5 * tiny**0.5, 0.5 * most**0.5, most, np.inf]
    special = np.array([np.nan, *(sign * size for size in sizes for sign in (1, -1))], dtype)
    # Rare, because what is once NaN stays NaN and shows no difference any more.
    return np.where(rng.random(shape) < 1 / 32, rng.choice(special, shape), random(rng, shape, dtype))
