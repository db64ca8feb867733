"""What the lab's tasks record: losses of the training part, mistakes in the test part, by the whole net."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fusedstep.lab import Unavailable
from fusedstep.lab.data.images import Images
from fusedstep.lab.method import DOCUMENTED, Method
from fusedstep.lab.path import misjudgement
from fusedstep.lab.terrain import quadratic

for extra in ("scipy", "sklearn", "matplotlib"):
    pytest.importorskip(extra)
classifier = pytest.importorskip("fusedstep.lab.classifier")
convnet = pytest.importorskip("fusedstep.lab.convnet")
deep = pytest.importorskip("fusedstep.lab.deep")
digits = pytest.importorskip("fusedstep.lab.data.digits").digits
layers = pytest.importorskip("fusedstep.lab.layers")
logistic = pytest.importorskip("fusedstep.lab.logistic")
moments = pytest.importorskip("fusedstep.lab.moments")
nets = pytest.importorskip("fusedstep.lab.nets")
regression = pytest.importorskip("fusedstep.lab.regression")

RNG = np.random.default_rng(5)


def losses(sums, labels):
    """Cross-entropy of softmax, and the share of mistakes."""
    likely = np.exp(sums) / np.exp(sums).sum(axis=1, keepdims=True)
    return -np.log(likely[np.arange(len(labels)), labels]).mean(), (likely.argmax(axis=1) != labels).mean()


def images(*shape):
    """Twelve for training, 71 for the test."""
    parts = [(RNG.standard_normal((count, *shape)), RNG.integers(0, 10, count)) for count in (12, 71)]
    return Images(*parts, "nowhere")


def test_the_digits_parts():
    from sklearn.datasets import load_digits

    found, other = (digits(np.float32, np.random.default_rng(seed)) for seed in (0, 1))
    assert (len(found.train[1]), len(found.test[1])) == (1438, 359)
    assert (found.train[0].min(), found.train[0].max(), found.train[0].dtype) == (0, 1, np.float32)
    rows = [np.column_stack([16 * pixels, labels]) for pixels, labels in (found.train, found.test)]
    truth = np.column_stack(load_digits(return_X_y=True))
    assert sorted(map(tuple, np.concatenate(rows))) == sorted(map(tuple, truth))
    assert not np.array_equal(found.test[1], other.test[1])


def test_each_part_is_drawn_from_its_own():
    both = Images(*((np.full((20, 3), part), np.full(20, part)) for part in (1, 2)), "nowhere")
    drawn = both.drawn(8, np.random.default_rng(0))
    for (pixels, labels), count, part in ((drawn.train, 8, 1), (drawn.test, 2, 2)):
        assert pixels.tolist() == [[part] * 3] * count
        assert labels.tolist() == [part] * count


def test_mnists_pixels_are_shares(monkeypatch):
    mlp = pytest.importorskip("fusedstep.lab.experiments.mlp")
    part = np.full((4, 2, 2), 255, np.uint8), np.zeros(4, int)
    monkeypatch.setattr(mlp.mnist, "find", lambda: Images(part, part, "nowhere"))
    assert mlp.find(mlp.Settings()).train[0].tolist() == [[1.0] * 4] * 4


@pytest.mark.parametrize("kind", ["ReLU", "sigmoid"])
def test_errors_of_connected_nets(kind, monkeypatch):
    data = images(5)
    if kind == "ReLU":
        task, active = classifier.Classifier([4], 3, 0, np.float64, data), lambda x: np.maximum(x, 0)
    else:
        monkeypatch.setattr(classifier, "digits", lambda *_: data)
        task, active = deep.Deep(kind, 1, 4, 3, 0), lambda x: 1 / (1 + np.exp(-x))
    weights = {"w1": (5, 4), "b1": 4, "w2": (4, 10), "b2": 10}
    weights = {name: 3 * RNG.standard_normal(shape) for name, shape in weights.items()}
    sums = [
        active(x @ weights["w1"] + weights["b1"]) @ weights["w2"] + weights["b2"] for x, _ in (data.train, data.test)
    ]
    (loss, _), (test, wrong) = losses(sums[0], data.train[1]), losses(sums[1], data.test[1])
    expected = {"loss": loss, "test loss": test, "test error": wrong}
    found = task.errors(weights)
    assert found == pytest.approx({name: expected[name] for name in found})


def test_errors_of_convolutional_nets():
    """Kernels of 0, so that what the last convolution makes is its biases, wherever one looks."""
    pytest.importorskip("torch")
    data = images(3, 9, 9)
    task = convnet.ConvNet(data, (2,), 5, 4)
    weights = {name: 0.5 * RNG.standard_normal(array.shape) for name, array in task.weights(RNG).items()}
    weights["w1"][:] = 0
    weights["b1"][:] = -1, 2
    pooled = np.repeat([0.0, 2.0], 16)
    sums = np.maximum(weights["w2"] @ pooled + weights["b2"], 0) @ weights["w3"].T + weights["b3"]
    parts = [losses(np.tile(sums, (len(labels), 1)), labels) for _, labels in (data.train, data.test)]
    expected = {"loss": parts[0][0], "test loss": parts[1][0], "test error": parts[1][1]}
    assert task.errors(weights) == pytest.approx(expected)


def test_images_are_pooled_while_there_is_something_to_pool():
    pytest.importorskip("torch")
    data = images(3, 9, 9)  # 9 -> 4 -> 1
    convnet.ConvNet(data, (2, 2), 5, 4)
    with pytest.raises(Unavailable, match="channels must be at most 2 numbers for images of 9 × 9, got 3"):
        convnet.ConvNet(data, (2, 2, 2), 5, 4)


def test_errors_of_logistic_regression():
    task = logistic.Logistic(200, 30, 16, 0)
    weights = {"w": np.arange(30.0) - 20}
    parts = []
    for inputs, labels in (task.train, task.test):
        sums = inputs.toarray() @ weights["w"]
        likely = 1 / (1 + np.exp(-sums))
        parts.append((-np.log(np.where(labels, likely, 1 - likely)).mean(), ((likely > 0.5) != labels).mean()))
    expected = {"loss": parts[0][0], "test loss": parts[1][0], "test error": parts[1][1], "frequent": 19, "rare": 8}
    assert task.errors(weights) == pytest.approx(expected)
    assert (task.train[0].shape, task.test[0].shape) == ((200, 30), (50, 30))


def test_errors_of_regression():
    task = regression.Regression(50, 4, 2.0, 8, 0)
    assert task.errors({"w": task.best})["excess"] == 0
    assert task.errors({"w": task.truth})["distance"] == 0
    beside = task.best + np.array([0, 0, 3, 0])
    errors = task.errors({"w": beside})
    # Whatever the targets: the best weights' rests are at right angles to the inputs.
    assert errors["excess"] == pytest.approx(4.5 * np.mean(task.inputs[:, 2] ** 2))
    assert errors["loss"] == pytest.approx(np.mean((task.inputs @ beside - task.targets) ** 2) / 2)


def test_a_step_is_an_average_of_gradients():
    """With a constant slope and all of it in the buffer, it is the slope itself."""
    slope = np.array([3.0, 4.0])
    terrain = SimpleNamespace(slope=lambda x, y: tuple(2 * slope))
    path = -0.1 * np.outer(np.arange(5), slope) / (1 - 0.75)
    assert misjudgement(terrain, Method("SGD", {"lr": 0.1}), path, 0.75) == pytest.approx(5)
    assert misjudgement(quadratic(4.0), Method("SGD", {"lr": 0.5}), np.array([[2.0, 1.0], [1.0, -1.0]]), 0.0) == 0


def test_what_is_left_of_gradients_and_steps():
    """Of three layers: the last one's ‖g‖ is 8, the first one's 2; they move by 5 and by 50, in parts of themselves."""
    health = layers.Health(*(np.array(values, float) for values in ([2, 4, 8], [1] * 3, [0] * 3, [5, 7, 50], [0] * 3)))
    seen = layers.Layers(3, 1)
    seen.found["SGD"] = [health, health]
    net = nets.Net({}, seen)
    assert net.fall().tolist() == [1, 0.5, 0.25]
    assert net.factor() == 0.5
    assert net.left("SGD") == 0.1
    assert net.mean("SGD", "move").tolist() == [5, 7, 50]


def test_adams_averages():
    found = moments.Moments(DOCUMENTED["Adam"], 0.0, 0, "paper")
    assert found.corrected_m == pytest.approx(1)
    assert found.corrected_v == pytest.approx(1)
    assert (found.m[0], found.v[0]) == (pytest.approx(0.1), pytest.approx(0.001))
    assert found.with_it == pytest.approx(found.lr)
    assert found.without[0] / found.lr == pytest.approx(0.1 / np.sqrt(0.001), rel=1e-4)
