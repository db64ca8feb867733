"""Verdicts are what the numbers say: each claim is seen with some numbers, and not seen when one of them is another."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fusedstep import lab

for extra in ("scipy", "sklearn", "matplotlib", "rich"):
    pytest.importorskip(extra)
band = pytest.importorskip("fusedstep.lab.band")
corner = pytest.importorskip("fusedstep.lab.corner")
layers = pytest.importorskip("fusedstep.lab.layers")
reach = pytest.importorskip("fusedstep.lab.reach")
race = pytest.importorskip("fusedstep.lab.race")
Course = pytest.importorskip("fusedstep.lab.protocol").Course
early_variance, lr_robustness, noisy_regression = map(lab.load, ("early-variance", "lr-robustness", "noisy-regression"))
schedules, sparse_classification = map(lab.load, ("schedules", "sparse-classification"))
vanishing, which = map(lab.load, ("vanishing", "which"))

NAN = float("nan")


class Sheet:
    """A page that keeps verdicts alone."""

    def __init__(self):
        self.unseen, self.tables = set(), []

    def claim(self, text, seen, **numbers):
        if not seen:
            self.unseen.add(text)

    def table(self, table):
        self.tables.append(table)


def courses(error, values):
    return {name: Course(errors=[{error: value} for value in those]) for name, those in values.items()}


def unseen(judge, *arguments):
    """What of the claims was not seen."""
    sheet = Sheet()
    with np.errstate(all="ignore"):  # as in a run
        judge(*arguments, sheet)
    return sheet.unseen


def begin(texts, beginnings):
    """Whether these are the texts' beginnings, one each."""
    return len(texts) == len(beginnings) and all(any(text.startswith(one) for text in texts) for one in beginnings)


def test_what_ran_away_is_infinite():
    course = Course(errors=[{"loss": 1.0}, {"loss": NAN}])
    assert course.over_epochs("loss").tolist() == [1.0, np.inf]
    assert course.final("loss") == np.inf


RACE = {"momentum": [2.3, 1.5, 0.5], "AdaGrad": [2.3, 1.4, 0.6], "RMSProp": [2.3, 1.2, 0.3], "Adam": [2.3, 1.0, 0.2]}
FASTEST, LOWEST, MANY, ALL = (
    "Adam's training loss falls",
    "Adam's training loss ends",
    "In a net of many",
    "All methods",
)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({"RMSProp": [2.3, 0.9, 0.3]}, [FASTEST]),
        ({"RMSProp": [2.3, 1.2, 0.1]}, [LOWEST]),
        ({"momentum": [2.3, 1.5, 0.25]}, [MANY]),
        ({"AdaGrad": [2.3, 1.4, 0.25]}, [MANY]),
        ({"Adam": [2.3, 1.0, 0.55]}, [LOWEST, MANY]),
        ({"AdaGrad": [2.3, 1.4, 1.16]}, [ALL]),
        ({"momentum": [2.3, NAN, NAN]}, [ALL]),
        ({"AdaGrad": [2.3, NAN, NAN]}, [ALL]),
        ({"RMSProp": [2.3, NAN, NAN]}, [MANY, ALL]),
        ({"Adam": [2.3, NAN, NAN]}, [FASTEST, LOWEST, MANY, ALL]),
    ],
)
def test_races(change, told):
    assert begin(unseen(race.judge, courses("loss", RACE | change)), told)


ENOUGH, COPE, NOISE, NOBODY = "Few parameters", "Adaptive methods cope", "Momentum, whose", "Nobody gets"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({"SGD": ([0.03, 0.03], 1.0)}, [ENOUGH]),
        ({"RAdam": ([0.01, 0.03], 1.0)}, [COPE]),
        ({"AdaGrad": ([0.01, NAN], 1.0)}, [COPE]),
        ({"momentum": ([9.0, 0.5, 0.5], 1.0)}, [NOISE]),
        ({"Adam": ([0.01, 0.01], 0.89)}, [NOBODY]),
    ],
)
def test_noisy_regression(change, told):
    values = dict.fromkeys(noisy_regression.NAMES, ([0.01, 0.01], 1.0)) | {"momentum": ([0.5, 0.6], 1.0)} | change
    found = {
        name: Course(errors=[{"excess": value, "distance": distance} for value in excess])
        for name, (excess, distance) in values.items()
    }
    assert begin(unseen(noisy_regression.judge, found, {"loss": 2.0, "distance": 1.0}), told)


