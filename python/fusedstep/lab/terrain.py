"""Surfaces over the plane: their heights, slopes and minima."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Heights = Callable[[np.ndarray, np.ndarray], np.ndarray]
Slopes = Callable[[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Terrain:
    """A surface, and where a path on it starts.

    Heights are scaled so that one learning rate suits all the terrains.

    Args:
        title: what it is an example of.
        height, slope: the function and its gradient.
        start: where paths begin.
        minima: where they should end.
        window: what a picture shows: least and largest x, least and largest y.
    """

    title: str
    height: Heights
    slope: Slopes
    start: tuple[float, float]
    minima: tuple[tuple[float, float], ...]
    window: tuple[float, float, float, float]

    def distance(self, path: np.ndarray) -> np.ndarray:
        """From every point of a path to the nearest minimum."""
        return np.min([np.hypot(*(path - minimum).T) for minimum in self.minima], axis=0)

    def on_grid(self, count: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y and height over the window."""
        left, right, low, high = self.window
        x, y = np.meshgrid(np.linspace(left, right, count), np.linspace(low, high, count))
        return x, y, self.height(x, y)


def quadratic(curvature: float) -> Terrain:
    """½(x² + curvature·y²): a straight ravine along x."""
    return Terrain(
        f"straight ravine: ½(x² + {curvature:g} y²)",
        lambda x, y: 0.5 * (x * x + curvature * y * y),
        lambda x, y: (x, curvature * y),
        start=(-2.0, 0.5),
        minima=((0.0, 0.0),),
        window=(-2.3, 1.3, -0.8, 0.8),
    )


SADDLE = Terrain(
    "saddle: x² − y² + y⁴/4",
    lambda x, y: x * x - y * y + y**4 / 4,
    lambda x, y: (2 * x, -2 * y + y**3),
    start=(-1.8, 0.0),
    minima=((0.0, 2**0.5), (0.0, -(2**0.5))),
    window=(-2.2, 1.6, -2.0, 2.0),
)

# Rosenbrock 1960, divided by 20.
VALLEY = Terrain(
    "narrow valley: Rosenbrock",
    lambda x, y: 0.05 * (1 - x) ** 2 + 5 * (y - x * x) ** 2,
    lambda x, y: (-0.1 * (1 - x) - 20 * x * (y - x * x), 10 * (y - x * x)),
    start=(-1.2, 1.6),
    minima=((1.0, 1.0),),
    window=(-1.8, 1.8, -0.8, 2.6),
)

#: The constants of Beale's three squares.
BEALE = (1.5, 2.25, 2.625)


def beale(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squares = [(constant - x + x * y**power) ** 2 for power, constant in enumerate(BEALE, 1)]
    return 0.1 * np.sum(squares, axis=0)


def beale_slope(x: float, y: float) -> tuple[float, float]:
    along_x = along_y = 0.0
    for power, constant in enumerate(BEALE, 1):
        rest = 0.2 * (constant - x + x * y**power)
        along_x += rest * (y**power - 1)
        along_y += rest * power * x * y ** (power - 1)
    return along_x, along_y


# Beale 1958, divided by 10.
PLAIN = Terrain(
    "flat region: Beale",
    beale,
    beale_slope,
    start=(1.0, 1.5),
    minima=((3.0, 0.5),),
    window=(-1.0, 4.0, -1.5, 2.0),
)

#: How deep the pits are; Rastrigin 1974 has 10, too deep for any of the methods to leave one.
DEPTH = 2.0


def pits(z: np.ndarray) -> np.ndarray:
    return z * z + DEPTH * (1 - np.cos(2 * np.pi * z))


def pits_slope(z: float) -> float:
    return 2 * z + 2 * np.pi * DEPTH * math.sin(2 * np.pi * z)


PITS = Terrain(
    "many local minima: Rastrigin",
    lambda x, y: pits(x) + pits(y),
    lambda x, y: (pits_slope(x), pits_slope(y)),
    start=(-2.3, 1.7),
    minima=((0.0, 0.0),),
    window=(-2.8, 1.2, -1.2, 2.6),
)

TERRAINS = {"saddle": SADDLE, "valley": VALLEY, "plain": PLAIN, "pits": PITS}
