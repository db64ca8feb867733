"""What gradients are like: the same bits as NumPy's on every target and with any number of threads."""

from __future__ import annotations

import math
import subprocess
import sys
import threading

import numpy as np
import pytest

import fusedstep as fs

from cases import random
from places import PLACES

DTYPES = ["float32", "float64", "float16", "bfloat16"]

#: What bits can be: zeros, subnormals, the ends of the range, what is not finite.
EXTREMES = {
    "float32": [0, 1, 0x7FFFFF, 0x800000, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000],
    "float64": [
        0,
        1,
        2**52 - 1,
        2**52,
        0x380 << 52,
        0x381 << 52,
        0x47E << 52,
        0x47F << 52,
        (0x7FF << 52) - 1,
        0x7FF << 52,
        0x7FF8 << 48,
    ],
    "float16": [0, 1, 0x3FF, 0x400, 0x3C00, 0x7BFF, 0x7C00, 0x7E00],
    "bfloat16": [0, 1, 0x7F, 0x80, 0x3F80, 0x7F7F, 0x7F80, 0x7FC0],
}


def made(bits: np.ndarray, dtype: str) -> np.ndarray:
    return fs.as_bfloat16(bits) if dtype == "bfloat16" else bits.view(dtype)


def word(dtype: str) -> np.dtype:
    return np.dtype({"float32": np.uint32, "float64": np.uint64}.get(dtype, np.uint16))


