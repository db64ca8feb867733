"""A method's path over a terrain."""

from __future__ import annotations

import numpy as np

from .method import Method
from .terrain import Terrain

#: A path has reached its goal when it is this near to a minimum.
NEAR = 0.1


def walk(terrain: Terrain, method: Method, steps: int, convention: str, noise: np.ndarray | float = 0.0) -> np.ndarray:
    """The points of a path, the start first; noise, a row for each step, is added to the gradients."""
    point = np.array(terrain.start)
    grad = np.empty(2)
    points = np.empty((steps + 1, 2))
    points[0] = point
    errors = np.broadcast_to(noise, (steps, 2))
    optimizer = method.start(point, convention)
    bound = optimizer.bind(grad)
    for step in range(steps):
        where = optimizer.lookahead() if method.lookahead else point
        grad[:] = terrain.slope(*where.tolist())
        grad += errors[step]
        bound.step()
        points[step + 1] = point
    return points


def misjudgement(terrain: Terrain, method: Method, path: np.ndarray, gamma: float) -> float:
    """How far what the steps take for the gradient is from the full one, on average.

    A step divided by η, and by the weight 1/(1 − γ) of all that is in a momentum buffer, is an average of gradients.
    """
    taken = -np.diff(path, axis=0) * (1 - gamma) / method.options["lr"]
    full = np.array([terrain.slope(*point) for point in path[:-1].tolist()])
    return float(np.hypot(*(taken - full).T).mean())


def steps_to_goal(terrain: Terrain, path: np.ndarray) -> int | None:
    """The first step at which the path is near a minimum."""
    near = np.flatnonzero(terrain.distance(path) < NEAR)
    return int(near[0]) if len(near) else None


def crossings(values: np.ndarray) -> int:
    """How often the sign changes."""
    signs = np.sign(values[values != 0])
    return int((signs[1:] != signs[:-1]).sum())


def detour(path: np.ndarray) -> float:
    """How many times as long as the way from its first point to its last a path is."""
    length = np.hypot(*np.diff(path, axis=0).T).sum()
    return float(length / max(float(np.hypot(*(path[-1] - path[0]))), 1e-12))
