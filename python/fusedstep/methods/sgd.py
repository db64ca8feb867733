"""SGD."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..options import any_number, choice, flag, number
from .momentum import Displaced, momentum_conflict


class SGD(Displaced):
    """Stochastic gradient descent, with momentum or Nesterov's momentum.

    .. math::
        v ← μv + (1−τ)g, \\quad θ ← θ − ηv \\quad\\text{(``lr_outside``; the first step takes g undampened)}

        v ← μv + ηg, \\quad θ ← θ − v \\quad\\text{(``lr_inside``)} \\qquad
        v ← μv + (1−μ)g, \\quad θ ← θ − ηv \\quad\\text{(``ema``)}

    Nesterov's form steps by η(g + μv), μv + ηg and η((1−μ)g + μv). Without momentum, θ ← θ − ηg. State:
    ``momentum_buffer``.

    {arguments}

    ``lr_outside`` and ``lr_inside`` give the same steps only while the learning rate is constant.

    >>> import numpy as np, fusedstep as fs
    >>> w = np.ones(3, np.float32)
    >>> opt = fs.SGD(w, lr=0.5, momentum=0.9)
    >>> opt.step(np.ones(3, np.float32))
    >>> w
    array([0.5, 0.5, 0.5], dtype=float32)

    Source: Qian 1999; Nesterov 1983; Sutskever et al. 2013. As torch.optim.SGD, but for a momentum that changes between
    0 and other numbers during a run. Where it begins later, torch takes the first gradient of the buffer undampened;
    here that holds only for the first gradient of the parameter. Where it becomes 0, torch keeps the buffer; here it is
    dropped, like every state that the options no longer need. ``lr_inside`` is as in Keras and scikit-learn.
    """

    state_names = ("momentum_buffer",)

    momentum = number(0.0, "μ, how much of the buffer is kept")
    dampening = any_number(0.0, "τ, by how much a gradient is reduced on its way into the buffer")
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
