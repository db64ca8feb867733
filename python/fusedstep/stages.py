"""What a step does beside the update: the keywords of `Optimizer.step` and what they may be."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .options import Number, Option, Refused, choice, filled, flag, in_words, optional, positive, real


@dataclass(frozen=True)
class Norm(Number):
    """A norm, which may have come out infinite or NaN."""

    def check(self, value: Any) -> Any:
        norm = real(value, self.expected, finite=False)
        if norm < 0:
            raise Refused(self.expected)
        return norm


@dataclass(frozen=True)
class Structure(Option):
    """Arrays that are checked beside the parameters."""

    def check(self, value: Any) -> Any:
        return value


STAGES: dict[str, Option] = {
    "grad_scale": positive(
        1.0,
        "the loss scale that gradients were multiplied by; they are divided by it. For parameters on a device, also an "
        "array of one element there, of float32 or float64, which the step reads when it runs",
    ),
    "max_norm": optional(
        positive(
            1.0,
            "clip the norm of all gradients together to this, as torch.nn.utils.clip_grad_norm_ does. If other "
            "processes have further shards, pass the norm over all of them as ``norm``",
        )
    ),
    "norm": optional(
        Norm(
            1.0,
            "the norm of all gradients after the division by ``grad_scale``, if it is known: it is not computed then. "
            "For parameters on a device, also an array, as for ``grad_scale``",
            expected="a number ≥ 0, infinity or NaN",
        )
    ),
    "max_norm_per_tensor": optional(positive(1.0, "clip the norm of each tensor's gradient to this")),
    "clip_value": optional(positive(1.0, "then clip every element to ±this")),
    "on_nonfinite": choice(
        "propagate",
        "skip",
        "raise",
        doc="what to do if the gradients' norm, in float64, is not finite: step all the same; or change nothing but "
        "`last` and `skipped`, which counts such steps; or change nothing but `last`, and raise an error",
    ),
    "copy_to": Structure(
        None,
        "arrays that receive a copy of the new parameters, rounded to nearest (from float64 to 16 bits by way of "
        "float32); None for parameters without one. Where a gradient is None, the copy stays as it is",
        expected="None or arrays of any floating type in the structure of the parameters",
        annotation="Params | None",
    ),
    "zero_grad": flag(False, "set the gradients to zero after they are used; a skipped step leaves them as they are"),
}

#: What a step does that is told nothing.
DEFAULTS: dict[str, Any] = {name: option.default for name, option in STAGES.items()}


def documented(step: Any) -> Any:
    """Tells a step's keywords in its docstring and its signature."""
    if step.__doc__:  # not with -OO
        step.__doc__ = filled(step.__doc__, stages=in_words(STAGES))
    signature = inspect.signature(step)
    parameters = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    parameters += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=DEFAULTS[name]) for name in DEFAULTS]
    step.__signature__ = signature.replace(parameters=parameters)
    return step


#: Numbers that an array of one element may hold on the device where the parameters are.
LIVE = ("grad_scale", "norm")


def is_array(value: Any) -> bool:
    """Whether something is another library's array; NumPy's are no numbers that a device could read."""
    described = hasattr(type(value), "__dlpack__") or hasattr(value, "__cuda_array_interface__")
    return described and not isinstance(value, np.ndarray)


def measure(stages: Mapping[str, Any]) -> bool:
    """Whether the gradients' squares must be added up before anything else."""
    asked = stages["max_norm"] is not None or stages["on_nonfinite"] != "propagate"
    return stages["max_norm_per_tensor"] is not None or (stages["norm"] is None and asked)


def resolve(owner: str, given: Mapping[str, Any], on_device: bool = False) -> dict[str, Any] | None:
    """All stages, checked but for arrays on a device; None where nothing is asked for."""
    if not given:
        return None
    for name in given:
        if name not in DEFAULTS:
            raise TypeError(f"{owner}: step's keywords must be among {', '.join(sorted(DEFAULTS))}, got {name!r}")
    stages = dict(DEFAULTS)
    for name, value in given.items():
        live = on_device and name in LIVE and is_array(value)
        stages[name] = value if live else STAGES[name].take(owner, name, value)
    if stages["max_norm"] is not None and stages["max_norm_per_tensor"] is not None:
        raise ValueError(
            f"{owner}: max_norm must be None with max_norm_per_tensor, got {stages['max_norm']!r} "
            f"and {stages['max_norm_per_tensor']!r}"
        )
    return stages
