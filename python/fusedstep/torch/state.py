"""What stands beside the parameters, in the form that torch's optimizers have it in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import torch

from .. import _core
from ..state import Entry as Fixed
from ..state import check_entry, fill_entry, first
from .parts import is_distributed, like
from .saved import entry_of
from .tensors import to_tensor


class State(MutableMapping[torch.Tensor, dict[str, Any]]):
    """A live view, by parameter. What is given to it is copied into our memory; what is deleted begins anew."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner

    @property
    def _plan(self) -> _core.Plan:
        plan: _core.Plan = self._owner.inner._plan
        return plan

    def __contains__(self, param: object) -> bool:
        return isinstance(param, torch.Tensor) and param in self._owner.held.names

    def _name(self, param: Any) -> str:
        if param in self:
            name: str = self._owner.held.names[param]
            return name
        came = f"another, of shape {list(param.shape)}" if isinstance(param, torch.Tensor) else f"{param!r:.80}"
        raise KeyError(f"{self._owner.inner._name}: state's keys must be the optimizer's parameters, got {came}")

    def __getitem__(self, param: torch.Tensor) -> dict[str, Any]:
        plan, name = self._plan, self._name(param)
        tensors = {key: to_tensor(array) for key, array in plan.arrays(name).items()}
        if is_distributed(param):
            for spec in plan.companions(name):
                tensors[spec.name] = self._distributed(tensors[spec.name], spec, param)
        # In double, as torch's own optimizers would count on with any of floating point.
        return Entry({"step": torch.tensor(float(plan.get_step(name)), dtype=torch.float64), **tensors}, self, param)

    def _distributed(self, part: torch.Tensor, spec: _core.Companion, param: torch.Tensor) -> torch.Tensor:
        if spec.kind == "scales":
            raise TypeError(
                f"{self._owner.inner._name}: state must be without codes to be put together from several processes "
                "(optimizer.inner.state_dict() is this one's), got 'sq8'"
            )
        return part if spec.kind == "scalar" else like(part, param, lead=int(spec.kind == "ring"))

    def __setitem__(self, param: torch.Tensor, entry: Mapping[str, Any]) -> None:
        self._put({self._name(param): self._checked(param, entry)})

    def put(self, param: torch.Tensor, key: str, value: Any) -> None:
        """Have another step or another array in an entry."""
        plan, name = self._plan, self._name(param)
        specs = [spec for spec in plan.companions(name) if spec.name == key]
        self._put({name: self._checked(param, {"step": plan.get_step(name), key: value}, specs)})

    def __delitem__(self, param: torch.Tensor) -> None:
        plan, name = self._plan, self._name(param)
        self._put({name: first(plan.param(name), plan.companions(name))})

    def _checked(
        self, param: torch.Tensor, entry: Mapping[str, Any], specs: list[_core.Companion] | None = None
    ) -> dict[str, Any]:
        """An entry as our own states have it, with arrays of its own."""
        plan, name = self._plan, self._name(param)
        where = f"{self._owner.inner._name}: state[{name!r}]"
        specs = plan.companions(name) if specs is None else specs
        made: dict[str, Any] = entry_of(entry, specs, param, where)
        check_entry(plan.param(name), specs, made, where)
        return made

    def _put(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        plan = self._plan
        with _core.Alone(plan):
            for name, entry in entries.items():
                fill_entry(plan, name, entry)
            plan.invalidate()

    def become(self, entries: Mapping[torch.Tensor, Mapping[str, Any]]) -> None:
        """Have these entries and no others, in new memory; or refuse them, and have changed nothing."""
        if not isinstance(entries, Mapping):
            raise TypeError(
                f"{self._owner.inner._name}: state must be a dict by parameter, got {type(entries).__name__}"
            )
        self._owner._tell()  # options of before may have been refused, and be repaired by now
        made = {self._name(param): self._checked(param, entry) for param, entry in entries.items()}
        self._owner._forget()
        self._put(made)

    def clear(self) -> None:
        self.become({})

    def pop(self, param: torch.Tensor, *default: Any) -> Any:
        """What stood there, which is not what stands there from now on."""
        if param not in self and default:
            return default[0]
        entry = {key: value.clone() for key, value in self[param].items()}
        del self[param]
        return entry

    def numbered(self) -> dict[int, dict[str, Any]]:
        """Plain dicts, by the number of the parameter."""
        return {int(self._name(param)): dict(entry) for param, entry in self.items()}

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (param for param in self._owner.held.names if param.numel())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))


class Entry(Fixed):
    """What stands beside one parameter. The tensors are live, and others in their places are copied into them."""

    def __init__(
        self, values: Mapping[str, Any], state: State | None = None, param: torch.Tensor | None = None
    ) -> None:
        super().__init__(values)
        self._state = state
        self._param = param

    def __setitem__(self, key: str, value: Any) -> None:
        if key != "step" and self.get(key) is value:  # it is where something like `entry[key] *= 0` has written into it
            return
        if self._state is None or self._param is None or key not in self:
            super().__setitem__(key, value)  # which refuses it
            return
        self._state.put(self._param, key, value)
        dict.update(self, self._state[self._param])  # which may be of an older step, and of memory that is left
