"""What stands beside the parameters, in the form that torch's optimizers have it in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import torch

from .. import _core
from ..optimizer import Optimizer
from ..state import Entry as Fixed
from ..state import check_entry, fill_entry, first
from .parts import is_distributed, like
from .saved import entry_of
from .tensors import to_tensor


class State(MutableMapping[torch.Tensor, dict[str, Any]]):
    """A live view, by parameter. What is given to it is copied into our memory; what is deleted begins anew."""

    def __init__(self, optimizer: Optimizer, names: Mapping[torch.Tensor, str]) -> None:
        self._optimizer = optimizer
        self._names = names

    def __getitem__(self, param: torch.Tensor) -> dict[str, Any]:
        plan, name = self._optimizer._plan, self._names[param]
        tensors = {key: to_tensor(array) for key, array in plan.arrays(name).items()}
        if is_distributed(param):
            for spec in plan.companions(name):
                tensors[spec.name] = self._distributed(tensors[spec.name], spec, param)
        # In double, as torch's own optimizers would count on with any of floating point.
        return Entry({"step": torch.tensor(float(plan.get_step(name)), dtype=torch.float64), **tensors}, self, param)

    def _distributed(self, part: torch.Tensor, spec: _core.Companion, param: torch.Tensor) -> torch.Tensor:
        if spec.kind == "scales":
            raise TypeError(
                f"{self._optimizer._name}: state must be without codes to be put together from several processes "
                "(optimizer.inner.state_dict() is this one's), got 'sq8'"
            )
        return part if spec.kind == "scalar" else like(part, param, lead=int(spec.kind == "ring"))

    def __setitem__(self, param: torch.Tensor, entry: Mapping[str, Any]) -> None:
        name, plan = self._names[param], self._optimizer._plan
        specs = plan.companions(name)
        self._put(name, specs, entry_of(entry, specs))

    def __delitem__(self, param: torch.Tensor) -> None:
        name, plan = self._names[param], self._optimizer._plan
        specs = plan.companions(name)
        self._put(name, specs, first(plan.param(name), specs))

    def _put(self, name: str, specs: list[_core.Companion], entry: Mapping[str, Any]) -> None:
        plan = self._optimizer._plan
        with _core.Alone(plan):
            check_entry(plan.param(name), specs, entry, f"{self._optimizer._name}: state[{name!r}]")
            fill_entry(plan, name, entry)
            plan.invalidate()

    def numbered(self) -> dict[int, dict[str, Any]]:
        """Plain dicts, by the number of the parameter."""
        return {int(name): dict(self[param]) for param, name in self._names.items()}

    def clear(self) -> None:
        for param in self:
            del self[param]

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

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
        if self.get(key) is value:
            return
        if self._state is None or self._param is None or key not in self:
            super().__setitem__(key, value)  # which refuses it
            return
        self._state[self._param] = {**self, key: value}
        dict.update(self, self._state[self._param])
