"""RMSprop."""

from __future__ import annotations

from typing import Any, ClassVar

from ..optimizer import Optimizer
from ..options import choice, flag, fraction, number, rate


class RMSprop(Optimizer):
    """RMSProp: Adagrad whose sum leaks.

    .. math::
        r ← αr + (1−α)g², \\quad Δ = \\frac{g}{D}, \\quad θ ← θ − ηΔ

        D = \\sqrt{r} + ε \\quad\\text{(``outside``)} \\qquad D = \\sqrt{r + ε} \\quad\\text{(``inside``)}

    With ``centered``, r − ḡ² takes the place of r in D, where ḡ ← αḡ + (1−α)g; where rounding makes that negative, it
    counts as 0 (torch gives NaN).
    With momentum μ: b ← μb + Δ, θ ← θ − ηb, or b ← μb + ηΔ, θ ← θ − b (``momentum_lr="inside"``). State:
    ``square_avg``, ``momentum_buffer``, ``grad_avg``.

    {arguments}

    >>> import numpy as np, fusedstep as fs
    >>> w = np.ones(3)
    >>> fs.RMSprop(w, lr=0.1).step(np.full(3, 2.0))
    >>> w.round(6)
    array([0., 0., 0.])

    Source: Tieleman & Hinton 2012; centered: Graves 2013. As torch.optim.RMSprop; Keras and optax put ε and η inside.
    """

    state_names = ("square_avg", "momentum_buffer", "grad_avg")

    lr = rate(1e-2)
    alpha = fraction(0.99, "α, how much of r is kept")
    eps = number(1e-8, "ε, keeps the step finite where r is near 0")
    momentum = number(0.0, "μ, how much of the buffer is kept")
    centered = flag(False, "divide by the standard deviation of the gradients rather than by their size")
    eps_place = choice("outside", "inside", doc="where ε stands")
    momentum_lr = choice("outside", "inside", doc="where η stands: the buffer holds Δ (``outside``) or ηΔ (``inside``)")

    conventions: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"eps_place": "inside", "eps": 1e-8, "lr": 1e-4, "alpha": 0.9},
        "keras": {
            "eps_place": "inside",
            "eps": 1e-7,
            "lr": 1e-3,
            "alpha": 0.9,
            "momentum_lr": "inside",
            "decay": "decoupled",
        },
        "optax": {"eps_place": "inside", "eps": 1e-8, "alpha": 0.9, "momentum_lr": "inside"},
    }
