"""Arrays, lists, dicts, nested ones and groups: gradients mirror them, and every parameter goes its own way."""

from __future__ import annotations

import math
import sys
from collections import OrderedDict, defaultdict

import numpy as np
import pytest

import fusedstep as fs

from cases import CASES, DTYPES, IDS, frozen, random, same_bytes
from process import output


def fill(tree, leaves):
    """The same structure with these leaves in its places."""
    if isinstance(tree, dict):
        return type(tree)((key, fill(item, leaves)) for key, item in tree.items())
    if isinstance(tree, (list, tuple)):
        return type(tree)(fill(item, leaves) for item in tree)
    return next(leaves)


class Singles:
    """Parameters that each have an optimizer of their own, in the reference: what a structure must not change."""

    def __init__(self, arrays, name="SGD", **options):
        self.copies = [array.copy() for array in arrays]
        self.optimizers = [getattr(fs.reference, name)(copy, **options) for copy in self.copies]

    def step(self, grads):
        for optimizer, grad in zip(self.optimizers, grads, strict=True):
            if grad is not None:
                optimizer.step(grad)

    def assert_equal(self, arrays, opt):
        for array, copy in zip(arrays, self.copies, strict=True):
            assert same_bytes(array, copy)
        for entry, single in zip(opt.state.values(), self.optimizers, strict=True):
            expected = single.state["0"]
            assert entry.keys() == expected.keys()
            assert entry["step"] == expected["step"]
            assert all(same_bytes(entry[key], expected[key]) for key in entry.keys() - {"step"})


X = None  # a leaf of a structure


#: (params, their names, gradients in another form that is as good)
STRUCTURES = [
    (X, ["0"], X),
    ([X], ["0"], (X,)),
    ((X, X), ["0", "1"], [X, X]),
    ([X, X, X], ["0", "1", "2"], (X, X, X)),
    ({"w": X, "b": X}, ["w", "b"], OrderedDict(w=X, b=X)),
    ({"net": {"w": X, "b": X}, "scale": X}, ["net/w", "net/b", "scale"], {"net": OrderedDict(w=X, b=X), "scale": X}),
    ({"a": {"b": {"c": {"d": X}}}}, ["a/b/c/d"], {"a": {"b": OrderedDict(c={"d": X})}}),
    ({"a": [X, (X, X)], "b": X}, ["a/0", "a/1/0", "a/1/1", "b"], {"a": (X, [X, X]), "b": X}),
    ([{"w": X}, {"w": X}], ["0/w", "1/w"], ({"w": X}, {"w": X})),
    ([[X, X], [X]], ["0/0", "0/1", "1/0"], ([X, X], (X,))),
    ({"é": X, "a b": X, "ω.1": X, "0": X}, ["é", "a b", "ω.1", "0"], {"é": X, "a b": X, "ω.1": X, "0": X}),
    ([], [], ()),
    ({}, [], OrderedDict()),
    ({"net": {}, "w": X, "rest": []}, ["w"], {"net": OrderedDict(), "w": X, "rest": ()}),
]


@pytest.mark.parametrize(("tree", "names", "other"), STRUCTURES, ids=[str(names) for _, names, _ in STRUCTURES])
def test_structure(tree, names, other):
    rng = np.random.default_rng(1)
    arrays = [random(rng, 3 + i, np.float32) for i in range(len(names))]
    singles = Singles(arrays, lr=0.1, momentum=0.9)
    opt = fs.SGD(fill(tree, iter(arrays)), lr=0.1, momentum=0.9)
    assert list(opt.state) == names
    assert len(opt.state) == len(names)
    for form in (tree, other):
        grads = [random(rng, array.shape, np.float32) for array in arrays]
        opt.step(fill(form, iter(grads)))
        singles.step(grads)
    singles.assert_equal(arrays, opt)


def test_gradients_go_by_name():
    """Not by the order in which a dict happens to hold them."""
    w, b = np.zeros(2), np.zeros(2)
    opt = fs.SGD({"net": {"w": w, "b": b}}, lr=1.0)
    grads = defaultdict(list)
    grads["net"] = {"b": np.full(2, -3.0), "w": np.full(2, -5.0)}
    opt.step(grads)
    assert (w == 5).all()
    assert (b == 3).all()


