"""Steps on a CUDA device: the same bits as on the processor, counters that the device keeps, and clear errors.

Where there is no device, the processor plays one (cpp/tests/simulated): the same table, the same kernels' lines.
"""

from __future__ import annotations

import copy
import math
import os
import pickle
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import _core
from fusedstep.bfloat16 import bits_of

from cases import CASES, IDS, random, same_bytes
from places import SOURCE
from twins import SHAPES, Shifted, clone, on, spoiled, start

STEPS = 1000


# The same bits


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_a_thousand_steps(twins, name, options):
    """Through every phase of every method: the first steps, warm-ups, rings that close, averages that are full."""
    pair = twins(name, options)
    # Put there beforehand: memory that comes and goes is waited for, and these steps are to queue up.
    here = [start(seed) for seed in range(1, 98)]
    there = [on(pair.device, grads) for grads in here]
    for t in range(STEPS):
        pair.kernel.step(here[t % 97])
        pair.other.step(there[t % 97])
    pair.check()


def test_gradients_come_and_go(twins):
    """Each tensor counts for itself, so that numbers differ from tensor to tensor; NAdam carries a product as well."""
    for name in ("RAdam", "NAdam", "Adam"):
        rng, pair = np.random.default_rng(1), twins(name, {"lr": 0.1})
        for t in range(40):
            grads = start(t + 1)
            for key in grads:
                if rng.random() < 0.3:
                    grads[key] = None
            pair.step(grads)
            pair.check()
        assert len({entry["step"] for entry in pair.other.state.values()}) > 1


def test_groups_of_several_types_and_options(device):
    rng = np.random.default_rng(2)
    shapes = [(300,), (70, 3), (9000,), ()]
    types = [np.float32, np.float64, np.float32, np.float64]
    here = [random(rng, shape, dtype) for shape, dtype in zip(shapes, types, strict=True)]
    there = [device.put(array) for array in here]

    def made(arrays):
        return fs.Adam(
            [
                {"params": arrays[:2], "lr": 0.1, "weight_decay": 0.1},
                {"params": arrays[2:], "betas": (0.5, 0.75), "amsgrad": True},
            ]
        )

    pair = made(here), made(there)
    pair[0].add(added := random(rng, 5000, np.float32), lr=0.3)
    pair[1].add(elsewhere := device.put(added), lr=0.3)
    for t in range(9):
        if t == 4:
            for optimizer in pair:
                optimizer.param_groups[1]["lr"] = 0.01
                optimizer.param_groups[0]["amsgrad"] = True
                optimizer.param_groups[2]["betas"] = (0.0, 0.5)
        grads = [random(rng, array.shape, array.dtype) for array in (*here, added)]
        for optimizer, put in zip(pair, (lambda array: array, device.put), strict=True):
            gs = [put(grad) for grad in grads]
            optimizer.step([gs[:2], gs[2:4], gs[4]])
    for actual, expected in zip((*there, elsewhere), (*here, added), strict=True):
        assert same_bytes(device.get(actual), expected)


