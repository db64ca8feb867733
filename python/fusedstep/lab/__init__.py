"""The lab: what the papers on optimizers promise, tried on the fused kernels.

>>> from fusedstep import lab
>>> sorted(lab.EXPERIMENTS)[:2]
['bias-correction', 'cifar']

`fusedstep lab run NAME` runs an experiment; `lab.runner.run` is the same from Python.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["EXPERIMENTS", "Unavailable", "load"]

#: An experiment's module is imported when it is used: the list needs no extra.
EXPERIMENTS = {
    "surfaces": "paths on a saddle, in a narrow valley, on a plain and among many minima",
    "noisy-regression": "linear regression with strong noise: few parameters, for which plain SGD is enough",
    "sparse-classification": "logistic regression on sparse features, most of them rare",
    "mlp": "two hidden layers of 1000 units on MNIST, or on scikit-learn's digits where there is none",
    "cifar": "a convolutional net on CIFAR-10, or on synthetic images where there is none; torch gives the gradients",
    "lr-robustness": "how much the learning rate matters to whom: grids of rates, too high, too low; AdaGrad's reach",
    "bias-correction": "Adam with and without the correction of its averages; the example on which Adam diverges",
    "early-variance": "Adam's first steps and their cures: warm-up, Adam-2k, Adam-eps, RAdam; the variance behind them",
    "vanishing": "gradients that vanish in deep nets, layer by layer, and what adaptive methods can do about it",
    "schedules": "a constant learning rate against one that falls in pieces and one that falls steadily",
    "which": "few parameters or many, simple data or complex: when SGD is enough, and some advice",
}


class Unavailable(Exception):
    """An experiment lacks something that this machine does not have; the message says what, and how to get it."""


def load(name: str) -> Any:
    """The module of an experiment: `Settings` and `run(settings, page)`."""
    if name not in EXPERIMENTS:
        raise ValueError(f"lab: an experiment must be one of {', '.join(EXPERIMENTS)}, got {name!r}")
    return import_module(f"{__name__}.experiments.{name.replace('-', '_')}")
