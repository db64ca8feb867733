"""The table of methods and options under test: a new method or option is a row here."""

from __future__ import annotations

from typing import Any

import numpy as np

import fusedstep as fs

#: method -> keyword sets. Together the sets of a method use every keyword that it has.
OPTIONS: dict[str, list[dict[str, Any]]] = {
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
    "AdamW": [{}, {"amsgrad": True}],
    "RAdam": [
        {},
        {"rectify_above": 4.0, "eps_place": "outside"},
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
        {"phi": phi, "psi": psi}
        for phi in ("gradient", "heavy_ball", "ema", "nesterov")
        for psi in ("one", "sum", "window", "ema", "ema_max", "infinity")
    ],
}

#: What every method has, each with numbers that show.
SHARED: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.1, "decay": "coupled"},
    {"weight_decay": 0.1, "decay": "decoupled", "maximize": True},
    {"weight_decay": 0.1, "decay": "fully_decoupled", "max_lr": 0.5},
    {"maximize": True, "weight_decay": 0.3, "decay": "coupled"},
]

#: Every method with every one of its keyword sets.
CASES = [(name, options) for name, sets in OPTIONS.items() for options in sets]
IDS = [f"{name}-{'-'.join(map(str, options.values())) or 'default'}" for name, options in CASES]

DTYPES = (np.float32, np.float64)


def random(rng: np.random.Generator, shape: Any, dtype: Any) -> np.ndarray:
    """Normal numbers over several magnitudes, none of them zero."""
    values = rng.standard_normal(shape) * np.exp(rng.uniform(-3, 3, shape))
    return np.where(np.abs(values) < 1e-3, 1e-3, values).astype(dtype)


def same_bytes(actual: np.ndarray, expected: np.ndarray) -> bool:
    """Equal bit by bit, where NaN is NaN whatever its payload."""
    if actual.dtype != expected.dtype or actual.shape != expected.shape:
        return False
    differs = actual.view(f"u{actual.itemsize}") != expected.view(f"u{expected.itemsize}")
    return not np.any(differs & ~(np.isnan(actual) & np.isnan(expected)))


def pair(name: str, params: Any, copies: Any, **options: Any) -> tuple[fs.SGD, fs.SGD]:
    """A fused optimizer, and the reference on copies of its parameters."""
    return getattr(fs, name)(params, **options), getattr(fs.reference, name)(copies, **options)


def assert_same_state(fused: Any, reference: Any) -> None:
    """Counters and every array of state, byte for byte."""
    for name, entry in reference.state.items():
        for key, expected in entry.items():
            actual = fused.state[name][key]
            if key == "step":
                assert actual == expected
            else:
                assert same_bytes(actual, expected), f"state {name}/{key} differs"