@pytest.mark.parametrize("by", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_that_cannot_be_read_sixteen_bytes_at_a_time(device, by, dtype):
    rng, room = np.random.default_rng(by), 20_000
    values, grads = random(rng, room, dtype), random(rng, room, dtype)
    for size in (1, 3, 127, 128, 131, 8191, 8195, room - 4):
        here = values.copy()
        whole, grad = device.put(values), device.put(grads)
        part = slice(by, by + size)
        pair = fs.Adam(here[part], lr=0.1), fs.Adam(Shifted(whole, by, size), lr=0.1)
        for _ in range(3):
            pair[0].step(grads[part])
            pair[1].step(Shifted(grad, by, size))
        assert same_bytes(device.get(whole), here)  # what lies before and behind too


@pytest.mark.parametrize("offset", [0, 1, 2, 128, 4095, 4096, 5000, 2**32 - 3, 2**32 - 4096 - 128])
def test_shards_take_the_random_bits_of_the_whole(device, offset):
    rng = np.random.default_rng(3)
    values, grad = random(rng, 9000, np.float32), random(rng, 9000, np.float32)
    here, there = values.astype(np.float16), device.put(values.astype(np.float16))
    options = {"rounding": "stochastic", "extents": {"0": (offset, 2**33)}, "lr": 0.01}
    if offset % 128 == 0:
        options["state"] = "sq8"
    pair = fs.Adam(here, **options), fs.Adam(there, **options)
    for _ in range(3):
        pair[0].step(grad)
        pair[1].step(device.put(grad))
    assert same_bytes(device.get(there), here)


def test_functions(device):
    rng = np.random.default_rng(4)
    here = [random(rng, 300, np.float32), *(np.zeros(300, np.float32) for _ in range(2))]
    there = [device.put(array) for array in here]
    for t in (1, 2, 3):
        grad = random(rng, 300, np.float32)
        fs.functional.adam_(here[0], grad, *here[1:], step=t, lr=0.1)
        fs.functional.adam_(there[0], device.put(grad), *there[1:], step=t, lr=0.1)
    for actual, expected in zip(there, here, strict=True):
        assert same_bytes(device.get(actual), expected)


def test_every_significand(device):
    """Tensors of codes make roots and quotients of approximations on a GPU: here of some of the floats in [1, 2) and of
    their squares, there of all."""
    begin, end = np.float32([1, 2]).view(np.uint32)
    floats = np.arange(begin, end, 509 if device.simulation else 1, np.uint32).view(np.float32)
    rng = np.random.default_rng(5)
    here = random(rng, floats.size, np.float32)
    there = device.put(here)
    pair = [fs.AdamW(param, state="sq8") for param in (here, there)]
    # The floats themselves, so that v's are spread over two binades; then any two behind each other
    for grad in (floats, *(rng.permutation(floats) * sign for sign in (1, -1, 1))):
        pair[0].step(grad)
        pair[1].step(device.put(grad))
        assert same_bytes(device.get(there), here)


#: Roots and a divisor that Newton's steps miss from an approximation that is off by one unit of its last place
ROOTS = [float.fromhex(x) for x in ("0x1.9a2854p1", "0x1.b5c076p1", "0x1.dd26e4p1", "0x1.f82294p0")]
DIVISOR = float.fromhex("0x1.fffffep0")


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        # Of squares that vanish, ε is all that is under the root.
        *(("Adam", {"lr": 1e30, "eps": x, "eps_place": "inside", "bias_correction": False}, 1e-30) for x in ROOTS),
        ("Adamax", {"lr": 1 / DIVISOR, "betas": (0.0, 0.9), "eps": 0.0, "eps_place": "outside"}, DIVISOR),
    ],
)
def test_hard_roots_and_quotients(device, name, options, size):
    here = np.zeros(8192, np.float32)
    there = device.put(here)
    grad = np.float32(size) * np.linspace(1, 2, 8192, dtype=np.float32)
    for param, own in ((here, grad), (there, device.put(grad))):
        getattr(fs, name)(param, state="sq8", **options).step(own)
    assert (here < 0).all()
    assert same_bytes(device.get(there), here)


def test_runs_of_chunks(device):
    """So many of one tensor that blocks take several behind each other, but not those that 2^32 lies between."""
    if not device.simulation:
        pytest.skip("a GPU needs more of them: bench/gpu.py compares its results")
    rng, size = np.random.default_rng(6), 2_200_000
    for extent in ({}, {"extents": {"0": (2**32 - 8192 * 129, 2**33)}}):
        for state in ("float32", "sq8"):
            pattern = random(rng, 999_983, np.float32)
            sizes = (size, 8192 * 3 + 5, 1)
            pair = [[np.resize(pattern, n) for n in sizes]]
            pair.append([device.put(array) for array in pair[0]])
            own = [fs.RMSprop(arrays, state=state, **extent) for arrays in pair]
            grads = [np.resize(pattern[::-1], n) for n in sizes]
            own[0].step(grads)
            own[1].step([device.put(grad) for grad in grads])
            for expected, actual in zip(*pair, strict=True):
                assert same_bytes(device.get(actual), expected)
            for name, entry in own[0].state.items():
                assert same_bytes(device.get(own[1].state[name]["square_avg"]), entry["square_avg"])


def test_more_than_2_31_elements(device):
    if device.simulation:
        pytest.skip("needs 17 GB on a GPU")
    size, window = 2**31 + 4099, 5000
    param, grad = (fs.cuda.Array((size,), (4,), "float32", 0) for _ in range(2))
    tail = Shifted(param, size - window, window)
    fs.SGD(tail, lr=1.0).step(fs.cuda.Array.of(np.full(window, -1.0, np.float32)))
    fs.SGD(param, lr=1.0, weight_decay=0.5).step(grad)
    assert (fs.cuda.to_host(tail) == 0.5).all()
    assert (fs.cuda.to_host(Shifted(param, 0, window)) == 0).all()


