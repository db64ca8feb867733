"""What a hyper-parameter may be: its default, its range, and the words for both."""

from __future__ import annotations

import math
import numbers
import re
import sys
import textwrap
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

#: Of these the first is not the one that was written first, or a name.
UNORDERED = (Set, Mapping)


class Refused(Exception):
    """What was expected of a value, and the class of error that says so."""

    def __init__(self, expected: str, error: type[Exception] = ValueError) -> None:
        super().__init__(expected)
        self.expected = expected
        self.error = error


@dataclass(frozen=True)
class Option:
    """A hyper-parameter: subclasses say what a value may be."""

    default: Any
    doc: str
    expected: str = field(default="", kw_only=True)
    annotation: str = field(default="float", kw_only=True)

    def check(self, value: Any) -> Any:
        """Return the value as the kernels take it, or raise `Refused`."""
        raise NotImplementedError

    def take(self, owner: str, name: str, value: Any) -> Any:
        """The same, or the error with its three facts: the argument, what was expected, what came."""
        try:
            return self.check(value)
        except Refused as refused:
            raise refused.error(f"{owner}: {name} must be {refused.expected}, got {value!r}") from None


def in_words(options: Mapping[str, Option]) -> str:
    """The lines of a docstring's arguments."""
    return "\n".join(_in_words(name, option) for name, option in options.items())


@cache  # most options are those of many classes
def _in_words(name: str, option: Option) -> str:
    line = f"{name}: {option.doc} ({option.expected}; default {option.default!r})."
    return textwrap.fill(line, 104, subsequent_indent=" " * 4, break_on_hyphens=False)


def filled(doc: str, **texts: str) -> str:
    """A docstring with texts where their names stand, as far in as these are.

    >>> filled("Args:\\n    {both}", both="one\\ntwo")
    'Args:\\n    one\\n    two'
    """
    for name, text in texts.items():
        for indent in set(re.findall(rf"^( *)\{{{name}\}}$", doc, re.MULTILINE)):
            doc = doc.replace(f"{indent}{{{name}}}", textwrap.indent(text, indent))
    return doc


def real(value: Any, expected: str, finite: bool = True) -> float:
    """The float of a Python or NumPy number, which is to be finite; a bool, a string or an array is none."""
    # The first question is there for speed: the second takes ten times as long.
    if type(value) is not float and (not isinstance(value, numbers.Real) or isinstance(value, bool)):
        raise Refused(expected, TypeError)
    try:
        number = float(value)
    except OverflowError:
        raise Refused(expected) from None
    if finite and not math.isfinite(number):
        raise Refused(expected)
    return number


@dataclass(frozen=True)
class Number(Option):
    """A finite number of at least `low`, and below `below`."""

    low: float = 0.0
    below: float = math.inf

    def take(self, owner: str, name: str, value: Any) -> Any:
        # Most are right at first sight: a function asks in each call.
        if type(value) is float and self.low <= value < self.below:
            return value
        return super().take(owner, name, value)

    def check(self, value: Any) -> Any:
        number = real(value, self.expected)
        if not self.low <= number < self.below:
            raise Refused(self.expected)
        return number


@dataclass(frozen=True)
class Optional(Option):
    """None, or what another option allows."""

    of: Option = field(kw_only=True)

    def check(self, value: Any) -> Any:
        if value is None:
            return None
        try:
            return self.of.check(value)
        except Refused as refused:
            raise Refused(self.expected, refused.error) from None


@dataclass(frozen=True)
class Rate(Number):
    """A learning rate: a number, or a schedule that is called with the number of steps done."""

    def check(self, value: Any) -> Any:
        return value if callable(value) else super().check(value)


