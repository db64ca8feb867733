"""Deep networks with the activation of one's choice, on the digits."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import expit

from .batch import Examples
from .classifier import Classifier
from .network import RELU, Activation, Weights, cross_entropy, forward, gradient, random_weights
from .protocol import Errors

#: Weights as Glorot & Bengio 2010 and, for ReLU, He et al. 2015 draw them.
ACTIVATIONS = {
    "sigmoid": Activation(expit, lambda y: y * (1 - y), 1.0),
    "tanh": Activation(np.tanh, lambda y: 1 - y * y, 1.0),
    "ReLU": RELU,
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

    def gradient(self, weights: Weights, batch: Examples, out: Weights) -> float:
        return gradient(weights, *batch, out=out, activation=self.activation)

    def errors(self, weights: Weights) -> Errors:
        """The loss in training, and the share of wrong answers in the test."""
        (images, labels), (others, truth) = self.data.train, self.data.test
        wrong = forward(weights, others, self.activation)[-1].argmax(axis=1) != truth
        loss = cross_entropy(forward(weights, images, self.activation)[-1], labels)
        return {"loss": loss, "test error": float(wrong.mean())}
