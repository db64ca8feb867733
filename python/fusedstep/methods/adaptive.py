"""The generic adaptive method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import _core, memory
from ..cuda import on_host
from ..in_numpy.formulas import adaptive_rate
from ..in_numpy.layout import flat
from ..in_numpy.step import numbers
from ..options import any_number, betas, choice, flag, number, whole
from .momentum import Displaced, momentum_conflict

MOMENTUM = ("momentum", "dampening", "buffer")
PHI = {"gradient": (), "heavy_ball": MOMENTUM, "nesterov": MOMENTUM, "ema": ("betas", "bias_correction")}
PSI = {
    "one": (),
    "sum": ("eps", "eps_place", "eps_root", "initial_accumulator_value", "lr_decay", "zero_at_zero"),
    "window": ("eps", "eps_place", "eps_root", "window", "reduce"),
    "ema": ("eps", "eps_place", "eps_root", "betas", "bias_correction"),
    "ema_max": ("eps", "eps_place", "eps_root", "betas", "bias_correction", "amsgrad_order"),
    "infinity": ("eps", "eps_place", "betas"),
}

#: ψ -> where its ε may stand, the default first
PLACES = {
    "sum": ("outside", "inside"),
    "window": ("outside", "inside"),
    "ema": ("outside", "hat", "inside"),
    "ema_max": ("outside", "hat", "inside"),
    "infinity": ("max", "outside"),
}


class Adaptive(Displaced):
    """The generic adaptive method: any φ of the gradients divided by any ψ of their squares.

    .. math::
        θ ← θ − η \\frac{φ(g_1, …, g_t)}{ψ(g_1, …, g_t)}

    φ is the gradient, a momentum buffer as in SGD (``heavy_ball``, ``nesterov``) or the average m̂ of Adam (``ema``).
    ψ is 1 (``one``), or the denominator of Adagrad (``sum``), WindowedAdagrad (``window``), Adam or, without bias
    correction, RMSprop (``ema``), AMSGrad (``ema_max``) or Adamax (``infinity``). Those methods are such pairs, with
    the same bits; RMSprop only without momentum and ``centered``.

    Only the keywords of the chosen parts are accepted:

    - ``heavy_ball``, ``nesterov``: ``momentum``, ``dampening``, ``buffer``;
    - φ ``ema``: ``betas``, ``bias_correction``;
    - ``sum``: ``eps``, ``eps_place``, ``eps_root``, ``initial_accumulator_value``, ``lr_decay``, ``zero_at_zero``;
    - ``window``: ``eps``, ``eps_place``, ``eps_root``, ``window``, ``reduce``;
    - ψ ``ema``: ``eps``, ``eps_place``, ``eps_root``, ``betas``, ``bias_correction``;
    - ``ema_max``: the same, and ``amsgrad_order``;
    - ``infinity``: ``eps``, ``eps_place`` (``max``, its default, or ``outside``), ``betas``.

    ``eps_place`` is ``outside`` or ``inside``, and for averages also ``hat``, which takes ε / √(1 − β₂ᵗ) for ε outside
    (by way of η, as in Adam, but where the buffer holds η). A group with another ψ takes that ψ's default of it. State:
    that of the parts.

    {arguments}

    >>> import numpy as np, fusedstep as fs
    >>> w, same = np.ones(3), np.ones(3)
    >>> fs.Adaptive(w, phi="ema", psi="ema", betas=(0.9, 0.999)).step(np.full(3, 2.0))
    >>> fs.Adam(same).step(np.full(3, 2.0))
    >>> bool((w == same).all())
    True

    Source: Reddi, Kale & Kumar 2018, Algorithm 1. Torch has none.
    """

    state_names = ("momentum_buffer", "exp_avg", "sum", "ring", "exp_avg_sq", "max_exp_avg_sq", "exp_inf")

    phi = choice("gradient", "heavy_ball", "ema", "nesterov", doc="the direction")
    psi = choice("one", "sum", "window", "ema", "ema_max", "infinity", doc="what each coordinate's step is divided by")
    momentum = number(0.9, "μ of the buffer")
    dampening = any_number(0.0, "τ of the buffer")
    buffer = choice("lr_outside", "lr_inside", "ema", doc="what the buffer holds")
    betas = betas(0.9, 0.999, "decay rates, β₁ of φ and β₂ of ψ")
    bias_correction = flag(True, "correct the averages for their start at 0")
    eps = number(1e-8, "ε of the denominator")
    eps_place = choice("outside", "hat", "inside", "max", doc="where ε stands; ``max`` belongs to ``infinity``")
    eps_root = number(0.0, "a second ε under the root")
    initial_accumulator_value = number(0.0, "what the sum starts from")
    lr_decay = number(0.0, "how fast the sum's η falls")
    zero_at_zero = flag(False, "the step is 0 where the sum is 0")
    window = whole(1, 10, "how many gradients count")
    reduce = choice("sum", "mean", doc="what ψ takes of the window")
    amsgrad_order = choice("v", "v_hat", doc="largest v, or largest corrected v")

    conventions: ClassVar[dict[str, dict[str, Any]]] = {}

    @classmethod
    def _resolve(
        cls, given: Mapping[str, Any], defaults: Mapping[str, Any], others: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Only the options of the parts that are chosen; what a group's own parts lack comes from the class."""
        chosen = {key: cls._checked(key, given.get(key, defaults[key])) for key in ("phi", "psi")}
        parts = {*PHI[chosen["phi"]], *PSI[chosen["psi"]]}
        optional = {name for names in (*PHI.values(), *PSI.values()) for name in names}
        taken = {name: value for name, value in defaults.items() if name in parts or name not in optional}
        taken |= {name: option.default for name, option in cls._options.items() if name in parts - taken.keys()}
        if "eps_place" in taken and taken["eps_place"] not in PLACES[chosen["psi"]]:
            taken["eps_place"] = PLACES[chosen["psi"]][0]
        elif chosen["psi"] == "infinity" and defaults["psi"] != "infinity":
            taken["eps_place"] = PLACES["infinity"][0]
        return super()._resolve(given, taken, others)

    @classmethod
    def _conflict(cls, options: Mapping[str, Any]) -> str | None:
        psi = options["psi"]
        if "eps_place" in options and options["eps_place"] not in PLACES[psi]:
            return f"eps_place must be one of {', '.join(PLACES[psi])} with psi={psi!r}, got {options['eps_place']!r}"
        if "momentum" in options:
            return momentum_conflict(options, options["phi"] == "nesterov")
        return None

    def lookahead(self) -> Any:
        """The parameters displaced by the momentum: see `SGD.lookahead`.

        Raises:
            TypeError: no group has a momentum buffer, or one that has it has another ψ than ``"one"``.
            RuntimeError: another thread is stepping this optimizer, adding a group, or copying or loading its state.
        """
        groups = map(self._changed, range(len(self.param_groups)))
        if {group["psi"] for group in groups if "momentum" in group} != {"one"}:
            raise TypeError(f"{self._name}: lookahead needs phi='heavy_ball' or 'nesterov' and psi='one'")
        return super().lookahead()

    def adaptive_rate(self) -> Any:
        """The learning rate of each coordinate in the last step, η/ψ, as new arrays in the structure of the parameters.

        If η is a schedule, it is that of the last step, and otherwise the number that the group has now. Parameters
        that were never stepped have NaN. The arrays are NumPy's; for parameters on a device this waits for the device.

        Raises:
            ValueError: there was no step yet.
            RuntimeError: another thread is stepping this optimizer, adding a group, or copying or loading its state.

        >>> import numpy as np, fusedstep as fs
        >>> opt = fs.Adaptive(np.ones(2), lr=1.0, psi="sum", eps=0.0)
        >>> opt.step(np.array([4.0, 0.5]))
        >>> opt.adaptive_rate()
        array([0.25, 2.  ])
        """
        with _core.Alone(self._plan):
            self._plan.take_changes(self)
            return self._adaptive_rate()

    def _adaptive_rate(self) -> Any:
        if self._plan.calls == 0:
            raise ValueError(f"{self._name}: adaptive_rate needs a step, got none so far")
        rates: dict[str, np.ndarray] = {}
        for index, (group, names) in enumerate(zip(self.param_groups, self._names, strict=True)):
            lr = self._plan.rate(index, self._plan.calls - 1)
            for name in names:
                theta, state = numbers(self, name)
                rates[name] = memory.like(on_host(self._plan.param(name)), theta.dtype)
                flat(rates[name])[...] = adaptive_rate(theta, state, self._plan.get_step(name), group, lr)
        return self._plan.structure(rates)
