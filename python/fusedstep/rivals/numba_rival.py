"""numba: loops written by hand."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .rival import Rival, package
from .work import Arrays, Work


class Numba(Rival):
    name = "numba"
    packages = ("numba",)

    @classmethod
    def offers(cls, work: Work) -> bool:
        return work.row in loops()

    def __init__(self, work: Work, threads: int) -> None:
        super().__init__(work, threads)
        use_threads(threads)
        self.loop = loops()[work.row]
        self.body = compiled(self.loop.body)
        self.t = 0
        self.arrays = [
            [param.reshape(-1), grad.reshape(-1), *(np.zeros(param.size, np.float32) for _ in range(self.loop.states))]
            for param, grad in zip(self.params, work.grads, strict=True)
        ]
        self.rings: list[Arrays] = [
            [np.zeros(param.size, np.float32) for _ in range(self.loop.window)] for param in self.params
        ]

    def step(self) -> None:
        self.t += 1
        numbers = tuple(map(np.float32, self.loop.numbers(self.t)))
        for arrays, ring in zip(self.arrays, self.rings, strict=True):
            planes = [ring[(self.t - 1) % self.loop.window]] if ring else []
            self.body(*arrays, *planes, numbers)


def loops() -> Any:
    from .numba_loops import LOOPS

    return LOOPS


@cache
def compiled(body: Any) -> Any:
    return package("numba").njit(parallel=True, fastmath=True)(body)


def use_threads(threads: int) -> None:
    numba = package("numba")
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