WIN, RARE = "At the documented", "Adaptive methods give"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({"SGD": (0.05, 0.02, 0.21)}, [WIN]),
        ({"RAdam": (0.3, 0.02, 0.31)}, [RARE]),
        ({"momentum": (0.3, 0.09, 0.21)}, [RARE]),
        (dict.fromkeys(sparse_classification.ADAPTIVE, (0.1, 0.01, 0.01)), [RARE]),  # nothing moves
    ],
)
def test_sparse_classification(change, told):
    """Rare and frequent weights begin with the size 0.01."""
    plain, adaptive = (getattr(sparse_classification, kind) for kind in ("PLAIN", "ADAPTIVE"))
    ends = dict.fromkeys(plain, (0.3, 0.02, 0.21)) | dict.fromkeys(adaptive, (0.1, 0.05, 0.11)) | change
    found = {
        name: Course(
            errors=[{"loss": 0.7, "rare": 0.01, "frequent": 0.01}, {"loss": loss, "rare": rare, "frequent": often}]
        )
        for name, (loss, rare, often) in ends.items()
    }
    assert begin(unseen(sparse_classification.at_documented_rates, found), told)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({}, True),
        ({"momentum": [NAN, 0.1]}, False),
        ({"SGD": [NAN, 0.3]}, True),
        ({"Adam": [NAN, 0.35]}, False),
        ({"AdaGrad": [0.35, 0.5]}, False),
    ],
)
def test_best_rates(change, seen):
    ends = {name: [0.3, 0.4] for name in (*sparse_classification.PLAIN, *sparse_classification.ADAPTIVE)}
    ends |= {"AdaGrad": [0.9, 0.2], "Adam": [0.2, 0.9]} | change
    tried = {
        name: {
            rate: Course(errors=[{"loss": loss, "test loss": 0, "test error": 0}])
            for rate, loss in zip((1.0, 10.0), losses, strict=True)
        }
        for name, losses in ends.items()
    }
    assert (unseen(sparse_classification.at_best_rates, tried, "loss", "training") == set()) == seen


@pytest.mark.parametrize(
    ("noisy", "digits", "told"),
    [
        ({}, {}, []),
        ({"piecewise": [2, 5]}, {}, ["Where gradients stay noisy, the piecewise", "The constant rate never"]),
        ({"continuous": [4.5, 4.5]}, {}, ["Where gradients stay noisy, the continuous"]),
        ({"continuous": [1, 3.5]}, {}, ["The constant rate never"]),
        ({}, {"continuous": [5, 5]}, []),
        ({}, {"continuous": [5, 5], "piecewise": [5, 5]}, ["On the digits"]),
    ],
)
def test_schedules(noisy, digits, told):
    values = {"constant": [3, 4], "piecewise": [2, 2], "continuous": [1, 1]}
    found = {"regression": courses("excess", values | noisy), "digits": courses("loss", values | digits)}
    assert begin(unseen(schedules.judge, found), told)


EASY, HARD = "Few parameters", "Many parameters"


@pytest.mark.parametrize(
    ("easy", "hard", "told"),
    [
        ({}, {}, []),
        ({"Adam": 0.1}, {}, [EASY]),
        ({}, {"momentum": 0.205}, [HARD]),
        ({}, {"Adam": 0.295}, [HARD]),
        ({}, {"Adam": 0.295, "RMSProp": 0.2}, []),
    ],
)
def test_which(easy, hard, told):
    corners = {}
    for place, errors in (
        ((which.FEW, which.SIMPLE), {"SGD": 0.115, "Adam": 0.11} | easy),
        ((which.MANY, which.COMPLEX), {"Adam": 0.2} | hard),
    ):
        everyone = dict.fromkeys(which.NAMES, 0.3) | errors
        runs = {name: [Course(errors=[{"loss": 1.0, "test error": wrong}])] for name, wrong in everyone.items()}
        corners[place] = corner.Corner(runs, (1.0,))
    found = unseen(which.judge, corners, 0.01)
    # With the documented rates, and with the best, which are the same here.
    assert begin(found, 2 * told)


