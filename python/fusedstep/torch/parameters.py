"""The tensors that an optimizer steps."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator

import torch

from .parts import is_distributed, part_of, part_of_grad

Groups = list[list[torch.Tensor]]
Grads = list[list[torch.Tensor | None]]


class Parameters:
    """Tensors by group, their names in the method, and this process's parts of those that are distributed."""

    def __init__(self, groups: Iterable[list[torch.Tensor]]) -> None:
        self.groups: Groups = []
        self.parts: Groups = []
        self.names: dict[torch.Tensor, str] = {}
        self.distributed = False
        for params in groups:
            self.add(params)

    def add(self, params: list[torch.Tensor]) -> None:
        self.groups.append(list(params))
        self.parts.append(list(map(part_of, params)))
        self.distributed |= any(map(is_distributed, params))
        for param in params:
            self.names[param] = str(len(self.names))

    def __iter__(self) -> Iterator[torch.Tensor]:
        return itertools.chain(*self.groups)

    def are(self, index: int, params: list[torch.Tensor]) -> bool:
        held = self.groups[index]
        return len(params) == len(held) and all(map(operator.is_, params, held))

    def other_parts(self) -> Groups | None:
        """Those of now, where they lie elsewhere than those of before."""
        parts = [list(map(part_of, params)) for params in self.groups]
        pairs = zip(itertools.chain(*parts), itertools.chain(*self.parts), strict=True)
        same = all(part is last or part.data_ptr() == last.data_ptr() for part, last in pairs)
        return None if same else parts

    def grads(self) -> Grads:
        return [[param.grad for param in params] for params in self.groups]

    def parts_of(self, grads: Grads, optimizer: str) -> Grads:
        return [
            [
                part_of_grad(grad, param, f"{optimizer}: grads['{self.names[param]}']")
                for grad, param in zip(some, params, strict=True)
            ]
            for some, params in zip(grads, self.groups, strict=True)
        ]