@dataclass(frozen=True)
class Whole(Option):
    """An integer of at least `low`, and below `below`."""

    low: int = 0
    below: int = 2**63

    def take(self, owner: str, name: str, value: Any) -> int:
        if type(value) is int and self.low <= value < self.below:
            return value
        return super().take(owner, name, value)

    def check(self, value: Any) -> int:
        if type(value) is not int and (not isinstance(value, numbers.Integral) or isinstance(value, bool)):
            raise Refused(self.expected, TypeError)
        integer = int(value)
        if not self.low <= integer < self.below:
            raise Refused(self.expected)
        return integer


@dataclass(frozen=True)
class Flag(Option):
    """True or False."""

    def check(self, value: Any) -> bool:
        if not isinstance(value, (bool, np.bool_)):
            raise Refused(self.expected, TypeError)
        return bool(value)


@dataclass(frozen=True)
class Choice(Option):
    """One of several names."""

    names: tuple[str, ...] = ()

    def check(self, value: Any) -> str:
        if not isinstance(value, str):
            raise Refused(self.expected, TypeError)
        if value not in self.names:
            raise Refused(self.expected)
        return value


@dataclass(frozen=True)
class Pair(Option):
    """Two decay rates."""

    def check(self, value: Any) -> tuple[float, float]:
        if isinstance(value, UNORDERED):
            raise Refused(self.expected, TypeError)
        try:
            first, second = value
        except (TypeError, ValueError):
            raise Refused(self.expected, TypeError) from None
        rates = real(first, self.expected), real(second, self.expected)
        if not all(0 <= rate < 1 for rate in rates):
            raise Refused(self.expected)
        return rates


@dataclass(frozen=True)
class Function(Option):
    """A callable."""

    def check(self, value: Any) -> Any:
        if not callable(value):
            raise Refused(self.expected, TypeError)
        return value


@dataclass(frozen=True)
class Each(Option):
    """A tuple of what another option allows."""

    of: Option = field(kw_only=True)

    def check(self, value: Any) -> tuple[Any, ...]:
        if isinstance(value, UNORDERED):
            raise Refused(self.expected, TypeError)
        try:
            items = tuple(value)
        except TypeError:
            raise Refused(self.expected, TypeError) from None
        try:
            return tuple(self.of.check(item) for item in items)
        except Refused as refused:
            raise Refused(self.expected, refused.error) from None


def number(default: float, doc: str) -> Number:
    return Number(default, doc, expected="a finite number ≥ 0")


def positive(default: float, doc: str) -> Number:
    return Number(default, doc, math.ulp(0.0), expected="a finite number > 0")


def at_least(low: float, default: float, doc: str) -> Number:
    return Number(default, doc, low, expected=f"a finite number ≥ {low:g}")


def any_number(default: float, doc: str) -> Number:
    return Number(default, doc, -sys.float_info.max, expected="a finite number")


def fraction(default: float, doc: str) -> Number:
    return Number(default, doc, 0.0, 1.0, expected="a number in [0, 1)")


def rate(default: float, doc: str = "learning rate η, or a schedule: number of steps so far ↦ η") -> Rate:
    return Rate(
        default,
        doc,
        expected="a finite number ≥ 0 or a schedule (a callable: step -> lr)",
        annotation="float | Callable[[int], float]",
    )


def whole(low: int, default: int, doc: str) -> Whole:
    return Whole(default, doc, low, expected=f"an integer ≥ {low}", annotation="int")


def optional(of: Option) -> Optional:
    return Optional(None, of.doc, of=of, expected=f"None or {of.expected}", annotation=f"{of.annotation} | None")


def flag(default: bool, doc: str) -> Flag:
    return Flag(default, doc, expected="True or False", annotation="bool")


def choice(*names: str, doc: str) -> Choice:
    """The first name is the default."""
    listed = ", ".join(map(repr, names))
    return Choice(names[0], doc, names, expected=f"one of {listed}", annotation=f"Literal[{listed}]")


def betas(first: float, second: float, doc: str = "decay rates β₁ of m and β₂ of v") -> Pair:
    return Pair((first, second), doc, expected="two numbers in [0, 1)", annotation="tuple[float, float]")
