"""optax, compiled by JAX for the CPU; parameters and state are donated, so that they can be written where they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from .rival import Rival, package
from .work import Arrays, Work


def transformation(work: Work) -> Any:
    """The same equations in optax, or None. (Its AMSGrad takes the largest corrected v, its NAdam has no schedule.)"""
    optax = package("optax")
    lr = work.options["lr"]
    made = {
        "SGD": lambda: optax.sgd(lr),
        "SGD, momentum": lambda: optax.sgd(lr, momentum=0.9),
        "Adagrad": lambda: optax.adagrad(lr, initial_accumulator_value=0.0, eps=1e-20),
        "RMSprop": lambda: optax.rmsprop(lr, decay=0.99, eps=1e-16),
        "Adadelta": lambda: optax.adadelta(lr, rho=0.9, eps=1e-6),
        "Adam": lambda: optax.adam(lr),
        "AdamW": lambda: optax.adamw(lr, weight_decay=0.01),
        "RAdam": lambda: optax.radam(lr),
        "Adamax": lambda: optax.adamax(lr),
        "Lion": lambda: optax.lion(lr, weight_decay=0.0),
        "AdaBelief": lambda: optax.adabelief(lr),
        "Yogi": lambda: optax.chain(optax.scale_by_yogi(initial_accumulator_value=0.0), optax.scale(-lr)),
    }.get(work.row)
    return made and made()


class Optax(Rival):
    name = "optax"
    packages = ("jax", "optax")

    @classmethod
    def offers(cls, work: Work) -> bool:
        return transformation(work) is not None

    def __init__(self, work: Work, threads: int) -> None:
        jax, optax = package("jax"), package("optax")
        method = transformation(work)

        def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
            updates, state = method.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        self._step = jax.jit(step, donate_argnums=(0, 1))
        self._params = [jax.numpy.array(param) for param in work.params]
        self._state = method.init(self._params)
        self.load(work.grads)

    def load(self, grads: Arrays) -> None:
        jax = package("jax")
        self._grads = [jax.numpy.array(grad) for grad in grads]

    def step(self) -> None:
        self._params, self._state = self._step(self._params, self._state, self._grads)
        for param in self._params:
            param.block_until_ready()

    def read(self) -> Arrays:
        return [np.asarray(param) for param in self._params]
