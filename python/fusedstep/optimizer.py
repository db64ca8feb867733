"""The base class: parameters, groups, state and steps. Methods are subclasses that list their options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from . import _core, memory
from .configured import Configured

FORMAT = 1

UNSET: Any = object()

#: Keys that others may leave in a group's dict: torch's schedulers do.
TOLERATED = frozenset({"initial_lr"})


class Optimizer(Configured):
    """What every method has: parameters in groups, state, and steps."""

    #: the kernels' name of the method
    _method: ClassVar[str]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__name__ in _core.methods():
            cls._method = cls.__name__

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
        self._extend(entries, memory or {}, extents or {})

    def _start(self, entry_per_group: bool) -> None:
        self._entry_per_group = entry_per_group
        self._plan = _core.Plan(self._name, entry_per_group)
        self.param_groups: list[dict[str, Any]] = []
        self._names: list[list[str]] = []

    @property
    def _name(self) -> str:
        return type(self).__name__

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._options:
            raise AttributeError(f"{self._name}: {name} must be set in param_groups, got {name} = {value!r}")
        super().__setattr__(name, value)

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
        self._extend([(params, options)], memory or {}, extents or {})

    def _extend(
        self,
        entries: list[tuple[Any, dict[str, Any]]],
        owned: Mapping[str, Mapping[str, np.ndarray]],
        extents: Mapping[str, tuple[int, int]],
    ) -> None:
        groups = [(tree, self._resolve(given, self._defaults)) for tree, given in entries]
        known, new = len(self._plan.names()), set[str]()
        for tree, options in groups:
            names = _core.names(self._name, tree, known + len(new))
            states = {spec.name for spec in _core.states(self._method, options)}
            for name in names:
                for state in owned.get(name, {}).keys() - states:
                    raise ValueError(
                        f"{self._name}: memory[{name!r}] must name states among {sorted(states)}, got {state!r}"
                    )
            new.update(names)
        for argument, named in (("memory", owned), ("extents", extents)):
            for name in named.keys() - new:
                raise ValueError(f"{self._name}: {argument} must name the parameters that are added, got {name!r}")
        fresh = [array for tree, options in groups for array in self._add(tree, options, owned, extents)]
        # The caller's memory is written to only when nothing can be refused any more.
        for array, value in fresh:
            array[...] = value

    def _add(
        self,
        tree: Any,
        options: dict[str, Any],
        owned: Mapping[str, Mapping[str, np.ndarray]],
        extents: Mapping[str, tuple[int, int]],
    ) -> list[tuple[np.ndarray, float]]:
        """Add a group; what is returned is to be filled with its initial values."""
        unfilled: list[tuple[np.ndarray, float]] = []

        def provide(name: str, param: np.ndarray, spec: Any) -> np.ndarray:
            array = owned.get(name, {}).get(spec.name)
            if array is None:
                array = memory.for_state(param, spec)
                if spec.initial == 0:
                    return array
            unfilled.append((array, spec.initial))
            return array

        known = len(self._plan.names())
        self._plan.add(tree, self._method, options, provide, dict(extents))
        self.param_groups.append(options)
        self._names.append(self._plan.names()[known:])
        return unfilled

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
