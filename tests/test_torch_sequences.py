"""Calls in any order: the optimizer that is one of torch's stays the same as torch's own, of the same parameters."""

from __future__ import annotations

import copy
import functools
import pickle
import random

import pytest

import fusedstep as fs

torch = pytest.importorskip("torch")

from fusedstep.torch import Optimizer  # noqa: E402 (which needs torch)

#: NAdam of torch has a product in single precision.
METHODS = ["SGD", "Adagrad", "RMSprop", "Adadelta", "Adam", "AdamW", "RAdam", "Adamax"]
#: Dampening is left out: torch's spares the first step that a buffer sees, ours the first of a parameter.
OPTIONS = {
    "SGD": {"momentum": 0.9, "nesterov": True},
    "Adagrad": {"initial_accumulator_value": 0.1},
    "RMSprop": {"momentum": 0.9},
    "Adam": {"amsgrad": True},
    "RAdam": {"decoupled_weight_decay": True},
}
CHANGES = {"lr": (0.02, 0.3), "weight_decay": (0.0, 0.2), "maximize": (True, False), "betas": ((0.8, 0.99), (0, 0.9))}
TOLERANCE = 1e-9, 1e-9
SHAPES = [(), (0, 2), (1,), (70,), (4, 5), (4, 4), (2, 3, 4, 4)]


class Pair:
    """Ours and torch's own, and what is done with both."""

    def __init__(self, seed):
        self.rng, self.numbers = random.Random(seed), torch.Generator().manual_seed(seed)
        self.name = self.rng.choice(METHODS)
        self.options = {"lr": 0.1, "weight_decay": 0.1, **self.rng.choice(({}, OPTIONS.get(self.name, {})))}
        self.params = self.made(self.rng.randint(1, 3))
        self.optimizers = [self.fresh(side, [{"params": params}]) for side, params in enumerate(self.params)]

    def fresh(self, side, groups):
        theirs = functools.partial(getattr(torch.optim, self.name), foreach=False)
        return (theirs if side else functools.partial(Optimizer, method=getattr(fs, self.name)))(groups, **self.options)

    def random(self, shape):
        return torch.randn(shape, generator=self.numbers, dtype=torch.float64)

    def made(self, count):
        values = [self.random(self.rng.choice(SHAPES)) for _ in range(count)]
        values = [value.mT if value.ndim == 2 and self.rng.random() < 0.5 else value for value in values]
        return [[torch.nn.Parameter(value.clone()) for value in values] for _ in range(2)]

    def one(self):
        """Each optimizer with a parameter that has state, if there is one at that place."""
        index = self.rng.randrange(len(self.params[0]))
        params = [params[index] for params in self.params]
        begun = params[0].numel() and params[1] in self.optimizers[1].state
        return list(zip(self.optimizers, params, strict=True)) if begun else []

    def step(self):
        for param, other in zip(*self.params, strict=True):
            grad = None if self.rng.random() < 0.3 else self.random(param.shape)
            for each in (param, other):
                each.grad = None if grad is None else torch.empty_like(each).copy_(grad)
        for optimizer in self.optimizers:
            optimizer.step()

    def add(self):
        options = self.rng.choice(({}, {"lr": 0.3}, {"weight_decay": 0.05}))
        added = self.made(self.rng.randint(0, 2))
        for optimizer, params, more in zip(self.optimizers, self.params, added, strict=True):
            optimizer.add_param_group({"params": more, **options})
            params += more

    def change(self):
        index = self.rng.randrange(len(self.optimizers[0].param_groups))
        name = self.rng.choice([name for name in CHANGES if name in self.optimizers[1].defaults])
        value, in_group = self.rng.choice(CHANGES[name]), self.rng.random() < 0.7
        for optimizer in self.optimizers:
            (optimizer.param_groups[index] if in_group else optimizer.defaults)[name] = value

    def load(self):
        """Each another optimizer with its own state, or that of the other."""
        states = [copy.deepcopy(optimizer.state_dict()) for optimizer in self.optimizers]
        states = self.rng.choice((states, states[::-1]))
        for side, before in enumerate(list(self.optimizers)):
            self.optimizers[side] = self.fresh(side, [{"params": group["params"]} for group in before.param_groups])
            self.optimizers[side].defaults.update(before.defaults)
            self.optimizers[side].load_state_dict(states[side])

    def copy(self):
        copied = self.rng.choice((copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))))
        pairs = [copied(both) for both in zip(self.params, self.optimizers, strict=True)]
        self.params, self.optimizers = map(list, zip(*pairs, strict=True))

    def forget(self):
        every = self.rng.random() < 0.2
        for optimizer, param in self.one() if self.name != "Adagrad" else ():  # torch's has state with its groups
            optimizer.state.clear() if every else optimizer.state.pop(param)

    def write(self):
        """Into a tensor of a state, or another in its place."""
        entries = [optimizer.state[param] for optimizer, param in self.one()]
        names = sorted(name for name in entries[1] if name != "step") if entries else []
        for name in names[:1]:
            value, in_place = self.random(entries[1][name].shape).abs(), self.rng.random() < 0.5
            for entry in entries:
                entry[name] = entry[name].copy_(value) if in_place else value.clone()

    def move(self):
        """To other memory, or to another order in the same, which gradients have from then on."""
        turned = self.rng.random() < 0.5
        for _, param in self.one():
            square = param.ndim == 2 and param.shape[0] == param.shape[1]
            param.data, param.grad = param.data.t() if turned and square else param.data.clone(), None

    def refuse(self):
        """A rate that ours refuses, which is then repaired."""
        group, before = self.optimizers[0].param_groups[-1], [param.detach().clone() for param in self.params[0]]
        rate, group["lr"] = group["lr"], -1.0
        with pytest.raises(ValueError, match=r"lr must be a finite number ≥ 0 .*, got -1\.0$"):
            self.optimizers[0].step()
        group["lr"] = rate
        assert all(map(torch.equal, self.params[0], before))

    def check(self):
        ours, theirs = self.optimizers
        for param, other in zip(*self.params, strict=True):
            assert torch.allclose(param, other, *TOLERANCE)
            entry = theirs.state.get(other, {}) if param.numel() else {}
            for name in entry.keys() - ({"step"} if self.name == "SGD" else set()):  # which torch's has from ours alone
                assert torch.allclose(ours.state[param][name], entry[name].double(), *TOLERANCE)
        for group, other in zip(ours.param_groups, theirs.param_groups, strict=True):
            for name in ours.inner.param_groups[0].keys() & other.keys():
                assert group[name] == pytest.approx(other[name])


CALLS = [*[Pair.step] * 8, Pair.add, Pair.change, Pair.load, Pair.copy, Pair.forget, Pair.write, Pair.move, Pair.refuse]


@pytest.mark.parametrize("seed", range(60))
def test_sequences_of_calls(seed):
    pair = Pair(seed)
    for _ in range(40):
        pair.rng.choice(CALLS)(pair)
        pair.check()
