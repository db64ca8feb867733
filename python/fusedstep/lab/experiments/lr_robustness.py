"""How much the learning rate matters, method by method; too high, too low, falling; near and far minima."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ...schedules import inverse_time, linear_warmup
from .. import settings
from ..band import Band
from ..classifier import Classifier
from ..figure import curves, figure
from ..method import Method, Methods, documented
from ..page import Page
from ..protocol import compare
from ..reach import CURES, STALLS, Reach
from ..regression import Regression
from ..settings import Count, Counts, Number, Positive, Rates

WARM = "Adam + warm-up"

#: Who is tried on the grid; the rest is for the bowls.
ON_GRID = ("SGD", "momentum", "RMSProp", "Adam", "RAdam")

TOO_HIGH, TOO_LOW, FALLING = "too high", "too low", "falling"

BANDS = "Line: the middle one of the seeds; band: all. Dotted: a guesser's loss. Grey: the rates that are compared."

#: What a picture shows of losses that may run away.
HIGHEST = 1e3


@dataclass(frozen=True)
class Settings(settings.Settings):
    epochs: Count = 30
    seeds: Count = 5
    batch: Count = 32
    hidden: Counts = (64, 64)
    rates: Rates = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
    lowest: Positive = 3e-3
    highest: Positive = 1e-1
    warmup_epochs: Count = 3
    published_lr: Positive = 1e-3
    too_high: Positive = 2.0
    too_low: Positive = 1e-4
    falling_from: Positive = 0.1
    examples: Count = 1024
    features: Count = 20
    noise: Number = 1.0
    reach_lr: Positive = 0.1
    near: Positive = 1.0
    far: Positive = 10.0
    reach_steps: Count = 2000
    methods: Methods = field(default_factory=lambda: documented(*ON_GRID, STALLS, CURES[0]))

    quick: ClassVar[Mapping[str, Any]] = {"epochs": 6, "seeds": 2, "warmup_epochs": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not any(self.lowest <= rate <= self.highest for rate in self.rates):
            between = f"{self.lowest:g} (lowest) and {self.highest:g} (highest)"
            raise ValueError(f"{self.experiment}: rates must have one between {between}, got {self.rates}")

    def on_grid(self, rate: float, steps_per_epoch: int) -> Methods:
        """All methods with one learning rate."""
        plain = {name: self.methods[name].having(lr=rate) for name in ON_GRID}
        warm = self.methods["Adam"].having(lr=linear_warmup(rate, steps=self.warmup_epochs * steps_per_epoch))
        return {**plain, WARM: warm}


def run(told: Settings, page: Page) -> None:
    page.expect((len(told.rates) * (len(ON_GRID) + 1) * told.seeds + 3) * told.epochs)
    band = over_rates(told, page)
    page.draw("bands", band.draw(), BANDS)
    page.series("bands", band.columns, band.rows())
    page.table(band.table())
    judge(band, told, page)
    three_rates(told, page)
    starts = (told.near, told.far)
    reach = Reach(told.methods, lr=told.reach_lr, starts=starts, steps=told.reach_steps, convention=told.convention)
    page.draw("reach", reach.draw(), f"½x², learning rate {told.reach_lr:g} for all.")
    page.table(reach.table())
    reach.judge(page)


def over_rates(told: Settings, page: Page) -> Band:
    """Everyone with every rate on the digits, with several seeds."""
    band = Band(told.rates, (told.lowest, told.highest))
    for seed in range(told.seed, told.seed + told.seeds):
        task = Classifier(told.hidden, told.batch, seed)
        steps = sum(1 for _ in task.batches(np.random.default_rng(0)))
        by_name = {
            f"{name}, {rate:g}": (name, rate, method)
            for rate in told.rates
            for name, method in told.on_grid(rate, steps).items()
        }
        methods = {label: method for label, (_, _, method) in by_name.items()}
        courses = compare(
            task,
            methods,
            epochs=told.epochs,
            seed=seed,
            convention=told.convention,
            page=page,
            name=f"grid-{seed}",
        )
        for label, (name, rate, _) in by_name.items():
            band.add(name, rate, courses[label])
    return band


def judge(band: Band, told: Settings, page: Page) -> None:
    spread = {name: band.spread(name) for name in band.names}
    between = f"between {told.lowest:g} and {told.highest:g}"
    page.claim(
        f"RAdam's result depends less on the learning rate than Adam's, {between}.",
        spread["RAdam"] < spread["Adam"],
        largest_loss_over_least={name: spread[name] for name in ("RAdam", "Adam")},
    )
    page.claim(
        f"RAdam's band is the flattest, {between}.",
        spread["RAdam"] == min(spread.values()),
        largest_loss_over_least=spread,
    )
    whole = {name: band.spread(name, whole=True) for name in band.names}
    page.claim(
        "RAdam's band is the flattest over the whole grid.",
        whole["RAdam"] == min(whole.values()),
        largest_loss_over_least=whole,
    )
    for words, rate in (
        ("the documents' default", float(told.methods["Adam"].options["lr"])),
        ("the published default", told.published_lr),
    ):
        if rate in told.rates:
            page.claim(
                f"Adam works with {words}, {rate:g}: nine of ten test images are right.",
                band.wrong("Adam", rate) < 0.1,
                test_error=band.wrong("Adam", rate),
            )


def three_rates(told: Settings, page: Page) -> None:
    """SGD with a rate that is too high, one that is too low, and one that falls, on noisy regression."""
    task = Regression(told.examples, told.features, told.noise, told.batch, told.seed)
    steps = sum(1 for _ in task.batches(np.random.default_rng(0)))
    rates = {
        TOO_HIGH: told.too_high,
        TOO_LOW: told.too_low,
        FALLING: inverse_time(told.falling_from, decay_rate=1 / steps),
    }
    courses = compare(
        task,
        {name: Method("SGD", {"lr": rate}) for name, rate in rates.items()},
        epochs=told.epochs,
        seed=told.seed,
        convention=told.convention,
        page=page,
        name="three-rates",
    )
    excess = {name: course.over_epochs("excess") for name, course in courses.items()}
    made = figure("SGD with three learning rates, regression with noise", 8, 4.4)
    words = {
        TOO_HIGH: f"too high: {told.too_high:g}",
        TOO_LOW: f"too low: {told.too_low:g}",
        FALLING: f"falling from {told.falling_from:g}",
    }
    axes = made.subplots()
    curves(axes, {words[name]: values for name, values in excess.items()}, xlabel="epoch", yscale="log")
    lowest = min(float(values.min()) for values in excess.values())
    axes.set(ylabel="loss above the least possible (no unit)", ylim=(max(lowest, 1e-12) / 2, HIGHEST))
    page.draw("three-rates", made, f"Falling: {told.falling_from:g}/(1 + epoch).")
    first = {name: float(values[0]) for name, values in excess.items()}
    last = {name: float(values[-1]) for name, values in excess.items()}
    page.claim(
        "With too high a rate SGD runs away.",
        last[TOO_HIGH] > first[TOO_HIGH],
        excess_loss={"first": first[TOO_HIGH], "last": last[TOO_HIGH]},
    )
    page.claim(
        "With too low a rate it crawls: not half of the way is done.",
        last[TOO_LOW] > first[TOO_LOW] / 2,
        excess_loss={"first": first[TOO_LOW], "last": last[TOO_LOW]},
    )
    page.claim(
        "With a rate that falls it ends lowest.",
        last[FALLING] < min(last[TOO_LOW], last[TOO_HIGH]),
        excess_loss=last,
    )
