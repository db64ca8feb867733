"""torch.optim on the CPU, on NumPy's memory."""

from __future__ import annotations

from typing import ClassVar

from .rival import Rival, package
from .work import Work

#: Rows of torch's methods, and those that it has fused on the CPU.
FOREACH = (
    "SGD",
    "SGD, momentum",
    "Adagrad",
    "RMSprop",
    "Adadelta",
    "Adam",
    "AMSGrad",
    "AdamW",
    "RAdam",
    "NAdam",
    "Adamax",
)
FUSED = ("SGD", "SGD, momentum", "Adagrad", "Adam", "AMSGrad", "AdamW")


class Torch(Rival):
    packages = ("torch",)
    form: ClassVar[str]
    rows: ClassVar[tuple[str, ...]]

    @classmethod
    def offers(cls, work: Work) -> bool:
        return work.row in cls.rows

    def __init__(self, work: Work, threads: int) -> None:
        super().__init__(work, threads)
        torch = package("torch")
        torch.set_num_threads(threads)
        tensors = []
        for param, grad in zip(self.params, work.grads, strict=True):
            tensor = torch.from_numpy(param).requires_grad_()
            tensor.grad = torch.from_numpy(grad)
            tensors.append(tensor)
        optimizer = getattr(torch.optim, work.method)(tensors, **work.options, **{self.form: True})
        self.step = optimizer.step


class TorchForeach(Torch):
    name = "torch foreach"
    form = "foreach"
    rows = FOREACH


class TorchFused(Torch):
    name = "torch fused"
    form = "fused"
    rows = FUSED
