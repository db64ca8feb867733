"""An optimizer of torch's whose steps are ours: for schedulers, scalers and trainers, which want one of torch's own.

>>> import torch, fusedstep as fs
>>> from fusedstep.torch import Optimizer
>>> w = torch.nn.Parameter(torch.ones(3))
>>> opt = Optimizer([w], fs.SGD, lr=0.5)
>>> schedule = torch.optim.lr_scheduler.StepLR(opt, step_size=1, gamma=0.5)
>>> w.sum().backward()
>>> opt.step()
>>> schedule.step()
>>> w.tolist(), opt.param_groups[0]["lr"]
([0.5, 0.5, 0.5], 0.25)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from .bfloat16 import as_bfloat16, bits_of, is_bfloat16
from .optimizer import Optimizer as Inner

#: Of torch's groups, what is no option here: OneCycleLR leaves the largest rate of its cycle under a name of ours.
OTHERS = ("params", "param_names", "max_lr")


class Optimizer(torch.optim.Optimizer):
    """An optimizer of torch's with the steps of a class of this package.

    Options that are changed in ``param_groups`` hold from the next step on. What else torch's optimizers have is
    torch's: ``zero_grad``, hooks of steps, closures. The equations and the options are the method's.

    Args:
        params: tensors, tensors with names, or groups, as torch takes them; what is no option of the method may stand
            in a group.
        method: a class of this package.
        options: those of the method's constructor.

    Raises:
        TypeError, ValueError: as the method's constructor.
    """

    def __init__(self, params: Iterable[Any], method: Callable[..., Inner], **options: Any) -> None:
        super().__init__(params, {})
        self.method = method
        given = {name: number(value) for name, value in options.items()}
        self.inner = method([self._chosen(group) for group in self.param_groups], **given)
        self._complete()

    def _chosen(self, group: dict[str, Any]) -> dict[str, Any]:
        known = inspect.signature(self.method).parameters
        return {name: number(value) for name, value in group.items() if name in known}

    def _complete(self) -> None:
        """Schedulers read options that nobody has given."""
        for group, own in zip(self.param_groups, self.inner.param_groups, strict=True):
            for name, value in own.items():
                if name not in OTHERS:
                    group.setdefault(name, value)
                    self.defaults.setdefault(name, value)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, with options of its own where they are given."""
        super().add_param_group(param_group)
        if not hasattr(self, "inner"):  # torch's constructor adds its groups
            return
        try:
            self.inner.add(**self._chosen(self.param_groups[-1]))
        except BaseException:
            self.param_groups.pop()
            raise
        self._complete()

    def _tell(self) -> None:
        for group, own in zip(self.param_groups, self.inner.param_groups, strict=True):
            for name in own.keys() - OTHERS:
                own[name] = number(group[name])

    def step(self, closure: Callable[[], Any] | None = None, **stages: Any) -> Any:
        """Update the parameters in place from their ``.grad``; returns what the closure does.

        Args:
            closure: computes the loss and its gradients anew.
            stages: as for the method's ``step``.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._tell()
        self.inner.step([[param.grad for param in group["params"]] for group in self.param_groups], **stages)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run needs to go on bit for bit, as plain data and tensors in the processor's memory."""
        self._tell()
        groups = [{name: value for name, value in group.items() if name != "params"} for group in self.param_groups]
        return {"state": mapped(self.inner.state_dict(), np.ndarray, to_tensor), "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave, with the same groups of parameters.

        Raises:
            TypeError, ValueError: the state is of other parameters, or another method. Nothing has changed then.
        """
        groups, count = state_dict["param_groups"], len(self.param_groups)
        if len(groups) != count:
            raise ValueError(f"{type(self.inner).__name__}: state must have {count} groups, got {len(groups)}")
        self.inner.load_state_dict(mapped(state_dict["state"], torch.Tensor, to_array))
        for group, saved in zip(self.param_groups, groups, strict=True):
            group.update(saved)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "method": self.method, "inner": self.inner}


def number(value: Any) -> Any:
    """That of a tensor, as torch takes learning rates; everything else as it is."""
    return value.item() if isinstance(value, torch.Tensor) else value


def to_tensor(array: np.ndarray) -> torch.Tensor:
    if is_bfloat16(array):
        return torch.from_numpy(bits_of(array).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def to_array(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dtype == torch.bfloat16:
        return as_bfloat16(tensor.view(torch.int16).numpy().view(np.uint16))
    return tensor.numpy()


def mapped(tree: Any, kind: type, make: Callable[[Any], Any]) -> Any:
    """A structure with others in the places of what is of a kind."""
    if isinstance(tree, kind):
        return make(tree)
    if isinstance(tree, dict):
        return {key: mapped(value, kind, make) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(mapped(value, kind, make) for value in tree)
    return tree


__all__ = ["Optimizer"]