LESS, FLATTEST, WHOLE, DEFAULT = (
    "RAdam's result",
    "RAdam's band is the flattest, b",
    "RAdam's band is the flattest o",
    "Adam",
)


@pytest.mark.parametrize(
    ("change", "wrong", "told"),
    [
        ({}, 0.09, []),
        ({"RAdam": [1.0, 0.1, 0.5]}, 0.09, [LESS, FLATTEST, WHOLE]),
        ({"SGD": [1.0, 0.9, 0.9]}, 0.09, [FLATTEST, WHOLE]),
        ({"SGD": [1.0, 0.9, NAN]}, 0.09, [FLATTEST]),
        ({"RAdam": [1.0, 0.5, NAN]}, 0.09, [WHOLE]),
        ({"RAdam": [NAN, 0.5, 0.5]}, 0.09, [FLATTEST, WHOLE]),
        ({}, 0.1, [DEFAULT]),
    ],
)
def test_rates(change, wrong, told):
    """Of three rates the first two count most, and the first is the published one."""
    settings = lr_robustness.Settings(rates=(1e-3, 1e-2, 1e-1), lowest=1e-3, highest=1e-2)
    found = band.Band(settings.rates, (settings.lowest, settings.highest))
    losses = {"RAdam": [1.0, 0.5, 0.5], "Adam": [1.0, 0.2, 0.2], "SGD": [1.0, 0.3, 0.4]} | change
    for name, those in losses.items():
        for rate, loss in zip(settings.rates, those, strict=True):
            found.add(name, rate, Course(errors=[{"loss": loss, "test error": wrong}]))
    assert begin(unseen(lr_robustness.judge, found, settings), told)


def test_seeds_count_alike():
    """Losses of 1 and of 100 are 10 in the middle of their powers."""
    ends = {"a": (1.0, 100.0), "b": (9.0, 9.0)}
    runs = [{name: Course(errors=[{"loss": those[seed]}]) for name, those in ends.items()} for seed in (0, 1)]
    assert list(early_variance.final(runs).items()) == [("b", pytest.approx(9)), ("a", pytest.approx(10))]


GOOD, STALLS, WINDOWED, RMSPROP = "AdaGrad is good", "AdaGrad stalls", "windowed-AdaGrad, which", "RMSProp, which"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({("near", "AdaGrad"): (None, 0.01)}, [GOOD]),
        ({("near", "RMSProp"): (9, 0.001)}, [GOOD]),
        ({("far", "AdaGrad"): (90, 0.01)}, [STALLS]),
        ({("far", "windowed-AdaGrad"): (None, 3)}, [WINDOWED]),
        ({("far", "RMSProp"): (None, 3)}, [RMSPROP]),
    ],
)
def test_reach(change, told):
    values = {(where, name): (9, 0.05) for where in ("near", "far") for name in ("windowed-AdaGrad", "RMSProp")}
    values |= {("near", "AdaGrad"): (90, 0.01), ("far", "AdaGrad"): (None, 5)} | change
    found = object.__new__(reach.Reach)
    found.reached = {key: step for key, (step, _) in values.items()}
    found.distances = {key: np.array([9.0, distance]) for key, (_, distance) in values.items()}
    assert begin(unseen(found.judge), told)


@pytest.mark.parametrize(
    ("drifts", "ends", "told"),
    [
        ({}, {}, []),
        ({"RAdam": 0.6}, {}, ["At a high learning rate the gradients' distribution is less distorted in the first"]),
        ({}, {"RAdam": 3.0}, ["At a high learning rate RAdam ends"]),
        ({}, {"Adam-2k": 1.7}, ["At a high learning rate Adam-eps ends worse"]),
        (
            {},
            {"Adam + warm-up": NAN},
            ["At a high learning rate Adam + w", "At a high learning rate Adam-eps ends worse"],
        ),
    ],
)
def test_cures(drifts, ends, told):
    names = ("Adam", *early_variance.CURES, "RAdam")
    drift = dict.fromkeys(names, 0.1) | {"Adam": 0.5} | drifts
    loss = dict.fromkeys(names, 1.0) | {"Adam": 2.0, "Adam-eps": 1.5} | ends
    runs = [{name: Course(errors=[{"loss": loss[name]}]) for name in names}]
    beginning = SimpleNamespace(drift=drift.__getitem__)
    assert begin(unseen(early_variance.judge, "high", beginning, runs), told)


