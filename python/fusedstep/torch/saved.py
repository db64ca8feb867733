"""A saved state of torch's form, ours or that of an optimizer of torch's own, as our classes load it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch

from .. import _core
from ..optimizer import Optimizer
from ..state import HEADER, TOLERATED, checked_groups, first, header, order_in_memory, same_keys
from .parts import check_part, is_distributed
from .tensors import number, to_array


def ours_of(owner: Any, given: Any) -> dict[str, Any]:
    """`owner` has an optimizer of ours, the parameters that it holds, and the way from a group to options."""
    optimizer: Optimizer = owner.inner
    where = f"{optimizer._name}: state_dict"
    if isinstance(given, dict):  # wrappers leave theirs beside them, which torch's optimizers pass over
        given = {name: given[name] for name in given.keys() & {"state", "param_groups", "fusedstep"}}
        given.setdefault("fusedstep", None)
    same_keys(given, ("state", "param_groups", "fusedstep"), where)
    listed = listed_groups(optimizer, given["param_groups"], f"{where}['param_groups']")
    groups = [
        {name: live[name] for name in live.keys() - TOLERATED} | options_of(owner, group) | {"params": names}
        for live, group, names in zip(optimizer.param_groups, listed, optimizer._names, strict=True)
    ]
    state = entries(owner, given["state"], listed, groups, f"{where}['state']")
    if given["fusedstep"] is None:  # it has been through somebody's hands, or is not ours
        steps = [entry.get("step") for entry in state.values() if isinstance(entry, Mapping)]
        calls = max((step for step in steps if isinstance(step, int)), default=0)
        return {**header(optimizer), "calls": calls, "skipped": 0, "groups": groups, "state": state}
    ours = given["fusedstep"]
    same_keys(ours, HEADER, f"{where}['fusedstep']")
    own = header(optimizer)["layouts"]
    as_whole = whole(own, owner.held.names)
    same_keys(ours["layouts"], as_whole, f"{where}['fusedstep']['layouts']")
    # Those of parts would be of this number of processes alone.
    layouts = {name: own[name] if it == as_whole[name] else it for name, it in ours["layouts"].items()}
    return {**ours, "layouts": layouts, "groups": groups, "state": state}


def whole(layouts: dict[str, dict[str, Any]], names: Mapping[Any, str]) -> dict[str, dict[str, Any]]:
    """Layouts of distributed parameters in the place of those of their parts."""
    distributed = {
        name: layouts[name] | {"shape": list(param.shape), "order": order_in_memory(param.shape, param.stride())}
        for param, name in names.items()
        if is_distributed(param)
    }
    return layouts | distributed


def listed_groups(optimizer: Optimizer, given: Any, where: str) -> list[dict[str, Any]]:
    count = len(optimizer.param_groups)
    if not isinstance(given, list) or not all(isinstance(group, dict) for group in given):
        raise TypeError(f"{where} must be a list of {count} dicts, got {given!r:.80}")
    if len(given) != count:
        raise ValueError(f"{optimizer._name}: state must have {count} groups, got {len(given)}")
    seen: set[Any] = set()
    for index, (group, names) in enumerate(zip(given, optimizer._names, strict=True)):
        params = group.get("params")
        fits = isinstance(params, list) and all(isinstance(param, (int, str)) for param in params)
        if not fits or len(set(params)) != len(names) or len(params) != len(names) or seen.intersection(params):
            raise ValueError(
                f"{where}[{index}]['params'] must be a list of {len(names)} numbers or names that no other parameter "
                f"has, got {params!r:.80}"
            )
        seen.update(params)
    return given


def options_of(owner: Any, group: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = owner._options(group)
    if "decay" not in group and isinstance(group.get("decoupled_weight_decay"), bool):
        options["decay"] = "decoupled" if options.pop("decoupled_weight_decay") else "coupled"
    return options


def entries(
    owner: Any, given: Any, listed: list[dict[str, Any]], groups: list[dict[str, Any]], where: str
) -> dict[str, Any]:
    """By our names; a parameter that has none begins anew."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{where} must be a dict, got {type(given).__name__}")
    optimizer: Optimizer = owner.inner
    plan, made = optimizer._plan, {}
    numbers = itertools.chain(*(group["params"] for group in listed))
    numbered = dict(zip(numbers, owner.held.names.items(), strict=True))
    for key in (key for key in given if key not in numbered):
        raise ValueError(f"{where} must have entries of the parameters of its groups, got one of {key!r:.80}")
    by_name = {numbered[key][1]: entry for key, entry in given.items()}
    params = {name: param for param, name in owner.held.names.items()}
    for group, options in zip(groups, checked_groups(optimizer, groups), strict=True):
        for name in group["params"]:
            specs, entry = plan.companions_with(name, options), by_name.get(name)
            if entry:
                made[name] = entry_of(entry, specs, params[name], f"{where}[{name!r}]")
            else:
                made[name] = first(plan.param(name), specs)
    return made


def entry_of(given: Any, specs: list[_core.Companion], param: torch.Tensor, where: str) -> Any:
    """What stands beside a parameter, with arrays for tensors; what is no dict stays, to be refused."""
    if not isinstance(given, Mapping):
        return given
    by_name, made = {spec.name: spec for spec in specs}, dict[str, Any]()
    for key, value in given.items():
        if isinstance(value, torch.Tensor) and key != "step":
            spec = by_name.get(key)
            check_part(value, param, int(spec is not None and spec.kind == "ring"), f"{where}[{key!r}]")
            made[key] = to_array(value, spec.dtype if spec else "")
        elif value is not None or key == "step":  # older SGDs of torch have a momentum of None
            made[key] = value
    if made.keys() <= {"momentum_buffer"}:  # SGD of torch does not count; that there is one says that it has begun
        made["step"] = int(bool(made))
    if "step" in made:
        step = number(made["step"])
        made["step"] = int(step) if isinstance(step, float) and step.is_integer() else step
    return made
