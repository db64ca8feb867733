"""The limit: the memory that a step must move, moved without the arithmetic.

Every array that the step reads is read once and every array that it writes is written once, by as many threads as the
step has, each in a contiguous share. There are several ways to do that; the fastest is the limit. Needs numba.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import count, cycle
from typing import Any, NamedTuple

import numpy as np

from .. import memory
from ..targets import get_num_threads
from .numba_rival import use_threads
from .own import Own
from .rival import package
from .work import Arrays, Work

#: Elements of a stretch: that of each array stays in the first cache.
STRETCH = 1024


class Traffic(NamedTuple):
    """The arrays of one step, flat, by what happens to them."""

    read: Arrays
    written: Arrays
    both: Arrays

    @property
    def bytes(self) -> int:
        """What crosses the memory's bus, at the least."""
        return sum(array.nbytes for array in (*self.read, *self.written, *self.both, *self.both))


def bytes_per_element(row: str) -> float:
    """What a step of a row's method moves, on the average of a cycle."""
    steps = traffic(Own(Work(row, [(1,)]), get_num_threads()), flat)
    return sum(step.bytes for step in steps) / len(steps)


def traffic(own: Own, renewed: Callable[[np.ndarray], np.ndarray]) -> list[Traffic]:
    """What the steps of one cycle move, on the arrays of an optimizer of one parameter."""
    entry = own.optimizer.state["0"]
    states = [value for name, value in entry.items() if name not in ("step", "ring") and value.ndim]
    grad = renewed(own.grads)
    both = [renewed(array) for array in (*own.params, *states)]
    if "ring" not in entry:
        return [Traffic([grad], [], both)]
    # A plane is written anew and that behind it read; the last step of a round adds up all planes but the first.
    planes = [renewed(plane) for plane in entry["ring"]]
    fresh = np.ones_like(planes[0])
    steps = [Traffic([grad, plane], [fresh], both) for plane in planes[1:]]
    return [*steps, Traffic([grad], [fresh], [*both, *planes[1:-1]])]


def flat(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1)


PLACES = count()


def aligned(array: np.ndarray) -> np.ndarray:
    """Memory of the same size that begins on a cache line, a quarter of a page behind the one before, like state."""
    copy = memory.zeros((array.size,), (array.itemsize,), array.dtype, next(PLACES) * memory.PAGE // 4)
    copy[:] = 1
    return copy


def limits(own: Own, threads: int) -> dict[str, Callable[[], Any]]:
    """The ways to move what a step moves, each a step of its own. The optimizer's arrays keep their bits."""
    use_threads(threads)
    ways: dict[str, Callable[[], Any]] = {}
    for where, renewed in {"own arrays": flat, "aligned arrays": aligned}.items():
        steps = traffic(own, renewed)
        for how, source in {"at once": at_once, "in stretches": in_stretches}.items():
            moves = cycle([mover(step, source, threads) for step in steps])
            ways[f"limit: {where}, {how}"] = partial(turn, moves)
    return ways


def turn(moves: Iterator[Callable[[], Any]]) -> None:
    next(moves)()


def mover(step: Traffic, source: Callable[[int, int, int], list[str]], threads: int) -> Callable[[], Any]:
    # With a mask of 0, which the compiler does not know, what is written is what was there.
    arrays = [array.view(np.uint32) for arrays in step for array in arrays]
    loop = compiled(source, *(len(arrays) for arrays in step))
    return partial(loop, *arrays, np.uint32(0), threads)


def at_once(read: int, written: int, both: int) -> list[str]:
    """One loop over all arrays; numba gives each thread a contiguous share."""
    return [
        "for i in prange(b0.size):",
        f"    x = ({' ^ '.join(f'r{k}[i]' for k in range(read))}) & mask",
        *(f"    w{k}[i] = x" for k in range(written)),
        *(f"    b{k}[i] ^= x" for k in range(both)),
    ]


def in_stretches(read: int, written: int, both: int) -> list[str]:
    """A loop over one array after the other, stretch by stretch: few streams at a time, no question of aliasing."""
    return [
        "for share in prange(threads):",
        "    end = b0.size * (share + 1) // threads",
        "    for low in range(b0.size * share // threads, end, STRETCH):",
        "        high = min(low + STRETCH, end)",
        *(f"        {name}_ = {name}[low:high]" for name in names(read, written, both)),
        *(f"        for i in range(high - low): b0_[i] ^= r{k}_[i] & mask" for k in range(read)),
        *(f"        for i in range(high - low): w{k}_[i] = mask" for k in range(written)),
        *(f"        for i in range(high - low): b{k}_[i] ^= mask" for k in range(1, both)),
    ]


def names(read: int, written: int, both: int) -> list[str]:
    """Of the arrays in a loop"""
    return [f"{kind}{k}" for kind, count in zip("rwb", (read, written, both), strict=True) for k in range(count)]


@cache
def compiled(source: Callable[[int, int, int], list[str]], read: int, written: int, both: int) -> Any:
    """A loop over so many arrays of each kind; numba makes good code where each is an argument of its own."""
    numba = package("numba")
    head = f"def move({', '.join(names(read, written, both))}, mask, threads):"
    scope = {"prange": numba.prange, "STRETCH": STRETCH}
    exec("\n    ".join([head, *source(read, written, both)]), scope)
    return numba.njit(parallel=True)(scope["move"])
