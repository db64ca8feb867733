"""What stands around a call that is refused: an optimizer in the middle of a run, and what must stay as it was."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fusedstep as fs

from cases import frozen, random

LR = 0.05


def assert_refused(call, error, place, expected, came, name="SGD"):
    """`<optimizer>: <place> must <expected>, got <came>`, as the error that it should be."""
    with pytest.raises((TypeError, ValueError, OverflowError, AttributeError, KeyError, RuntimeError)) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is error, message
    facts = re.fullmatch(rf"{name}: (.+?) must (.+), got (.+)", message, re.DOTALL)
    assert facts, message
    assert facts[1] == place, message
    assert expected in facts[2], message
    assert came in facts[3], message


class Scene:
    """An optimizer in the middle of a run, everything that a refused call could change, and a twin that tells."""

    def __init__(self, tree, method="SGD", **options):
        options = {"lr": LR, "momentum": 0.9} if method == "SGD" and not options else {"lr": LR, **options}
        self.rng = np.random.default_rng(1)
        self.tree, self.copies = tree, replaced(tree, lambda param: param.copy(order="K"))
        self.opt = getattr(fs, method)(self.tree, **options)
        self.twin = getattr(fs.reference, method)(self.copies, **options)
        self.go_on()
        self.go_on()

    def grads(self):
        """Right ones, in the structure of the parameters."""
        tree = [item["params"] for item in self.tree] if is_groups(self.tree) else self.tree
        return replaced(tree, lambda param: like(param, random(self.rng, param.shape, param.dtype)))

    def snapshot(self):
        return frozen([self.tree, self.opt.state_dict(), self.opt.param_groups])

    def go_on(self):
        """The optimizer works as if nothing had been refused."""
        grads = self.grads()
        self.opt.step(grads)
        self.twin.step(grads)
        assert frozen(self.tree) == frozen(self.copies)
        assert frozen(self.opt.state_dict()) == frozen(self.twin.state_dict())

    def refuses(self, call, *facts, **more):
        before = self.snapshot()
        assert_refused(call, *facts, **more)
        assert self.snapshot() == before
        self.go_on()


def is_groups(tree):
    return isinstance(tree, list) and tree and isinstance(tree[0], dict) and "params" in tree[0]


def replaced(tree, change):
    """The same structure with other leaves; options of groups are none."""
    if isinstance(tree, dict):
        return {key: replaced(item, change) for key, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(replaced(item, change) for item in tree)
    return tree if callable(tree) else change(tree)


def like(param, values):
    made = np.empty_like(param)
    made[...] = values
    return made


def small(shape=(4, 3), dtype=np.float32):
    return random(np.random.default_rng(2), shape, dtype)


def table(rows):
    """Rows that begin with what they are."""
    return {"argvalues": [row[1] if len(row) == 2 else row[1:] for row in rows], "ids": [row[0] for row in rows]}
