"""Paths over a saddle, in a narrow valley, on a plain and among many pits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ...measurement.table import Table
from .. import settings
from ..chart import Paths, chart, film
from ..method import DOCUMENTED, Method, Methods
from ..page import Page
from ..path import NEAR, crossings, detour, misjudgement, steps_to_goal, walk
from ..ravine import LARGER, Ravine
from ..settings import Count, Factor, Fraction, Number
from ..terrain import PITS, PLAIN, SADDLE, TERRAINS, VALLEY

#: Half of a pit's width.
PIT = 0.5

ADAPTIVE = ("AdaGrad", "windowed-AdaGrad", "RMSProp", "Adam", "RAdam")


def methods() -> Methods:
    """Ways are of the order of 1 here, and 1e-4 would not be seen: the adaptive methods step further."""
    further = {name: DOCUMENTED[name].having(lr=0.05) for name in ADAPTIVE}
    return {"GD": Method("SGD", {"lr": 1e-2})} | DOCUMENTED | further


@dataclass(frozen=True)
class Settings(settings.Settings):
    steps: Count = 2000
    saddle_steps: Count = 250
    noise: Number = 0.1
    strong_noise: Number = 1.0
    curvature: Factor = 50.0
    larger_momentum: Fraction = LARGER
    frames: Count = 72
    methods: Methods = field(default_factory=methods)

    quick: ClassVar[Mapping[str, Any]] = {"steps": 1200, "frames": 16}


def run(told: Settings, page: Page) -> None:
    page.expect(len(TERRAINS) + 2)
    paths = {}
    for name, terrain in TERRAINS.items():
        paths[name] = walks(name, told)
        page.draw(name, chart(terrain, paths[name]), f"Paths and heights. {who_has_noise(name, told)}")
        page.advance(name)
    page.series("paths", ["terrain", "method", "step", "x", "y"], points(paths))
    page.table(goals(paths))
    at_the_saddle(paths["saddle"], told, page)
    in_the_valley(paths["valley"], page)
    among_the_pits(paths["pits"], page)
    ravine = Ravine(told.methods, told.larger_momentum, told.curvature, told.convention)
    page.draw("ravine", ravine.draw(), "Momentum and NAG in a straight ravine, at two values of γ.")
    page.table(ravine.table())
    ravine.judge(page)
    with_noise(ravine, told, page)
    page.advance("ravine")
    page.animate("paths", film(TERRAINS, paths, told.frames), "All methods; time runs on a logarithmic scale.")
    page.advance("animation")


def walks(name: str, told: Settings) -> dict[str, np.ndarray]:
    """Everyone's path over a terrain. The noise is the same for all who have it."""
    steps = told.saddle_steps if name == "saddle" else told.steps
    noise = told.noise * np.random.default_rng(told.seed).standard_normal((steps, 2))
    return {
        method: walk(TERRAINS[name], how, steps, told.convention, noise if noisy(name, method) else 0.0)
        for method, how in told.methods.items()
    }


def noisy(terrain: str, method: str) -> bool:
    """SGD always has noise; at the saddle, which is not left without, all do but GD."""
    return method == "SGD" or (terrain == "saddle" and method != "GD")


def who_has_noise(terrain: str, told: Settings) -> str:
    who = "all but GD" if terrain == "saddle" else "SGD alone"
    return f"The gradients have normal noise of σ = {told.noise:g} for {who}."


def points(paths: Mapping[str, Paths]) -> Iterator[list[Any]]:
    for terrain, those in paths.items():
        for method, path in those.items():
            yield from ([terrain, method, step, *point] for step, point in enumerate(path.tolist()))


def goals(paths: Mapping[str, Paths]) -> Table:
    table = Table(f"Steps until a minimum is nearer than {NEAR}", ["method", *paths])
    for method in paths["saddle"]:
        reached = [steps_to_goal(TERRAINS[terrain], paths[terrain][method]) for terrain in paths]
        table.rows.append([method, *("–" if step is None else str(step) for step in reached)])
    ends = [f"{terrain} {len(next(iter(those.values()))) - 1}" for terrain, those in paths.items()]
    table.notes.append(f"–: not within the steps taken: {', '.join(ends)}.")
    return table


