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
from functools import lru_cache, partial
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
    "ring": " ``ring`` is ``window`` such arrays in one, along its first axis.",
    "mu_product": " ``mu_product`` is a float64 array without axes for each parameter, which starts at 1.",
}


#: The keywords that are no options of the method.
ONCE: dict[str, Any] = {"convention": "torch", "seed": 0, "rounding": "nearest"}

#: Options that only a new state is made with.
STARTS = ("initial_accumulator_value",)

#: Sets of options that a function remembers.
REMEMBERED = 64

#: Of these, what is equal is the same to every check.
NUMBERS = (int, float)
PLAIN = (*NUMBERS, bool, str, type(None))

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
    name = name_of(method)
    cls = type(name, (method,), {"__doc__": None})  # messages speak of the function
    signature = signature_of(cls)
    parameters = signature.parameters
    leading = [key for key, parameter in parameters.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    needed = {key for key, parameter in parameters.items() if parameter.default is parameter.empty}
    known = {*parameters}
    remembered = lru_cache(REMEMBERED, typed=True)(partial(Prepared, cls))

    def update(*args: Any, **kwargs: Any) -> None:
        given = {**dict(zip(leading, args, strict=False)), **kwargs}
        if len(given) < len(args) + len(kwargs) or not needed <= given.keys() <= known:
            explain(name, signature, args, kwargs)
        param, grad = given.pop("param"), given.pop("grad")
        states = {state: given.pop(state, None) for state in cls.state_names}
        step, lr = STEP.take(name, "step", given.pop("step")), LR.take(name, "lr", given.pop("lr"))
        seed = SEED.take(name, "seed", given.pop("seed", ONCE["seed"]))
        prepared = remembered(**given) if make_plain(given) else Prepared(cls, **given)
        prepared.call(param, grad, states, step, lr, seed)

    update.__name__ = update.__qualname__ = name
    update.__module__ = __name__
    update.__doc__ = document(method)
    update.__signature__ = signature  # type: ignore[attr-defined]
    return update


def explain(name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raises what is wrong with arguments that do not fit: Python's own way to find that is too slow for each call."""
    unknown = kwargs.keys() - signature.parameters.keys()
    if unknown:
        known = ", ".join(sorted(signature.parameters))
        raise TypeError(f"{name}: arguments must be among {known}, got {min(unknown)!r}")
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None


def make_plain(given: dict[str, Any]) -> bool:
    """Whether options can be remembered; a list of numbers is made a tuple for that."""
    for name, value in given.items():
        if type(value) in PLAIN:
            continue
        if type(value) not in (list, tuple) or not all(type(item) in NUMBERS for item in value):
            return False
        given[name] = tuple(value)
    return True


class Prepared:
    """A function's options, checked, and plans that have them: as many as there were calls at the same time."""

    def __init__(
        self,
        cls: type[Optimizer],
        *,
        convention: str = ONCE["convention"],
        rounding: str = ONCE["rounding"],
        **given: Any,
    ) -> None:
        self.cls, self.function = cls, cls.__name__
        self.options = cls._resolve(given, cls._preset(convention))
        if self.options["decay"] == "fully_decoupled" and self.options["max_lr"] is None:
            raise ValueError(f"{self.function}: max_lr must be given with decay='fully_decoupled', got None")
        ROUNDING.take(self.function, "rounding", rounding)
        self.storage = storage.resolve(self.function, {"rounding": rounding}, cls.state_names)
        self.needed = frozenset(_core.states(cls._method, self.options))
        self.idle: list[_core.Plan] = []

    def plan(self) -> _core.Plan:
        plan = _core.Plan(self.function, [], self.storage, 0, of_function=True)
        plan.add([], "", self.cls._method, self.options, list, {})
        return plan

    def call(self, param: Any, grad: Any, states: dict[str, Any], step: int, lr: float, seed: int) -> None:
        for name, arrays in states.items():
            if (arrays is None) == (name in self.needed):
                expected = "given with these options" if name in self.needed else "None with these options"
                came = "None" if arrays is None else type(arrays).__name__
                raise TypeError(f"{self.function}: {name} must be {expected}, got {came}")
        check_lists(self.function, param, states)
        try:
            plan = self.idle.pop()
        except IndexError:
            plan = self.plan()
        try:
            plan.call(param, grad, states, step, lr, seed)
        finally:
            self.idle.append(plan)


def check_lists(function: str, param: Any, states: dict[str, Any]) -> None:
    """Where it is a list that is updated, it has to be of arrays, with as many of each state."""
    if isinstance(param, dict):
        raise TypeError(f"{function}: param must be an array or a list of arrays, got dict")
    if not isinstance(param, (list, tuple)):
        return
    for i, item in enumerate(param):
        if isinstance(item, (list, tuple, dict)):
            raise TypeError(f"{function}: param[{i}] must be an array, got {type(item).__name__}")
    for name, arrays in states.items():
        if arrays is None:
            continue
        if not isinstance(arrays, (list, tuple)):
            raise TypeError(f"{function}: {name} must be a list or a tuple, like param, got {type(arrays).__name__}")
        if len(arrays) != len(param):
            raise ValueError(
                f"{function}: {name} must have {len(param)} entries, one for each of param, got {len(arrays)}"
            )


__all__ = []
for _cls in (getattr(methods, name) for name in methods.__all__):
    globals()[name_of(_cls)] = function_of(_cls)
    __all__.append(name_of(_cls))
