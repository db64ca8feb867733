"""Examples in parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

#: Rows of inputs, dense or sparse, and a target for each.
Examples = tuple[Any, np.ndarray]


def batches(examples: Examples, size: int, rng: np.random.Generator) -> Iterator[Examples]:
    """All examples once, so many at a time, in a random order."""
    inputs, targets = examples
    order = rng.permutation(len(targets))
    for first in range(0, len(order), size):
        chosen = order[first : first + size]
        yield inputs[chosen], targets[chosen]
