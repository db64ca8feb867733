"""How numbers are stored: the keywords of a constructor that hold for the whole optimizer, for as long as it lives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .options import Choice, Option, Refused, choice, flag, fraction, optional

#: The types of states.
TYPES = ("float64", "float32", "float16", "bfloat16", "sq8")


class StateTypes(Choice):
    """One type for all states, or a dict of them by name."""

    def check(self, value: Any) -> Any:
        if value is None:
            return {}
        if isinstance(value, str):
            return {"": super().check(value)}
        if not isinstance(value, Mapping):
            raise Refused(self.expected, TypeError)
        if not all(isinstance(name, str) and name for name in value):
            raise Refused(self.expected)
        return {name: super(StateTypes, self).check(one) for name, one in value.items()}


STATE = StateTypes(
    None,
    "the type in which states are stored, or a dict of types by state. None: that of the arithmetic, which is float64 "
    "for parameters of float64 and otherwise float32. ``sq8`` is one byte per element, for tensors of 4096 elements or "
    "more",
    TYPES,
    expected=f"None, one of {', '.join(map(repr, TYPES))}, or a dict of these by the state's name",
    annotation="str | Mapping[str, str] | None",
)
ROUNDING = choice(
    "nearest",
    "stochastic",
    "kahan",
    "remainder",
    doc="how parameters of float16 and bfloat16 are rounded. ``kahan`` and ``remainder`` keep what rounding cuts off "
    "in a second array; ``remainder`` is for bfloat16 only. float32 and float64 need no rounding",
)
WEIGHT_AVERAGE = optional(fraction(0.999, "decay rate of a running average of the parameters: the property `average`"))
FLUSH_DENORMALS = flag(False, "treat subnormal gradients and states as 0")

#: Keyword -> what it may be.
STORAGE: dict[str, Option] = {
    "state": STATE,
    "rounding": ROUNDING,
    "weight_average": WEIGHT_AVERAGE,
    "flush_denormals": FLUSH_DENORMALS,
}


#: States whose type is not chosen: a window's ring, whose planes are added up again, and a scalar.
OF_THEIR_OWN = ("ring", "mu_product")


def resolve(owner: str, given: Mapping[str, Any], state_names: tuple[str, ...]) -> dict[str, Any]:
    """All of these keywords, checked, with the defaults of those that are not given."""
    storage = {name: option.take(owner, name, given.get(name, option.default)) for name, option in STORAGE.items()}
    known = [name for name in state_names if name not in OF_THEIR_OWN]
    for name in storage["state"]:
        if name and name not in known:
            raise ValueError(f"{owner}: state must name states among {', '.join(known)}, got {name!r}")
    return storage
