"""An effect that was expected, and whether it was seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Claim:
    """What the papers promise, in words; the verdict; the numbers that decided it, by name."""

    text: str
    seen: bool
    numbers: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        return "seen" if self.seen else "not seen"

    def evidence(self) -> str:
        return "; ".join(f"{name}: {in_digits(value)}" for name, value in self.numbers.items())


def in_digits(value: Any) -> str:
    """A number with as many digits as a reader wants; several by their names."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {in_digits(item)}" for name, item in value.items())
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
