"""What methods with a momentum buffer like that of SGD have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _core, memory
from ..in_numpy.encodings import narrow
from ..in_numpy.step import numbers
from ..optimizer import Optimizer


class Displaced(Optimizer):
    """An optimizer whose momentum buffer says where the parameters are heading."""

    def lookahead(self) -> Any:
        """The parameters displaced by the momentum, where Nesterov's method takes the gradient.

        θ − μv with ``buffer="lr_inside"``, otherwise θ − ημv with the η of the next step, in the structure of the
        parameters. The arrays are the optimizer's own: each call overwrites them.

        Raises:
            RuntimeError: another thread is stepping this optimizer, adding a group, or copying or loading its state.

        >>> import numpy as np, fusedstep as fs
        >>> w = np.ones(2)
        >>> opt = fs.SGD(w, lr=0.1, momentum=0.5)
        >>> opt.step(np.ones(2))
        >>> opt.lookahead()
        array([0.85, 0.85])
        """
        if self._plan.on_device:  # displace() keeps others away, and takes over what was changed
            return self._lookahead()
        with _core.Alone(self._plan):
            self._plan.take_changes(self)
            return self._lookahead()

    def _lookahead(self) -> Any:
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
            narrow(place, theta)


def momentum_conflict(options: Mapping[str, Any], nesterov: bool) -> str | None:
    """What a momentum buffer cannot be asked for."""
    if options["dampening"] != 0 and options["buffer"] != "lr_outside":
        return f"dampening must be 0 with buffer={options['buffer']!r}, got {options['dampening']!r}"
    if nesterov and options["dampening"] != 0:
        return f"dampening must be 0 with Nesterov's momentum, got {options['dampening']!r}"
    return None
