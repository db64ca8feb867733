"""The methods as functions: one update, in place, of arrays that the caller keeps.

Each class has a function, named like it, with a trailing underscore because it works in place: ``adam_``, ``sgd_`` …

>>> import numpy as np, fusedstep as fs
>>> w, m, v = np.ones(3), np.zeros(3), np.zeros(3)
>>> fs.functional.adam_(w, np.full(3, 2.0), m, v, step=1, lr=0.25)
>>> w.round(6)
array([0.75, 0.75, 0.75])
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from . import _core, methods, storage
from .optimizer import SEED, Optimizer
from .options import Number, Whole, choice, filled

DOC = """One update by {name} of an array or a list of arrays, in place.

The equations, the options and the sources are those of `{name}`.

Args:
    param: parameters of any floating type, writeable and dense: an array or a list of arrays.
    grad: gradients with the structure, shapes and order of elements of the parameters, of any floating type; ``None``
        skips a parameter.
    {states}
    step: t of this update, counted from 1.
    lr: learning rate η, a number; of a schedule, ``schedule(step - 1)``.
    options: those of `{name}`, except those that only initialize a state; ``fully_decoupled`` needs ``max_lr``.
        ``convention``, ``seed``, ``rounding`` ("nearest" or "stochastic") as for the class.

Raises:
    TypeError, ValueError: an argument or an array does not fit. Nothing has changed then.

With stochastic rounding, each array of a list has random bits of its own; where arrays are updated by separate calls,
give each a ``seed`` of its own. Several threads may call at once, with different arrays. State must start as in the
class:

