"""Arrays that share memory are refused where one of them is written to."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fusedstep as fs

from cases import frozen
from scenes import LR, Scene, assert_refused, small, table

OVERLAP = r"^(SGD|Adam): .+ and .+ must not overlap in memory, got arrays that share \d+ bytes$"

#: (what, parameters cut from 64 float32, the two that overlap, by how many bytes)
SHARED_PARAMS = [
    ("the same", lambda b: [b, b], "params[0]", "params[1]", 256),
    ("equal views", lambda b: [b[:8], b[:8]], "params[0]", "params[1]", 32),
    ("one element", lambda b: [b[:8], b[7:15]], "params[0]", "params[1]", 4),
    ("one element, the later first", lambda b: [b[7:15], b[:8]], "params[1]", "params[0]", 4),
    ("inside", lambda b: [b[:16], b[4:6]], "params[0]", "params[1]", 8),
    ("around", lambda b: [b[4:6], b[:16]], "params[1]", "params[0]", 8),
    ("not neighbours", lambda b: [b[:4], b[8:12], b[16:20], b[2:6]], "params[0]", "params[3]", 8),
    ("a scalar", lambda b: [b[3:4].reshape(()), b[:8]], "params[1]", "params[0]", 4),
    ("another dtype", lambda b: [b[:8], b.view(np.float64)[3:6]], "params[0]", "params[1]", 8),
    ("another layout", lambda b: [b[:12].reshape(3, 4), b[:12].reshape(4, 3).T], "params[0]", "params[1]", 48),
    ("a dict", lambda b: {"v": b[:8], "n": {"w": b[6:9]}}, "params['v']", "params['n']['w']", 8),
    ("groups", lambda b: [{"params": [b[:8]]}, {"params": [b[:8]]}], "params[0][0]", "params[1][0]", 32),
]


@pytest.mark.parametrize(("tree", "one", "other", "size"), **table(SHARED_PARAMS))
def test_parameters_that_overlap(tree, one, other, size):
    base = small(64)
    before = base.tobytes()
    with pytest.raises(ValueError, match="overlap") as caught:
        fs.SGD(tree(base), lr=LR)
    message = str(caught.value)
    facts = re.fullmatch(r"SGD: (.+) and (.+) must not overlap in memory, got arrays that share (\d+) bytes", message)
    assert facts, message
    assert {facts[1], facts[2]} == {one, other}
    assert int(facts[3]) == size
    assert base.tobytes() == before


def test_parameters_that_touch():
    """Neighbours are no overlap, and an empty array overlaps nothing."""
    base = small(64)
    fs.SGD([base[:8], base[8:9], base[4:4], base[9:]], lr=LR)


#: (what, memory for Adam's state of a: 8 and b: 8, cut from what the parameters do not use or do)
SHARED_MEMORY = [
    ("its parameter", lambda a, b, m: {"a": {"exp_avg": a}}),
    ("another parameter", lambda a, b, m: {"a": {"exp_avg_sq": b}}),
    ("part of a parameter", lambda a, b, m: {"b": {"exp_avg": np.ndarray(8, np.float32, a.base, 4 * 4)}}),
    ("two states", lambda a, b, m: {"a": {"exp_avg": m[:8], "exp_avg_sq": m[:8]}}),
    ("parts of two states", lambda a, b, m: {"a": {"exp_avg": m[:8], "exp_avg_sq": m[7:15]}}),
    ("two parameters' states", lambda a, b, m: {"a": {"exp_avg": m[7:15]}, "b": {"exp_avg": m[:8]}}),
]


@pytest.mark.parametrize("groups", [False, True], ids=["dict", "groups"])
@pytest.mark.parametrize("make", **table(SHARED_MEMORY))
def test_memory_that_overlaps(make, groups):
    base, m = small(64), np.full(64, 77, np.float32)
    a, b = base[:8], base[8:16]
    before = frozen([base, m])
    params = [{"params": {"a": a}}, {"params": {"b": b}}] if groups else {"a": a, "b": b}
    with pytest.raises(ValueError, match=OVERLAP):
        fs.Adam(params, lr=LR, memory=make(a, b, m))
    assert frozen([base, m]) == before


#: (what, the parameters that are added and memory for them; w and v are the optimizer's, m its state of w)
SHARED_ADDED = [
    ("a parameter", lambda w, v, m: ({"new": w}, {})),
    ("another parameter", lambda w, v, m: ({"new": small(3), "b": v}, {})),
    ("a part", lambda w, v, m: ({"new": w[1:]}, {})),
    ("state", lambda w, v, m: ({"new": m}, {})),
    ("part of the state", lambda w, v, m: ({"new": m[2:4]}, {})),
    ("memory in a parameter", lambda w, v, m: ({"new": small(5)}, {"new": {"momentum_buffer": w[:5]}})),
    ("memory in state", lambda w, v, m: ({"new": small(5)}, {"new": {"momentum_buffer": m[3:8]}})),
    ("memory in the new", lambda w, v, m: ({"a": (a := small(5)), "b": small(5)}, {"b": {"momentum_buffer": a}})),
]


@pytest.mark.parametrize("make", **table(SHARED_ADDED))
def test_added_overlaps(make):
    scene = Scene({"w": small(8), "v": small(8)})
    params, memory = make(scene.tree["w"], scene.tree["v"], scene.opt.state["w"]["momentum_buffer"])
    before = scene.snapshot()
    with pytest.raises(ValueError, match=OVERLAP):
        scene.opt.add(params, memory=memory)
    assert scene.snapshot() == before
    scene.go_on()


def test_added_overlaps_have_two_names():
    """Parameters that are there are named with their group."""
    w = small(8)
    for tree, own in ((w, "params[0]"), ([w], "params[0][0]"), ({"w": w}, "params[0]['w']")):
        for added, name in ((w, "params"), ([w], "params[0]"), ({"w2": w}, "params['w2']")):
            says = re.escape(f"SGD: {own} and {name} must not overlap in memory, got arrays that share 32 bytes")
            with pytest.raises(ValueError, match=f"^{says}$"):
                fs.SGD(tree, lr=LR).add(added)


#: (what, the gradient of w, made of w, v and the optimizer's state; whose memory it shares)
SHARED_GRADS = [
    ("its parameter", lambda w, v, state: w, "params['w']"),
    ("a view of it", lambda w, v, state: w[:], "params['w']"),
    ("another parameter", lambda w, v, state: v, "params['v']"),
    ("the end of one", lambda w, v, state: np.ndarray(8, np.float32, w.base, 4 * 7), "params['w']"),
    ("the beginning of one", lambda w, v, state: np.ndarray(8, np.float32, w.base, 4 * 1), "params['w']"),
    ("its own state", lambda w, v, state: state["w"]["ring"][1], "state['w']['ring']"),
    ("its running sum", lambda w, v, state: state["w"]["sum"], "state['w']['sum']"),
    ("another's state", lambda w, v, state: state["v"]["sum"], "state['v']['sum']"),
    ("two planes of state", lambda w, v, state: state["v"]["ring"].reshape(-1)[4:12], "state['v']['ring']"),
]


@pytest.mark.parametrize("bound", [False, True], ids=["step", "bind"])
@pytest.mark.parametrize(("make", "whose"), **table(SHARED_GRADS))
def test_gradients_that_overlap(make, whose, bound):
    base = small(64)
    scene = Scene({"w": base[4:12], "v": base[16:24]}, "WindowedAdagrad", window=3)
    grads = scene.grads()
    grads["w"] = make(scene.tree["w"], scene.tree["v"], scene.opt.state)
    call = scene.opt.bind if bound else scene.opt.step
    for _ in range(2):  # no second try slips through
        scene.refuses(
            lambda: call(grads),
            ValueError,
            "grads['w']",
            f"not overlap {whose} in memory",
            "shares its memory",
            name="WindowedAdagrad",
        )


def test_overlaps_that_come_later():
    """A good gradient becomes a parameter, or reaches further, or a parameter's state is made anew."""
    scene = Scene({"w": small(8)})
    grad = small(8)
    scene.opt.step({"w": grad})
    scene.twin.step({"w": grad})
    scene.opt.add({"v": grad})
    before = scene.snapshot()
    assert_refused(
        lambda: scene.opt.step([{"w": grad}, {"v": small(8)}]),
        ValueError,
        "grads[0]['w']",
        "['v'] in memory",
        "shares its memory",
    )
    assert scene.snapshot() == before
    opt = fs.SGD({"w": small(8)}, lr=LR)
    opt.param_groups[0]["momentum"] = 0.9
    opt.step({"w": small(8)})
    grad = opt.state["w"]["momentum_buffer"]
    assert_refused(
        lambda: opt.step({"w": grad}),
        ValueError,
        "grads['w']",
        "not overlap state['w']['momentum_buffer']",
        "shares its memory",
    )
    memory = np.zeros(4)
    opt = fs.SGD(memory.view(np.float32)[4:], lr=LR)
    opt.step(memory.view(np.float32)[:4])
    assert_refused(lambda: opt.step(memory), ValueError, "grads", "not overlap params in memory", "shares its memory")