def test_stages_that_change_while_the_arrays_stay(twins):
    pair = twins("Adam", {"lr": 0.1})
    here, there = start(1), on(pair.device, start(1))
    for stages in ({}, {"clip_value": 0.5}, {"clip_value": 0.25}, {"max_norm": 0.1}, {"zero_grad": True}, {}):
        pair.kernel.step(here, **stages)
        pair.other.step(there, **stages)
        pair.check()


#: The types of parameters and of their momentum, and how the former are rounded.
STORED = [
    (np.float32, {}),
    (np.float64, {"state": "float32"}),
    (np.float16, {"state": "float16"}),
    (np.float16, {"rounding": "kahan"}),
    (fs.as_bfloat16, {"state": "bfloat16", "rounding": "kahan"}),
    (fs.as_bfloat16, {"rounding": "remainder"}),
    (fs.as_bfloat16, {"state": "sq8"}),
    (np.float32, {"state": "sq8", "buffer": "lr_inside"}),
]


def stored(values, kind):
    return kind((values.view(np.uint32) >> 16).astype(np.uint16)) if kind is fs.as_bfloat16 else values.astype(kind)


@pytest.mark.parametrize(("kind", "options"), STORED, ids=lambda value: getattr(value, "__name__", str(value)))
def test_where_momentum_leads(device, kind, options):
    """In every storage; across chunks and rows, in shards, and in arrays that begin anywhere."""
    rng, sizes, offset = np.random.default_rng(9), (20_000, 4096, 131, 0, 1), 128 * 77
    values = [random(rng, size, np.float32) for size in (*sizes, 9000)]
    options = {"lr": 0.3, "momentum": 0.9, "extents": {str(len(sizes)): (offset, 2**33)}, **options}
    pairs = [[stored(value, kind) for value in values]]
    pairs.append([device.put(array) for array in pairs[0]])
    pair = [fs.SGD(arrays, **options) for arrays in pairs]
    for t in range(4):
        for optimizer in pair:
            optimizer.param_groups[0]["lr"] = 0.3 / (1 + t)
        for actual, expected in zip(*(opt.lookahead() for opt in reversed(pair)), strict=True):
            assert same_bytes(bits_of(device.get(actual)), bits_of(expected))
        grads = [random(rng, value.size, np.float32) for value in values]
        pair[0].step(grads)
        pair[1].step([device.put(grad) for grad in grads])
    ahead = pair[1].lookahead()[0]
    assert not same_bytes(bits_of(device.get(ahead)), bits_of(device.get(pairs[1][0])))


@pytest.mark.parametrize("by", [1, 2, 4])
def test_where_momentum_leads_from_odd_places(device, by):
    rng = np.random.default_rng(by)
    values, velocity = random(rng, 9000, np.float32), random(rng, 9000, np.float32)
    here, whole, buffer = values.copy(), device.put(values), device.put(velocity)
    part = slice(by, by + 8500)
    memory = velocity[part].copy(), Shifted(buffer, 3, 8500)
    fs.cuda.to_device(memory[1], velocity[part])
    pair = [
        fs.SGD({"w": param}, lr=0.1, momentum=0.9, memory={"w": {"momentum_buffer": own}})
        for param, own in zip((here[part], Shifted(whole, by, 8500)), memory, strict=True)
    ]
    for t in range(2):
        grad = random(np.random.default_rng(t), 8500, np.float32)
        pair[0].step({"w": grad})
        pair[1].step({"w": device.put(grad)})
    assert same_bytes(device.get(pair[1].lookahead()["w"]), pair[0].lookahead()["w"])
    assert same_bytes(device.get(whole), here)


def test_parameters_without_any_momentum_are_copied(twins):
    pair = twins("SGD", {"lr": 0.1})
    pair.step(start(1))
    for key, ahead in pair.other.lookahead().items():
        assert same_bytes(pair.device.get(ahead), pair.here[key])
    assert pair.other.lookahead()["w"] is not pair.there["w"]


# Counting


@pytest.mark.parametrize("name", ["SGD", "RAdam", "NAdam", "WindowedAdagrad"])
def test_skipped_steps_leave_everything_and_are_counted(twins, name):
    pair = twins(name, {"lr": 0.1})
    for t in range(30):
        grads = start(t + 1)
        pair.step(spoiled(grads) if t % 3 == 1 else grads, on_nonfinite="skip")
    assert pair.other.skipped == 10
    pair.check()
    for t in range(10):
        pair.step(start(t + 50))
    pair.check()


def test_norms_that_the_caller_knows(twins):
    pair = twins("Adam", {"lr": 0.1})
    for norm in (3.0, math.inf, 0.5):
        pair.step(start(1), norm=norm, max_norm=1.0, on_nonfinite="skip")
        pair.check()
    assert pair.other.skipped == 1


