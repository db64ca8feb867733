"""The base class: parameters, groups, state and steps. Methods are subclasses that list their options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from . import _core, storage
from . import stages as all_stages
from .configured import ONCE, Configured
from .memory import begun, for_companion, initialize
from .options import Whole
from .state import TOLERATED, State, check_layouts, copied, fill, layouts, restore, save

SEED = Whole(0, "for random rounding", expected="an integer in [0, 2**63)", annotation="int")

UNSET: Any = object()


def whole_numbers(extent: Any) -> Any:
    """Offsets are sums that NumPy has often added up; what is no pair of integers stays, to be refused as it came."""
    if isinstance(extent, (list, tuple)) and all(type(n) is int or isinstance(n, np.integer) for n in extent):
        return tuple(map(int, extent))
    return extent


class Outcome(NamedTuple):
    """The outcome of a step.

    `norm` is that of all gradients after the division by ``grad_scale``, NaN where no keyword asked for it. `factor` is
    what gradients were multiplied by; with ``max_norm_per_tensor``, the smallest of the tensors' factors. `skipped` is
    whether the step was skipped.
    """

    norm: float
    factor: float
    skipped: bool


class Optimizer(Configured):
    """What every method has: parameters in groups, state, and steps."""

    #: the kernels' name of the method
    _method: ClassVar[str]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not hasattr(cls, "_method") and cls.__name__ in _core.methods():
            cls._method = cls.__name__

    def __init__(
        self,
        params: Any,
        lr: Any = UNSET,
        *others: Any,
        convention: str = "torch",
        seed: int = 0,
        memory: Mapping[str, Mapping[str, np.ndarray]] | None = None,
        extents: Mapping[str, Sequence[int | np.integer[Any]]] | None = None,
        **given: Any,
    ) -> None:
        if others:
            raise TypeError(f"{self._name}: options must be given by their names, got {others[0]!r} by its place")
        if lr is not UNSET:
            given["lr"] = lr
        self._seed = SEED.take(self._name, "seed", seed)
        kept = {name: given.pop(name) for name in storage.STORAGE.keys() & given.keys()}
        self._storage = storage.resolve(self._name, kept, self.state_names)
        self._defaults = self._resolve(given, self._preset(convention), ONCE)
        groups = isinstance(params, (list, tuple)) and any(
            isinstance(item, dict) and "params" in item for item in params
        )
        self._start(entry_per_group=groups)
        entries = [self._group_entry(i, item) for i, item in enumerate(params)] if groups else [("", params, {})]
        self._extend(entries, memory, extents)

    def _start(self, entry_per_group: bool) -> None:
        self._entry_per_group = entry_per_group
        self.param_groups: list[dict[str, Any]] = []
        self._plan = _core.Plan(self._name, self._method, self.param_groups, self._storage, self._seed, entry_per_group)
        self._names: list[list[str]] = []

    @property
    def _name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        """How many parameters each group has, its learning rate, and what else is not as the method has it."""
        if "_names" not in vars(self):  # a debugger may look before it is made
            return object.__repr__(self)
        usual = {f"{name}={value!r}" for name, value in self._preset("torch").items() if name != "lr"}
        groups = []
        for names, group in zip(self._names, self.param_groups, strict=False):
            told = [f"{name}={value!r}" for name, value in group.items()] if isinstance(group, dict) else [repr(group)]
            size = f"{len(names)} parameter{'s' * (len(names) != 1)}"
            groups.append(", ".join([size, *(one for one in told if one not in usual)]))
        return f"{self._name}({'; '.join(groups)})"

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._options:
            raise AttributeError(f"{self._name}: {name} must be set in param_groups, got {name} = {value!r}")
        if name == "param_groups" and hasattr(self, name):
            raise AttributeError(f"{self._name}: param_groups must be changed in place, got a new list")
        super().__setattr__(name, value)

    # Groups

    def _group_entry(self, index: int, item: Any) -> tuple[str, Any, dict[str, Any]]:
        if not isinstance(item, dict) or "params" not in item:
            raise TypeError(
                f"{self._name}: params[{index}] must be a group like the others, a dict with 'params', "
                f"got {type(item).__name__}"
            )
        return f"[{index}]", item["params"], {key: value for key, value in item.items() if key != "params"}

    def add(
        self,
        params: Any,
        *,
        memory: Mapping[str, Mapping[str, np.ndarray]] | None = None,
        extents: Mapping[str, Sequence[int | np.integer[Any]]] | None = None,
        **options: Any,
    ) -> None:
        """Add a group of parameters.

        From then on gradients are a list with one entry per group. Bound gradients become invalid.

        Args:
            params: as for the constructor, without groups; their names must be new.
            memory: as for the constructor.
            extents: as for the constructor.
            options: those of the group; what is not given is as in the constructor.

        Raises:
            TypeError, ValueError: as for the constructor. Nothing has changed then.
            RuntimeError: another thread is stepping this optimizer, adding a group, or copying or loading its state.

        >>> import numpy as np, fusedstep as fs
        >>> opt = fs.SGD({"w": np.ones(3)}, lr=0.1)
        >>> opt.add({"b": np.ones(2)}, lr=0.2)
        >>> opt.step([{"w": np.ones(3)}, {"b": np.ones(2)}])
        """
        self._extend([("", params, options)], memory, extents)

    def _extend(
        self,
        entries: list[tuple[str, Any, dict[str, Any]]],
        memory: Mapping[str, Mapping[str, np.ndarray]] | None,
        extents: Mapping[str, Any] | None,
    ) -> None:
        owned = self._named("memory", memory)
        parts = {name: whole_numbers(extent) for name, extent in self._named("extents", extents).items()}
        groups = [
            # A group of a list has its memory with that of all.
            (place, tree, self._complete(self._resolve(given, self._defaults, () if place else ("memory", "extents"))))
            for place, tree, given in entries
        ]
        known, new = sum(map(len, self._names)), set[str]()
        for place, tree, _ in groups:
            new.update(_core.names(self._name, tree, place, known + len(new)))
        for argument, named in (("memory", owned), ("extents", parts)):
            for name in (name for name in named if name not in new):
                raise ValueError(f"{self._name}: {argument} must name the parameters that are added, got {name!r}")
        with _core.Alone(self._plan):
            count, listed = len(self._names), len(self.param_groups)
            try:
                fresh = [name for place, tree, own in groups for name in self._add(place, tree, own, owned, parts)]
                # The caller's memory is written to only when nothing can be refused any more.
                for name in fresh:
                    arrays = self._plan.arrays(name).values()
                    initialize(self._plan.param(name), self._plan.companions(name), list(arrays))
            except BaseException:  # an interruption as well: a group without its first state would be stepped
                self._plan.shorten(count)
                del self._names[count:], self.param_groups[listed:]
                raise

    def _named(self, argument: str, given: Any) -> Mapping[str, Any]:
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            raise TypeError(f"{self._name}: {argument} must be a dict by name, got {type(given).__name__}")
        return given

    def _add(
        self,
        place: str,
        tree: Any,
        options: dict[str, Any],
        owned: Mapping[str, Mapping[str, np.ndarray]],
        extents: Mapping[str, tuple[int, int]],
        of_copy: bool = False,
    ) -> list[str]:
        """Add a group; the names of parameters are returned whose state is to be initialized."""
        fresh: list[str] = []

        def provide(name: str, param: np.ndarray, specs: list[_core.Companion]) -> list[np.ndarray]:
            own = self._named(f"memory[{name!r}]", owned.get(name))
            states = sorted(spec.name for spec in specs)
            for state in (state for state in own if state not in states):
                raise ValueError(f"{self._name}: memory[{name!r}] must name states among {states}, got {state!r}")
            arrays = [own.get(spec.name) for spec in specs]
            made = [
                for_companion(param, spec) if array is None else array
                for spec, array in zip(specs, arrays, strict=True)
            ]
            if own or any(spec.initial != 0 or spec.role == "average" for spec in specs):
                fresh.append(name)
            return made

        self._names.append(self._plan.add(tree, place, options, provide, dict(extents), of_copy))
        return fresh

    def _refresh(self, indices: Iterable[int]) -> None:
        """Take over groups' dicts that were changed since the last step."""
        self._adopt({index: self._changed(index) for index in indices})

    def _adopt(self, resolved: Mapping[int, dict[str, Any]]) -> None:
        """Give groups, by their numbers, these options: all or none."""
        before = {index: dict(self.param_groups[index]) for index in resolved}
        for index, options in resolved.items():
            self.param_groups[index].update(options)

        try:
            self._plan.refresh(list(resolved), lambda name, param, specs: begun(param, specs))
        except BaseException:
            for index, options in before.items():
                self.param_groups[index].update(options)
            raise

    def _changed(self, index: int) -> dict[str, Any]:
        group, where = self.param_groups[index], f"{self._name}: param_groups[{index}]"
        if not isinstance(group, dict):
            raise TypeError(f"{where} must be a dict, got {type(group).__name__}")
        given = {key: value for key, value in group.items() if key not in TOLERATED}
        options = self._complete(self._resolve(given, self._defaults))
        foreign, missing = given.keys() - options.keys(), options.keys() - group.keys()
        if foreign:
            raise TypeError(f"{where} must have options by their own names, got {min(foreign)!r}")
        if missing:
            raise ValueError(f"{where} must keep all its options, got none for {', '.join(sorted(missing))}")
        for name in self._names[index] if "window" in options else ():
            planes = len(self._plan.arrays(name).get("ring", range(options["window"])))
            if planes != options["window"]:
                raise ValueError(
                    f"{self._name}: window must stay {planes}, which its ring was made for, got {options['window']}"
                )
        return options

    # Steps

    @all_stages.documented
    def step(self, grads: Any, **stages: Any) -> None:
        """Update the parameters in place, all or none, in one pass over their memory.

        A gradient is divided by ``grad_scale``, scaled down to ``max_norm``, clipped to ±``clip_value``, negated by
        ``maximize`` and given the coupled weight decay, in this order; then the method's equations follow. Gradients
        are only read, unless ``zero_grad`` sets them to zero.

        Args:
            grads: gradients in the structure of the parameters, each with its parameter's shape and order of elements,
                of any floating type. ``None`` skips a parameter, and its step is not counted. Where the parameters
                were given as a list of groups, or a group was added: a list with one entry per group.
            {stages}

        Raises:
            TypeError, ValueError: a gradient does not fit its parameter, or an option in ``param_groups`` was changed
                to an invalid value. Nothing has changed then.
            FloatingPointError: the norm is not finite, with ``on_nonfinite="raise"``. Nothing but `last` has
                changed then.
            RuntimeError: another thread is stepping this optimizer, adding a group, or copying or loading its state.

        >>> import numpy as np, fusedstep as fs
        >>> w, g = np.ones(2), np.array([30.0, 40.0])
        >>> opt = fs.SGD(w, lr=0.1)
        >>> opt.step(g, grad_scale=10.0, max_norm=1.0, zero_grad=True)
        >>> w.round(6), g, opt.last.norm
        (array([0.94, 0.92]), array([0., 0.]), 5.0)
        """
        checked = all_stages.resolve(self._name, stages, self._plan.on_device) if stages else None
        self._plan.step(self, grads, checked)

    @all_stages.documented
    def bind(self, grads: Any, **stages: Any) -> _core.Bound:
        """Check gradients and stages once, for steps that find new values in the same arrays.

        The arguments are those of `step`. Returns an object whose ``step()`` takes none. Adding parameters or loading
        state makes it invalid: its ``step()`` raises a RuntimeError then.

        Raises:
            TypeError, ValueError: a gradient does not fit its parameter, or another argument is wrong.
            RuntimeError: as for `step`.

        >>> import numpy as np, fusedstep as fs
        >>> w, g = np.ones(3), np.zeros(3)
        >>> opt = fs.SGD(w, lr=0.5)
        >>> bound = opt.bind(g)
        >>> g[:] = 1
        >>> bound.step()
        >>> w
        array([0.5, 0.5, 0.5])
        """
        return self._plan.bind(self, grads, all_stages.resolve(self._name, stages, self._plan.on_device))

    @property
    def last(self) -> Outcome:
        """The outcome of the last step: ``norm``, ``factor`` and ``skipped``.

        ``norm`` is that of all gradients after the division by ``grad_scale``, NaN where no keyword of the step asked
        for it. ``factor`` is what gradients were multiplied by to unscale and clip them.
        """
        return Outcome(*self._plan.outcome())

    @property
    def skipped(self) -> int:
        """The number of steps that were skipped."""
        return self._plan.skipped

    @property
    def average(self) -> Any:
        """The live running average of the parameters, in their structure and in the type of the arithmetic.

        A ← dA + (1−d)θ, with d = ``weight_average``, in every step in which a parameter has a gradient; A starts as the
        parameter was when it was added.

        >>> import numpy as np, fusedstep as fs
        >>> w = np.ones(2)
        >>> opt = fs.SGD(w, lr=1.0, weight_average=0.75)
        >>> opt.step(np.ones(2))
        >>> w, opt.average
        (array([0., 0.]), array([0.75, 0.75]))
        """
        if self._storage["weight_average"] is None:
            raise AttributeError(f"{self._name}: average needs weight_average=…, got None")
        return self._plan.structure({name: self._plan.arrays(name)["average"] for name in self._plan.names()})

    def lookahead(self) -> Any:
        """The parameters displaced by the momentum; only `SGD` and `Adaptive` have them, others raise a TypeError."""
        raise TypeError(f"{self._name}: lookahead needs SGD, or Adaptive with a momentum buffer")

    def _put_rates(self) -> None:
        self._plan.put_rates(self)

    # State

    @property
    def state(self) -> Mapping[str, dict[str, Any]]:
        """The ``step`` and the live arrays of each parameter's state, by the parameter's name."""
        return State(self._plan)

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue a run bit for bit: plain data and copies of arrays, taken at one moment.

        It holds neither the parameters nor schedules.

        Raises:
            RuntimeError: another thread is stepping this optimizer, adding a group, or copying or loading its state.
        """
        with _core.Alone(self._plan):
            return save(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        The method and the names, shapes and types of the parameters must be the same. Hyper-parameters and the seed are
        restored; a schedule that was given to the constructor stays. Bound gradients become invalid.

        Raises:
            TypeError, ValueError: the state is of another optimizer, or a name, shape or dtype differs. Nothing has
                changed then.
            RuntimeError: another thread is stepping this optimizer, adding a group, or copying or loading its state.
        """
        with _core.Alone(self._plan):
            restore(self, state)

    # Copies

    def _anew(self, trees: list[Any], extents: Mapping[str, Any] | None) -> Optimizer:
        """One with the same options that has not stepped, with these parameters in the places of its groups."""
        made: Optimizer = object.__new__(type(self))
        made._seed, made._storage, made._defaults = self._seed, self._storage, self._defaults
        made._start(self._entry_per_group)
        pairs = enumerate(zip(trees, self.param_groups, strict=True))
        made._extend([(f"[{index}]", tree, dict(group)) for index, (tree, group) in pairs], None, extents)
        return made

    def __getstate__(self) -> dict[str, Any]:
        with _core.Alone(self._plan):
            self._plan.take_changes(self)
            return {
                "seed": self._seed,
                "storage": self._storage,
                "defaults": self._defaults,
                "entry_per_group": self._entry_per_group,
                "groups": [
                    (self._plan.group_structure(index), dict(group)) for index, group in enumerate(self.param_groups)
                ],
                "state": copied(self._plan),
                "extents": {name: self._plan.get_extent(name) for name in self._plan.names()},
                "numbers": {name: self._plan.get_number(name) for name in self._plan.names()},
                "layouts": layouts(self._plan),
                "calls": self._plan.calls,
                "skipped": self._plan.skipped,
            }

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self._seed, self._storage = saved["seed"], saved["storage"]
        self._defaults = saved["defaults"]
        self._start(saved["entry_per_group"])
        for tree, group in saved["groups"]:
            # Arrays that joblib or Ray hand to another process are read-only there, and models that hold an
            # optimizer must get there all the same.
            self._add("", tree, group, {}, saved["extents"], of_copy=True)
        where = f"{self._name}: a copy (pickle's protocol 5 keeps the order, with NumPy 2.3): layouts"
        check_layouts(self._plan, saved["layouts"], where)
        fill(self._plan, saved)