#: (groups, names)
GROUPS = [
    ([{"params": X}], ["0"]),
    ([{"params": X}, {"params": X}], ["0", "1"]),
    (({"params": [X, X]}, {"params": [X]}), ["0", "1", "2"]),
    ([{"params": [X, X]}, {"params": [X]}, {"params": (X, X)}], ["0", "1", "2", "3", "4"]),
    ([{"params": {"w": X}}, {"params": {"net": {"b": X}}}], ["w", "net/b"]),
    ([{"params": [X]}, {"params": [[X, X], {"w": [X]}]}], ["0", "1/0", "1/1", "2/w/0"]),
    ([{"params": {"w": X}}, {"params": [X, X]}, {"params": X}], ["w", "1", "2", "3"]),
    ([{"params": []}, {"params": [X]}, {"params": {}}, {"params": [X]}, {"params": []}], ["0", "1"]),
]


@pytest.mark.parametrize(("tree", "names"), GROUPS, ids=[str(names) for _, names in GROUPS])
def test_groups(tree, names):
    """Gradients are a list with an entry for each group, also where there is but one."""
    rng = np.random.default_rng(2)
    arrays = [random(rng, 3 + i, np.float64) for i in range(len(names))]
    singles = Singles(arrays, "Adam", lr=0.1)
    opt = fs.Adam(fill(tree, iter(arrays)), lr=0.1)
    assert list(opt.state) == names
    assert len(opt.param_groups) == len(tree)
    for kind in (list, tuple):
        grads = [random(rng, array.shape, np.float64) for array in arrays]
        left = iter(grads)
        opt.step(kind(fill(group["params"], left) for group in tree))
        singles.step(grads)
    singles.assert_equal(arrays, opt)


def test_options_of_groups():
    """Each group steps as an optimizer of its own with its options would; what it does not say is the optimizer's."""
    rng = np.random.default_rng(3)
    given = [{}, {"lr": 0.5}, {"betas": (0.5, 0.9), "amsgrad": True}, {"weight_decay": 0.3, "maximize": True}]
    arrays = [random(rng, 9, np.float32) for _ in given]
    copies = [array.copy() for array in arrays]
    opt = fs.Adam([{"params": a, **options} for a, options in zip(arrays, given, strict=True)], lr=0.1, eps=1e-3)
    singles = [
        fs.reference.Adam(copy, **{"lr": 0.1, "eps": 1e-3, **options})
        for copy, options in zip(copies, given, strict=True)
    ]
    for _ in range(3):
        grads = [random(rng, 9, np.float32) for _ in given]
        opt.step(grads)
        for single, grad in zip(singles, grads, strict=True):
            single.step(grad)
    assert all(same_bytes(a, c) for a, c in zip(arrays, copies, strict=True))
    assert [group["lr"] for group in opt.param_groups] == [0.1, 0.5, 0.1, 0.1]
    assert [group["eps"] for group in opt.param_groups] == [1e-3] * 4
    assert [group["betas"] for group in opt.param_groups] == [(0.9, 0.999)] * 2 + [(0.5, 0.9), (0.9, 0.999)]


def test_first_rate_of_a_group():
    """`max_lr` that nobody gave is the group's own first rate: a step at that rate decays by λ."""
    a, b = np.ones(3), np.ones(3)
    groups = [{"params": a}, {"params": b, "lr": 0.5}]
    opt = fs.SGD(groups, lr=0.1, weight_decay=0.25, decay="fully_decoupled")
    assert [group["max_lr"] for group in opt.param_groups] == [0.1, 0.5]
    opt.step([np.zeros(3), np.zeros(3)])
    assert (a == 0.75).all()
    assert (b == 0.75).all()


def test_given_groups_stay_as_they_are():
    """The caller's dicts are neither kept nor written to."""
    options = {"params": np.ones(3), "lr": 0.5}
    opt = fs.SGD([options], lr=0.1)
    opt.param_groups[0]["lr"] = 0.25
    options["lr"] = 7.0
    opt.step([np.ones(3)])
    assert options.keys() == {"params", "lr"}
    assert (options["params"] == 0.75).all()