>>> import numpy as np, fusedstep as fs
>>> w = np.ones(3)
>>> states = {{name: array for name, array in fs.{name}(w).state["0"].items() if name != "step"}}
>>> fs.functional.{function}(w, np.full(3, 2.0), **states, step=1, lr=0.25)
>>> bool((w < 1).all())
True
"""

STATES = (
    "{}: the state, kept by the caller: arrays like the parameters, in the type of the arithmetic or in one floating "
    "type throughout the list; ``None`` where the options need none."
)
#: What is said of states of another shape.
SHAPES = {
    "ring": " ``ring`` is ``window`` such arrays in one, along its first axis, in the type of the arithmetic.",
    "mu_product": " ``mu_product`` is a float64 array without axes for each parameter, which starts at 1.",
}


#: The keywords that are no options of the method.
ONCE: dict[str, Any] = {"convention": "torch", "seed": 0, "rounding": "nearest"}

#: Options that only a new state is made with.
STARTS = ("initial_accumulator_value",)

#: Sets of options that a function remembers.
REMEMBERED = 64

#: Of these, what is equal is the same to every check.
NUMBERS = {int, float}
PLAIN = {*NUMBERS, bool, str, type(None)}

STEP = Whole(1, "t of this update", expected="an integer in [1, 2**62)", annotation="int", low=1, below=2**62)
LR = Number(0.0, "learning rate η", expected="a finite number ≥ 0 (a schedule's is schedule(step - 1))")
ROUNDING = choice("nearest", "stochastic", doc="how parameters of float16 and bfloat16 are rounded")


def name_of(cls: type[Optimizer]) -> str:
    """adam_ of Adam, windowed_adagrad_ of WindowedAdagrad."""
    words = cls.__name__.replace("Windowed", "Windowed_")
    return f"{words.lower()}_"


def signature_of(cls: type[Optimizer]) -> inspect.Signature:
    """Parameters, gradients and states first; states that only some options call for may be left out."""
    needed = set(_core.states(cls._method, cls._preset("torch")))
    either, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    states = [
        inspect.Parameter(name, either, default=inspect.Parameter.empty if name in needed else None)
        for name in cls.state_names
    ]
    options = [
        inspect.Parameter(name, keyword, default=option.default)
        for name, option in cls._keywords().items()
        if name not in ("lr", *STARTS)
    ]
    return inspect.Signature(
        [
            inspect.Parameter("param", either),
            inspect.Parameter("grad", either),
            *states,
            inspect.Parameter("step", keyword),
            inspect.Parameter("lr", keyword),
            *options,
            *(inspect.Parameter(name, keyword, default=default) for name, default in ONCE.items()),
        ]
    )


def document(cls: type[Optimizer]) -> str:
    states = STATES.format(", ".join(cls.state_names)) + "".join(SHAPES.get(name, "") for name in cls.state_names)
    wrapped = textwrap.fill(states, 104, subsequent_indent=" " * 4)
    return filled(DOC, states=wrapped).format(name=cls.__name__, function=name_of(cls))


def function_of(method: type[Optimizer]) -> Callable[..., None]:
    name, names = name_of(method), method.state_names
    cls = type(name, (method,), {"__doc__": None})  # messages speak of the function
    signature = signature_of(cls)
    absent = (None,) * len(names)

    def prepare(**options: Any) -> Prepared:
        unknown = sorted(options.keys() - signature.parameters.keys())
        if unknown:
            known = ", ".join(sorted(signature.parameters))
            raise TypeError(f"{name}: arguments must be among {known}, got {unknown[0]!r}")
        for state in names:
            if state in options:
                raise TypeError(f"{name}() got multiple values for argument {state!r}")
        return Prepared(cls, **options)

    remembered = lru_cache(REMEMBERED, typed=True)(prepare)

    def update(
        param: Any, grad: Any, *states: Any, step: Any, lr: Any, seed: Any = ONCE["seed"], **options: Any
    ) -> None:
        if not options.keys().isdisjoint(names):
            states = (*states, *(options.pop(state, None) for state in names[len(states) :]))
        elif len(states) < len(names):
            states += absent[len(states) :]
        elif len(states) > len(names):
            raise TypeError(
                f"{name}() takes at most {2 + len(names)} positional arguments, but {2 + len(states)} were given"
            )
        prepared = remembered(**options) if make_plain(options) else prepare(**options)
        t, rate, number = STEP.take(name, "step", step), LR.take(name, "lr", lr), SEED.take(name, "seed", seed)
        prepared.call(param, grad, states, t, rate, number)

    update.__name__ = update.__qualname__ = name
    update.__module__ = __name__
    update.__doc__ = document(method)
    update.__signature__ = signature  # type: ignore[attr-defined]
    return update


def make_plain(options: dict[str, Any]) -> bool:
    """Whether options can be remembered; a list of numbers is made a tuple for that."""
    for name, value in options.items():
        if type(value) in PLAIN:
            continue
        if type(value) not in (list, tuple) or not NUMBERS.issuperset(map(type, value)):
            return False
        options[name] = tuple(value)
    return True


class Prepared:
    """A function's options, checked, and what runs calls with them: as many as there were at the same time."""

    def __init__(
        self,
        cls: type[Optimizer],
        *,
        convention: str = ONCE["convention"],
        rounding: str = ONCE["rounding"],
        **given: Any,
    ) -> None:
        self.cls, self.name = cls, cls.__name__
        self.options = cls._resolve(given, cls._preset(convention))
        if self.options["decay"] == "fully_decoupled" and self.options["max_lr"] is None:
            raise ValueError(f"{self.name}: max_lr must be given with decay='fully_decoupled', got None")
        ROUNDING.take(self.name, "rounding", rounding)
        self.storage = storage.resolve(self.name, {"rounding": rounding}, cls.state_names)
        needed = _core.states(cls._method, self.options)
        self.arguments = [(name, needed.index(name) if name in needed else -1) for name in cls.state_names]
        self.idle: list[_core.Function] = []

    def call(self, param: Any, grad: Any, states: tuple[Any, ...], step: int, lr: float, seed: int) -> None:
        try:
            function = self.idle.pop()
        except IndexError:
            function = _core.Function(self.name, self.cls._method, self.options, self.storage, self.arguments)
        try:
            function.call(param, grad, states, step, lr, seed)
        finally:
            self.idle.append(function)


__all__ = []
for _cls in (getattr(methods, name) for name in methods.__all__):
    globals()[name_of(_cls)] = function_of(_cls)
    __all__.append(name_of(_cls))
