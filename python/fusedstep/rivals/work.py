"""What every contestant is given: a method, its options, where the parameters start, the gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import reference

Arrays = list[np.ndarray]
Shape = tuple[int, ...]

#: Row of a table -> class and options. The learning rates are large: an error is to show beside the parameters' ulp.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {"lr": 0.01}),
    "SGD, momentum": ("SGD", {"lr": 0.01, "momentum": 0.9}),
    "Adagrad": ("Adagrad", {"lr": 0.01}),
    "WindowedAdagrad": ("WindowedAdagrad", {"lr": 0.01, "window": 10}),
    "RMSprop": ("RMSprop", {"lr": 0.01}),
    "Adadelta": ("Adadelta", {"lr": 1.0}),
    "Adam": ("Adam", {"lr": 0.01}),
    "AMSGrad": ("Adam", {"lr": 0.01, "amsgrad": True}),
    "AdamW": ("AdamW", {"lr": 0.01, "weight_decay": 0.01}),
    "RAdam": ("RAdam", {"lr": 0.01}),
    "NAdam": ("NAdam", {"lr": 0.01}),
    "Adamax": ("Adamax", {"lr": 0.01}),
    "Lion": ("Lion", {"lr": 0.01}),
    "AdaBelief": ("AdaBelief", {"lr": 0.01}),
    "Yogi": ("Yogi", {"lr": 0.01, "initial_accumulator_value": 0.0}),
    "Adaptive, Nesterov × AMSGrad": ("Adaptive", {"lr": 0.01, "phi": "nesterov", "psi": "ema_max"}),
}

#: The gradients of the steps that are checked are the work's times these: of several sizes, so that the decay rates
#: matter; powers of two, so that no bit is lost when they are put back; eight, so that RAdam has begun to rectify.
FACTORS = (1.0, -0.5, 2.0, 0.25, 1.0, -0.25, 2.0, 0.5)

#: The reference is computed in pieces that fit the cache: elements do not know of each other.
PIECE = 1 << 16


class Agreement(NamedTuple):
    """How a contestant's parameters compare with the reference's."""

    same_bits: bool
    error: float  #: the largest difference, as a share of the reference's largest movement


class Work:
    """A row's method on float32 parameters of given shapes; all random numbers are at least 1/1024 from zero."""

    def __init__(self, row: str, shapes: Sequence[Shape]) -> None:
        self.row = row
        self.method, self.options = ROWS[row]
        generator = np.random.default_rng(11)
        self.params = [normal(generator, shape) for shape in shapes]
        self.grads = [normal(generator, shape) for shape in shapes]
        self.size = sum(param.size for param in self.params)

    @property
    def cycle(self) -> int:
        """How many steps make a whole: those of a window differ."""
        return self.options.get("window", 1)

    def again(self, row: str) -> Work:
        """Another row's method on the same arrays."""
        other = object.__new__(Work)
        vars(other).update(vars(self), row=row, method=ROWS[row][0], options=ROWS[row][1])
        return other

    def scaled(self) -> Iterator[None]:
        """Gives the gradients, in place, the sizes that the checked steps take; afterwards they are as they were."""
        before = 1.0
        for factor in FACTORS:
            self._scale(factor / before)
            before = factor
            yield
        self._scale(1 / before)

    def _scale(self, factor: float) -> None:
        for grad in self.grads:
            grad *= np.float32(factor)

    def compare(self, results: Mapping[str, Arrays]) -> dict[str, Agreement]:
        """What contestants have made of the parameters, beside the reference."""
        moved = 0.0
        same = dict.fromkeys(results, True)
        error = dict.fromkeys(results, 0.0)
        for index, (start, grad) in enumerate(zip(self.params, self.grads, strict=True)):
            flat, flat_grad = start.reshape(-1), grad.reshape(-1)
            for begin in range(0, start.size, PIECE):
                piece = slice(begin, begin + PIECE)
                expected = self._expected(flat[piece], flat_grad[piece])
                moved = max(moved, float(np.abs(expected - flat[piece]).max()))
                for name, arrays in results.items():
                    actual = arrays[index].reshape(-1)[piece]
                    if same[name] and not np.array_equal(actual.view(np.uint32), expected.view(np.uint32)):
                        same[name] = False
                    if not same[name]:
                        error[name] = worse(error[name], float(np.abs(actual - expected).max()))
        return {name: Agreement(same[name], error[name] / moved) for name in results}

    def _expected(self, start: np.ndarray, grad: np.ndarray) -> np.ndarray:
        param = start.copy()
        optimizer = getattr(reference, self.method)(param, **self.options)
        for factor in FACTORS:
            optimizer.step(grad * np.float32(factor))
        return param


def normal(generator: np.random.Generator, shape: Shape) -> np.ndarray:
    """Random numbers that lead to no denormals."""
    array = generator.standard_normal(shape, dtype=np.float32)
    flat = array.reshape(-1)
    for begin in range(0, flat.size, PIECE):
        piece = flat[begin : begin + PIECE]
        piece += np.copysign(np.float32(1 / 1024), piece)
    return array


def worse(error: float, other: float) -> float:
    """The larger of two errors; what is not a number is the worst."""
    return math.inf if math.isnan(other) else max(error, other)
