"""The shapes of two models' parameters, made from their architectures."""

from __future__ import annotations

Shape = tuple[int, ...]


def resnet50() -> list[Shape]:
    """He et al. 2016, table 1, as trained on ImageNet's 1,000 classes."""

    def convolution(outputs: int, inputs: int, width: int) -> list[Shape]:
        return [(outputs, inputs, width, width), (outputs,), (outputs,)]  # and the scale and shift of its normalization

    shapes = convolution(64, 3, 7)
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            shapes += convolution(width, inputs, 1) + convolution(width, width, 3) + convolution(4 * width, width, 1)
            if block == 0:
                shapes += convolution(4 * width, inputs, 1)
            inputs = 4 * width
    return [*shapes, (1000, inputs), (1000,)]


def gpt2_small() -> list[Shape]:
    """Radford et al. 2019: 12 layers of width 768; the last matrix is that of the token embeddings."""
    width, tokens, positions = 768, 50257, 1024
    norm: list[Shape] = [(width,), (width,)]

    def linear(inputs: int, outputs: int) -> list[Shape]:
        return [(inputs, outputs), (outputs,)]

    attention = norm + linear(width, 3 * width) + linear(width, width)
    perceptron = norm + linear(width, 4 * width) + linear(4 * width, width)
    return [(tokens, width), (positions, width), *12 * (attention + perceptron), *norm]