def test_overlaps_of_one_byte():
    """Codes begin and end anywhere."""
    size = 4098
    memory, w = np.zeros(5 * size, np.uint8), np.ones(size, np.float32)
    states = {"exp_avg": memory[:size].view(np.int8), "exp_avg_sq": memory[size - 1 : 2 * size - 1]}
    with pytest.raises(ValueError, match="share 1 bytes"):
        fs.Adam(w, state="sq8", memory={"0": states})
    codes = memory[2 * size - 1 : 3 * size - 1].view(np.int8)
    opt = fs.Adam(w, state="sq8", memory={"0": {"exp_avg": codes}})
    for grad in (memory[: 2 * size], memory[3 * size - 2 : 5 * size - 2]):
        with pytest.raises(ValueError, match=r"grads must not overlap state\['0'\]\['exp_avg'\] in memory"):
            opt.step(grad.view(np.float16))


def test_overlaps_with_what_came_in_another_order():
    """Parameters that are added may lie before those that are there."""
    memory = np.zeros(30)
    first, second, third = memory[:2], memory[10:12], memory[20:22]
    opt = fs.SGD({"c": third}, lr=LR)
    opt.add({"b": second})
    opt.add({"a": first})
    with pytest.raises(ValueError, match=r"grads\[0\]\['c'\] must not overlap params\[1\]\['b'\] in memory"):
        opt.step([{"c": memory[10:12]}, {"b": None}, {"a": None}])


def test_memory_that_was_let_go():
    """State that is no longer called for claims nothing: its memory may become a gradient."""
    memory = np.zeros(8, np.float32)
    opt = fs.SGD({"w": small(8)}, lr=LR, momentum=0.9, memory={"w": {"momentum_buffer": memory}})
    opt.param_groups[0]["momentum"] = 0.0
    opt.step({"w": small(8)})
    opt.step({"w": memory})
    assert opt.state["w"]["step"] == 2
