"""Gradients that vanish on their way through a deep net, layer by layer, and whom that stops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .. import nets, settings
from ..band import GUESS
from ..deep import ACTIVATIONS, Deep
from ..layers import Layers
from ..method import Methods, documented
from ..nets import FLOOR, MEASURES, NOTHING, Net, Nets
from ..page import Page
from ..protocol import compare
from ..race import ends
from ..settings import Count, Depths

#: Sizes within this factor are alike.
ALIKE = 10

BY_LAYER = (
    "Means over the steps that were looked at. Layer 1 is next to the images; its zeros are the pixels that are "
    f"always 0. What is below {FLOOR:g} is drawn there."
)
LOSSES = "Dotted: ln 10, a guesser's loss. The same first weights and the same batches for all methods."


@dataclass(frozen=True)
class Settings(settings.Settings):
    epochs: Count = 60
    depths: Depths = (2, 8, 32)
    width: Count = 32
    batch: Count = 64
    every: Count = 5
    methods: Methods = field(default_factory=lambda: documented("SGD", "momentum", "RMSProp", "Adam"))

    quick: ClassVar[Mapping[str, Any]] = {"epochs": 8}


def run(told: Settings, page: Page) -> None:
    page.expect(len(ACTIVATIONS) * len(told.depths) * len(told.methods) * told.epochs)
    those = {(kind, depth): learn(kind, depth, told, page) for kind in ACTIVATIONS for depth in told.depths}
    deepest = max(told.depths)
    page.draw("gradients", nets.gradients(those), "At the first weights, on the first batch. 0 is the last layer.")
    page.draw("layers", nets.by_layer(those, deepest), BY_LAYER)
    page.draw("time", nets.over_time(those, deepest, ("SGD", "Adam")), "Layer 1 is next to the images.")
    page.draw("losses", nets.losses(those), LOSSES)
    page.series("layers", ["activation", "depth", "method", "layer", *MEASURES.values()], nets.rows(those))
    page.table(nets.table(those))
    judge_gradients(those, deepest, page)
    judge_steps(those, told, page)
    judge_losses(those, told, page)


def learn(kind: str, depth: int, told: Settings, page: Page) -> Net:
    task = Deep(kind, depth, told.width, told.batch, told.seed)
    layers = Layers(task.layers, told.every)
    courses = compare(
        task,
        told.methods,
        epochs=told.epochs,
        seed=told.seed,
        convention=told.convention,
        page=page,
        name=f"{kind}-{depth}",
        watch=layers,
    )
    return Net(courses, layers)


def judge_gradients(those: Nets, deepest: int, page: Page) -> None:
    """What the chain rule makes of factors."""
    falls = {kind: float(those[kind, deepest].fall()[-1]) for kind in ACTIVATIONS}
    for kind in ("sigmoid", "tanh"):
        page.claim(
            f"Through {deepest} {kind} layers gradients vanish: next to nothing arrives at the first layer.",
            falls[kind] < NOTHING,
            part_that_arrives=falls[kind],
            factor_per_layer=those[kind, deepest].factor(),
        )
    page.claim(
        f"Through {deepest} ReLU layers they keep their size, within a factor of {ALIKE}.",
        1 / ALIKE < falls["ReLU"] < ALIKE,
        part_that_arrives=falls["ReLU"],
        factor_per_layer=those["ReLU", deepest].factor(),
    )
    zeros = {kind: float(those[kind, deepest].mean("SGD", "zeros")[1:-1].mean()) for kind in ACTIVATIONS}
    page.claim(
        "ReLU's price: units that are off make gradients exactly 0, which those of the others are not.",
        zeros["ReLU"] > 0.1 > 0.01 > max(zeros["sigmoid"], zeros["tanh"]),
        share_of_zeros_between_the_first_layer_and_the_last=zeros,
    )


def judge_steps(those: Nets, told: Settings, page: Page) -> None:
    """θ − α·0 = θ, and how far adaptive methods can help."""
    deepest = max(told.depths)
    kept = those["sigmoid", deepest].mean("SGD", "kept")
    page.claim(
        f"The layers farthest from the loss suffer first: of {deepest} sigmoid layers SGD leaves the first as it is, "
        "bit by bit, and changes the last.",
        kept[0] > 0.99 and kept[-1] < 0.01,
        share_of_weights_that_keep_their_bits={"first": float(kept[0]), "last": float(kept[-1])},
    )
    eps = told.methods["Adam"].start(np.zeros(1), told.convention).param_groups[0]["eps"]
    for depth in told.depths:
        net = those["sigmoid", depth]
        usual = float(net.layers.over_steps("Adam", "usual")[:, 0].mean())
        left = {method: net.left(method) for method in ("SGD", "Adam")}
        if usual > eps:
            page.claim(
                f"With {depth} sigmoid layers the first one's gradients are above Adam's ε. Adam moves it as far as "
                f"the last, within a factor of {ALIKE}; with SGD it falls farther behind.",
                1 / ALIKE < left["Adam"] < ALIKE and left["SGD"] < left["Adam"],
                usual_gradient=usual,
                first_layer_over_last=left,
            )
        else:
            page.claim(
                f"With {depth} sigmoid layers the first one's gradients are below Adam's ε, and Adam, too, leaves it.",
                left["Adam"] < NOTHING,
                usual_gradient=usual,
                first_layer_over_last=left,
            )


def judge_losses(those: Nets, told: Settings, page: Page) -> None:
    deepest = max(told.depths)
    loss = those["sigmoid", deepest].courses["SGD"].over_epochs("loss")
    half = loss[len(loss) // 2]
    page.claim(
        f"With {deepest} sigmoid layers SGD has good first iterations and then a stall, at a guesser's loss, ln 10: "
        "most of the fall is in the first half.",
        loss[0] - half > 0.8 * (loss[0] - loss[-1]) > 0 and abs(loss[-1] - GUESS) < 0.02 * GUESS,
        training_loss={"first": float(loss[0]), "half-way": float(half), "last": float(loss[-1])},
    )
    last = {kind: ends(those[kind, deepest].courses, "loss") for kind in ACTIVATIONS}
    adaptive = {method: last["sigmoid"][method] for method in ("RMSProp", "Adam")}
    page.claim(
        f"Adaptive methods do not rescue {deepest} sigmoid layers: they, too, end at a guesser's loss.",
        min(adaptive.values()) > 0.98 * GUESS,
        training_loss=adaptive,
    )
    for kind in ("tanh", "ReLU"):
        for who, names in (("the adaptive methods", adaptive), ("all methods", told.methods)):
            page.claim(
                f"The lever is the activation: with {deepest} {kind} layers {who} end below a guesser's loss, by a "
                "twentieth of it or more.",
                max(last[kind][name] for name in names) < 0.95 * GUESS,
                training_loss={name: last[kind][name] for name in names},
            )
