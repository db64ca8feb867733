"""The place that the momentum leads to, and the rates that each coordinate has."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs

from cases import DTYPES, same_bytes

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
