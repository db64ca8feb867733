"""What an optimizer remembers: a live view, a copy to keep, and the way back, which checks everything before it changes
anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import _core
from .bfloat16 import name_of_type
from .in_numpy.layout import order_of
from .memory import assign, begun, copy_of

FORMAT = 1

HEADER = ("format", "optimizer", "seed", "calls", "skipped", "storage", "numbers", "layouts")
KEYS = (*HEADER, "groups", "state")

#: Bits of what is counted: with one more it could not be counted on for ever.
COUNTER = 62

#: Keys that others may leave in a group's dict: torch's schedulers do.
TOLERATED = frozenset({"initial_lr"})


class Entry(dict[str, Any]):
    """What stands beside one parameter. The arrays are live, and the dict is made anew whenever it is asked for."""

    def __setitem__(self, key: str, value: Any) -> None:
        if self.get(key) is not value:  # it is where something like `entry[key] *= 0` has written into the array
            raise TypeError(
                f"state: {key!r} must be changed by [...] = values if it is an array, and otherwise by "
                f"load_state_dict(), got {type(value).__name__} in its place"
            )

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise TypeError(
            "state: what stands beside a parameter must be changed by load_state_dict(), or by [...] = values of an "
            "array, got a change of a dict that is made anew whenever it is asked for"
        )

    update = pop = popitem = setdefault = clear = __delitem__ = __ior__ = _refuse

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class State(Mapping[str, dict[str, Any]]):
    """A view of an optimizer's state, by parameter."""

    def __init__(self, plan: _core.Plan) -> None:
        self._plan = plan

    def __getitem__(self, name: str) -> dict[str, Any]:
        if not isinstance(name, str):
            raise KeyError(name)
        return Entry({"step": self._plan.get_step(name), **self._plan.arrays(name)})

    def __iter__(self) -> Iterator[str]:
        return iter(self._plan.names())

    def __len__(self) -> int:
        return len(self._plan.names())

    def __repr__(self) -> str:
        return repr(dict(self))


def save(optimizer: Any) -> dict[str, Any]:
    """Plain data and copies of arrays."""
    optimizer._plan.take_changes(optimizer)
    return {**header(optimizer), "groups": groups_of(optimizer), "state": copied(optimizer._plan)}


def header(optimizer: Any) -> dict[str, Any]:
    """All but the groups' options, and what stands beside the parameters."""
    plan = optimizer._plan
    return {
        "format": FORMAT,
        "optimizer": optimizer._name,
        "seed": optimizer._seed,
        "calls": plan.calls,
        "skipped": plan.skipped,
        "storage": {**optimizer._storage, "state": dict(optimizer._storage["state"])},
        "numbers": {name: plan.get_number(name) for name in plan.names()},
        "layouts": layouts(plan),
    }


def groups_of(optimizer: Any) -> list[dict[str, Any]]:
    """The groups' options, without the functions of schedules, and the names of their parameters."""
    groups = []
    for group, names in zip(optimizer.param_groups, optimizer._names, strict=True):
        options = {name: group[name] for name in optimizer._options if name in group}
        if callable(options["lr"]):
            options["lr"] = "schedule"
        groups.append({**options, "params": list(names)})
    return groups


def copied(plan: _core.Plan) -> dict[str, dict[str, Any]]:
    """Of each parameter its step and copies of its arrays, in the processor's memory."""
    return {
        name: {"step": plan.get_step(name)} | {key: copy_of(array) for key, array in plan.arrays(name).items()}
        for name in plan.names()
    }


def first(param: Any, specs: list[_core.Companion]) -> dict[str, Any]:
    """What stands beside a parameter before its first step, in the processor's memory."""
    arrays = begun(param, specs)
    return {"step": 0} | {spec.name: copy_of(array) for spec, array in zip(specs, arrays, strict=True)}


def layouts(plan: _core.Plan) -> dict[str, dict[str, Any]]:
    """What each parameter is like. Its order is how it lies in memory: its axes, those with the longest way between
    elements first. One that has a single element is nowhere."""
    made = {}
    for name in plan.names():
        shape, strides, dtype = _described(plan.param(name))
        made[name] = {"shape": list(shape), "dtype": dtype, "order": order_in_memory(shape, strides)}
    return made


