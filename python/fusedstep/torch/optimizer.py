"""The optimizer that is one of torch's, with one of ours inside."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch

from .. import _core
from ..optimizer import UNSET
from ..optimizer import Optimizer as Inner
from ..stages import resolve
from ..state import groups_of, header
from .parameters import Grads, Groups, Parameters
from .parts import of_all, part_of
from .saved import ours_of, whole
from .state import State
from .tensors import number

#: What a copy has; torch's copies have no hooks.
KEPT = ("defaults", "param_groups", "known", "inner", "held")

Function = TypeVar("Function", bound=Callable[..., Any])


def uncompiled(function: Function) -> Function:
    """One that torch.compile calls, where it would lose its way: as torch does for its own optimizers."""
    made: Function = getattr(torch, "_disable_dynamo", lambda same: same)(function)
    return made


class Optimizer(torch.optim.Optimizer):
    """A `torch.optim.Optimizer` with the steps of a class of this package.

    The equations and the options are those of the class; ``zero_grad``, hooks and closures are torch's. Options
    that are changed in ``param_groups`` apply from the next step on. `inner` is an optimizer of the class, with its
    ``state``, ``last``, ``skipped``, ``average`` and ``lookahead()``; parameters are named by their numbers there: "0",
    "1" …

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
        self.held = Parameters(group["params"] for group in self.param_groups)
        groups = [
            {**self._options(group), "params": parts}
            for group, parts in zip(self.param_groups, self.held.parts, strict=True)
        ]
        self.inner = method(groups, **{name: number(value) for name, value in options.items()})
        tensors = {name: value for name, value in options.items() if isinstance(value, torch.Tensor)}
        # Torch gives them to groups that are added later, and schedulers ask for them.
        self.defaults.update(self.inner._defaults | tensors)
        for group in self.param_groups:
            group.update(tensors | group)
        self._show()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, a dict with ``params``; options that are not given are those in ``defaults``."""
        if not hasattr(self, "inner"):  # torch's constructor adds its groups
            super().add_param_group(param_group)
            return
        self._tell()
        # Before torch adds the defaults, beside which another spelling would be a contradiction.
        options = self._options(param_group) if isinstance(param_group, dict) else {}
        kept = self.inner._defaults
        changed = {name: value for name, value in self._options(self.defaults).items() if value != kept.get(name)}
        super().add_param_group(param_group)
        try:
            self._join(self.param_groups[-1]["params"], changed | options)
        except BaseException:
            self.param_groups.pop()
            raise
        self._show()

    def _join(self, params: list[torch.Tensor], options: dict[str, Any]) -> None:
        self.inner.add(list(map(part_of, params)), **options)
        self.held.add(params)

    def _known(self, group: dict[str, Any]) -> frozenset[str]:
        known = self.known
        if {"initial_lr", "min_lr"} <= group.keys():
            known -= {"max_lr"}  # OneCycleLR leaves the largest rate of its cycle under this name of ours
        if "decay" in group and group.get("decoupled_weight_decay") is (group["decay"] == "decoupled"):
            known -= {"decoupled_weight_decay"}  # ZeRO leaves what says the same in torch's words
        return known

    def _options(self, group: dict[str, Any]) -> dict[str, Any]:
        known = self._known(group)
        return {name: number(value) for name, value in group.items() if name in known}

    def _others(self, group: dict[str, Any]) -> dict[str, Any]:
        """What is nobody's option."""
        ours = self._known(group) | {"params", "decoupled_weight_decay"}
        return {name: value for name, value in group.items() if name not in ours}

    def _tell(self) -> None:
        """Let the method find what was changed here, as if it were changed there: it checks that in its next step."""
        groups, kept = self.param_groups, self.inner.param_groups
        if len(groups) < len(kept):
            raise ValueError(
                f"{type(self.inner).__name__}: param_groups must keep its {len(kept)} groups "
                f"(add_param_group() adds one), got {len(groups)}"
            )
        self._tell_options()
        for index, (group, held) in enumerate(zip(groups, self.held.groups, strict=False)):
            params = group["params"]
            if self.held.are(index, params):
                continue
            if not self.inner._plan.calls:
                self._begin(Parameters(group["params"] for group in groups[: len(kept)]))
                self._tell_options()
                break
            new = sum(all(param is not one for one in held) for param in params)
            raise ValueError(
                f"{type(self.inner).__name__}: param_groups[{index}]['params'] must stay the {len(held)} tensors that "
                f"were given, in their order (a new optimizer takes others), got {len(params)}, {new} of them new"
            )
        for group in groups[len(self.inner.param_groups) :]:  # trainers that resume put them there themselves
            self._join(group["params"], self._options(group))
            self._show()

    def _tell_options(self) -> None:
        for group, own in zip(self.param_groups, self.inner.param_groups, strict=False):
            for name in own.keys() - group.keys():
                del own[name]
            known = self._known(group)
            for name, value in group.items():
                if own.get(name, UNSET) is not value and name in known:
                    own[name] = number(value)

    def _begin(self, held: Parameters, extents: Mapping[str, Any] | None = None) -> None:
        """Be as before the first step, with these parameters: accelerate shards a model behind its optimizer."""
        self._become(self.inner._anew(held.parts, extents))
        self.held = held

    def _forget(self) -> None:
        """Have state as before the first step, in new memory; steps are counted on."""
        plan = self.inner._plan
        self._begin(Parameters(self.held.groups), {name: plan.get_extent(name) for name in plan.names()})
        self.inner._plan.calls, self.inner._plan.skipped = plan.calls, plan.skipped

    def _become(self, other: Inner) -> None:
        self.inner._plan.invalidate()  # what was bound would step with the state of before
        vars(self.inner).update(vars(other))

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
        grads = self.held.grads()
        if self.held.distributed:
            checked = resolve(self.inner._name, stages, self.inner._plan.on_device)
            if checked:
                stages |= of_all(grads, checked, self.inner._name)
            grads = self._parts_of(grads)
        try:
            self.inner.step(grads, **stages)
        except (TypeError, ValueError):
            if not self.inner._plan.has_moved():  # as where a trainer brings a model elsewhere
                raise
            self._follow(self.held.parts)
            self.inner.step(grads, **stages)
        self._show()
        pairs = zip(self.held, itertools.chain(*grads), strict=True)
        tell_autograd([param for param, grad in pairs if grad is not None])
        return loss

    @uncompiled
    def _parts_of(self, grads: Grads) -> Grads:
        parts = self.held.other_parts()
        if parts:
            self._follow(parts)
            self.held.parts = parts
        return self.held.parts_of(grads, self.inner._name)

    def _follow(self, parts: Groups) -> None:
        """Bring a copy of all state to where the tensors are now."""
        saved = self.inner.__getstate__()
        for (name, layout), part in zip(saved["layouts"].items(), itertools.chain(*parts), strict=True):
            for key, now in {"dtype": str(part.dtype).removeprefix("torch."), "shape": list(part.shape)}.items():
                if now != layout[key]:
                    raise ValueError(
                        f"{self.inner._name}: params['{name}'] must stay {layout[key]}, which its state was made for "
                        f"(a new optimizer takes others), got {now}"
                    )
        options = [options for _, options in saved["groups"]]
        moved = object.__new__(type(self.inner))
        moved.__setstate__({**saved, "groups": list(zip(parts, options, strict=True))})
        self._become(moved)

    def _put_rates(self) -> None:
        self._tell()
        self.inner._put_rates()
        self._show()

    @property  # type: ignore[override]
    def state(self) -> State:
        """What stands beside each parameter, by the names of torch's own optimizers: live tensors, and the ``step``.

        What is assigned is copied into them. A parameter whose entry is deleted begins anew; an empty one has none.
        """
        return State(self)

    @state.setter
    def state(self, entries: Mapping[torch.Tensor, Any]) -> None:
        if not hasattr(self, "inner"):  # torch's constructor and its copies bring one of theirs
            return
        self.state.become(entries)

    def state_dict(self) -> dict[str, Any]:
        """The state in the form of torch's own optimizers, with the live tensors, and what else continues a run bit for
        bit."""
        for hook in self._hooks("state_dict_pre"):
            hook(self)
        self._tell()
        with _core.Alone(self.inner._plan):
            self.inner._plan.take_changes(self.inner)
            state, groups, ours = self.state.numbered(), groups_of(self.inner), header(self.inner)
        self._show()
        ours["layouts"] = whole(ours["layouts"], self.held.names)
        for group, saved in zip(self.param_groups, groups, strict=True):
            if type(self.inner).takes_decoupled_weight_decay:  # which torch's own would take for False
                saved["decoupled_weight_decay"] = saved["decay"] == "decoupled"
            saved.update(self._others(group), params=[int(name) for name in saved["params"]])
        made: dict[str, Any] = {"state": state, "param_groups": groups, "fusedstep": ours}
        for hook in self._hooks("state_dict_post"):
            made = given_or(hook(self, made), made)
        return made

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned, or that of one of torch's own optimizers; the groups of parameters
        must be the same.

        Options are taken from its ``param_groups``; a schedule that was given to the constructor stays. Numbers are
        copied, into types that hold all of them.

        Raises:
            TypeError, ValueError: the state is of other parameters or of another class. Nothing has changed then.
        """
        state_dict = copy.copy(state_dict)  # a hook may write into it
        for hook in self._hooks("load_state_dict_pre"):
            state_dict = given_or(hook(self, state_dict), state_dict)
        self._tell()  # a schedule may have come since the last step
        ours = ours_of(self, state_dict)
        others = [copy.deepcopy(self._others(group)) for group in state_dict["param_groups"]]
        self.inner.load_state_dict(ours)
        for group, other in zip(self.param_groups, others, strict=True):
            group.update(other)
        self._show(keep=False)
        for hook in self._hooks("load_state_dict_post"):
            hook(self)

    def _hooks(self, when: str) -> tuple[Callable[..., Any], ...]:
        """Torch calls them in the methods that are replaced here; older versions have none."""
        return tuple(getattr(self, f"_optimizer_{when}_hooks", {}).values())

    def __getstate__(self) -> dict[str, Any]:
        self._tell()
        return {name: getattr(self, name) for name in KEPT}


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
