"""What every contestant has."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar

from .work import Agreement, Arrays, Work


class Rival:
    """A package that does the same work: on copies of the parameters, with the same gradients."""

    name: ClassVar[str]
    #: what must be importable
    packages: ClassVar[tuple[str, ...]] = ()
    #: the largest difference from the reference that is taken for rounding, as a share of the largest movement
    tolerance: ClassVar[float] = 2e-4

    #: one step, done when it returns
    step: Callable[[], Any]

    @classmethod
    def missing(cls) -> list[str]:
        """The packages that are not installed."""
        return [package for package in cls.packages if find_spec(package) is None]

    @classmethod
    def offers(cls, work: Work) -> bool:
        """Whether the package has the method."""
        return True

    def __init__(self, work: Work, threads: int) -> None:
        """Sets up everything that a step needs, the state included."""
        self.params: Arrays = [param.copy() for param in work.params]

    def load(self, grads: Arrays) -> None:
        """Take the gradients' present values; only who cannot share their memory has to."""

    def read(self) -> Arrays:
        """The parameters after the steps so far."""
        return self.params

    def agrees(self, agreement: Agreement) -> bool:
        """Whether the difference from the reference is no more than rounding."""
        return agreement.error <= self.tolerance


def package(name: str) -> Any:
    """A package that only its rival needs."""
    return import_module(name)