# Parameters that come and go


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_one_of_many_is_many_of_one(name, options, dtype):
    """T09, T10: in any order, and with gradients missing in any steps, a parameter steps as if it were alone."""
    rng = np.random.default_rng(4)
    sizes = (1, 17, 0, 64, 5)
    arrays = [random(rng, size, dtype) for size in sizes]
    singles = Singles(arrays, name, lr=0.05, **options)
    order = rng.permutation(len(sizes))
    opt = getattr(fs, name)({str(i): arrays[i] for i in order}, lr=0.05, **options)
    there = rng.random((7, len(sizes))) < 0.6
    # A parameter that never misses, one that misses the first step, and one that comes in the last step alone.
    there[:, 0], there[0, 1], there[1:, 1], there[:, 3] = True, False, True, [False] * 6 + [True]
    for row in there:
        grads = [random(rng, size, dtype) if given else None for size, given in zip(sizes, row, strict=True)]
        before = [array.copy() for array in arrays]
        opt.step({str(i): grads[i] for i in range(len(sizes))})
        singles.step(grads)
        for array, old, grad in zip(arrays, before, grads, strict=True):
            assert grad is not None or same_bytes(array, old)
    assert [opt.state[str(i)]["step"] for i in range(len(sizes))] == there.sum(axis=0).tolist()
    for i, single in enumerate(singles.optimizers):
        assert same_bytes(arrays[i], singles.copies[i])
        entry, expected = opt.state[str(i)], single.state["0"]
        assert all(same_bytes(entry[key], expected[key]) for key in expected.keys() - {"step"})


@pytest.mark.parametrize(
    ("params", "grads"),
    [
        (np.ones(3), None),
        ([np.ones(3), np.ones(2)], [None, None]),
        ({"w": np.ones(3), "net": {"b": np.ones(2)}}, {"w": None, "net": {"b": None}}),
    ],
)
def test_all_missing(params, grads):
    opt = fs.Adam(params, lr=0.5)
    before = frozen([dict(opt.state), params])
    opt.step(grads)
    assert frozen([dict(opt.state), params]) == before
    assert all(entry["step"] == 0 for entry in opt.state.values())


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_parameters_added_later(name, options):
    """They begin at their own step 1; the old ones go on as if nothing had happened."""
    rng = np.random.default_rng(5)
    arrays = [random(rng, 20 + i, np.float32) for i in range(4)]
    singles = Singles(arrays, name, lr=0.05, **options)
    opt = getattr(fs, name)({"a": arrays[0], "b": arrays[1]}, lr=0.05, **options)

    def step(known):
        grads = [random(rng, array.shape, np.float32) for array in arrays[:known]]
        entries = [{"a": grads[0], "b": grads[1]}, *([grad] for grad in grads[2:3]), *grads[3:]]
        opt.step(entries if known > 2 else entries[0])
        singles.step(grads + [None] * (4 - known))

    step(2)
    step(2)
    opt.add([arrays[2]])
    step(3)
    opt.add(arrays[3])
    step(4)
    step(4)
    assert list(opt.state) == ["a", "b", "2", "3"]
    assert [entry["step"] for entry in opt.state.values()] == [5, 5, 3, 2]
    singles.assert_equal(arrays, opt)


def test_rates_that_change_alone(monkeypatch):
    """They are taken over without a look at anything else, and refused like any others."""
    w, b, ones = np.zeros(3), np.zeros(2), [np.ones(3), np.ones(2)]
    opt = fs.SGD([{"params": w, "lr": 1.0}, {"params": b, "lr": 2.0}], momentum=0.0)
    refreshed, refresh = [], fs.SGD._refresh
    monkeypatch.setattr(fs.SGD, "_refresh", lambda self, groups: refreshed.append(groups) or refresh(self, groups))
    opt.step(ones)
    for lr in (0.5, 0.25, 0.0):
        opt.param_groups[0]["lr"] = lr
        opt.step(ones)
    assert (w == -1.75).all()
    assert (b == -8).all()
    assert not refreshed
    for lr, error in ((-1.0, ValueError), (math.nan, ValueError), (math.inf, ValueError), ("1", TypeError)):
        opt.param_groups[0]["lr"] = lr
        with pytest.raises(error, match="SGD: lr must be a finite number ≥ 0 or a schedule"):
            opt.step(ones)
    assert (w == -1.75).all()
    opt.param_groups[0]["lr"] = 0.25
    opt.param_groups[1]["momentum"] = -1.0
    with pytest.raises(ValueError, match="SGD: momentum must be"):
        opt.step(ones)
    opt.param_groups[1]["momentum"] = 0.5
    opt.step(ones)
    assert (w == -2).all()
    assert (b == -10).all()
    opt.param_groups[0].update(lr=0.5, maximize=True)
    opt.param_groups[1]["lr"] = lambda step: float(step)
    opt.step(ones)
    assert (w == -1.5).all()
    assert (b == -10 - 1.5 * 5).all()
    opt.param_groups[1]["lr"] = 2.0
    opt.step(ones)
    assert (b == -17.5 - 1.75 * 2).all()


