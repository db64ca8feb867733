"""Arrays, lists, dicts, nested ones and groups: gradients mirror them, and every parameter goes its own way."""

from __future__ import annotations

import gc
import math
import sys
from collections import OrderedDict, defaultdict

import numpy as np
import pytest

import fusedstep as fs

from cases import CASES, DTYPES, IDS, assert_same_state, frozen, random, same_bytes
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


# Bound gradients


@pytest.mark.parametrize("optimizers", [fs, fs.reference], ids=["fused", "reference"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_bound_steps(name, options, optimizers):
    """They are the steps that the same values give, also of a parameter without a gradient."""
    rng = np.random.default_rng(6)
    params = {"w": random(rng, (3, 5), np.float32), "none": random(rng, 2, np.float32), "b": random(rng, 7, np.float64)}
    copies = {key: value.copy() for key, value in params.items()}
    opt, unbound = getattr(optimizers, name)(params, lr=0.05, **options), getattr(fs, name)(copies, lr=0.05, **options)
    grads = {"w": np.zeros((3, 5), np.float32), "none": None, "b": np.zeros(7)}
    bound = opt.bind(grads)
    assert all(same_bytes(params[key], copies[key]) for key in params), "binding is not a step"
    for _ in range(3):
        for grad in (grads["w"], grads["b"]):
            grad[...] = random(rng, grad.shape, grad.dtype)
        assert bound.step() is None
        assert unbound.step(grads) is None
        assert all(same_bytes(params[key], copies[key]) for key in params)
    assert_same_state(opt, unbound)
    assert opt.state["none"]["step"] == 0


@pytest.mark.parametrize("module", [fs, fs.reference], ids=["fused", "reference"])
def test_bound_gradients_stay_those_that_were_bound(module):
    """Whatever becomes of what they came in."""
    params = {"net": [np.zeros(3), np.zeros(2)], "w": np.zeros(2)}
    grads = {"net": [np.ones(3), np.ones(2)], "w": np.ones(2)}
    bound = module.SGD(params, lr=1.0).bind(grads)
    grads["w"], grads["net"][0] = np.full(2, 7.0), None
    bound.step()
    assert all((array == -1).all() for array in (*params["net"], params["w"]))


def test_a_group_may_join_while_a_structure_is_put_together(tmp_path):
    """The collector runs anything, in Python 3.11 wherever a list is made."""
    program = """
        import gc
        import numpy as np
        import fusedstep as fs

        class Late:
            def __init__(self):
                self.cycle = self

            def __del__(self):
                for _ in range(4):
                    opt.add([np.ones(2)])

        for threshold in range(1, 100):
            gc.disable()
            opt = fs.SGD([{"params": [np.ones(3)]} for _ in range(16)], lr=0.1)
            leaves = {name: opt._plan.param(name) for name in opt._plan.names()}
            gc.collect()
            Late()
            gc.set_threshold(threshold, 1, 1)
            gc.enable()
            try:
                assert len(opt._plan.structure(leaves)) == 16
            except KeyError:  # it has joined before that
                assert len(opt.param_groups) > 16
            gc.set_threshold(700, 10, 10)
    """
    output(tmp_path, program)


def test_bound_keeps_what_it_needs():
    w = np.ones(100_000)
    bound = fs.SGD(w, lr=0.5).bind(np.ones(100_000))
    gc.collect()
    others = [np.full(100_000, 7.0) for _ in range(8)]
    bound.step()
    assert (w == 0.5).all()
    del others


def test_bound_and_unbound_in_turns():
    w, g = np.ones(3), np.ones(3)
    opt = fs.SGD(w, lr=0.25)
    one, two = opt.bind(g), opt.bind(np.full(3, 2.0))
    one.step()
    opt.step(np.full(3, -1.0))
    one.step()
    two.step()
    one.step()
    assert (w == 0).all()
    assert opt.state["0"]["step"] == 5


def test_nothing_stays_of_what_was_bound():
    params, copies = ([np.full(2, value), np.full(2, value)] for value in (1.0, 0.0))
    opt = fs.SGD(params, lr=0.25)
    opt.bind([np.ones(2), np.ones(2)], copy_to=copies).step()
    opt.step([np.ones(2), None])
    assert [array[0] for array in (*params, *copies)] == [0.5, 0.75, 0.75, 0.75]


def test_bound_takes_changed_options():
    w, g = np.ones(3), np.ones(3)
    opt = fs.SGD(w, lr=0.25)
    bound = opt.bind(g)
    bound.step()
    opt.param_groups[0]["lr"] = 0.5
    bound.step()
    assert (w == 0.25).all()
    opt.param_groups[0]["momentum"] = 0.5  # calls for a state that was not there when the gradients were bound
    bound.step()
    bound.step()
    assert (w == -1.0).all()


def add(opt):
    opt.add({"b": np.ones(2)})


def load(opt):
    opt.load_state_dict(opt.state_dict())


@pytest.mark.parametrize("optimizers", [fs, fs.reference], ids=["fused", "reference"])
@pytest.mark.parametrize("change", [add, load])
def test_bound_becomes_invalid(change, optimizers):
    w = np.ones(3)
    opt = optimizers.SGD({"w": w}, lr=0.5)
    bound = opt.bind({"w": np.ones(3)})
    bound.step()
    change(opt)
    with pytest.raises(RuntimeError, match=r"^SGD: bound gradients must be bound again"):
        bound.step()
    assert (w == 0.5).all()
    assert opt.state["w"]["step"] == 1
    if change is load:
        opt.bind({"w": np.ones(3)}).step()
        assert (w == 0).all()


def test_bound_stays_valid_where_nothing_was_added():
    w = np.ones(3)
    opt = fs.SGD({"w": w}, lr=0.5)
    bound = opt.bind({"w": np.ones(3)})
    with pytest.raises(ValueError, match="overlap"):
        opt.add({"b": w})
    bound.step()
    assert (w == 0.5).all()


# The place that the momentum leads to

#: Each step's, so that one of another step shows.
RATES = (1.0, 0.5, 0.25, 0.125)

#: buffer -> θ's displacement before the third step, with μ = 1/2 and gradients 1 and 2. Numbers that float32 holds
#: exactly: v is 2.5; 1.5; 1.25
LOOKAHEAD = [
    ({"momentum": 0.5}, 0.5 * 0.25 * 2.5),
    ({"momentum": 0.5, "nesterov": True}, 0.5 * 0.25 * 2.5),
    ({"momentum": 0.5, "buffer": "lr_inside"}, 0.5 * 1.5),
    ({"momentum": 0.5, "buffer": "ema"}, 0.5 * 0.25 * 1.25),
    ({"momentum": 0.0}, 0.0),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize(("options", "displacement"), LOOKAHEAD)
@pytest.mark.parametrize(
    ("optimizers", "place"),
    [(fs, "processor"), (fs.reference, "processor"), (fs, "device")],
    indirect=["place"],
    ids=["fused", "reference", "device"],
)
def test_lookahead(optimizers, options, displacement, scheduled, dtype, place):
    """It is taken with the rate of the step to come."""
    start = np.full((2, 3), 64, dtype).T
    w = place.put(start)
    opt = optimizers.SGD({"net": [w]}, lr=RATES.__getitem__ if scheduled else RATES[0], **options)
    assert (place.get(opt.lookahead()["net"][0]) == start).all()
    for value in (1, 2):
        opt.step({"net": [place.put(np.full((2, 3), value, dtype).T)]})
        if not scheduled:
            opt.param_groups[0]["lr"] = RATES[value]
    before = place.get(w).copy(order="K")
    ahead = opt.lookahead()
    assert same_bytes(place.get(w), before)
    assert np.dtype(ahead["net"][0].dtype) == dtype
    assert ahead["net"][0].strides == w.strides
    assert (place.get(ahead["net"][0]) == before - displacement).all()


def test_lookahead_is_written_anew(place):
    params = [place.put(np.ones(3)), place.put(np.ones(2))]
    opt = fs.SGD([{"params": params}, {"params": {"w": place.put(np.ones(4))}, "lr": 0.25}], lr=0.5, momentum=0.5)
    first = opt.lookahead()
    assert isinstance(first, list)
    assert [type(entry) for entry in first] == [list, dict]
    assert first[0][0] is not params[0]
    opt.step([[place.put(np.ones(3)), place.put(np.ones(2))], {"w": place.put(np.ones(4))}])
    assert (place.get(first[0][0]) == 1).all()
    second = opt.lookahead()
    assert second[0][0] is first[0][0]
    assert second[1]["w"] is first[1]["w"]
    assert (place.get(first[0][0]) == 0.25).all()
    assert (place.get(first[1]["w"]) == 0.625).all(), "each group has its own rate"
    # A gradient taken there is one like every other.
    opt.step(first)
    opt.add(place.put(np.ones(5)))
    assert [type(entry) for entry in opt.lookahead()] == [list, dict, type(params[0])]


def test_lookahead_of_the_generic_method(place):
    groups = [{"params": place.put(np.ones(size))} for size in (3, 2)]
    groups[1] |= {"phi": "gradient", "psi": "sum", "eps": 0.0}
    opt = fs.Adaptive(groups, lr=0.5, phi="heavy_ball", momentum=0.5)
    sgd = fs.SGD(place.put(np.ones(3)), lr=0.5, momentum=0.5)
    opt.step([place.put(np.full(size, value)) for size, value in ((3, 1.0), (2, 2.0))])
    sgd.step(place.put(np.ones(3)))
    ahead, still = opt.lookahead()
    assert same_bytes(place.get(ahead), place.get(sgd.lookahead()))
    assert (place.get(ahead) == 0.25).all()
    assert (place.get(still) == 0.5).all(), "a group without momentum is not displaced"
    opt.add(place.put(np.ones(2)), psi="sum")
    with pytest.raises(TypeError, match=r"^Adaptive: lookahead needs phi='heavy_ball' or 'nesterov' and psi='one'"):
        opt.lookahead()
    of_groups = fs.Adaptive([{"params": place.put(np.ones(2)), "phi": "nesterov"}], lr=0.5)
    assert (place.get(of_groups.lookahead()[0]) == 1).all()
    of_groups.param_groups[0]["phi"] = "none"
    with pytest.raises(ValueError, match="Adaptive: phi must be one of 'gradient'"):
        of_groups.lookahead()


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adaptive_rates(place, dtype):
    """They are those of the last step: times the gradient, what it took from the parameters."""
    asked = []
    params = {"w": place.put(np.ones((2, 3), dtype)), "late": place.put(np.ones(2, dtype))}
    opt = fs.Adaptive(params, lr=lambda step: asked.append(step) or 1 / (step + 1), psi="sum", eps=0.5)
    with pytest.raises(ValueError, match=r"^Adaptive: adaptive_rate needs a step, got none so far$"):
        opt.adaptive_rate()
    assert not asked
    grad = np.arange(1, 7, dtype=dtype).reshape(2, 3)
    for step in range(3):
        before = place.get(params["w"]).copy()
        opt.step({"w": place.put(grad), "late": None})
        rates = opt.adaptive_rate()
        np.testing.assert_allclose(rates["w"], 1 / (step + 1) / (grad * np.sqrt(step + 1) + 0.5), rtol=1e-6)
        np.testing.assert_allclose(before - rates["w"] * grad, place.get(params["w"]), rtol=1e-5)
        assert np.isnan(rates["late"]).all()
    assert set(asked) == {0, 1, 2}
    opt.param_groups[0]["lr"] = 0.5
    np.testing.assert_allclose(opt.adaptive_rate()["w"], rates["w"] * 1.5, rtol=1e-6)
    opt.param_groups[0]["lr"] = -1.0
    with pytest.raises(ValueError, match="Adaptive: lr must be a finite number"):
        opt.adaptive_rate()


@pytest.mark.parametrize("name", [name for name in fs.reference.__all__ if name not in ("SGD", "Adaptive")])
def test_no_lookahead_without_a_momentum_buffer(name):
    with pytest.raises(TypeError, match=rf"^{name}: lookahead needs SGD, or Adaptive with a momentum buffer"):
        getattr(fs, name)(np.ones(3)).lookahead()


@pytest.mark.parametrize("options", [{}, {"phi": "ema"}, {"phi": "heavy_ball", "psi": "sum"}])
def test_no_lookahead_of_other_parts(options):
    with pytest.raises(TypeError, match=r"^Adaptive: lookahead needs phi='heavy_ball' or 'nesterov' and psi='one'"):
        fs.Adaptive(np.ones(3), **options).lookahead()


def test_lookahead_takes_changed_options(place):
    opt = fs.SGD({"w": place.put(np.ones(3))}, lr=0.1, momentum=0.5)
    opt.step({"w": place.put(np.ones(3))})
    opt.param_groups[0]["momentum"] = -5
    with pytest.raises(ValueError, match="momentum"):
        opt.lookahead()
    opt.param_groups[0]["momentum"] = 0.5
    assert np.allclose(place.get(opt.lookahead()["w"]), 0.85)


def test_lookahead_says_nothing_of_overflow():
    w = np.full(3, 3e38, np.float32)
    opt = fs.SGD(w, lr=1.0, momentum=0.9)
    with np.errstate(all="raise"):
        opt.step(np.full(3, -3e37, np.float32))
        assert np.isfinite(w).all()
        assert np.isinf(opt.lookahead()).all()


# Options that change between steps

#: (method, options, what changes after two steps, and again after four)
CHANGES = [
    ("SGD", {}, {"lr": 0.5}, {"lr": 0.25}),
    ("SGD", {}, {"momentum": 0.9}, {"momentum": 0.5, "nesterov": True}),
    ("SGD", {"momentum": 0.9}, {"momentum": 0}, {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9}, {"buffer": "lr_inside"}, {"buffer": "ema"}),
    ("SGD", {"momentum": 0.9, "dampening": 0.1}, {"dampening": 0.5}, {"maximize": True}),
    ("SGD", {}, {"weight_decay": 0.1}, {"decay": "decoupled"}),
    ("SGD", {"weight_decay": 0.1}, {"decay": "fully_decoupled", "max_lr": 0.5}, {"max_lr": 0.25}),
    ("Adagrad", {}, {"lr_decay": 0.5, "eps": 0.1}, {"eps_place": "inside"}),
    ("WindowedAdagrad", {"window": 3}, {"reduce": "mean"}, {"eps": 0.1}),
    ("RMSprop", {}, {"centered": True}, {"momentum": 0.9, "momentum_lr": "inside"}),
    ("Adadelta", {}, {"rho": 0.5}, {"eps": 0.1}),
    ("Adam", {}, {"betas": (0.5, 0.9)}, {"betas": [0.8, 0.99]}),
    ("Adam", {}, {"amsgrad": True}, {"amsgrad": False}),
    ("Adam", {"amsgrad": True}, {"amsgrad_order": "v_hat"}, {"bias_correction": False}),
    ("Adam", {"amsgrad": True, "amsgrad_order": "v_hat"}, {"eps_place": "hat", "eps_root": 0.1}, {"eps": 0.1}),
    ("AdamW", {}, {"weight_decay": 0.5}, {"lr": np.float32(0.25)}),
    ("RAdam", {}, {"below": "skip"}, {"rectify_after": 4, "eps_place": "outside"}),
    ("NAdam", {}, {"momentum_decay": 1.0}, {"betas": (0.5, 0.5)}),
    ("Adamax", {}, {"eps_place": "outside", "eps": 0.1}, {"lr": 1}),
    ("Lion", {}, {"betas": (0.5, 0.5)}, {"lr": 0.25}),
    ("AdaBelief", {}, {"eps": 0.1}, {"maximize": True}),
    ("Yogi", {}, {"eps": 0.1}, {"lr": lambda step: 1 / (1 + step)}),
    ("Adaptive", {"phi": "ema", "psi": "ema_max"}, {"amsgrad_order": "v_hat"}, {"eps_place": "hat"}),
    ("Adaptive", {}, fs.Adaptive([], psi="window", window=3).param_groups[0], {"reduce": "mean"}),
]


@pytest.mark.parametrize(("name", "options", "first", "second"), CHANGES)
def test_changed_options(name, options, first, second):
    """The next step has them; state that they call for is there, starting at its beginning."""
    rng = np.random.default_rng(8)
    w = random(rng, 50, np.float32)
    copy, still = w.copy(), w.copy()
    opt = getattr(fs, name)(w, lr=0.1, **options)
    reference = getattr(fs.reference, name)(copy, lr=0.1, **options)
    unchanged = getattr(fs, name)(still, lr=0.1, **options)
    for changes in ({}, first, second):
        for optimizer in (opt, reference):
            optimizer.param_groups[0].update(changes)
        for _ in range(2):
            grad = random(rng, 50, np.float32)
            opt.step(grad)
            reference.step(grad)
            unchanged.step(grad)
        assert same_bytes(w, copy)
        assert_same_state(opt, reference)
        assert same_bytes(w, still) == (not changes), "the change matters"


def test_states_of_changed_options_begin_as_ever():
    opt = fs.Adaptive(np.ones(3))
    opt.param_groups[0].update(fs.Adaptive([], psi="sum", initial_accumulator_value=4.0).param_groups[0])
    opt.step(np.ones(3))
    assert (opt.state["0"]["sum"] == 5).all()
    opt, reference = (kind.Adaptive(np.ones(3), phi="ema", psi="ema_max") for kind in (fs, fs.reference))
    for psi in ("ema_max", "window"):
        for one in (opt, reference):
            one.param_groups[0].clear()
            one.param_groups[0].update(fs.Adaptive([], phi="ema", psi=psi).param_groups[0])
            for step in range(5):
                one.step(np.array([0.5, 2.0, 3.0]) * (step + 1))
    assert_same_state(opt, reference)


def test_change_by_hand():
    """In numbers that need no reference, one group changed and the other not."""
    a, b = np.ones(3), np.ones(3)
    opt = fs.SGD([{"params": a}, {"params": b}], lr=0.25)
    ones = [np.ones(3), np.ones(3)]
    opt.step(ones)
    opt.param_groups[1]["lr"] *= 2
    opt.step(ones)
    assert (a == 0.5).all()
    assert (b == 0.25).all()


def test_schedulers_may_leave_their_mark():
    """torch's schedulers write `initial_lr` into the groups."""
    w = np.ones(3)
    opt = fs.SGD(w, lr=0.25)
    opt.param_groups[0]["initial_lr"] = 0.25
    opt.param_groups[0]["lr"] = 0.5
    opt.step(np.ones(3))
    assert (w == 0.5).all()
    opt.load_state_dict(opt.state_dict())  # which leaves it out
    assert opt.param_groups[0]["initial_lr"] == 0.25


def test_replaced_group_is_not_ignored():
    """Whoever puts another dict into the list means it: it holds, or it is an error."""
    w = np.ones(3)
    opt = fs.SGD(w, lr=0.25)
    opt.param_groups[0] = {**opt.param_groups[0], "lr": 0.5}
    refused = ""
    try:
        opt.step(np.ones(3))
    except ValueError as error:
        refused = str(error)
    assert (w == (1.0 if "param_groups" in refused else 0.5)).all()


@pytest.mark.parametrize("change", [list.pop, list.clear, lambda groups: groups.append(dict(groups[0]))])
def test_list_of_groups_keeps_its_length(change):
    w = np.ones(3)
    opt = fs.SGD([{"params": w}, {"params": np.ones(2)}], lr=0.25)
    change(opt.param_groups)
    with pytest.raises((TypeError, ValueError), match="param_groups"):
        opt.step([np.ones(3), np.ones(2)])
    assert (w == 1).all()


def test_list_of_groups_stays_the_same_list():
    """Another one would not be looked at."""
    opt = fs.SGD(np.ones(3), lr=0.25)
    groups = opt.param_groups
    with pytest.raises(AttributeError, match=r"^SGD: param_groups must be changed in place, got a new list$"):
        opt.param_groups = [{**groups[0], "lr": 0.5}]
    assert opt.param_groups is groups


# Schedules


def test_schedule_counts_steps_done():
    """From 0, once in a step, and not where a step was refused; a parameter that skips does not matter."""
    asked = []

    def schedule(step):
        asked.append(step)
        return 0.5**step

    a, b = np.zeros(3), np.zeros(3)
    opt = fs.SGD([a, b], lr=schedule)
    opt.step([np.ones(3), None])
    with pytest.raises(ValueError, match="shape"):
        opt.step([np.ones(3), np.ones(4)])
    opt.step([np.ones(3), np.ones(3)])
    opt.step([None, np.ones(3)])
    assert asked == [0, 1, 2]
    assert (a == -1.5).all()
    assert (b == -0.75).all()


def test_schedules_of_groups():
    a, b, c = np.zeros(3), np.zeros(3), np.zeros(3)
    groups = [{"params": a, "lr": lambda step: 1.0 + step}, {"params": b}, {"params": c, "lr": lambda step: 0}]
    opt = fs.SGD(groups, lr=0.5)
    for _ in range(3):
        opt.step([np.ones(3)] * 3)
    assert (a == -6).all()
    assert (b == -1.5).all()
    assert (c == 0).all()


def test_schedule_given_between_steps():
    """It begins with the steps that are done."""
    w = np.zeros(3)
    opt = fs.SGD(w, lr=1.0)
    opt.step(np.ones(3))
    opt.param_groups[0]["lr"] = lambda step: 10.0**step
    opt.step(np.ones(3))
    opt.param_groups[0]["lr"] = 100.0
    opt.step(np.ones(3))
    assert (w == -111).all()


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
