"""What an experiment can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_type_hints

import numpy as np

from ..options import Choice, Each, Refused, at_least, flag, fraction, number, positive, whole
from .method import Method


class Some(Each):
    """One at least."""

    def check(self, value: Any) -> tuple[Any, ...]:
        if found := super().check(value):
            return found
        raise Refused(self.expected)


# What a setting may be; an experiment's `Settings` give each a name and a default.
Count = Annotated[int, whole(1, 1, "")]
Counts = Annotated[tuple[int, ...], Each((), "", of=whole(1, 1, ""), expected="integers ≥ 1")]
Depths = Annotated[tuple[int, ...], Some((), "", of=whole(1, 1, ""), expected="one or more integers ≥ 1")]
Seed = Annotated[int, whole(0, 0, "")]
Number = Annotated[float, number(0.0, "")]
Numbers = Annotated[tuple[float, ...], Each((), "", of=number(0.0, ""), expected="finite numbers ≥ 0")]
Rates = Annotated[tuple[float, ...], Some((), "", of=positive(1.0, ""), expected="one or more finite numbers > 0")]
Positive = Annotated[float, positive(1.0, "")]
Factor = Annotated[float, at_least(1.0, 1.0, "")]
Fraction = Annotated[float, fraction(0.0, "")]
Flag = Annotated[bool, flag(False, "")]

CONVENTIONS = ("paper", "torch", "keras", "sklearn", "optax")
Convention = Annotated[str, Choice("paper", "", CONVENTIONS, expected=f"one of {', '.join(map(repr, CONVENTIONS))}")]

S = TypeVar("S", bound="Settings")


@dataclass(frozen=True)
class Settings:
    """What every experiment can be told. A subclass adds its own, and `quick`: what a quick run changes.

    A setting called `methods` holds the methods that are compared, each with its hyper-parameters.
    """

    seed: Seed = 0
    convention: Convention = "paper"

    quick: ClassVar[Mapping[str, Any]] = {}

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            if hasattr(hint, "__metadata__"):
                (option,) = get_args(hint)[1:]
                object.__setattr__(self, name, option.take(self.experiment, name, getattr(self, name)))
        for method in self.chosen().values():
            method.start(np.zeros(1), self.convention)

    @property
    def experiment(self) -> str:
        return type(self).__module__.rpartition(".")[2].replace("_", "-")

    def chosen(self) -> Mapping[str, Method]:
        return getattr(self, "methods", {})

    def known(self) -> list[str]:
        """The names that `changed` takes."""
        own = [field.name for field in fields(self) if field.name != "methods"]
        return own + [f"{name}.OPTION" for name in self.chosen()]

    def knows(self, name: str) -> bool:
        owner, dot, _ = name.rpartition(".")
        return owner in self.chosen() if dot else name in self.known()

    def changed(self: S, changes: Mapping[str, Any]) -> S:
        """With other values of settings, or, by METHOD.OPTION, of methods' hyper-parameters; it knows the names.

        All at once: a value may suit only what another one becomes.
        """
        own: dict[str, Any] = {}
        methods = dict(self.chosen())
        for name, value in changes.items():
            owner, dot, option = name.rpartition(".")
            if dot:
                methods[owner] = methods[owner].having(**{option: value})
                own["methods"] = methods
            else:
                own[name] = value
        return replace(self, **own)

    def as_data(self) -> dict[str, Any]:
        """By name, plain data."""
        found = {name: getattr(self, name) for name in self.known() if name in vars(self)}
        return found | {
            f"{name}.{option}": value
            for name, method in self.chosen().items()
            for option, value in method.options.items()
        }