def test_what_is_raised_has_changed_nothing(twins):
    pair = twins("Adam", {"lr": 0.1})
    pair.step(start(1), on_nonfinite="raise")
    for optimizer, grads in ((pair.kernel, spoiled(start(2))), (pair.other, on(pair.device, spoiled(start(2))))):
        with pytest.raises(FloatingPointError, match="Adam: grads must be finite with on_nonfinite='raise'"):
            optimizer.step(grads, on_nonfinite="raise")
    assert pair.other.skipped == 0
    pair.check()
    pair.step(start(3), max_norm=0.1)
    pair.check()


def test_schedules_are_called_with_the_steps_that_happened(device):
    seen = {"here": [], "there": []}

    def noted(where):
        return lambda t: seen[where].append(t) or 0.1 / (1 + t)

    here, there = start(), on(device, start())
    pair = fs.SGD(here, lr=noted("here")), fs.SGD(there, lr=noted("there"))
    for t in range(6):
        grads = spoiled(start(t)) if t in (1, 4) else start(t)
        pair[0].step(grads, on_nonfinite="skip")
        pair[1].step(on(device, grads), on_nonfinite="skip")
    assert seen["here"] == seen["there"] == [0, 1, 1, 2, 3, 3]
    assert same_bytes(device.get(there["w"]), here["w"])


def test_windows_whose_rate_changes(twins):
    pair = twins("WindowedAdagrad", {"window": 3})
    for t in range(5):
        for optimizer in (pair.kernel, pair.other):
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + t)
        pair.step(start(t))
    pair.check()


# State


def test_state_moves_between_processor_and_device(device):
    """A run that changes its place every few steps goes on as the one that stays."""
    for name, options in (("Adam", {"state": "sq8"}), ("RAdam", {}), ("NAdam", {}), ("WindowedAdagrad", {"window": 3})):
        stays = {"w": random(np.random.default_rng(5), 5000, np.float32)}
        moves = clone(stays)
        expected = getattr(fs, name)(stays, lr=0.1, **options)
        saved, there = None, False
        for t in range(12):
            if t % 3 == 0:
                there = not there
                held = on(device, moves) if there else moves
                moving = getattr(fs, name)(held, lr=0.1, **options)
                if saved:
                    moving.load_state_dict(saved)
            grads = {"w": random(np.random.default_rng(t), 5000, np.float32)}
            expected.step(grads)
            moving.step(on(device, grads) if there else grads)
            saved = moving.state_dict()
            if there:
                moves = {key: device.get(value) for key, value in held.items()}
        assert same_bytes(moves["w"], stays["w"])
        assert all(isinstance(value, (int, np.ndarray)) for value in saved["state"]["w"].values())


@pytest.mark.parametrize("again", [copy.deepcopy, lambda opt: pickle.loads(pickle.dumps(opt))], ids=["copy", "pickle"])
def test_copies(device, again):
    there = on(device, start())
    first = fs.Adam(there, lr=0.1, weight_average=0.9)
    first.step(on(device, start(1)), on_nonfinite="skip")
    second = again(first)
    for optimizer in (first, second):
        optimizer.step(on(device, start(2)))
    states = first.state_dict()["state"], second.state_dict()["state"]
    for key in SHAPES:
        for name in ("exp_avg", "exp_avg_sq", "average"):
            assert same_bytes(states[0][key][name], states[1][key][name])
    assert second.state["w"]["step"] == 2
    second.step(on(device, start(3)))
    assert first.state["w"]["step"] == 2


def test_state_lies_on_the_device_and_is_live(device):
    there = on(device, start())
    opt = fs.Adam(there, lr=0.1)
    moment = opt.state["w"]["exp_avg"]
    assert isinstance(moment, fs.cuda.Array)
    opt.step(on(device, start(1)))
    assert np.asarray(moment).any()
    assert same_bytes(np.asarray(moment), fs.cuda.to_host(moment))
    with pytest.raises(ValueError, match="must be copied"):
        np.asarray(moment, copy=False) if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else moment.__array__(
            copy=False
        )


def test_streams(device):
    array = device.put(start()["w"])
    assert fs.cuda.current_stream(array) == 0
    with fs.cuda.use_stream(77):
        assert fs.cuda.current_stream(array) == 77
    assert fs.cuda.current_stream(array) == 0


