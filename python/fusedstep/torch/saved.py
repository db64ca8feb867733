"""A saved state of torch's form, ours or that of an optimizer of torch's own, as our classes load it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from .. import _core
from ..optimizer import Optimizer
from ..state import HEADER, TOLERATED, checked_groups, first, header, same_keys
from .tensors import number, to_array


def ours_of(optimizer: Optimizer, given: Any, known: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """`known` makes options of what a group has."""
    where = f"{optimizer._name}: state_dict"
    if isinstance(given, dict):  # wrappers leave theirs beside them, which torch's optimizers pass over
        given = {name: given[name] for name in given.keys() & {"state", "param_groups", "fusedstep"}}
        given.setdefault("fusedstep", None)
    same_keys(given, ("state", "param_groups", "fusedstep"), where)
    listed = listed_groups(optimizer, given["param_groups"], f"{where}['param_groups']")
    groups = [
        merged({name: live[name] for name in live.keys() - TOLERATED}, known(group)) | {"params": names}
        for live, group, names in zip(optimizer.param_groups, listed, optimizer._names, strict=True)
    ]
    state = entries(optimizer, given["state"], listed, groups, f"{where}['state']")
    if given["fusedstep"] is None:  # it has been through somebody's hands, or is not ours
        steps = [entry["step"] for entry in state.values() if isinstance(entry, Mapping)]
        calls = max((step for step in steps if isinstance(step, int)), default=0)
        ours = header(optimizer) | {"calls": calls, "skipped": 0}
    else:
        ours = given["fusedstep"]
        same_keys(ours, HEADER, f"{where}['fusedstep']")
    return {**ours, "groups": groups, "state": state}


def listed_groups(optimizer: Optimizer, given: Any, where: str) -> list[dict[str, Any]]:
    count = len(optimizer.param_groups)
    if not isinstance(given, list) or not all(isinstance(group, dict) for group in given):
        raise TypeError(f"{where} must be a list of {count} dicts, got {given!r:.80}")
    if len(given) != count:
        raise ValueError(f"{optimizer._name}: state must have {count} groups, got {len(given)}")
    for index, (group, names) in enumerate(zip(given, optimizer._names, strict=True)):
        params = group.get("params")
        if not isinstance(params, list) or len(params) != len(names):
            raise ValueError(f"{where}[{index}]['params'] must be a list of {len(names)} numbers, got {params!r:.80}")
    return given


def merged(own: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Options that a group of another has, and its own for the rest."""
    decoupled = given.get("decoupled_weight_decay")
    if isinstance(decoupled, bool):  # in torch, AdamW is an Adam with this
        decay = given.get("decay", "decoupled" if decoupled else "coupled")
        if decoupled == (decay == "decoupled"):
            given = {**given, "decay": decay}
            del given["decoupled_weight_decay"]
    return own | given


def entries(
    optimizer: Optimizer, given: Any, listed: list[dict[str, Any]], groups: list[dict[str, Any]], where: str
) -> dict[str, Any]:
    """By our names; a parameter that has none begins anew."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{where} must be a dict, got {type(given).__name__}")
    plan, names = optimizer._plan, iter(optimizer._plan.names())
    place = {param: name for group in listed for param, name in zip(group["params"], names, strict=False)}
    for param in (param for param in given if param not in place):
        raise ValueError(f"{where} must have entries of the parameters of its groups, got one of {param!r:.80}")
    by_name = {place[param]: entry for param, entry in given.items()}
    made = {}
    for group, options in zip(groups, checked_groups(optimizer, groups), strict=True):
        for name in group["params"]:
            specs = plan.companions_with(name, optimizer._method, options)
            entry = by_name.get(name)
            made[name] = entry_of(entry, specs) if entry else first(plan.param(name), specs)
    return made


def entry_of(given: Any, specs: list[_core.Companion]) -> Any:
    """What stands beside a parameter, with arrays for tensors; what is no dict stays, to be refused."""
    if not isinstance(given, Mapping):
        return given
    scalars = {spec.name for spec in specs if spec.kind == "scalar"}
    made = {}
    for key, value in given.items():
        if isinstance(value, torch.Tensor) and key != "step":
            array = to_array(value)
            made[key] = array.astype(np.float64) if key in scalars and array.dtype == np.float32 else array
        elif value is not None:  # as torch's SGD has it beside its other state
            made[key] = value
    # SGD of torch does not count; that there is a momentum says that it has begun.
    step = number(made.pop("step", int(bool(made))))
    whole = isinstance(step, float) and step.is_integer()
    return {"step": int(step) if whole else step, **made}