def test_added_with_options():
    a, b = np.ones(3), np.ones(3)
    opt = fs.SGD({"a": a}, lr=0.5)
    opt.add({"b": b}, lr=0.25, maximize=True)
    opt.step([{"a": np.ones(3)}, {"b": np.ones(3)}])
    assert (a == 0.5).all()
    assert (b == 1.25).all()
    assert [group["lr"] for group in opt.param_groups] == [0.5, 0.25]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_optimizers_leave_no_memory_behind(tmp_path):
    """T20: 10,000 come and go, after which the process has less than 300 bytes more for each."""
    program = """
    import resource
    import numpy as np
    import fusedstep as fs

    def live(name):
        opt = getattr(fs, name)({"w": np.ones(100, np.float32)}, lr=lambda step: 0.1)
        opt.bind({"w": np.ones(100, np.float32)}).step()
        opt.load_state_dict(opt.state_dict())

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    for cycle in range(11_000):
        if cycle == 1_000:
            before = resident()
        live(fs.reference.__all__[cycle % len(fs.reference.__all__)])
    print(resident() - before)
    """
    at_once = "detect_leaks=0:quarantine_size_mb=0"  # a sanitizer keeps what is freed for a while
    assert int(output(tmp_path, program, timeout=300, ASAN_OPTIONS=at_once)) < 3_000_000


def test_added_to_nothing():
    """An optimizer may begin without parameters; it then has two groups, one of them empty."""
    w = np.ones(3)
    opt = fs.SGD([], lr=0.5)
    opt.step([])
    opt.add({"w": w})
    opt.step([[], {"w": np.ones(3)}])
    assert (w == 0.5).all()


# The place that the momentum leads to


def test_what_an_optimizer_is_shown_as():
    opt = fs.AdamW({"w": np.ones(3), "b": np.ones(2)}, lr=0.5, weight_decay=0.1, betas=(0.9, 0.999))
    assert repr(opt) == "AdamW(2 parameters, lr=0.5, weight_decay=0.1)"
    opt.add({"c": np.ones(1)}, lr=abs, maximize=True)
    opt.param_groups[0]["initial_lr"] = 0.5
    assert repr(opt) == (
        "AdamW(2 parameters, lr=0.5, weight_decay=0.1, initial_lr=0.5; "
        "1 parameter, lr=<built-in function abs>, weight_decay=0.1, maximize=True)"
    )
    assert repr(fs.reference.SGD([])) == "SGD(0 parameters, lr=0.001)"
    opt.param_groups[:] = [{"betas": np.ones(2)}, None, 7]
    assert repr(opt) == "AdamW(2 parameters, betas=array([1., 1.]); 1 parameter, None)"
    assert repr(fs.Adam.__new__(fs.Adam)).startswith("<fusedstep.methods.adam.Adam object at ")


# Schedules


class Clearing(np.ndarray):
    """Empties the tree that it lies in when it is looked at."""

    tree = None

    @property
    def mask(self):
        self.tree.clear()


class ClearingNothing(Clearing):
    """And is none that could be taken."""

    mask = property(lambda self: self.tree.clear() or 0)


@pytest.mark.parametrize("kind", ["list", "dict"])
@pytest.mark.parametrize(
    ("cls", "error", "fact"),
    [
        (Clearing, ValueError, "stay as it is while it is read, got one that has lost entries"),
        (ClearingNothing, TypeError, "be a plain numpy.ndarray"),
    ],
)
def test_trees_that_change_while_they_are_read(kind, cls, error, fact):
    params = {"a": np.ones(3), "b": np.ones(3)}
    grads = {"a": np.ones(3).view(cls), "b": np.ones(3)}
    if kind == "list":
        params, grads = list(params.values()), list(grads.values())
    opt = fs.SGD(params, lr=0.5)
    cls.tree = grads
    with pytest.raises(error, match=rf"SGD: grads.* must {fact}"):
        opt.step(grads)
    assert all((param == 1).all() for param in (params.values() if kind == "dict" else params))


def test_a_list_of_groups_that_is_emptied_while_it_is_read():
    params, grads = [np.ones(3), np.ones(3)], [np.ones(3).view(Clearing), np.ones(3)]
    opt = fs.SGD([{"params": param} for param in params], lr=0.5)
    Clearing.tree = grads
    opt.step(grads)
    assert grads == []
    assert all((param == 0.5).all() for param in params)