SIGMOID, TANH, KEEP = "Through 2 sigmoid", "Through 2 tanh", "Through 2 ReLU"
PRICE, FIRST, FIRST_ADAM, STALL = (
    "ReLU's price",
    "The layers farthest",
    "With 2 sigmoid layers the",
    "With 2 sigmoid layers SGD",
)
RESCUE, LEVER = "Adaptive methods do not", "The lever is the activation: with 2 {} layers {}"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({("sigmoid", "norm"): [1e-2, 0.1, 1]}, [SIGMOID]),
        ({("tanh", "norm"): [1e-2, 0.1, 1]}, [TANH]),
        ({("ReLU", "norm"): [0.05, 0.1, 1]}, [KEEP]),
        ({("ReLU", "norm"): [20, 1, 1]}, [KEEP]),
        ({("ReLU", "zeros"): [0.5, 0.05, 0.5]}, [PRICE]),
        ({("tanh", "zeros"): [0, 0.05, 0]}, [PRICE]),
        ({("sigmoid", "kept"): [0.9, 0.5, 0]}, [FIRST]),
        ({("sigmoid", "kept"): [1, 0.5, 0.5]}, [FIRST]),
        ({("sigmoid", "move", "Adam"): [0.05, 1, 1]}, [FIRST_ADAM]),
        ({("sigmoid", "move", "Adam"): [20, 1, 1]}, [FIRST_ADAM]),
        ({("sigmoid", "move", "SGD"): [3, 1, 1]}, [FIRST_ADAM]),
        ({("sigmoid", "usual"): [1e-9, 1, 1]}, [FIRST_ADAM]),
        ({("sigmoid", "usual"): [1e-9, 1, 1], ("sigmoid", "move", "Adam"): [1e-4, 1, 1]}, []),
        ({("sigmoid", "loss", "SGD"): [3, 2.9, 2.7, 2.5, 2.3]}, [STALL]),
        ({("sigmoid", "loss", "SGD"): [3, 2.1, 2.0, 2.0, 2.0]}, [STALL]),
        ({("sigmoid", "loss", "RMSProp"): [3, 2.2]}, [RESCUE]),
        ({("tanh", "loss", "Adam"): [3, 2.2]}, [LEVER.format("tanh", "the"), LEVER.format("tanh", "all")]),
        ({("ReLU", "loss", "momentum"): [3, NAN]}, [LEVER.format("ReLU", "all")]),
    ],
)
def test_vanishing(change, told):
    """Three layers of weights, and everything as it is expected."""
    settings = vanishing.Settings(depths=(2,))
    nets = {}
    for kind, norm, zeros in (
        ("sigmoid", [1e-6, 1e-3, 1], 0),
        ("tanh", [1e-6, 1e-3, 1], 0),
        ("ReLU", [0.5, 1, 1], 0.5),
    ):
        seen, courses = layers.Layers(3, 1), {}
        for method in settings.methods:
            values = {"norm": norm, "usual": [1e-3, 1, 1], "zeros": [zeros] * 3, "kept": [1, 0.5, 0]}
            values["move"] = [1, 1, 1] if method == "Adam" else [0.01, 0.1, 1]
            values["loss"] = [3, 2.4, 2.31, 2.3, 2.3] if kind == "sigmoid" else [3, 1]
            values |= {
                what: new for (owner, what, *who), new in change.items() if owner == kind and who in ([], [method])
            }
            courses[method] = Course(errors=[{"loss": loss} for loss in values.pop("loss")])
            seen.found[method] = [layers.Health(**{what: np.array(those, float) for what, those in values.items()})]
        nets[kind, 2] = vanishing.Net(courses, seen)

    def judge(page):
        vanishing.judge_gradients(nets, 2, page)
        vanishing.judge_steps(nets, settings, page)
        vanishing.judge_losses(nets, settings, page)

    assert begin(unseen(judge), told)
