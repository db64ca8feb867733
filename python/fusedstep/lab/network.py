"""A fully connected network in plain NumPy, and the gradient of its loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Activation:
    """What a unit makes of its sum, and its slope, given what it made.

    Args:
        variance: of the first weights, times the inputs.
    """

    value: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]
    variance: float


RELU = Activation(lambda x: np.maximum(x, 0), lambda y: (y > 0).astype(y.dtype), 2.0)


def random_weights(sizes: Sequence[int], dtype: Any, rng: np.random.Generator) -> Weights:
    """Normal weights of variance 2/inputs (He et al. 2015), so that ReLU keeps the size of what comes; biases 0."""
    weights: Weights = {}
    for layer, (inputs, outputs) in enumerate(pairwise(sizes), 1):
        weights[f"w{layer}"] = (rng.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)).astype(dtype)
        weights[f"b{layer}"] = np.zeros(outputs, dtype)
    return weights


def forward(weights: Weights, images: np.ndarray, activation: Activation = RELU) -> list[np.ndarray]:
    """The images, what each hidden layer makes of them, and the logarithms of the classes' probabilities (softmax)."""
    layers, depth = [images], len(weights) // 2
    for layer in range(1, depth + 1):
        sums = layers[-1] @ weights[f"w{layer}"] + weights[f"b{layer}"]
        layers.append(activation.value(sums) if layer < depth else sums)
    shifted = layers[-1] - layers[-1].max(axis=1, keepdims=True)
    layers[-1] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return layers


def cross_entropy(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    return -float(log_probabilities[np.arange(len(labels)), labels].mean())


def evaluate(weights: Weights, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Loss, and the share of images whose likeliest class is the right one."""
    last = forward(weights, images)[-1]
    return cross_entropy(last, labels), float((last.argmax(axis=1) == labels).mean())


def gradient(
    weights: Weights, images: np.ndarray, labels: np.ndarray, out: Weights, activation: Activation = RELU
) -> float:
    """The loss; its gradient by the weights is written to `out`."""
    *layers, last = forward(weights, images, activation)
    delta = np.exp(last)
    delta[np.arange(len(labels)), labels] -= 1
    delta /= len(labels)
    for layer in range(len(layers), 0, -1):
        inputs = layers[layer - 1]
        np.matmul(inputs.T, delta, out=out[f"w{layer}"])
        np.sum(delta, axis=0, out=out[f"b{layer}"])
        if layer > 1:
            delta = (delta @ weights[f"w{layer}"].T) * activation.slope(inputs)
    return cross_entropy(last, labels)
