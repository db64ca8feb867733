"""A `torch.optim.Optimizer` with the steps of a class of this package, for torch's schedulers, scalers and trainers.

>>> import torch, fusedstep as fs
>>> from fusedstep.torch import Optimizer
>>> w = torch.nn.Parameter(torch.ones(3))
>>> opt = Optimizer([w], fs.SGD, lr=0.5)
>>> schedule = torch.optim.lr_scheduler.StepLR(opt, step_size=1, gamma=0.5)
>>> w.sum().backward()
>>> opt.step()
>>> schedule.step()
>>> w.tolist(), opt.param_groups[0]["lr"]
([0.5, 0.5, 0.5], 0.25)
"""

from .optimizer import Optimizer

__all__ = ["Optimizer"]