def order_in_memory(shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    return [axis for axis in order_of(strides) if shape[axis] != 1]


def check_layouts(plan: _core.Plan, saved: Mapping[str, Any], where: str) -> None:
    for name, own in layouts(plan).items():
        same_keys(saved[name], own, f"{where}[{name!r}]")
        for key in ("shape", "dtype"):
            _equal(saved[name][key], own[key], f"{where}[{name!r}][{key!r}]")
        # Codes have a scale for every block of memory, and mean other numbers where blocks have other elements.
        coded = any(spec.role == "scale" for spec in plan.companions(name))
        order = saved[name]["order"]
        if coded and (not isinstance(order, (list, tuple)) or list(order) != own["order"]):
            raise ValueError(
                f"{where}[{name!r}]['order'] must be {own['order']}, the axes of the parameter as its codes lie in "
                f"memory, got {order!r:.80}"
            )


def _described(param: Any) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    """Shape, strides and type."""
    if isinstance(param, np.ndarray):
        return param.shape, param.strides, name_of_type(param)
    return _core.describe(param)[:3]


def restore(optimizer: Any, saved: Mapping[str, Any]) -> None:
    """Bring an optimizer to a saved state."""
    where = optimizer._name
    same_keys(saved, KEYS, f"{where}: state_dict")
    _equal(saved["format"], FORMAT, f"{where}: state_dict['format']")
    _equal(saved["optimizer"], where, f"{where}: state_dict['optimizer']")
    same_keys(saved["storage"], optimizer._storage, f"{where}: state_dict['storage']")
    for key, own in optimizer._storage.items():
        _equal(saved["storage"][key], own, f"{where}: state_dict['storage'][{key!r}]")
    _whole(saved["seed"], f"{where}: state_dict['seed']")
    for key in ("calls", "skipped"):
        _whole(saved[key], f"{where}: state_dict[{key!r}]", bits=COUNTER)
    groups = checked_groups(optimizer, saved["groups"])
    plan = optimizer._plan
    names = plan.names()
    same_keys(saved["state"], names, f"{where}: state_dict['state']")
    same_keys(saved["numbers"], names, f"{where}: state_dict['numbers']")
    same_keys(saved["layouts"], names, f"{where}: state_dict['layouts']")
    check_layouts(plan, saved["layouts"], f"{where}: state_dict['layouts']")
    for name in names:
        _whole(saved["numbers"][name], f"{where}: state_dict['numbers'][{name!r}]")
    for index, options in enumerate(groups):
        for name in optimizer._names[index]:
            specs = plan.companions_with(name, options)
            check_entry(plan.param(name), specs, saved["state"][name], f"{where}: state_dict['state'][{name!r}]")

    plan.outcome()  # a device that cannot be asked now fails before anything has changed
    optimizer._adopt(dict(enumerate(groups)))
    fill(plan, saved)
    optimizer._seed = int(saved["seed"])
    plan.set_seed(optimizer._seed)
    plan.invalidate()


def fill(plan: _core.Plan, saved: Mapping[str, Any]) -> None:
    """Counters and arrays that fit."""
    for name, entry in saved["state"].items():
        fill_entry(plan, name, entry)
        plan.set_number(name, int(saved["numbers"][name]))
    plan.calls, plan.skipped = int(saved["calls"]), int(saved["skipped"])


def fill_entry(plan: _core.Plan, name: str, entry: Mapping[str, Any]) -> None:
    arrays = plan.arrays(name)
    for key, value in entry.items():
        if key == "step":
            plan.set_step(name, int(value))
        else:
            assign(arrays[key], value)


def checked_groups(optimizer: Any, saved: Any) -> list[dict[str, Any]]:
    where = f"{optimizer._name}: state_dict['groups']"
    listed, count = isinstance(saved, (list, tuple)), len(optimizer.param_groups)
    if not listed or len(saved) != count:
        came = f"a list of {len(saved)}" if listed else f"{saved!r:.80}"
        raise ValueError(f"{where} must be a list of {count} group{'s' * (count != 1)}, got {came}")
    checked = []
    for index, group in enumerate(saved):
        live = optimizer.param_groups[index]
        same_keys(group, (*(live.keys() - TOLERATED), "params"), f"{where}[{index}]")
        names = group["params"]
        if not isinstance(names, (list, tuple)) or sorted(map(str, names)) != sorted(optimizer._names[index]):
            raise ValueError(f"{where}[{index}]['params'] must name {optimizer._names[index]}, got {names!r:.80}")
        options = {key: value for key, value in group.items() if key != "params"}
        if callable(live["lr"]):
            options["lr"] = live["lr"]
        elif isinstance(options["lr"], str) and options["lr"] == "schedule":
            raise ValueError(
                f"{where}[{index}]['lr'] was saved with a schedule and must find one in the group, as the "
                f"constructor puts it there, got {live['lr']!r}"
            )
        checked.append(optimizer._complete(optimizer._resolve(options, optimizer._defaults)))
    return checked


def check_entry(param: Any, specs: list[_core.Companion], entry: Any, where: str) -> None:
    same_keys(entry, ("step", *(spec.name for spec in specs)), where)
    _whole(entry["step"], f"{where}['step']", bits=COUNTER)
    whole, *_ = _described(param)
    for spec in specs:
        array = entry[spec.name]
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{where}[{spec.name!r}] must be a numpy.ndarray, got {type(array).__name__}")
        kinds = {"scalar": (), "ring": (spec.planes, *whole), "scales": (spec.planes,)}
        shape, dtype = kinds.get(spec.kind, whole), name_of_type(array)
        raw = spec.dtype == "bfloat16" and dtype == "uint16"  # a file has lost the mark
        if array.shape != shape or (dtype != spec.dtype and not raw):
            raise ValueError(
                f"{where}[{spec.name!r}] must have shape {shape} and dtype {spec.dtype}, got {array.shape} and {dtype}"
            )


def same_keys(mapping: Any, keys: Any, where: str) -> None:
    if not isinstance(mapping, Mapping):
        raise TypeError(f"{where} must be a dict, got {type(mapping).__name__}")
    missing, foreign = set(keys) - set(mapping), set(mapping) - set(keys)
    if missing or foreign:
        raise ValueError(
            f"{where} must have exactly the keys {sorted(keys)}, got none for {sorted(missing)} "
            f"and unknown {sorted(map(str, foreign))}"
        )


def _equal(value: Any, expected: Any, where: str) -> None:
    try:
        same = type(value) is type(expected) and bool(value == expected)
    except ValueError:  # an array stands in it, which has no truth
        same = False
    if not same:
        raise ValueError(f"{where} must be {expected!r}, got {value!r:.80}")


def _whole(value: Any, where: str, bits: int = 63) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not 0 <= value < 2**bits:
        raise ValueError(f"{where} must be an integer in [0, 2**{bits}), got {value!r:.80}")
