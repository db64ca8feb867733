"""What the options of a class make of it: its signature, its documentation, its presets."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from .options import Choice, Option, choice, filled, flag, in_words, number, optional, positive, rate
from .storage import STORAGE

ARGUMENTS = """
Args:
    params: the arrays to update in place, of float32, float64, float16 or bfloat16, writeable and dense, in any order
        of axes: an array, a list, a dict (names of nested dicts are joined with ``/``), or a list of groups
        ``{"params": …, "lr": …}``, with options of their own. A single array and the items of a list are named "0",
        "1" …, which counts on from group to group.
    {options}
    {conventions}
    seed: of the random bits of stochastic rounding, an integer in [0, 2**63).
    {storage}
    memory: arrays in which to keep the state, ``{name: {state: array}}``, with the shapes and the order of elements of
        the parameters. They are overwritten with the initial state; what is not given is allocated.
    extents: for parameters that are shards of larger tensors, ``{name: (offset, size of the whole)}`` in elements.
        Norms are added and random bits drawn as in the whole tensor; with ``sq8`` offsets are multiples of 128.

Raises:
    TypeError: a keyword is unknown, or an argument or an array has the wrong type.
    ValueError: a hyper-parameter is out of range, a name is unknown, or an array overlaps another, is read-only or is
        not dense. Nothing has changed after an error.
"""

CONVENTION = (
    "whose defaults and whose form of the equations to use. What each sets stands beside it in parentheses; explicit "
    "arguments take precedence"
)

#: The keywords of a constructor that are no options of a group.
ONCE: dict[str, Any] = {
    "convention": "torch",
    "seed": 0,
    **{name: option.default for name, option in STORAGE.items()},
    "memory": None,
    "extents": None,
}

FIRST_LR = positive(
    1.0,
    "the η at which ``fully_decoupled`` decays by λ in full. None: the number that the group has when this form "
    "begins, or a schedule's η at step 0; a warm-up begins too low for that",
)

DECOUPLED = flag(False, "torch's spelling of decay='decoupled'")


#: Options that every method has.
COMMON: dict[str, Option] = {
    "lr": rate(1e-3),
    "weight_decay": number(0.0, "λ of the weight decay"),
    "decay": choice(
        "coupled",
        "decoupled",
        "fully_decoupled",
        doc="how weights decay: g + λθ takes the place of g; or θ is multiplied by 1 − ηλ or by 1 − λη/max_lr before "
        "the step",
    ),
    "max_lr": optional(FIRST_LR),
    "maximize": flag(False, "maximize instead of minimizing: the gradient is negated"),
}


class Configured:
    """A subclass names its own options as class attributes; they become its keywords."""

    #: name -> the defaults that a convention changes
    conventions: ClassVar[dict[str, dict[str, Any]]] = {}
    #: every state that some options call for, by torch's names
    state_names: ClassVar[tuple[str, ...]] = ()
    #: torch's spelling of decay="decoupled", where torch has it
    takes_decoupled_weight_decay: ClassVar[bool] = False

    _options: ClassVar[dict[str, Option]] = COMMON

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Option)}
        known = cls._options
        new = {name: value for name, value in own.items() if name not in known}
        cls._options = {"lr": known["lr"], **new, **known} | own
        for name in own:
            delattr(cls, name)
        # Once: who takes a default takes it as it is.
        for convention in ("torch", *cls.conventions):
            for name, default in cls._preset(convention).items():
                cls._checked(name, default)
        cls.__signature__ = inspect.Signature(list(cls._parameters()))  # type: ignore[attr-defined]
        if cls.__doc__:
            cls.__doc__ = filled(cls.__doc__, arguments=cls._arguments())

    @classmethod
    def _keywords(cls) -> dict[str, Option]:
        """The options, and another spelling of one of them."""
        return cls._options | ({"decoupled_weight_decay": DECOUPLED} if cls.takes_decoupled_weight_decay else {})

    @classmethod
    def _parameters(cls) -> Iterator[inspect.Parameter]:
        either, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
        yield inspect.Parameter("params", either)
        for name, option in cls._keywords().items():
            yield inspect.Parameter(name, either if name == "lr" else keyword, default=option.default)
        for name, default in ONCE.items():
            yield inspect.Parameter(name, keyword, default=default)

    @classmethod
    def _arguments(cls) -> str:
        sets = {
            name: ", ".join(f"{key}={value!r}" for key, value in made.items()) for name, made in cls.conventions.items()
        }
        names = ["``torch``", *(f"``{name}``" + (f" ({made})" if made else "") for name, made in sets.items())]
        convention = Option("torch", CONVENTION, expected=f"one of {', '.join(names)}")
        return filled(
            ARGUMENTS.strip("\n"),
            options=in_words(cls._keywords()),
            conventions=in_words({"convention": convention}),
            storage=in_words(STORAGE),
        )

    @classmethod
    def _preset(cls, convention: str) -> dict[str, Any]:
        defaults = {name: option.default for name, option in cls._options.items()}
        names = ("torch", *cls.conventions)
        known = Choice("torch", "", names, expected=f"one with a preset for this method, {', '.join(map(repr, names))}")
        known.take(cls.__name__, "convention", convention)
        return defaults | cls.conventions.get(convention, {})

    @classmethod
    def _given(
        cls, given: Mapping[str, Any], defaults: Mapping[str, Any], others: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Options that are known by name, in our spelling."""
        given = dict(given)
        if cls.takes_decoupled_weight_decay and "decoupled_weight_decay" in given:
            decoupled = DECOUPLED.take(cls.__name__, "decoupled_weight_decay", given.pop("decoupled_weight_decay"))
            decay = given.setdefault("decay", "decoupled" if decoupled else "coupled")
            if decoupled and decay != "decoupled":
                raise ValueError(
                    f"{cls.__name__}: decay must be 'decoupled' with decoupled_weight_decay=True, got {decay!r}"
                )
        for name in given:
            if name not in defaults:
                known = ", ".join(sorted({*defaults, *others, *(cls._keywords().keys() - cls._options.keys())}))
                raise TypeError(f"{cls.__name__}: options must be among {known}, got {name!r}")
        return given

    @classmethod
    def _resolve(
        cls, given: Mapping[str, Any], defaults: Mapping[str, Any], others: Iterable[str] = ()
    ) -> dict[str, Any]:
        """The options in force: what is given is checked, defaults are right, and all are possible together."""
        taken = cls._given(given, defaults, others)
        options = dict(defaults) | {name: cls._checked(name, value) for name, value in taken.items()}
        problem = cls._conflict(options)
        if problem:
            raise ValueError(f"{cls.__name__}: {problem}")
        return options

    @classmethod
    def _complete(cls, options: dict[str, Any]) -> dict[str, Any]:
        """The options of a group, whose first learning rate is known."""
        if options["decay"] == "fully_decoupled" and options["max_lr"] is None:
            lr = options["lr"]
            first = lr(0) if callable(lr) else lr
            if isinstance(first, (int, float)) and first == 0:
                raise ValueError(f"{cls.__name__}: max_lr must be given where the first learning rate is 0, got None")
            try:
                return options | {"max_lr": FIRST_LR.take(cls.__name__, "max_lr", first)}
            except TypeError as error:
                raise ValueError(str(error)) from None
        return options

    @classmethod
    def _checked(cls, name: str, value: Any) -> Any:
        return cls._options[name].take(cls.__name__, name, value)

    @classmethod
    def _conflict(cls, options: Mapping[str, Any]) -> str | None:
        """What is wrong with options that are right one by one."""
        return None
