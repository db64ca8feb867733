"""A stand-in for MNIST: scikit-learn's digits."""

from __future__ import annotations

import numpy as np

from ...commands.digits import Digits
from .images import Images


def digits(seed: int) -> Images:
    """Rows of numbers in 0 … 1."""
    found = Digits(np.float32, np.random.default_rng([seed, 2]))
    return Images(found.train, found.test, f"scikit-learn's digits, {found.pixels} pixels each")
