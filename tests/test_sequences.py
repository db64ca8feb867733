"""Calls in any order: an optimizer and its twin in NumPy stay the same, and what is refused changes nothing.

They share the code that saves, loads and copies: what comes of that is compared with what it was made of.
"""

from __future__ import annotations

import copy
import math
import pickle
from collections import ChainMap
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule, run_state_machine_as_test

import fusedstep as fs
from fusedstep.bfloat16 import as_bfloat16, bits_of, is_bfloat16, name_of_type
from fusedstep.commands.bits import numbers_of
from fusedstep.commands.contract import extreme
from fusedstep.in_numpy.encodings import cast
from fusedstep.memory import assign

from cases import CASES, LAYOUTS, OPTIONS, SHARED, frozen, laid_out, random
from places import PLACES


class Live(float):
    """A number that a device may hold."""


def falling(step):
    return 0.1 / (1 + step)


def named(name, *values):
    return [{name: value} for value in values]


TYPES = ("float32", "float64", "bfloat16", "float16")
#: Without axes, without elements, with few, with enough for codes, and for two threads.
SHAPES = ((), (0, 2), (3,), (2, 1, 5), (33, 128), (7, 10_000))
RATES = named("lr", 0.05, 1.0, 0.0, np.float32(0.25), falling)
IMPOSSIBLE = [*named("lr", -1.0, "1"), {"weight_decay": math.nan}, {"maximize": 1}, {"foreach": True}]
STORAGES = [
    *named("state", "float64", "float32", "float16", "bfloat16", "sq8"),
    *named("rounding", "stochastic", "kahan", "remainder"),
    *({"weight_average": 0.75}, {"flush_denormals": True}),
]
STAGES = [
    *named("grad_scale", 2.0, Live(0.3), Live(1e30)),
    *named("norm", 3.0, Live(4.0), math.inf),
    # Elsewhere it would make everything NaN, where nothing is seen any more.
    *({"norm": Live(math.nan), "on_nonfinite": policy} for policy in ("skip", "raise")),
    *named("on_nonfinite", "skip", "raise"),
    *named("copy_to", *TYPES),
    *({"max_norm": 0.5}, {"max_norm_per_tensor": 0.3}, {"clip_value": 0.1}, {"zero_grad": True}),
]

