"""A linear model, its optimizer, and what drives that: torch's own, or ours in its place."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs

torch = pytest.importorskip("torch")

from fusedstep.torch import Optimizer  # noqa: E402 (which needs torch)

TOLERANCE = 1e-11
SCHEDULERS = torch.optim.lr_scheduler

X, Y = (torch.from_numpy(np.random.default_rng(0).standard_normal((64, size))) for size in (5, 1))


def theirs(groups, **options):
    return torch.optim.AdamW(groups, **options)


def ours(groups, **options):
    return Optimizer(groups, fs.AdamW, **options)


class Run:
    """A linear model, its optimizer, and what drives that."""

    def __init__(self, make, schedule=lambda optimizer: None, **options):
        self.w, self.b = (torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in ((5, 1), 1))
        groups = [{"params": [self.w], "weight_decay": 0.1}, {"params": [self.b], "weight_decay": 0.0, "lr": 0.02}]
        self.optimizer = make(groups, **{"lr": 0.01, "betas": (0.9, 0.99)} | options)
        self.scheduler = schedule(self.optimizer)

    def loss(self):
        self.optimizer.zero_grad()
        found = ((X @ self.w + self.b - Y) ** 2).mean()
        found.backward()
        return found

    def train(self, steps=30):
        for _ in range(steps):
            with torch.no_grad():  # which must not reach the closure
                loss = self.optimizer.step(self.loss)
            assert loss > 0
            if isinstance(self.scheduler, SCHEDULERS.ReduceLROnPlateau):
                self.scheduler.step(loss.item())
            elif self.scheduler:
                self.scheduler.step()
        return self

    def equals(self, other, tolerance=0.0):
        for own, their in ((self.w, other.w), (self.b, other.b)):
            assert own.any()
            assert (own - their).abs().max() <= tolerance * their.abs().max()


SCHEDULES = {
    "none": lambda optimizer: None,
    "one cycle": lambda optimizer: SCHEDULERS.OneCycleLR(optimizer, max_lr=[0.1, 0.2], total_steps=60),
    "cyclic": lambda optimizer: SCHEDULERS.CyclicLR(optimizer, 0.001, 0.1, step_size_up=7, cycle_momentum=False),
    "plateau": lambda optimizer: SCHEDULERS.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5),
    "restarts": lambda optimizer: SCHEDULERS.CosineAnnealingWarmRestarts(optimizer, 7),
    "lambda": lambda optimizer: SCHEDULERS.LambdaLR(optimizer, lambda t: 1 / (1 + t)),
    "in sequence": lambda optimizer: SCHEDULERS.SequentialLR(
        optimizer,
        [SCHEDULERS.LinearLR(optimizer, 0.1, total_iters=5), SCHEDULERS.ExponentialLR(optimizer, 0.9)],
        milestones=[5],
    ),
    "averaged": lambda optimizer: torch.optim.swa_utils.SWALR(optimizer, swa_lr=0.05),
}
