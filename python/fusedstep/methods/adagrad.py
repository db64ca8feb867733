"""Adagrad, and its form that forgets."""

from __future__ import annotations

from typing import Any, ClassVar

from ..optimizer import Optimizer
from ..options import choice, flag, number, rate, whole


class Adagrad(Optimizer):
    """Adagrad: each coordinate's learning rate falls with the squares of its gradients.

    .. math::
        G ← G + g², \\quad θ ← θ − \\frac{η_t}{D} g, \\quad η_t = \\frac{η}{1 + (t−1)·lr\\_decay}

        D = \\sqrt{G} + ε \\quad\\text{(``outside``)} \\qquad D = \\sqrt{G + ε} \\quad\\text{(``inside``)}

    State: ``sum``.

    {arguments}

    >>> import numpy as np, fusedstep as fs
    >>> w = np.ones(3)
    >>> fs.Adagrad(w, lr=0.5).step(np.full(3, 2.0))
    >>> w.round(6)
    array([0.5, 0.5, 0.5])

    Source: Duchi, Hazan & Singer 2011. As torch.optim.Adagrad; Keras and optax put ε inside and start at 0.1.
    """

    state_names = ("sum",)

    lr = rate(1e-2)
    lr_decay = number(0.0, "how fast η_t falls")
    initial_accumulator_value = number(0.0, "what G starts from")
    eps = number(1e-10, "ε, keeps the step finite where G is near 0")
    eps_place = choice("outside", "inside", doc="where ε stands")
    zero_at_zero = flag(False, "the step is 0 where G is 0, whatever ε (optax)")

    conventions: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"eps_place": "inside", "eps": 1e-8, "lr": 1e-2},
        "keras": {
            "eps_place": "inside",
            "eps": 1e-7,
            "initial_accumulator_value": 0.1,
            "lr": 1e-3,
            "decay": "decoupled",
        },
        "optax": {
            "eps_place": "inside",
            "eps": 1e-7,
            "initial_accumulator_value": 0.1,
            "zero_at_zero": True,
        },
    }


class WindowedAdagrad(Optimizer):
    """Adagrad over the last gradients only, so that its steps do not shrink for ever.

    .. math::
        S = \\sum_{i=t−k+1}^{t} g_i², \\quad θ ← θ − \\frac{η}{D} g

        D = \\sqrt{S} + ε \\quad\\text{(``outside``)} \\qquad D = \\sqrt{S + ε} \\quad\\text{(``inside``)}

    With ``reduce="mean"``, S is divided by the number of gradients in it. S is added up without subtraction, so that it
    is never negative, and a large gradient is forgotten completely. State: ``sum``, ``ring`` (``window`` arrays like
    the parameter, whose type is that of the arithmetic).

    {arguments}

    >>> import numpy as np, fusedstep as fs
    >>> w = np.ones(3)
    >>> fs.WindowedAdagrad(w, lr=0.5, window=2).step(np.full(3, 2.0))
    >>> w.round(6)
    array([0.5, 0.5, 0.5])

    Source: Duchi, Hazan & Singer 2011; the window as in PyMC's adagrad_window (which puts ε = 0.1 inside). Torch has
    none.
    """

    state_names = ("sum", "ring")

    lr = rate(1e-2)
    window = whole(1, 10, "k, how many gradients count")
    reduce = choice("sum", "mean", doc="whether S is the sum or the mean of the squares")
    eps = number(1e-10, "ε, keeps the step finite where S is near 0")
    eps_place = choice("outside", "inside", doc="where ε stands")

    conventions: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"eps_place": "inside", "eps": 1e-8, "lr": 1e-2},
    }
