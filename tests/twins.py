"""An optimizer on the processor and the same one on a CUDA device, and what they are given."""

from __future__ import annotations

import numpy as np

import fusedstep as fs

from cases import LAYOUTS, laid_out, random, same_bytes

SHAPES = {"w": (37, 11), "b": (130,), "empty": (0, 3), "scale": ()}


def on(device, tree):
    return {key: None if value is None else device.put(value) for key, value in tree.items()}


def start(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    layouts = dict(zip(SHAPES, [*LAYOUTS, "C"], strict=True))
    return {key: laid_out(random(rng, shape, dtype), layouts[key]) for key, shape in SHAPES.items()}


def clone(tree):
    return {key: None if value is None else value.copy(order="K") for key, value in tree.items()}


class Twins:
    """An optimizer on the processor and the same one on a device, which must stay the same."""

    def __init__(self, device, name, options, params=None):
        self.device = device
        self.here = clone(params or start())
        self.there = on(device, clone(self.here))
        self.kernel = getattr(fs, name)(self.here, **options)
        self.other = getattr(fs, name)(self.there, **options)

    def step(self, grads, numbers=None, **stages):
        """With `numbers` that lie on the device."""
        numbers, theirs = numbers or {}, on(self.device, grads)
        self.kernel.step(grads, **stages, **{name: value.item() for name, value in numbers.items()})
        self.other.step(theirs, **stages, **on(self.device, numbers))

    def check(self):
        for key, expected in self.here.items():
            assert same_bytes(self.device.get(self.there[key]), expected), key
        ours, theirs = self.kernel.state_dict(), self.other.state_dict()
        for name, entry in ours["state"].items():
            for key, value in entry.items():
                other = theirs["state"][name][key]
                assert other == value if key == "step" else same_bytes(other, value), (name, key)
        for key in ("calls", "skipped", "numbers", "groups"):
            assert theirs[key] == ours[key], key
        np.testing.assert_equal(tuple(self.other.last), tuple(self.kernel.last))


def spoiled(tree):
    made = clone(tree)
    made["b"][3] = np.nan
    return made


class Shifted:
    """An array whose memory begins some elements into another's."""

    def __init__(self, array, by, size):
        interface = array.__cuda_array_interface__
        self.array, itemsize = array, int(interface["typestr"][2:])
        address = interface["data"][0] + by * itemsize
        self.device = array.device
        self.__cuda_array_interface__ = {**interface, "shape": (size,), "strides": None, "data": (address, False)}
