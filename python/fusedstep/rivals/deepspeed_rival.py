"""DeepSpeed's CPUAdam, which its package compiles when it is first used."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout

from .rival import Rival, package
from .work import Work


class DeepSpeed(Rival):
    name = "DeepSpeed"
    packages = ("deepspeed", "torch")

    @classmethod
    def offers(cls, work: Work) -> bool:
        return work.row in ("Adam", "AdamW")

    def __init__(self, work: Work, threads: int) -> None:
        super().__init__(work, threads)
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        torch = package("torch")
        torch.set_num_threads(threads)
        with redirect_stdout(sys.stderr):
            cpu_adam = package("deepspeed.ops.adam").DeepSpeedCPUAdam
            tensors = []
            for param, grad in zip(self.params, work.grads, strict=True):
                tensor = torch.nn.Parameter(torch.from_numpy(param))
                tensor.grad = torch.from_numpy(grad)
                tensors.append(tensor)
            self.step = cpu_adam(tensors, adamw_mode=work.row == "AdamW", **work.options).step