def of_type(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype != "bfloat16":
        return values.astype(dtype)
    return fs.as_bfloat16((values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16))


def bits_of(found: fs.Stats) -> dict[str, object]:
    fields = {name: value for name, value in vars(found).items() if name != "histogram"}
    return {name: value.hex() if isinstance(value, float) else value for name, value in fields.items()} | {
        "histogram": found.histogram.tobytes()
    }


@pytest.fixture(params=[*fs.available_targets(), "device"])
def somewhere(request):
    """Each target on the processor, and a device."""
    if request.param == "device":
        yield request.getfixturevalue("device")
        return
    with fs.use_target(request.param):
        yield PLACES["processor"]


def put(place, tree):
    return [put(place, one) for one in tree] if isinstance(tree, list) else place.put(tree)


def assert_same(grads, place=PLACES["processor"], **params) -> dict[str, fs.Stats]:
    there = {name: put(place, tree) for name, tree in params.items()}
    fused, reference = fs.stats(put(place, grads), **there), fs.reference.stats(grads, **params)
    assert {name: bits_of(one) for name, one in fused.items()} == {
        name: bits_of(one) for name, one in reference.items()
    }
    for one in fused.values():
        assert one.histogram.sum() + one.zeros + one.nonfinite == one.size
    return fused


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_length_around_borders(dtype, somewhere):
    rng = np.random.default_rng(0)
    borders = [step * k for k in (1, 2, 16, 31, 32) for step in (64, 4096)]
    lengths = [*range(131), *(border + shift for border in borders for shift in range(-1, 2))]
    everything = of_type(random(rng, max(lengths) + 3, np.float32), dtype)
    for length in lengths:
        assert_same(everything[length % 3 :][:length], somewhere)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", [0, 4, 60])
def test_any_bits(dtype, spread, somewhere):
    """Exponents that are alike, that are spread, and every bit at random."""
    rng = np.random.default_rng(spread)
    bits = rng.integers(0, np.iinfo(word(dtype)).max, 20_000, word(dtype), endpoint=True)
    assert_same(made(bits, dtype), somewhere)
    with np.errstate(over="ignore", under="ignore"):
        values = rng.standard_normal(20_000) * 2.0 ** rng.integers(-spread, spread + 1, 20_000)
        assert_same(of_type(values, dtype), somewhere)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("exponent", [-100, -115, -130])
def test_tiny_numbers_among_zeros(dtype, exponent, somewhere):
    """All of a block lies in the first bins, where zeros would be taken for subnormal numbers."""
    rng = np.random.default_rng(-exponent)
    values = rng.standard_normal(5000) * 2.0**exponent * rng.integers(0, 2, 5000)
    for length in (1, 100, 128, 4096, 5000):
        found = assert_same(of_type(values[:length], dtype), somewhere)
        assert found["0"].zeros > 0 or length == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_extremes_in_every_lane(dtype, somewhere):
    sign = 1 << (8 * word(dtype).itemsize - 1)
    values = [pattern | side for pattern in EXTREMES[dtype] for side in (0, sign)]
    for one in values:
        assert_same(made(np.full(100, one, word(dtype)), dtype), somewhere)
    for shift in range(len(values)):
        assert_same(made(np.resize(np.roll(np.array(values, word(dtype)), shift), 4096 + 17), dtype), somewhere)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads(threads, set_threads, somewhere):
    set_threads(threads)
    rng = np.random.default_rng(1)
    sizes = [0, 1, 4095, 4096, 4097, 200_000, 3, 70_001]
    grads = [of_type(random(rng, size, np.float32), DTYPES[i % 4]) for i, size in enumerate(sizes)]
    before = [of_type(random(rng, size, np.float32), DTYPES[i % 3]) for i, size in enumerate(sizes)]
    after = [array.copy() for array in before]
    for array in after:
        array.view(f"u{array.itemsize}")[::3] ^= 1
    assert_same(grads, somewhere, before=before, after=after)


def test_the_norm_is_a_steps(target):
    grad = random(np.random.default_rng(2), 100_003, np.float32)
    opt = fs.SGD(np.zeros_like(grad))
    opt.step(grad, max_norm=1.0)
    assert fs.stats(grad)["0"].l2 == opt.last.norm


def test_in_words():
    found = fs.stats(np.array([3, -4, 0, -0.0, math.nan, math.inf, 2.0**-140, 2.0**-1]))["0"]
    assert (found.size, found.zeros, found.nonfinite) == (8, 2, 2)
    assert (found.l1, found.linf) == (7.5, 4.0)
    assert found.l2 == math.sqrt(25.25)
    assert found.mean == -0.5 / 6
    assert found.binades == {1: 1, 2: 1, -1: 1, -127: 1}
    assert found.update is found.stalled is None
    assert "histogram" not in repr(found)


def test_updates():
    before = np.array([3.0, 4.0, 0.0, -0.0])
    after = np.array([3.0, 9.0, -0.0, -0.0])
    found = fs.stats(np.ones(4, np.float32), before=before, after=after)["0"]
    assert (found.update, found.stalled) == (1.0, 0.5)
    still = np.zeros(3)
    assert math.isnan(fs.stats(still, before=still, after=still)["0"].update)
    assert fs.stats(still, before=still, after=still + 1)["0"].update == math.inf
    for far in (math.nan, math.inf):
        assert math.isnan(fs.stats(still, before=still + 1, after=still + far)["0"].update)
        assert math.isnan(fs.stats(still, before=still + far, after=still + 1)["0"].update)


def test_nothing_finite():
    for array in (np.zeros(0, np.float32), np.full(5, math.nan)):
        found = assert_same(array)["0"]
        assert (found.l1, found.l2, found.linf, found.zeros) == (0, 0, 0, 0)
        assert math.isnan(found.mean)
    nothing = np.zeros(0)
    assert math.isnan(fs.stats(nothing, before=nothing, after=nothing)["0"].stalled)


def test_structures():
    a, b, c = np.ones((2, 3), np.float32), np.ones(()), np.asfortranarray(np.ones((4, 5)))
    found = assert_same({"net": {"w": a, "b": b, "off": None}, "rest": [c, None, (c,)]})
    assert {name: one.size for name, one in found.items()} == {"net/w": 6, "net/b": 1, "rest/0": 20, "rest/2/0": 20}
    assert list(fs.stats([a, None, b])) == ["0", "2"]
    assert fs.stats([]) == {}
    found = assert_same({"w": a, "b": None}, before={"w": a, "b": None}, after={"w": a, "b": b})
    assert found["w"].stalled == 1


def test_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.arange(-8, 9).astype(ml_dtypes.bfloat16)
    assert bits_of(fs.stats(values)["0"]) == bits_of(assert_same(values.astype(np.float32))["0"])


def test_reads_only():
    grad = np.ones(10_000, np.float32)
    grad.flags.writeable = False
    assert fs.stats(grad)["0"].l1 == 10_000


ones = np.ones(4, np.float32)
REFUSED = [
    (([1.0],), {}, TypeError, r"grads\[0\] must be a numpy.ndarray, .*got float"),
    ((np.ones(3, int),), {}, TypeError, "grads must have dtype float32, float64, float16 or bfloat16, got int64"),
    ((np.ones(8)[::2],), {}, ValueError, "grads must be dense in memory"),
    ((np.ones(3, ">f4"),), {}, TypeError, "grads must have native byte order"),
    (({1: ones},), {}, TypeError, "grads must have strings as names, got 1"),
    (({"a/b": ones},), {}, ValueError, "grads must have names that are not empty and without '/'"),
    ((ones,), {"before": ones}, TypeError, "before and after must come together, got only before"),
    ((ones,), {"after": ones}, TypeError, "before and after must come together, got only after"),
    (({"a": ones},), {"before": [ones], "after": [ones]}, TypeError, "before must be a dict, like grads, got list"),
    (({"a": ones},), {"before": {"b": ones}, "after": {}}, ValueError, "before must have every name of grads"),
    (([ones],), {"before": [ones], "after": []}, ValueError, "after must have 1 entries, one for each of grads, got 0"),
    ((ones,), {"before": ones[:3], "after": ones}, ValueError, r"before must have the shape of grads, \(4,\), got"),
    ((ones,), {"before": ones, "after": ones[:3]}, ValueError, r"after must have the shape of before, \(4,\), got"),
    ((ones,), {"before": ones, "after": np.ones(4)}, TypeError, "after must have the dtype of before, float32, got"),
    (
        (ones,),
        {"before": fs.as_bfloat16(np.zeros(4, np.uint16)), "after": ones},
        TypeError,
        "after must have the dtype of before, bfloat16, got float32",
    ),
    ((ones,), {"before": ones, "after": None}, TypeError, "before and after must come together"),
    (
        ([ones],),
        {"before": [ones], "after": [None]},
        TypeError,
        r"after\[0\] must be a numpy.ndarray, .*got NoneType",
    ),
]


@pytest.mark.parametrize("package", [fs, fs.reference], ids=["fused", "reference"])
@pytest.mark.parametrize(("arguments", "params", "error", "message"), REFUSED, ids=[row[3][:40] for row in REFUSED])
def test_refusals(arguments, params, error, message, package):
    with pytest.raises(error, match=f"^stats: {message}"):
        package.stats(*arguments, **params)


def test_many_threads_at_once():
    grads = [random(np.random.default_rng(i), 300_000, np.float32) for i in range(4)]
    expected = [bits_of(fs.stats(grad)["0"]) for grad in grads]
    wrong = []

    def work(i: int) -> None:
        for _ in range(10):
            if bits_of(fs.stats(grads[i])["0"]) != expected[i]:
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


# The monitor


def test_memory_is_bounded():
    monitor = fs.GradientMonitor(columns=8)
    for step in range(1000):
        monitor.update(np.full(3, float(step)))
        assert len(monitor.kept) <= 8
    steps = [step for step, _ in monitor.kept]
    assert monitor.stride == 128
    assert steps == list(range(0, 1000, 128))
    assert all(found["0"].linf == step for step, found in monitor.kept)


def test_what_it_says():
    monitor = fs.GradientMonitor(vanishing=1e-3, exploding=1e3)
    assert monitor.report() == "no gradient vanishes or explodes"
    good = np.ones(4)
    monitor.update({"a": good * 1e-4, "b": good, "c": good * 2e3, "d": np.array([1, math.nan]), "e": np.zeros(3)})
    assert monitor.report().splitlines() == [
        "a vanishes: root mean square 0.0001 at step 0, below 0.001",
        "c explodes: root mean square 2e+03 at step 0, above 1e+03",
        "d explodes: 1 of 2 elements at step 0, not finite",
        "e vanishes: root mean square 0 at step 0, below 0.001",
    ]
    monitor.update(dict.fromkeys("abcde", good))
    assert monitor.verdicts() == {}
    monitor = fs.GradientMonitor(vanishing=0.5, exploding=2.0)
    monitor.update({"a": good * 0.5, "b": good * 2})
    assert monitor.verdicts() == {}


def test_sizes_are_those_of_what_is_finite():
    monitor = fs.GradientMonitor()
    monitor.update({"a": np.array([3.0, -3.0, math.nan]), "b": np.zeros(2), "c": np.full(1, math.inf)})
    names, steps, sizes = monitor.table()
    assert (names, steps) == (["a", "b", "c"], [0])
    np.testing.assert_allclose(sizes, np.array([[np.log10(3.0)], [-math.inf], [math.nan]]))


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    monitor = fs.GradientMonitor(columns=16)
    with pytest.raises(ValueError, match=r"^GradientMonitor: save needs at least one gradient"):
        monitor.save(tmp_path / "none.png")
    for step in range(20):
        late = np.ones(2) if step > 9 else None
        monitor.update({"first": np.full(4, 10.0**-step), "dead": np.zeros(2), "late": late})
    names, steps, sizes = monitor.table()
    assert names == ["first", "dead", "late"]
    assert sizes.shape == (3, len(steps))
    assert np.isnan(sizes[2, 0])
    assert sizes[1, 0] == -math.inf
    monitor.save(tmp_path / "monitor.png")
    assert (tmp_path / "monitor.png").read_bytes().startswith(b"\x89PNG")


def test_matplotlib_is_not_imported_before_it_is_needed():
    code = "import sys, fusedstep; fusedstep.GradientMonitor(); assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("argument", "wrong", "error"),
    [
        *(("columns", wrong, ValueError) for wrong in (1, 0, -3, np.int64(1), 2**63)),
        *(("columns", wrong, TypeError) for wrong in (2.5, True, "4", None, np.array([4]))),
        *(("vanishing", wrong, ValueError) for wrong in (0, -1.0, math.nan, math.inf)),
        *(("vanishing", wrong, TypeError) for wrong in ("a", None, 1j, True, np.ones(2))),
        *(("exploding", wrong, ValueError) for wrong in (0, math.nan, math.inf)),
        *(("exploding", wrong, TypeError) for wrong in ("a", None, 1j, False, np.ones(()))),
    ],
)
def test_arguments_of_the_monitor(argument, wrong, error):
    expected = "an integer ≥ 2" if argument == "columns" else "a finite number > 0"
    with pytest.raises(error) as raised:
        fs.GradientMonitor(**{argument: wrong})
    assert str(raised.value) == f"GradientMonitor: {argument} must be {expected}, got {wrong!r}"


@pytest.mark.parametrize(("vanishing", "exploding"), [(2, 1), (1, 1), (1e4, 1e3)])
def test_thresholds_must_be_in_order(vanishing, exploding):
    with pytest.raises(ValueError, match=r"^GradientMonitor: thresholds must be 0 < vanishing < exploding, got \d"):
        fs.GradientMonitor(vanishing=vanishing, exploding=exploding)


def test_the_monitor_takes_numbers_of_numpy():
    monitor = fs.GradientMonitor(columns=np.int64(4), vanishing=np.float32(0.5), exploding=np.uint8(2))
    taken = monitor.columns, monitor.vanishing, monitor.exploding
    assert taken == (4, 0.5, 2.0)
    assert [type(one) for one in taken] == [int, float, float]
