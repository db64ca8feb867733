"""Deep networks with the activation of one's choice, on the digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_softmax

from .batch import Examples
from .classifier import Classifier
from .network import cross_entropy, random_weights
from .protocol import Errors, Weights


@dataclass(frozen=True)
class Activation:
    """What a unit makes of its sum, and its slope, given what it made.

    Args:
        variance: of the first weights, times the inputs.
    """

    value: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]
    variance: float


#: Weights as Glorot & Bengio 2010 and, for ReLU, He et al. 2015 draw them.
ACTIVATIONS = {
    "sigmoid": Activation(expit, lambda y: y * (1 - y), 1.0),
    "tanh": Activation(np.tanh, lambda y: 1 - y * y, 1.0),
    "ReLU": Activation(lambda x: np.maximum(x, 0), lambda y: (y > 0).astype(y.dtype), 2.0),
}


class Deep(Classifier):
    """Hidden layers of one width, in float32.

    Args:
        activation: its name.
        depth: hidden layers.
        width: units in each.
        batch: images in a step.
        seed: of the images' parts.
    """

    def __init__(self, activation: str, depth: int, width: int, batch: int, seed: int) -> None:
        super().__init__([width] * depth, batch, seed)
        self.activation = ACTIVATIONS[activation]

    @property
    def layers(self) -> int:
        return len(self.sizes) - 1

    def weights(self, rng: np.random.Generator) -> Weights:
        drawn = random_weights(self.sizes, self.dtype, rng)
        scale = math.sqrt(self.activation.variance / 2)
        return {name: (array * scale).astype(self.dtype) for name, array in drawn.items()}

    def forward(self, weights: Weights, images: np.ndarray) -> list[np.ndarray]:
        """The images, what each hidden layer makes of them, and the logarithms of the classes' probabilities."""
        values = [images]
        for layer in range(1, self.layers + 1):
            sums = values[-1] @ weights[f"w{layer}"] + weights[f"b{layer}"]
            values.append(self.activation.value(sums) if layer < self.layers else log_softmax(sums, axis=1))
        return values

    def gradient(self, weights: Weights, batch: Examples, out: Weights) -> float:
        images, labels = batch
        *values, last = self.forward(weights, images)
        delta = np.exp(last)
        delta[np.arange(len(labels)), labels] -= 1
        delta /= len(labels)
        for layer in range(self.layers, 0, -1):
            np.matmul(values[layer - 1].T, delta, out=out[f"w{layer}"])
            np.sum(delta, axis=0, out=out[f"b{layer}"])
            if layer > 1:
                delta = (delta @ weights[f"w{layer}"].T) * self.activation.slope(values[layer - 1])
        return cross_entropy(last, labels)

    def errors(self, weights: Weights) -> Errors:
        """The loss in training, and the share of wrong answers in the test."""
        (images, labels), (others, truth) = self.data.train, self.data.test
        wrong = self.forward(weights, others)[-1].argmax(axis=1) != truth
        return {"loss": cross_entropy(self.forward(weights, images)[-1], labels), "test error": float(wrong.mean())}
