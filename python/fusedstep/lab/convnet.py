"""A convolutional network whose gradients torch computes, in the memory of NumPy's arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from . import Unavailable
from .batch import Examples
from .data.images import Images
from .network import Weights
from .protocol import Errors

#: Kernels are 5 × 5 and pooling is 3 × 3 with stride 2 (Kingma & Ba 2014, section 6.3).
KERNEL, POOL, STRIDE = 5, 3, 2

#: Images whose errors are found at once.
SLICE = 256


class ConvNet:
    """For each number of channels a convolution, ReLU and pooling; then a hidden layer, and the classes.

    Args:
        images: with channels first.
        channels: of each convolution.
        hidden: units of the hidden layer.
        batch: images in a step.
    """

    def __init__(self, images: Images, channels: Sequence[int], hidden: int, batch: int) -> None:
        self.torch = torch()
        self.images = images
        self.batch = batch
        self.shapes = list[tuple[int, ...]]()
        inputs, side = images.train[0].shape[1:3]
        for layer, outputs in enumerate(channels):
            if side < POOL:
                size = " × ".join(map(str, images.train[0].shape[2:]))
                raise Unavailable(f"channels must be at most {layer} numbers for images of {size}, got {len(channels)}")
            self.shapes.append((outputs, inputs, KERNEL, KERNEL))
            inputs, side = outputs, (side - POOL) // STRIDE + 1
        self.shapes += [(hidden, inputs * side**2), (images.classes, hidden)]

    def weights(self, rng: np.random.Generator) -> Weights:
        """Normal weights of variance 1/inputs, because pooling takes the largest of what ReLU halves; biases 0."""
        weights: Weights = {}
        for layer, shape in enumerate(self.shapes, 1):
            spread = np.sqrt(1 / np.prod(shape[1:]))
            weights[f"w{layer}"] = (rng.standard_normal(shape) * spread).astype(np.float32)
            weights[f"b{layer}"] = np.zeros(shape[0], np.float32)
        return weights

    def batches(self, rng: np.random.Generator) -> Iterator[Examples]:
        return self.images.batches(self.batch, rng)

    def gradient(self, weights: Weights, batch: Examples, out: Weights) -> float:
        """Torch's tensors lie on the arrays: it reads the weights where they are and writes the gradient into `out`."""
        tensors = {name: self.torch.from_numpy(array).requires_grad_() for name, array in weights.items()}
        for name, tensor in tensors.items():
            # What torch finds here it adds to in place.
            tensor.grad = self.torch.from_numpy(out[name]).zero_()
        images, labels = map(self.torch.from_numpy, batch)
        loss = self.torch.nn.functional.cross_entropy(self.forward(tensors, images), labels)
        loss.backward()
        return float(loss.detach())

    def forward(self, weights: Mapping[str, Any], images: Any) -> Any:
        """The last layer's sums."""
        f, values = self.torch.nn.functional, images
        for layer, shape in enumerate(self.shapes, 1):
            weight, bias = weights[f"w{layer}"], weights[f"b{layer}"]
            if len(shape) == 4:
                values = f.max_pool2d(f.relu(f.conv2d(values, weight, bias, padding=KERNEL // 2)), POOL, STRIDE)
            else:
                values = f.linear(values.flatten(1), weight, bias)
                values = values if layer == len(self.shapes) else f.relu(values)
        return values

    def errors(self, weights: Weights) -> Errors:
        """The loss in training and in the test, and the share of wrong answers in the test."""
        loss, _ = self.evaluate(weights, self.images.train)
        test, wrong = self.evaluate(weights, self.images.test)
        return {"loss": loss, "test loss": test, "test error": wrong}

    def evaluate(self, weights: Weights, examples: Examples) -> tuple[float, float]:
        """Loss, and the share of wrong answers."""
        tensors = {name: self.torch.from_numpy(array) for name, array in weights.items()}
        images, labels = map(self.torch.from_numpy, examples)
        with self.torch.no_grad():
            sums = self.torch.cat([self.forward(tensors, part) for part in images.split(SLICE)])
            loss = self.torch.nn.functional.cross_entropy(sums, labels)
        return float(loss), float((sums.argmax(1) != labels).double().mean())


def torch() -> Any:
    try:
        return import_module("torch")
    except ImportError as error:
        raise Unavailable("it needs torch, for the gradients of convolutions: pip install torch") from error
