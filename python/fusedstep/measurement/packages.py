"""Packages that are not needed: what the extras bring, and whatever else a user may have."""

from __future__ import annotations

from importlib import metadata

#: As in pyproject.toml.
EXTRAS = {
    "lab": ("matplotlib", "rich", "scikit-learn", "scipy"),
    "test": ("filelock", "hypothesis", "mpmath", "pytest", "pytest-xdist"),
    "bench": ("matplotlib", "numba"),
}

#: Those beside which steps are measured.
RIVALS = ("numba", "torch", "jax", "optax", "deepspeed")

OPTIONAL = tuple(dict.fromkeys([*EXTRAS["lab"], *RIVALS, "keras", "ml_dtypes", *EXTRAS["test"], *EXTRAS["bench"]]))


def version(package: str) -> str | None:
    """An installed package's version, without importing the package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
