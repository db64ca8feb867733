"""The base class: parameters, groups, state and steps. Methods are subclasses that list their options."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from . import _core, memory
from .options import Option, Refused, choice, flag, number, optional, positive, rate

FORMAT = 1

UNSET: Any = object()

#: Keys that others may leave in a group's dict: torch's schedulers do.
TOLERATED = frozenset({"initial_lr"})

SHARED_ARGUMENTS = """
    params: what is updated, in place: float32 or float64 arrays (writeable, dense, in any order of axes), as an array,
        a list, a dict (nested dicts join names with ``/``), or a list of groups ``{{"params": …, "lr": …}}``.
{options}
    convention: whose defaults and forms of the equations hold: {conventions}. An explicit argument wins.
    seed: for random rounding.
    memory: state memory of the caller, ``{{name: {{state: array}}}}``, with the parameters' shapes, dtypes and strides;
        it is overwritten with the initial state.
    extents: for parameters that are shards, ``{{name: (offset, size of the whole)}}`` in elements.

Raises:
    TypeError: an argument, or an array, of the wrong type.
    ValueError: a hyper-parameter out of range, arrays that overlap, are read-only or not dense, or an unknown name.
        Nothing has changed then.
"""


class Optimizer:
    """What every method has. A subclass names its options as class attributes; they become its keywords."""

    lr = rate(1e-3)
    weight_decay = number(0.0, "λ of the weight decay")
    decay = choice(
        "coupled",
        "decoupled",
        "fully_decoupled",
        doc="where it acts: g + λθ, or θ·(1 − ηλ), or θ·(1 − λη/max_lr)",
    )
    max_lr = optional(positive(1.0, "η that `fully_decoupled` counts as 1; the first learning rate"))
    maximize = flag(False, "ascend instead: the gradient's sign is turned")

    #: name -> the defaults that a convention changes
    conventions: ClassVar[dict[str, dict[str, Any]]] = {}
    #: every state that some options call for, by torch's names
    state_names: ClassVar[tuple[str, ...]] = ()
    #: torch's spelling of decay="decoupled", where torch has it
    takes_decoupled_weight_decay: ClassVar[bool] = False

    _options: ClassVar[dict[str, Option]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Option)}
        known = cls._options or {name: value for name, value in vars(Optimizer).items() if isinstance(value, Option)}
        new = {name: value for name, value in own.items() if name not in known}
        cls._options = {"lr": known["lr"], **new, **known} | own
        for name in own:
            delattr(cls, name)
        cls.__signature__ = inspect.Signature(list(cls._parameters()))  # type: ignore[attr-defined]
        if cls.__doc__ and "{arguments}" in cls.__doc__:
            cls.__doc__ = cls.__doc__.replace("{arguments}", cls._arguments())

    @classmethod
    def _parameters(cls) -> Iterator[inspect.Parameter]:
        either, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
        yield inspect.Parameter("params", either)
        for name, option in cls._options.items():
            yield inspect.Parameter(name, either if name == "lr" else keyword, default=option.default)
        for name, default in {"convention": "torch", "seed": 0, "memory": None, "extents": None}.items():
            yield inspect.Parameter(name, keyword, default=default)

    @classmethod
    def _arguments(cls) -> str:
        lines = [
            f"    {name}: {option.doc} ({option.expected}; default {option.default!r})."
            for name, option in cls._options.items()
        ]
        conventions = ", ".join(["``torch``", *(f"``{name}``" for name in cls.conventions)])
        return SHARED_ARGUMENTS.strip("\n").format(options="\n".join(lines), conventions=conventions)

    def __init__(
        self,
        params: Any,
        lr: Any = UNSET,
        *,
        convention: str = "torch",
        seed: int = 0,
        memory: Mapping[str, Mapping[str, np.ndarray]] | None = None,
        extents: Mapping[str, tuple[int, int]] | None = None,
        **given: Any,
    ) -> None:
        if lr is not UNSET:
            given["lr"] = lr
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
            raise ValueError(f"{self._name}: seed must be an integer in [0, 2**63), got {seed!r}")
        self._seed = seed
        self._convention = convention
        self._defaults = self._resolve(given, self._preset(convention))
        groups = isinstance(params, (list, tuple)) and any(
            isinstance(item, dict) and "params" in item for item in params
        )
        self._start(entry_per_group=groups)
        entries = [self._group_entry(i, item) for i, item in enumerate(params)] if groups else [(params, {})]
        for tree, options in entries:
            self._add(tree, options, memory or {}, extents or {})
        for argument, named in (("memory", memory), ("extents", extents)):
            for name in named or {}:
                if name not in self._plan.names():
                    raise ValueError(f"{self._name}: {argument} must name parameters, got {name!r}")

    def _start(self, entry_per_group: bool) -> None:
        self._entry_per_group = entry_per_group
        self._plan = _core.Plan(self._name, entry_per_group)
        self.param_groups: list[dict[str, Any]] = []
        self._names: list[list[str]] = []

    @property
    def _name(self) -> str:
        return type(self).__name__

    @classmethod
    def _method(cls) -> str:
        """The kernels' name of the method."""
        return cls.__name__

    # Options

    @classmethod
    def _preset(cls, convention: str) -> dict[str, Any]:
        defaults = {name: option.default for name, option in cls._options.items()}
        if convention == "torch":
            return defaults
        if convention not in cls.conventions:
            known = ", ".join(map(repr, ["torch", *cls.conventions]))
            raise ValueError(
                f"{cls.__name__}: convention must be one that has this method, {known}, got {convention!r}"
            )
        return defaults | cls.conventions[convention]

    @classmethod
    def _resolve(cls, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
        """The options in force: checked, complete, and possible together."""
        given = dict(given)
        if cls.takes_decoupled_weight_decay and "decoupled_weight_decay" in given:
            if "decay" in given:
                raise ValueError(f"{cls.__name__}: decay must be given once, got decay and decoupled_weight_decay")
            given["decay"] = "decoupled" if given.pop("decoupled_weight_decay") else "coupled"
        for name in given:
            if name not in defaults:
                known = ", ".join(sorted(defaults))
                raise TypeError(f"{cls.__name__}: options must be among {known}, got {name!r}")
        options = {name: cls._checked(name, value) for name, value in (dict(defaults) | given).items()}
        if options["decay"] == "fully_decoupled" and options["max_lr"] is None:
            lr = options["lr"]
            first = lr(0) if callable(lr) else lr
            if not first > 0:
                raise ValueError(f"{cls.__name__}: max_lr must be given where the first learning rate is 0, got None")
            options["max_lr"] = first
        problem = cls._conflict(options)
        if problem:
            raise ValueError(f"{cls.__name__}: {problem}")
        return options

    @classmethod
    def _checked(cls, name: str, value: Any) -> Any:
        option = cls._options[name]
        try:
            return option.check(value)
        except Refused as refused:
            message = f"{cls.__name__}: {name} must be {refused.expected}, got {value!r}"
            raise refused.error(message) from None

    @classmethod
    def _conflict(cls, options: Mapping[str, Any]) -> str | None:
        """What is wrong with options that are right one by one."""
        return None

    # Groups

    def _group_entry(self, index: int, item: Any) -> tuple[Any, dict[str, Any]]:
        if not isinstance(item, dict) or "params" not in item:
            raise TypeError(
                f"{self._name}: params[{index}] must be a group like the others, a dict with 'params', "
                f"got {type(item).__name__}"
            )
        return item["params"], {key: value for key, value in item.items() if key != "params"}

    def add(
        self,
        params: Any,
        *,
        memory: Mapping[str, Mapping[str, np.ndarray]] | None = None,
        extents: Mapping[str, tuple[int, int]] | None = None,
        **options: Any,
    ) -> None:
        """Add a group of parameters, with options of its own where they are given.

        Gradients then come as a list with one entry for each group. Bound gradients become invalid.

        >>> import numpy as np, fusedstep as fs
        >>> opt = fs.SGD({"w": np.ones(3)}, lr=0.1)
        >>> opt.add({"b": np.ones(2)}, lr=0.2)
        >>> opt.step([{"w": np.ones(3)}, {"b": np.ones(2)}])
        """
        self._add(params, options, memory or {}, extents or {})

    def _add(
        self,
        tree: Any,
        given: Mapping[str, Any],
        owned: Mapping[str, Mapping[str, np.ndarray]],
        extents: Mapping[str, tuple[int, int]],
    ) -> None:
        options = self._resolve(given, self._defaults)
        initial: list[tuple[np.ndarray, float]] = []

        def provide(name: str, param: np.ndarray, spec: Any) -> np.ndarray:
            array = owned.get(name, {}).get(spec.name)
            if array is None:
                array = memory.for_state(param, spec)
                if spec.initial == 0:
                    return array
            initial.append((array, spec.initial))
            return array

        known = len(self._plan.names())
        group = dict(options)
        self._plan.add(tree, self._method(), group, provide)
        for array, value in initial:
            array[...] = value
        names = self._plan.names()[known:]
        for name in names:
            if name in extents:
                self._plan.set_extent(name, *extents[name])
        self.param_groups.append(group)
        self._names.append(names)

    def _refresh(self, index: int) -> None:
        """Take over a group's dict that was changed since the last step."""
        group = self.param_groups[index]
        given = {key: value for key, value in group.items() if key not in TOLERATED}
        options = self._resolve(given, self._defaults)
        missing = options.keys() - group.keys()
        if missing:
            raise ValueError(
                f"{self._name}: param_groups[{index}] must keep all its options, got none for "
                f"{', '.join(sorted(missing))}"
            )
        group.update(options)

        def provide(name: str, param: np.ndarray, spec: Any) -> np.ndarray:
            array = memory.for_state(param, spec)
            array[...] = spec.initial
            return array

        self._plan.refresh(index, provide)

    # Steps

    def step(self, grads: Any) -> None:
        """Update the parameters in place, all or none.

        Args:
            grads: gradients in the structure of the parameters, each with its parameter's dtype, shape and strides.
                ``None`` skips a parameter, which does not advance it. With several groups, a list with an entry for
                each.

        Raises:
            TypeError, ValueError: a gradient that does not fit its parameter, or an option that was changed to
                something impossible. Nothing has changed then.
            RuntimeError: another thread is in a step of this optimizer.
        """
        self._plan.step(self, grads)

    def bind(self, grads: Any) -> Any:
        """Check gradients once, for steps that find new values in the same arrays.

        Returns an object whose ``step()`` takes no arguments. Adding parameters or loading state makes it invalid.

        >>> import numpy as np, fusedstep as fs
        >>> w, g = np.ones(3), np.zeros(3)
        >>> opt = fs.SGD(w, lr=0.5)
        >>> bound = opt.bind(g)
        >>> g[:] = 1
        >>> bound.step()
        >>> w
        array([0.5, 0.5, 0.5])
        """
        return self._plan.bind(self, grads)

    def lookahead(self) -> Any:
        """The parameters displaced by the momentum; only methods with a momentum buffer can."""
        raise TypeError(f"{self._name}: lookahead needs a method with a momentum buffer, such as SGD")

    def _rate(self, group: int) -> float:
        """The learning rate of the next step."""
        lr = self.param_groups[group]["lr"]
        return lr(self._plan.calls) if callable(lr) else lr

    # State

    @property
    def state(self) -> Mapping[str, dict[str, Any]]:
        """For every parameter's name its ``step`` and its arrays, which are the live ones."""
        return State(self._plan)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run needs to go on bit for bit, as plain data and copies of arrays."""
        plan, groups = self._plan, []
        for group, names in zip(self.param_groups, self._names, strict=True):
            options = {name: group[name] for name in self._options if name in group}
            if callable(options["lr"]):
                options["lr"] = "schedule"
            groups.append({**options, "params": list(names)})
        return {
            "format": FORMAT,
            "optimizer": self._name,
            "seed": self._seed,
            "calls": plan.calls,
            "groups": groups,
            "state": {
                name: {"step": plan.get_step(name)}
                | {key: array.copy(order="K") for key, array in plan.arrays(name).items()}
                for name in plan.names()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave, in an optimizer with the same parameters' names and shapes.

        Hyper-parameters are restored; a schedule that the constructor was given stays.

        Raises:
            TypeError, ValueError: the state is of another optimizer, or a name, shape or dtype differs. Nothing has
                changed then.
        """
        from .restoring import restore

        restore(self, state)

    # Copies

    def __getstate__(self) -> dict[str, Any]:
        return {
            "seed": self._seed,
            "convention": self._convention,
            "defaults": self._defaults,
            "entry_per_group": self._entry_per_group,
            "groups": [
                (self._plan.group_structure(index), dict(group)) for index, group in enumerate(self.param_groups)
            ],
            "state": {name: dict(entry) for name, entry in self.state.items()},
            "extents": {name: self._plan.get_extent(name) for name in self._plan.names()},
            "calls": self._plan.calls,
        }

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self._seed = saved["seed"]
        self._convention = saved["convention"]
        self._defaults = saved["defaults"]
        self._start(saved["entry_per_group"])
        for tree, group in saved["groups"]:
            foreign = {key: group.pop(key) for key in TOLERATED & group.keys()}
            self._add(tree, group, {}, saved["extents"])
            self.param_groups[-1].update(foreign)
        for name, entry in saved["state"].items():
            self._plan.set_step(name, entry["step"])
            for key, array in self._plan.arrays(name).items():
                array[...] = entry[key]
        self._plan.calls = saved["calls"]


class State(Mapping[str, dict[str, Any]]):
    """A view of an optimizer's state, by parameter."""

    def __init__(self, plan: Any) -> None:
        self._plan = plan

    def __getitem__(self, name: str) -> dict[str, Any]:
        return {"step": self._plan.get_step(name), **self._plan.arrays(name)}

    def __iter__(self) -> Iterator[str]:
        return iter(self._plan.names())

    def __len__(self) -> int:
        return len(self._plan.names())

    def __repr__(self) -> str:
        return repr(dict(self))
