"""A `torch.optim.Optimizer` with the steps of a class of this package, for torch's schedulers, scalers and trainers.

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

import copy
import functools
import itertools
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from .bfloat16 import as_bfloat16, bits_of, is_bfloat16
from .optimizer import UNSET
from .optimizer import Optimizer as Inner
from .state import KEYS, same_keys


class Optimizer(torch.optim.Optimizer):
    """A `torch.optim.Optimizer` with the steps of a class of this package.

    The equations and the options are those of the class; ``zero_grad``, hooks and closures are torch's. Options
    that are changed in ``param_groups`` apply from the next step on. `inner` is an optimizer of the class, with its
    ``state``, ``last``, ``skipped``, ``average`` and ``lookahead()``; parameters are named by their numbers there: "0",
    "1" … Torch's own ``state`` stays empty.

    Args:
        params: tensors, named tensors, or groups, as torch takes them; groups may have further keys.
        method: a class of this package, or a `functools.partial` of one.
        options: those of the class's constructor.

    Raises:
        TypeError, ValueError: as for the class's constructor.
    """

    def __init__(self, params: Iterable[Any], method: Callable[..., Inner], **options: Any) -> None:
        kind = method.func if isinstance(method, functools.partial) else method
        if not isinstance(kind, type) or not issubclass(kind, Inner):
            raise TypeError(
                f"{type(self).__name__}: method must be one of fusedstep's classes, such as fs.AdamW, got {method!r}"
            )
        super().__init__(params, {})
        self.known = keywords(kind)
        groups = [{**self._options(group), "params": group["params"]} for group in self.param_groups]
        self.held = [list(group["params"]) for group in self.param_groups]
        self.inner = method(groups, **{name: number(value) for name, value in options.items()})
        # Torch gives them to groups that are added later, and schedulers ask for them.
        self.defaults.update(self.inner._defaults)
        for name in (name for name, value in options.items() if isinstance(value, torch.Tensor)):
            for group in self.param_groups:
                group.setdefault(name, options[name])
        self._show()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, a dict with ``params``; options that are not given are those of the constructor."""
        if not hasattr(self, "inner"):  # torch's constructor adds its groups
            super().add_param_group(param_group)
            return
        self._tell()
        # Before torch adds the defaults, beside which another spelling would be a contradiction.
        options = self._options(param_group) if isinstance(param_group, dict) else {}
        super().add_param_group(param_group)
        try:
            self._join(self.param_groups[-1]["params"], options)
        except BaseException:
            self.param_groups.pop()
            raise
        self._show()

    def _join(self, params: list[torch.Tensor], options: dict[str, Any]) -> None:
        self.inner.add(params, **options)
        self.held.append(list(params))

    def _known(self, group: dict[str, Any]) -> frozenset[str]:
        # OneCycleLR leaves the largest rate of its cycle under a name of ours, and these beside it.
        cycles = {"initial_lr", "min_lr"} <= group.keys()
        return self.known - {"max_lr"} if cycles else self.known

    def _options(self, group: dict[str, Any]) -> dict[str, Any]:
        known = self._known(group)
        return {name: number(value) for name, value in group.items() if name in known}

    def _others(self, group: dict[str, Any]) -> dict[str, Any]:
        """What is nobody's option."""
        known = self._known(group)
        return {name: value for name, value in group.items() if name not in known and name != "params"}

    def _tell(self) -> None:
        """Let the method find what was changed here, as if it were changed there: it checks that in its next step."""
        groups, kept = self.param_groups, self.inner.param_groups
        if len(groups) < len(kept):
            raise ValueError(
                f"{type(self.inner).__name__}: param_groups must keep its {len(kept)} groups "
                f"(add_param_group() adds one), got {len(groups)}"
            )
        for index, (group, held) in enumerate(zip(groups, self.held, strict=False)):
            params = group["params"]
            if len(params) != len(held) or not all(map(operator.is_, params, held)):
                new = sum(all(param is not one for one in held) for param in params)
                where = f"{type(self.inner).__name__}: param_groups[{index}]['params']"
                raise ValueError(
                    f"{where} must stay the {len(held)} tensors that were given, in their order "
                    f"(a new optimizer takes others), got {len(params)}, {new} of them new"
                )
        for group, own in zip(groups, kept, strict=False):
            for name in own.keys() - group.keys():
                del own[name]
            known = self._known(group)
            for name, value in group.items():
                if own.get(name, UNSET) is not value and name in known:
                    own[name] = number(value)
        for group in groups[len(kept) :]:  # trainers that resume put them there themselves
            self._join(group["params"], self._options(group))
            self._show()

    def _show(self, keep: bool = True) -> None:
        """Let groups have what the method made of them; a tensor is kept, which its owner may change in place."""
        for group, own in zip(self.param_groups, self.inner.param_groups, strict=False):
            known = self._known(group)
            for name in known & group.keys() - own.keys():
                del group[name]
            for name, value in own.items():
                held = group.get(name, UNSET)
                if held is not value and name in known and not (keep and isinstance(held, torch.Tensor)):
                    group[name] = value

    def step(self, closure: Callable[[], Any] | None = None, **stages: Any) -> Any:
        """Update the parameters in place from their ``.grad``; return what the closure returns.

        Args:
            closure: computes the gradients anew, and returns the loss.
            stages: the keywords of the class's ``step``.

        Raises:
            TypeError, ValueError, FloatingPointError, RuntimeError: as by the class's ``step``.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._tell()
        grads = [[param.grad for param in held] for held in self.held]
        try:
            self.inner.step(grads, **stages)
        except (TypeError, ValueError):
            if not self.inner._plan.has_moved():  # as where a trainer brings a model elsewhere
                raise
            vars(self.inner).update(vars(copy.copy(self.inner)))  # as a copy it is of where the tensors are now
            self.inner.step(grads, **stages)
        self._show()
        pairs = zip(itertools.chain(*self.held), itertools.chain(*grads), strict=True)
        tell_autograd([param for param, grad in pairs if grad is not None])
        return loss

    def _put_rates(self) -> None:
        self._tell()
        self.inner._put_rates()
        self._show()

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue a run bit for bit: plain data, and tensors in the processor's memory."""
        for hook in self._hooks("state_dict_pre"):
            hook(self)
        self._tell()
        state = self.inner.state_dict()
        self._show()
        groups = []
        for group, own in zip(self.param_groups, state["groups"], strict=True):
            options = {name: value for name, value in own.items() if name != "params"}
            groups.append(options | self._others(group))
        made = {"state": mapped(state, np.ndarray, to_tensor), "param_groups": groups}
        for hook in self._hooks("state_dict_post"):
            made = given_or(hook(self, made), made)
        return made

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned; the groups of parameters must be the same.

        Options are taken from its ``param_groups``; a schedule that was given to the constructor stays.

        Raises:
            TypeError, ValueError: the state is of other parameters or of another class. Nothing has changed then.
        """
        where = f"{type(self.inner).__name__}: state_dict"
        state_dict = copy.copy(state_dict)  # a hook may write into it
        for hook in self._hooks("load_state_dict_pre"):
            state_dict = given_or(hook(self, state_dict), state_dict)
        if isinstance(state_dict, dict):  # wrappers leave theirs beside them, which torch's optimizers pass over
            state_dict = {name: state_dict[name] for name in state_dict.keys() & {"state", "param_groups"}}
        same_keys(state_dict, ("state", "param_groups"), where)
        state = state_dict["state"]
        if isinstance(state, dict) and not any(isinstance(name, str) for name in state):
            raise ValueError(
                f"{where} must be one of fusedstep.torch.Optimizer's, got that of an optimizer of torch's own"
            )
        same_keys(state, KEYS, f"{where}['state']")
        saved = self._listed(state_dict["param_groups"], f"{where}['param_groups']")
        kept = self._listed(state["groups"], f"{where}['state']['groups']")
        groups = [own | self._options(group) for own, group in zip(kept, saved, strict=True)]
        others = [copy.deepcopy(self._others(group)) for group in saved]
        arrays = mapped(state, torch.Tensor, to_array)
        self._tell()  # a schedule may have come since the last step
        self.inner.load_state_dict({**arrays, "groups": groups})
        for group, other in zip(self.param_groups, others, strict=True):
            group.update(other)
        self._show(keep=False)
        for hook in self._hooks("load_state_dict_post"):
            hook(self)

    def _hooks(self, when: str) -> tuple[Callable[..., Any], ...]:
        """Torch calls them in the methods that are replaced here; older versions have none."""
        return tuple(getattr(self, f"_optimizer_{when}_hooks", {}).values())

    def _listed(self, groups: Any, where: str) -> list[dict[str, Any]]:
        count = len(self.param_groups)
        if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
            raise TypeError(f"{where} must be a list of {count} dicts, got {groups!r:.80}")
        if len(groups) != count:
            raise ValueError(f"{type(self.inner).__name__}: state must have {count} groups, got {len(groups)}")
        return groups

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "known": self.known, "inner": self.inner, "held": self.held}


def keywords(kind: Any) -> frozenset[str]:
    """What in a group is the method's, and other spellings: it knows them, or refuses them."""
    # A method without torch's other spelling would do the opposite of what it says, if it were nobody's.
    return frozenset({*kind.__signature__.parameters, "decoupled_weight_decay"} - {"params"})


def tell_autograd(params: list[torch.Tensor]) -> None:
    """A backward pass that would need what was there before is an error then."""
    told = torch.autograd.graph.increment_version
    try:
        told(params)
    except TypeError:  # older versions of torch take one
        for param in params:
            told(param)


def given_or(result: Any, otherwise: Any) -> Any:
    """What a hook returns takes the place of what it was given, if it returns anything."""
    return otherwise if result is None else result


def number(value: Any) -> Any:
    """That of a tensor, as torch takes learning rates; everything else as it is."""
    return value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value


def to_tensor(array: np.ndarray) -> torch.Tensor:
    if is_bfloat16(array):
        return torch.from_numpy(bits_of(array).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def to_array(tensor: torch.Tensor) -> np.ndarray:
    if tensor.requires_grad or tensor.layout != torch.strided or tensor.is_meta:
        kind = "one that requires grad" if tensor.requires_grad else f"{tensor.layout} on {tensor.device}"
        raise TypeError(f"state_dict must hold dense tensors with values and without gradients, got {kind}")
    tensor = tensor.cpu()
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
