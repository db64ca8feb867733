"""How methods are compared: the same first weights, the same batches, a fixed number of steps, errors every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from .method import Method
from .network import Weights
from .page import Page

Errors = dict[str, float]


class Task(Protocol):
    """What is learnt."""

    def weights(self, rng: np.random.Generator) -> Weights:
        """Random first weights."""

    def batches(self, rng: np.random.Generator) -> Iterator[Any]:
        """The examples once, in parts and in an order of its own."""

    def gradient(self, weights: Weights, batch: Any, out: Weights) -> float:
        """The loss of a batch; its gradient is written to `out`."""

    def errors(self, weights: Weights) -> Errors:
        """What is recorded at every epoch, by name; the same names each time."""


class Watch(Protocol):
    """Who looks on while methods train."""

    def __call__(self, method: str, weights: Weights, grads: Weights) -> None:
        """Before a step: the weights that it will change, and its gradients."""


@dataclass
class Course:
    """How training went: the loss of every step, and the errors before the first epoch and after each.

    An error that is no number, because training ran away, is infinite: NaN would win and lose every comparison.
    """

    losses: list[float] = field(default_factory=list)
    errors: list[Errors] = field(default_factory=list)

    def over_epochs(self, error: str) -> np.ndarray:
        errors = np.array([errors[error] for errors in self.errors])
        return np.where(np.isnan(errors), np.inf, errors)

    def final(self, error: str) -> float:
        return float(self.over_epochs(error)[-1])


def compare(
    task: Task,
    methods: Mapping[str, Method],
    *,
    epochs: int,
    seed: int,
    convention: str,
    page: Page,
    name: str,
    watch: Watch | None = None,
) -> dict[str, Course]:
    """Train by every method from the same weights, which NAME-start.npz keeps; NAME.csv has the errors."""
    start = page.arrays(f"{name}-start", task.weights(np.random.default_rng([seed, 0])))
    courses = {}
    for label, method in methods.items():
        with np.load(start) as saved:
            weights = {key: saved[key] for key in saved.files}
        course = courses[label] = Course(errors=[task.errors(weights)])
        looking = partial(watch, label) if watch else None
        for losses, errors in train(task, method, weights, epochs, seed, convention, looking):
            course.losses += losses
            course.errors.append(errors)
            page.advance(f"{name}, {label}")
    head = ["method", "epoch", *next(iter(courses.values())).errors[0]]
    rows = (
        [label, epoch, *errors.values()]
        for label, course in courses.items()
        for epoch, errors in enumerate(course.errors)
    )
    page.series(name, head, rows)
    return courses


def train(
    task: Task,
    method: Method,
    weights: Weights,
    epochs: int,
    seed: int,
    convention: str,
    watch: Callable[[Weights, Weights], None] | None = None,
) -> Iterator[tuple[list[float], Errors]]:
    """After every epoch: the losses of its steps, and the errors. The order of the batches goes by the seed alone."""
    rng = np.random.default_rng([seed, 1])
    grads = {key: np.zeros_like(array) for key, array in weights.items()}
    optimizer = method.start(weights, convention)
    bound = optimizer.bind(grads)
    for _ in range(epochs):
        losses = []
        for batch in task.batches(rng):
            where = optimizer.lookahead() if method.lookahead else weights
            losses.append(task.gradient(where, batch, grads))
            if watch:
                watch(weights, grads)
            bound.step()
        yield losses, task.errors(weights)