a_number = st.integers(0, 2**16)
a_tree = st.recursive(
    st.tuples(*map(st.sampled_from, (TYPES, SHAPES, LAYOUTS))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcdef0"), inner, max_size=3),
    max_leaves=4,
)


def several(choices):
    return st.lists(st.sampled_from(choices), max_size=3).map(lambda some: dict(ChainMap(*some)))


def each(tree, make, order=iter):
    """The same structure with other leaves, and its names in an order."""
    if isinstance(tree, dict):
        return {key: each(value, make, order) for key, value in order(tree.items())}
    return [each(value, make, order) for value in tree] if isinstance(tree, list) else make(tree)


def leaves(tree):
    found = []
    each(tree, found.append)
    return [leaf for leaf in found if leaf is not None]


def form(trees):
    """How a tree for each group is given."""
    return trees[0] if len(trees) == 1 else trees


def build(cls, trees, groups, **once):
    given = form([{**group, "params": tree} for group, tree in zip(groups, trees, strict=True)])
    return cls(**(given if isinstance(given, dict) else {"params": given}), **once)


def is_array(leaf):
    return isinstance(leaf, (np.ndarray, fs.cuda.Array))


def known(tree):
    """What == compares, with one NaN for all."""

    def plain(leaf):
        if not is_array(leaf):
            return repr(float(leaf)) if isinstance(leaf, float) else leaf
        array = PLACES["device"].get(leaf).copy()
        if is_bfloat16(array) or array.dtype.kind == "f":
            bits_of(array)[np.isnan(numbers_of(array))] = 0x7FC0 if is_bfloat16(array) else np.nan
        return array

    return frozen(each(tree, plain))


def numbers(rng, shape):
    return (extreme if rng.random() < 0.2 else random)(rng, shape, np.float32)


def made(tree, seed):
    rng = np.random.default_rng(seed)
    return each(tree, lambda leaf: laid_out(cast(numbers(rng, leaf[1]), leaf[0]).reshape(leaf[1]), leaf[2]))


def like(array, values, dtype):
    """Numbers of a type, with an array's order of axes."""
    made = np.empty_like(bits_of(array), "uint16" if dtype == "bfloat16" else dtype)
    made[...] = bits_of(cast(values, dtype))
    return as_bfloat16(made) if dtype == "bfloat16" else made


@dataclass
class Side:
    """An optimizer, and what it is made with; a tree of parameters for each group; what steps were given, and bound."""

    place: str
    trees: list
    opt: Any = None
    once: dict = field(default_factory=dict)
    held: list = field(default_factory=list)

    def put(self, tree):
        def one(leaf):
            if isinstance(leaf, Live) and self.place == "device" and self.opt.state:
                leaf = np.array(leaf, float)
            return PLACES[self.place].put(leaf.copy("K")) if is_array(leaf) else leaf

        return each(tree, one)

    def now(self):
        """All that a call could change, by the names of parameters and states."""
        state = {(name, key): value for name, entry in self.opt.state.items() for key, value in entry.items()}
        return known({**dict(zip(self.opt.state, leaves(self.trees), strict=True)), **state, "": self.opt.skipped})

    def memory(self):
        """What a copy has as well, whose parameters may lie and be counted in another order."""
        saved = self.opt.state_dict()
        kept = {key: saved[key] for key in ("seed", "calls", "skipped", "numbers", "state")}
        return known({**kept, "groups": self.opt.param_groups})


class Run:
    """The kernels' side and NumPy's."""

    def __init__(self, sides):
        self.sides = sides
        self.save()

    opt = property(lambda self: self.sides[1].opt)
    trees = property(lambda self: self.sides[1].trees)

    def both(self, call, *refusals, changing=True):
        """What a call gives on each side, which is the same; or None where both refuse it, and nothing has changed."""
        before = [side.now() for side in self.sides] if refusals or not changing else []
        results = [attempt(call, side, refusals) for side in self.sides]
        refused = isinstance(results[1], Exception)
        for side, old in zip(self.sides, before, strict=bool(before)):
            # Changed options may have been taken over, and with them states come and go.
            new = side.now() if refused or not changing else old
            assert {key: new[key] for key in old if key in new} == {key: old[key] for key in old if key in new}
        if refused:
            assert type(results[0]) is type(results[1])
            return None
        assert known(results[0]) == known(results[1])
        return results

    def agree(self):
        self.both(lambda side: [side.now(), *side.opt.param_groups, *side.opt.last])

    def save(self):
        saved = self.both(lambda side: side.opt.state_dict(), changing=False)[0]
        self.saved = self.kind(), saved, known(saved)

    def kind(self):
        """What a state that must be taken comes from."""
        arrays = [(name_of_type(array), array.shape, array.strides) for array in leaves(self.trees)]
        groups = [(list(group), callable(group["lr"])) for group in self.opt.param_groups]
        return [len(leaves(tree)) for tree in self.trees], list(self.opt.state), arrays, groups

    def let_go(self):
        """Of what was bound before parameters were added or state was loaded."""
        for i in range(len(self.sides[1].held)):
            if self.sides[1].held[i].bound:
                assert self.both(lambda side, i=i: side.held[i].bound.step(), RuntimeError) is None
        for side in self.sides:
            side.held.clear()


def attempt(call, side, refusals):
    try:
        return call(side)
    except refusals as error:
        return error


@dataclass
class Given:
    """Gradients and stages that steps were given, and perhaps bound to."""

    grads: Any
    stages: dict
    bound: Any = None

    def step(self, opt, binding):
        if not binding:
            opt.step(self.grads, **self.stages)
        else:
            self.bound = self.bound or opt.bind(self.grads, **self.stages)
            self.bound.step()
        return [self.grads, self.stages.get("copy_to")]


def choice(opt, number):
    """Options that a group could be given."""
    choices = [*RATES, *SHARED, {"decay": "fully_decoupled"}, *OPTIONS[type(opt).__name__], *IMPOSSIBLE]
    return choices[number % len(choices)]


def is_possible(opt, before, after, params):
    """Whether a group of these parameters can have other options."""
    try:
        same = type(opt)(np.ones(1), **after).param_groups[0].keys() == after.keys()
    except (TypeError, ValueError):
        return False
    return same and (not params or before.get("window") == after.get("window"))


def shallow(side):
    return copy.copy(side.opt), [*side.trees]


def deep(side, way=copy.deepcopy):
    return way((side.opt, side.trees))


def pickled(side, protocol):
    return deep(side, lambda both: pickle.loads(pickle.dumps(both, protocol)))


def resumed(side):
    """In another optimizer, which counts its parameters in another order, with memory of the caller's."""
    saved, trees = side.opt.state_dict(), each(side.trees, copy.deepcopy, reversed)
    memory = {name: copy.deepcopy(entry) for name, entry in side.opt.state.items()}
    memory = {name: {key: value for key, value in entry.items() if key != "step"} for name, entry in memory.items()}
    opt = build(type(side.opt), trees, side.opt.param_groups, memory=memory, **side.once)
    opt.load_state_dict(saved)
    return opt, trees


WAYS = [shallow, deep, partial(pickled, protocol=2), partial(pickled, protocol=5), resumed]
#: What takes over options that were changed.
CALLS = ["step", "bind", "state_dict", "__getstate__"]


class Sequences(RuleBasedStateMachine):
    runs = Bundle("runs")

    def __init__(self, place):
        super().__init__()
        self.place, self.all, self.ends = place, [], ExitStack()

    def teardown(self):
        with self.ends:
            for run in self.all:
                run.agree()

    def keep(self, sides):
        self.all.append(Run(sides))
        return self.all[-1]

    @rule(name=st.sampled_from(fs.available_targets()), threads=st.integers(1, 3))
    def use(self, name, threads):
        self.ends.enter_context(fs.use_target(name))
        self.ends.callback(fs.set_num_threads, fs.set_num_threads(threads))

    @initialize(
        target=runs,
        options=st.tuples(st.sampled_from(CASES), several([*RATES, *SHARED]), several(STORAGES)),
        trees=st.lists(a_tree, min_size=1, max_size=3),
        sharded=st.booleans(),
        seed=a_number,
    )
    def create(self, options, trees, sharded, seed):
        ((name, own), shared, storage), new, sides = options, made(trees, seed), []
        for package, place in ((fs, self.place), (fs.reference, "processor")):
            side = Side(place, [])
            side.trees, groups = side.put(new), [{}] * len(new)
            try:
                names = build(fs.SGD, side.trees, groups).state if sharded else []
                side.once = storage | {"extents": {one: (4096 * i, 2**33) for i, one in enumerate(names)}}
                options = {"lr": 0.1, "seed": 7} | own | shared | side.once
                side.opt = build(getattr(package, name), side.trees, groups, **options)
            except (TypeError, ValueError):  # float16 has no remainder, and no two parameters have one name
                assert not sides
            else:
                sides.append(side)
        return self.keep(sides) if sides else multiple()

    def grads(self, run, seed):
        """Some of them missing or extreme."""
        rng = np.random.default_rng(seed)

        def grad(param):
            made = like(param, numbers(rng, param.shape), str(rng.choice(TYPES)))
            return made if rng.random() < 0.8 else None

        return form(each(run.trees, grad))

    @rule(run=runs, which=st.integers(0, 9), seed=a_number, stages=several(STAGES), binding=st.booleans())
    def step(self, run, which, seed, stages, binding):
        """In new arrays, or with new numbers in those of an earlier step."""
        held = run.sides[1].held
        if which >= len(held):
            which, grads = len(held), self.grads(run, seed)
            if "copy_to" in stages:
                to = form(each(run.trees, lambda param: like(param, np.zeros(param.shape), stages["copy_to"])))
                stages = {**stages, "copy_to": to}
            for side in run.sides:
                side.held.append(Given(side.put(grads), side.put(stages)))
        else:
            rng, stages = np.random.default_rng(seed), held[which].stages
            values = [like(grad, numbers(rng, grad.shape), name_of_type(grad)) for grad in leaves(held[which].grads)]
            for side in run.sides:
                for array, new in zip(leaves(side.held[which].grads), values, strict=True):
                    assign(array, new)
        refusals = [ValueError] * ({"max_norm", "max_norm_per_tensor"} <= stages.keys())
        refusals += [FloatingPointError] * (stages.get("on_nonfinite") == "raise")
        run.both(lambda side: side.held[which].step(side.opt, binding), *refusals)

    @rule(run=runs, seed=a_number, wrong=st.sampled_from(["kind", "shape", "type", "overlap"]))
    def step_refused(self, run, seed, wrong):
        if not run.opt.state:
            return
        grads, which = self.grads(run, seed), seed % len(run.opt.state)

        def step(side):
            params = leaves(side.trees)
            param, left = params[which], iter(params)
            made = {"shape": np.ones((*param.shape, 2)), "type": np.ones(param.shape, int)}.get(wrong, 7)
            worse = param if wrong == "overlap" and 0 not in param.shape else side.put(made)
            side.opt.step(each(side.put(grads), lambda grad: worse if next(left) is param else grad))

        assert run.both(step, TypeError, ValueError) is None

    @rule(run=runs, tree=a_tree, seed=a_number)
    def add(self, run, tree, seed):
        new, options = made(tree, seed), choice(run.opt, seed)

        def add(side):
            own = side.put(new)
            side.opt.add(own, **options)
            side.trees.append(own)

        if run.both(add, TypeError, ValueError, changing=False) is not None:
            run.let_go()

    @rule(run=runs, which=a_number, number=a_number, call=st.sampled_from(CALLS))
    def change(self, run, which, number, call):
        """Options of a group, for the next call; impossible ones are taken back."""
        which %= len(run.trees)
        groups = [side.opt.param_groups[which] for side in run.sides]
        before = [dict(group) for group in groups]
        for group in groups:
            group.update(choice(run.opt, number))
        if is_possible(run.opt, before[1], groups[1], leaves(run.trees[which])):
            return
        nothing = [form(each(run.trees, lambda _: None))] if call in ("step", "bind") else []
        assert run.both(lambda side: getattr(side.opt, call)(*nothing), TypeError, ValueError) is None
        for group, old in zip(groups, before, strict=True):
            group.clear()
            group.update(old)

    @rule(run=runs)
    def save(self, run):
        run.save()

    @rule(run=runs, of=runs, late=st.sampled_from([0, 2**40, 2**62]), seed=a_number, stages=several(STAGES))
    def load(self, run, of, late, seed, stages):
        """With steps that come later, or too late."""
        self.step(run, 9, seed, stages, True)
        kind, saved, as_saved = of.saved
        assert known(saved) == as_saved
        state = {name: {**entry, "step": entry["step"] + late} for name, entry in saved["state"].items()}
        is_broken, fits = state and late == 2**62, kind == run.kind()
        saved = {**saved, "state": state}
        if run.both(lambda side: side.opt.load_state_dict(saved), TypeError, ValueError) is None:
            assert is_broken or not fits
            return
        assert not is_broken
        assert not fits or all(known(side.opt.state_dict()) == known(saved) for side in run.sides)
        run.let_go()
        self.step(run, 9, seed + 1, {}, False)

    @rule(target=runs, run=runs, way=st.sampled_from(WAYS), seed=a_number)
    def copy(self, run, way, seed):
        made = []
        if run.both(lambda side: made.append(way(side)), ValueError, changing=False) is None:
            return multiple()  # codes, whose order some protocols lose
        sides = [Side(side.place, trees, opt, side.once) for side, (opt, trees) in zip(run.sides, made, strict=True)]
        before = [side.memory() for side in run.sides]
        assert [side.memory() for side in sides] == before
        assert [side.now() for side in sides] == [side.now() for side in run.sides]
        copied = self.keep(sides)
        self.step(copied, 9, seed, {}, False)
        assert [side.memory() for side in run.sides] == before
        return copied

    @rule(run=runs)
    def read(self, run):
        run.agree()
        run.both(lambda side: side.opt.lookahead(), TypeError, changing=False)
        run.both(lambda side: side.opt.average, AttributeError, changing=False)
        run.both(lambda side: fs.cuda.put_rates(side.opt), changing=False)


def run_sequences(place, **given):
    given = settings(deadline=None, suppress_health_check=list(HealthCheck), **given)
    run_state_machine_as_test(partial(Sequences, place.name), settings=given)


def test_sequences(place):
    run_sequences(place, max_examples=60, stateful_step_count=25, derandomize=True)


@pytest.mark.long
def test_sequences_at_length(place):
    run_sequences(place, max_examples=3000, stateful_step_count=50)
