"""Which method for which problem: few parameters or many, simple data or complex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split

from .. import settings
from ..classifier import Classifier
from ..corner import Corner, Corners, draw, fewest, table
from ..data.digits import digits
from ..data.images import Images
from ..method import Methods, documented
from ..page import Page
from ..protocol import compare
from ..settings import Count, Counts, Fraction, Numbers

NAMES = ("SGD", "momentum", "AdaGrad", "RMSProp", "Adam")
ADAPTIVE = ("RMSProp", "Adam")

#: Numbers in an example of the complex data, and how far apart its clusters are.
FEATURES, APART = 64, 2.0

FEW, MANY, SIMPLE, COMPLEX = "few parameters", "many parameters", "simple data", "complex data"


@dataclass(frozen=True)
class Settings(settings.Settings):
    epochs: Count = 20
    batch: Count = 32
    few: Counts = ()
    many: Counts = (256, 256, 256)
    examples: Count = 4000
    clusters: Count = 4
    factors: Numbers = (10.0, 100.0)
    enough: Fraction = 0.01
    methods: Methods = field(default_factory=lambda: documented(*NAMES))

    quick: ClassVar[Mapping[str, Any]] = {"epochs": 8, "many": (128, 128, 128), "examples": 2000}

    @property
    def all_factors(self) -> tuple[float, ...]:
        """Of the documented rates, which come first themselves."""
        return (1.0, *self.factors)


def run(told: Settings, page: Page) -> None:
    page.expect(4 * len(told.methods) * len(told.all_factors) * told.epochs)
    data = {SIMPLE: digits(np.float32, np.random.default_rng([told.seed, 2])), COMPLEX: clusters(told)}
    nets = {FEW: told.few, MANY: told.many}
    corners = {(size, kind): learn(size, kind, nets[size], data[kind], told, page) for size in nets for kind in data}
    page.note(advice(corners, told.enough))
    page.note(" ".join(f"{kind.capitalize()}: {images.source}." for kind, images in data.items()))
    page.draw(
        "mistakes", draw(corners), "After the last epoch. The best rate is the one whose training loss is lowest."
    )
    page.table(table(corners))
    judge(corners, told.enough, page)


def clusters(told: Settings) -> Images:
    """Ten classes, each in several clusters with shapes of their own: no line parts them."""
    inputs, labels = make_classification(
        told.examples * 5 // 4,
        FEATURES,
        n_informative=FEATURES // 2,
        n_redundant=0,
        n_classes=Images.classes,
        n_clusters_per_class=told.clusters,
        class_sep=APART,
        flip_y=0,
        random_state=told.seed,
    )
    parts = train_test_split((inputs / inputs.std()).astype(np.float32), labels, test_size=0.2, random_state=told.seed)
    train, test, train_labels, test_labels = parts
    source = f"{FEATURES} numbers, {Images.classes} classes of {told.clusters} clusters each (scikit-learn)"
    return Images((train, train_labels), (test, test_labels), source)


def learn(size: str, kind: str, hidden: Sequence[int], images: Images, told: Settings, page: Page) -> Corner:
    task = Classifier(hidden, told.batch, told.seed, images=images)
    methods = {
        f"{name} × {factor:g}": method.having(lr=factor * method.options["lr"])
        for name, method in told.methods.items()
        for factor in told.all_factors
    }
    file = f"{size} {kind}".replace(" ", "-")
    courses = compare(
        task, methods, epochs=told.epochs, seed=told.seed, convention=told.convention, page=page, name=file
    )
    runs = {name: [courses[f"{name} × {factor:g}"] for factor in told.all_factors] for name in told.methods}
    return Corner(runs, told.all_factors)


def advice(corners: Corners, enough: float) -> str:
    """A paragraph, as the numbers have it."""
    words = ["Advice, from each method's best rate."]
    for (size, kind), corner in corners.items():
        least = fewest(corner.best)
        verdict = "SGD is enough" if corner.best["SGD"] <= corner.best[least] + enough else f"take {least}"
        rivals = (
            "the fewest mistakes of all" if least == "SGD" else f"beside {100 * corner.best[least]:.1f} % by {least}"
        )
        words.append(f"{size.capitalize()}, {kind}: {verdict}; {100 * corner.best['SGD']:.1f} % by SGD, {rivals}.")
    first = next(iter(corners.values()))
    means = {name: float(np.mean([corner.documented[name] for corner in corners.values()])) for name in first.runs}
    safe = fewest(means)
    words.append(f"Who looks for no rate and takes the documented one does best with {safe}: {100 * means[safe]:.1f} %")
    return " ".join(words) + " on average."


def judge(corners: Corners, enough: float, page: Page) -> None:
    easy, hard = corners[FEW, SIMPLE], corners[MANY, COMPLEX]
    for words, simple, difficult in (
        ("with the best rate of each method", easy.best, hard.best),
        ("with the documented rates", easy.documented, hard.documented),
    ):
        page.claim(
            f"Few parameters and simple data: SGD is enough, within {100 * enough:g} % of the test images, {words}.",
            simple["SGD"] <= simple[fewest(simple)] + enough,
            test_error=simple,
        )
        page.claim(
            "Many parameters and complex data: SGD and momentum are not enough; RMSProp or Adam is right for "
            f"{100 * enough:g} % more of the test images, {words}.",
            min(difficult[name] for name in ADAPTIVE) < min(difficult["SGD"], difficult["momentum"]) - enough,
            test_error=difficult,
        )