def test_what_only_the_processor_can_do(device):
    there = device.put(start()["w"])
    with pytest.raises(
        TypeError, match="the reference needs arrays in the memory of the processor, got ones on cuda:0"
    ):
        fs.reference.SGD(there).step(device.put(start()["w"]))
    with pytest.raises(TypeError, match="stats: the reference needs arrays in the memory of the processor"):
        fs.reference.stats(there)


def test_arrays_of_the_device(device):
    values = fs.as_bfloat16(np.arange(6, dtype=np.uint16).reshape(2, 3))
    array = fs.cuda.Array.of(values)
    assert repr(array) == "fusedstep.cuda.Array(shape=(2, 3), dtype=bfloat16, device=0)"
    assert isinstance(fs.cuda.to_host(array), type(values))
    assert (fs.cuda.to_host(array).view(np.ndarray) == values.view(np.ndarray)).all()
    assert array.nbytes == 12
    assert not np.asarray(fs.cuda.Array((1000,), (4,), "float32", 0)).any()
    again = pickle.loads(pickle.dumps(array))
    assert (fs.cuda.to_host(again).view(np.ndarray) == values.view(np.ndarray)).all()
    ones = fs.cuda.Array.of(fs.as_bfloat16(np.full(3, 0x3F80, np.uint16)))
    assert (np.asarray(ones, dtype=np.float32) == 1).all()
    with pytest.raises(ValueError, match=r"values must have shape \(3,\) and dtype bfloat16, got \(1,\) and bfloat16"):
        fs.cuda.to_device(ones, fs.as_bfloat16(np.zeros(1, np.uint16)))
    with pytest.raises(ValueError, match=r"dtype bfloat16, got .* and float32"):
        fs.cuda.to_device(ones, np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="must be on a CUDA device, got BFloat16"):
        fs.cuda.to_host(values)


# Without a device


def alone(code):
    """A process in which nothing of CUDA is loaded yet."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads what a process has mapped")
def test_nothing_of_cuda_is_loaded_until_an_array_asks():
    code = "import numpy as np, fusedstep as fs; fs.SGD(np.ones(3)).step(np.ones(3))"
    assert "cuda" not in alone(code + "; print(open('/proc/self/maps').read())")


def test_why_not():
    code = "import fusedstep as fs; print(fs.cuda.available(), fs.cuda.device_count(), fs.cuda.why_not())"
    available, count, reason = alone(code).split(maxsplit=2)
    if available == "True":
        assert int(count) > 0
        assert reason.strip() == "None"
    else:
        assert count == "0"
        assert any(fact in reason for fact in ("no part for CUDA", "no driver", "no GPU"))


def test_without_the_compiled_part(tmp_path):
    with pytest.raises(RuntimeError, match="this build of fusedstep has no part for CUDA"):
        fs.cuda.load(tmp_path / "fusedstep_cuda.so")


def test_a_library_of_another_build_is_not_called(tmp_path, monkeypatch):
    """It is found where ours would be, has a function, and whoever called that would be lost."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if not compiler:
        pytest.skip("a compiler is not there")
    library, source = tmp_path / "fusedstep_cuda.so", tmp_path / "old.cpp"
    name = "fusedstep_backend_" + "0" * 16
    source.write_text(
        f'extern "C" void* fusedstep_backend() {{ return 0; }}\nextern "C" void* {name}() {{ return 0; }}'
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    code = f"""
import functools, pathlib, fusedstep as fs
fs.cuda.load = functools.partial(fs.cuda.load, pathlib.Path({str(library)!r}))
print(fs.cuda.available(), fs.cuda.why_not())
"""
    told = alone(code)
    assert told.startswith("False fusedstep_cuda.so must be of the same build as fusedstep's module, got another's")
    assert str(library) in told


@pytest.mark.parametrize("room", ["rules", "storage", "methods", "kernel"])
def test_other_headers_make_another_build(room, tmp_path):
    """A change of any file that the two sides share."""
    if not shutil.which("cmake"):
        pytest.skip("cmake is not there")
    tree, folder = tmp_path / "cpp", tmp_path / "build"
    shutil.copytree(SOURCE, tree)

    def configured():
        subprocess.run(["cmake", "-S", tree, "-B", folder, "-DFUSEDSTEP_CUDA=OFF"], check=True, capture_output=True)
        return re.search(r'"(fusedstep_backend_\w{16})"', (folder / "backend_name.hpp").read_text())[1]

    assert configured() == _core.backend_name
    header = sorted((tree / room).glob("*.hpp"))[-1]
    header.write_text(header.read_text() + "// another\n")
    assert configured() != _core.backend_name