def at_the_saddle(paths: Paths, told: Settings, page: Page) -> None:
    away = {name: float(np.hypot(*path[-1])) for name, path in paths.items()}
    steps = {name: steps_to_goal(SADDLE, path) for name, path in paths.items()}
    in_order = {name: told.saddle_steps + 1 if step is None else step for name, step in steps.items()}
    page.claim(
        "GD, which has no noise, never leaves the ridge and ends at the saddle.",
        away["GD"] < NEAR and not paths["GD"][:, 1].any(),
        distance_from_the_saddle=away["GD"],
    )
    page.claim(
        "SGD is slow to leave the saddle: at the end it has not reached a minimum.",
        steps["SGD"] is None,
        distance_from_the_saddle=away["SGD"],
        steps=told.saddle_steps,
    )
    swings = crossings(paths["momentum"][: in_order["momentum"], 0])
    page.claim(
        "Momentum swings over the saddle and then escapes, before SGD does.",
        swings >= 2 and in_order["momentum"] < in_order["SGD"],
        swings=swings,
        steps_to_a_minimum=steps["momentum"],
    )
    still = walk(SADDLE, told.methods["momentum"], told.saddle_steps, told.convention)
    page.claim(
        "It owes the escape to the noise: without, momentum ends at the saddle.",
        float(np.hypot(*still[-1])) < NEAR,
        distance_from_the_saddle_without_noise=float(np.hypot(*still[-1])),
    )
    detours = {name: detour(paths[name][: in_order[name] + 1]) for name in ("momentum", "Adam")}
    page.claim(
        "Adam goes straight down: it makes less of a detour than momentum.",
        detours["Adam"] < detours["momentum"],
        way_over_distance=detours,
    )
    page.claim(
        "Adam is at a minimum before all others.",
        min(in_order, key=lambda name: in_order[name]) == "Adam",
        steps={name: step for name, step in steps.items() if step is not None},
    )
    page.claim(
        "RMSProp goes down more slowly than Adam.",
        in_order["Adam"] < in_order["RMSProp"],
        Adam=steps["Adam"],
        RMSProp=steps["RMSProp"],
    )


def in_the_valley(paths: Paths, page: Page) -> None:
    ways = {name: detour(paths[name]) for name in ("GD", "SGD")}
    heights = {name: float(VALLEY.height(*paths[name][-1])) for name in ("GD", "SGD", "momentum", "Adam")}
    page.claim(
        "SGD takes a crooked way beside GD and gets as low, within a tenth.",
        ways["SGD"] > ways["GD"] and heights["SGD"] < 1.1 * heights["GD"],
        way_over_distance=ways,
        heights={name: heights[name] for name in ways},
    )
    steps = {name: steps_to_goal(VALLEY, paths[name]) for name in ("GD", "momentum", "Adam")}
    page.claim(
        "Along the narrow valley momentum is faster than GD, and Adam faster than momentum.",
        heights["momentum"] < heights["GD"]
        and steps["Adam"] is not None
        and (steps["momentum"] is None or steps["Adam"] < steps["momentum"]),
        steps_to_the_minimum=steps,
        heights={name: heights[name] for name in steps},
    )


def among_the_pits(paths: Paths, page: Page) -> None:
    heights = {name: float(PITS.height(*path[-1])) for name, path in paths.items()}
    away = {name: float(np.hypot(*(paths[name][-1] - paths[name][0]))) for name in ("GD", "momentum")}
    page.claim(
        "Momentum rolls out of a small pit in which GD stays.",
        heights["momentum"] < heights["GD"] - NEAR and away["GD"] < PIT < away["momentum"],
        heights_at_the_end=heights,
        distances_from_the_start=away,
    )


def with_noise(ravine: Ravine, told: Settings, page: Page) -> None:
    """Momentum lags where the slope changes fast, so that it is tried there, too."""
    for terrain, where in ((PLAIN, "on the plain"), (ravine.terrain, "across the ravine")):
        steps = told.saddle_steps
        noise = told.strong_noise * np.random.default_rng(told.seed).standard_normal((steps, 2))
        far = {}
        for name, gamma in (("SGD", 0.0), ("momentum", ravine.own)):
            path = walk(terrain, told.methods[name], steps, told.convention, noise)
            far["noisy gradient" if name == "SGD" else name] = misjudgement(terrain, told.methods[name], path, gamma)
        page.claim(
            f"Momentum, as an average, is nearer to the full gradient than single noisy gradients are, {where}.",
            far["momentum"] < far["noisy gradient"],
            mean_distance_from_the_full_gradient=far,
        )
