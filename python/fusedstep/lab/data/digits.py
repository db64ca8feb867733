"""Handwritten digits: 1797 images of 8 × 8 pixels, from scikit-learn, which brings them along."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from .images import Images

#: One image in five is kept back for the test.
TEST = 0.2


def digits(dtype: Any, rng: np.random.Generator) -> Images:
    """Rows of numbers in 0 … 1, in two parts that are drawn at random."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(dtype)
    order = rng.permutation(len(labels))
    test, train = np.split(order, [round(TEST * len(labels))])
    source = f"scikit-learn's digits, {images.shape[1]} pixels each"
    return Images((images[train], labels[train]), (images[test], labels[test]), source)
