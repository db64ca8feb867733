"""Deep nets: their gradients, what their layers get and do, and where training ends by learning rate."""

from __future__ import annotations

import numpy as np
import pytest

for extra in ("scipy", "sklearn", "matplotlib"):
    pytest.importorskip(extra)
band = pytest.importorskip("fusedstep.lab.band")
corner = pytest.importorskip("fusedstep.lab.corner")
deep = pytest.importorskip("fusedstep.lab.deep")
layers = pytest.importorskip("fusedstep.lab.layers")
protocol = pytest.importorskip("fusedstep.lab.protocol")
reach = pytest.importorskip("fusedstep.lab.reach")


@pytest.mark.parametrize("kind", ["sigmoid", "tanh", "ReLU"])
def test_gradient_is_the_losss_derivative(kind):
    task = deep.Deep(kind, depth=3, width=6, batch=16, seed=0)
    task.dtype = np.float64
    weights = task.weights(np.random.default_rng(1))
    batch = next(task.batches(np.random.default_rng(2)))
    grads = {name: np.empty_like(array) for name, array in weights.items()}
    spare = {name: np.empty_like(array) for name, array in weights.items()}
    task.gradient(weights, batch, grads)
    for name, array in weights.items():
        # A pixel in the middle, because those at the edge are often 0.
        place = (36, 2) if name == "w1" else (0,) * array.ndim
        kept, sides = array[place], []
        for step in (1e-6, -1e-6):
            array[place] = kept + step
            sides.append(task.gradient(weights, batch, spare))
        array[place] = kept
        assert (sides[0] - sides[1]) / 2e-6 == pytest.approx(grads[name][place], rel=1e-4, abs=1e-9)


def test_first_weights_have_the_activations_variance():
    for kind, activation in deep.ACTIVATIONS.items():
        weights = deep.Deep(kind, 2, 500, 16, 0).weights(np.random.default_rng(0))
        assert weights["w2"].dtype == np.float32
        assert weights["w2"].var() * 500 == pytest.approx(activation.variance, rel=0.02)


def test_layers_are_looked_at():
    seen = layers.Layers(2, every=2)
    weights = {"w1": np.array([3.0, 4.0]), "b1": np.zeros(1), "w2": np.array([1.0, 0.0])}
    for _ in range(5):
        seen("SGD", weights, {"w1": np.array([0.0, 3.0]), "b1": np.ones(1), "w2": np.array([1e-40, 0.0])})
        weights["w1"][1] += 0.5
    assert len(seen.found["SGD"]) == 2
    first = seen.found["SGD"][0]
    assert first.norm.tolist() == [3.0, 1e-40]
    assert first.usual.tolist() == pytest.approx([3 / np.sqrt(2), 1e-40 / np.sqrt(2)])
    assert first.zeros.tolist() == [0.5, 0.5]
    assert first.move.tolist() == [0.1, 0.0]
    assert first.kept.tolist() == [0.5, 1.0]
    assert seen.over_steps("SGD", "kept").shape == (2, 2)


def test_bands():
    found = band.Band((0.1, 1.0, 10.0), (0.1, 1.0))
    for rate, losses in ((0.1, (0.1, 0.2, 0.4)), (1.0, (0.01, 0.02, 0.03)), (10.0, (np.nan, np.inf, 5.0))):
        for loss in losses:
            found.add("SGD", rate, protocol.Course(errors=[{"loss": loss, "test error": loss / 10}]))
    assert found.spread("SGD") == pytest.approx(10)
    assert found.spread("SGD", whole=True) == pytest.approx(band.GUESS / 0.02)
    assert found.wrong("SGD", 1.0) == pytest.approx(0.002)
    assert len(list(found.rows())) == 9


def test_a_run_that_ran_away_is_not_the_best():
    finals = {"SGD": [(2.0, 0.5), (np.nan, 0.9), (1.0, 0.25)], "Adam": [(np.inf, 0.9), (np.nan, 0.8), (3.0, 0.75)]}
    runs = {
        name: [protocol.Course(errors=[{"loss": loss, "test error": error}]) for loss, error in courses]
        for name, courses in finals.items()
    }
    found = corner.Corner(runs, (1.0, 10.0, 0.1))
    assert found.documented == {"SGD": 0.5, "Adam": 0.9}
    assert found.chosen == {"SGD": 2, "Adam": 2}
    assert found.best == {"SGD": 0.25, "Adam": 0.75}


def test_the_best_rate_may_be_at_the_edge_of_what_was_tried():
    losses = {"SGD": (3.0, 2.0, 1.0), "momentum": (1.0, 2.0, 3.0), "Adam": (2.0, 1.0, 3.0)}
    runs = {
        name: [protocol.Course(errors=[{"loss": loss, "test error": loss / 10}]) for loss in each]
        for name, each in losses.items()
    }
    (row,) = corner.table({("few", "simple"): corner.Corner(runs, (1.0, 10.0, 100.0))}).rows
    assert row == ["few, simple", "1; 10.0 %; × 100 ↑", "1; 10.0 %; × 1 ↓", "1; 10.0 %; × 10"]


def test_reach():
    from fusedstep.lab.method import documented

    methods = documented("AdaGrad", "windowed-AdaGrad", "RMSProp")
    found = reach.Reach(methods, lr=0.1, starts=(1.0, 10.0), steps=500, convention="paper")
    assert found.reached["near", "AdaGrad"] < 100
    assert found.reached["far", "AdaGrad"] is None
    assert found.reached["far", "RMSProp"] < found.reached["far", "windowed-AdaGrad"] < 500
