"""SGD."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .. import memory
from ..in_numpy.encodings import narrow
from ..in_numpy.step import numbers
from ..optimizer import Optimizer
from ..options import any_number, choice, flag, number


class Displaced(Optimizer):
    """An optimizer whose momentum buffer says where the parameters are heading."""

    def lookahead(self) -> Any:
        """The parameters displaced by the momentum, where Nesterov's method takes the gradient.

        θ − μv with ``buffer="lr_inside"``, otherwise θ − ημv, in the structure of the parameters. The arrays are the
        optimizer's own and are written anew by each call.

        >>> import numpy as np, fusedstep as fs
        >>> w = np.ones(2)
        >>> opt = fs.SGD(w, lr=0.1, momentum=0.5)
        >>> opt.step(np.ones(2))
        >>> opt.lookahead()
        array([0.85, 0.85])
        """
        if not self._plan.on_device:  # there, displace() takes them
            self._plan.take_changes(self)
        ahead: dict[str, Any] = vars(self).setdefault("_ahead", {})
        for name in (name for names in self._names for name in names if name not in ahead):
            ahead[name] = memory.like_itself(self._plan.param(name))
        on_device: dict[str, tuple[float, bool, Any]] = {}
        for index, (group, names) in enumerate(zip(self.param_groups, self._names, strict=True)):
            factor, rated = group.get("momentum", 0.0), group.get("buffer") != "lr_inside"
            if self._plan.on_device:  # which has the learning rates
                on_device |= {name: (factor, rated, ahead[name]) for name in names}
                continue
            factor *= self._plan.rate(index, self._plan.calls) if rated else 1.0
            for name in names:
                self._displace(name, factor, ahead[name])
        if on_device:
            self._plan.displace(self, "momentum_buffer", on_device)
        return self._plan.structure(ahead)

    def _displace(self, name: str, factor: float, place: np.ndarray) -> None:
        theta, state = numbers(self, name)
        with np.errstate(all="ignore"):
            if "momentum_buffer" in state:
                theta = theta - theta.dtype.type(factor) * state["momentum_buffer"]
            narrow(place, theta, "nearest", None)


class SGD(Displaced):
    """Stochastic gradient descent, with momentum or Nesterov's momentum.

    .. math::
        v ← μv + (1−τ)g, \\quad θ ← θ − ηv \\quad\\text{(``lr_outside``; the first step takes g undampened)}

        v ← μv + ηg, \\quad θ ← θ − v \\quad\\text{(``lr_inside``)} \\qquad
        v ← μv + (1−μ)g, \\quad θ ← θ − ηv \\quad\\text{(``ema``)}

    Nesterov's form steps by η(g + μv), μv + ηg and η((1−μ)g + μv). Without momentum, θ ← θ − ηg. State:
    ``momentum_buffer``.

    {arguments}

    The two places of the learning rate agree only while it is constant.

    >>> import numpy as np, fusedstep as fs
    >>> w = np.ones(3, np.float32)
    >>> opt = fs.SGD(w, lr=0.5, momentum=0.9)
    >>> opt.step(np.ones(3, np.float32))
    >>> w
    array([0.5, 0.5, 0.5], dtype=float32)

    Source: Qian 1999; Nesterov 1983; Sutskever et al. 2013. As torch.optim.SGD, which takes the buffer's first gradient
    undampened, and not the parameter's, where momentum begins later, and keeps a buffer while momentum is 0: here it is
    given up, as is every state that options no longer call for. ``lr_inside`` as Keras, scikit-learn.
    """

    state_names = ("momentum_buffer",)

    momentum = number(0.0, "μ, how much of the buffer is kept")
    dampening = any_number(0.0, "τ, how much the gradient is damped on its way into the buffer")
    nesterov = flag(False, "Nesterov's form of the step")
    buffer = choice("lr_outside", "lr_inside", "ema", doc="what the buffer holds")

    conventions: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"buffer": "lr_inside", "lr": 1e-2},
        "keras": {"buffer": "lr_inside", "lr": 1e-2, "decay": "decoupled"},
        "sklearn": {"buffer": "lr_inside", "lr": 1e-3, "momentum": 0.9, "nesterov": True},
        "optax": {},
    }

    @classmethod
    def _conflict(cls, options: Mapping[str, Any]) -> str | None:
        return momentum_conflict(options, options["nesterov"])


def momentum_conflict(options: Mapping[str, Any], nesterov: bool) -> str | None:
    """What a momentum buffer cannot be asked for."""
    if options["dampening"] != 0 and options["buffer"] != "lr_outside":
        return f"dampening must be 0 with buffer={options['buffer']!r}, got {options['dampening']!r}"
    if nesterov and options["dampening"] != 0:
        return f"dampening must be 0 with Nesterov's momentum, got {options['dampening']!r}"
    return None
