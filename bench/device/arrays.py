"""Arrays in the device's memory: parts of them, what fills them, and where they begin."""

from __future__ import annotations

from typing import Any

import numpy as np

import fusedstep as fs
from fusedstep.in_numpy.encodings import cast

Arrays = list[fs.cuda.Array]

#: Random numbers that fill an array over and over: as many as no index that wraps around is wrong by a multiple of.
PERIOD = 17_000_003


class Part:
    """Some elements of a flat array on a device."""

    def __init__(self, array: fs.cuda.Array, begin: int, count: int) -> None:
        given = array.__cuda_array_interface__
        place = given["data"][0] + begin * np.dtype(given["typestr"]).itemsize, False
        self.__cuda_array_interface__ = {**given, "shape": (count,), "strides": None, "data": place}
        self.device, self.fusedstep_bfloat16, self._array = array.device, array.fusedstep_bfloat16, array


def address_of(array: fs.cuda.Array) -> int:
    return array.__cuda_array_interface__["data"][0]


def random(driver: Any, elements: int, kind: str, seed: int) -> fs.cuda.Array:
    """Normal numbers, the first of them over and over."""
    values = cast(np.random.default_rng(seed).standard_normal(min(elements, PERIOD), np.float32), kind)
    some, array = fs.cuda.Array.of(values), fs.cuda.Array((elements,), values.strides, kind, 0)
    for at in range(0, array.nbytes, some.nbytes):
        driver.copy(address_of(array) + at, address_of(some), min(some.nbytes, array.nbytes - at))
    driver.wait()
    return array
