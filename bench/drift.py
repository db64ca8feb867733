"""How exact is state in fewer bits, when gradients drift? Adam against Adam in float32 with the same gradients."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

import fusedstep as fs
import report
from fusedstep.measurement.table import Table
from fusedstep.rivals.rival import package

#: name -> the types of the states; None: bitsandbytes
STATES: dict[str, Any] = {
    "bfloat16, v stochastic": {"exp_avg": "bfloat16", "exp_avg_sq": "bfloat16"},
    "sq8": "sq8",
    "v alone in sq8": {"exp_avg_sq": "sq8"},
    "m alone in sq8": {"exp_avg": "sq8"},
    "v alone in float16": {"exp_avg_sq": "float16"},
}
NEAREST, BITSANDBYTES, GOAL = "bfloat16, v to nearest", "bitsandbytes, 8 bits", 0.03

#: Decades by which the gradients' sizes differ within a block: ±2 standard deviations are a factor of 10 and of 100.
SPREADS = {"a factor of 10": 0.25, "a factor of 100": 0.5}


def gradients(rng: np.random.Generator, elements: int, steps: int, spread: float) -> Any:
    """A mean that swings plus noise; half-way, half of the gradients drop tenfold."""
    blocks = np.repeat(rng.normal(0, 0.5, -(-elements // 128)), 128)[:elements]
    size = 1e-3 * 10 ** (blocks + rng.normal(0, spread, elements))
    period, phase = rng.uniform(50, 500, elements), rng.uniform(0, 2 * np.pi, elements)
    dropping = rng.random(elements) < 0.5
    for t in range(steps):
        factor = np.where(dropping & (t >= steps // 2), 0.1, 1.0)
        mean = np.sin(2 * np.pi * t / period + phase)
        yield (size * factor * (mean + rng.standard_normal(elements))).astype(np.float32), dropping


class Nearest:
    """m and v rounded to the nearest bfloat16 after every step in float32: what `state="bfloat16"` must not do."""

    def __init__(self, theta: np.ndarray) -> None:
        self.optimizer = fs.Adam(theta)
        self.copy = fs.as_bfloat16(np.zeros(theta.size, np.uint16))

    def step(self, grad: np.ndarray) -> None:
        self.optimizer.step(grad)
        for name in ("exp_avg", "exp_avg_sq"):
            state = self.optimizer.state["0"][name]
            zero = np.zeros_like(state)
            fs.SGD(state, lr=1.0).step(zero, copy_to=self.copy)
            state[...] = fs.as_float32(self.copy)

    def root(self) -> np.ndarray:
        return np.sqrt(self.optimizer.state["0"]["exp_avg_sq"])


class Ours:
    def __init__(self, theta: np.ndarray, state: Any) -> None:
        self.optimizer = fs.Adam(theta, state=state)
        self.step = self.optimizer.step

    def root(self) -> np.ndarray:
        from fusedstep.in_numpy.step import numbers

        return np.sqrt(numbers(self.optimizer, "0")[1]["exp_avg_sq"])


class BitsAndBytes:
    def __init__(self, theta: np.ndarray) -> None:
        torch, bitsandbytes = package("torch"), package("bitsandbytes")
        self.param = torch.from_numpy(theta).requires_grad_()
        self.torch = torch
        self.optimizer = bitsandbytes.optim.Adam8bit([self.param], lr=1e-3)

    def step(self, grad: np.ndarray) -> None:
        self.param.grad = self.torch.from_numpy(grad.copy())
        self.optimizer.step()

    def root(self) -> None:
        return None


def study(elements: int, steps: int, spread: float, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    thetas: dict[str, np.ndarray] = {name: np.zeros(elements, np.float32) for name in ("float32", NEAREST, *STATES)}
    runs: dict[str, Any] = {name: Ours(thetas[name], state) for name, state in STATES.items()}
    runs |= {"float32": Ours(thetas["float32"], None), NEAREST: Nearest(thetas[NEAREST])}
    if find_spec("bitsandbytes") and find_spec("torch"):
        thetas[BITSANDBYTES] = np.zeros(elements, np.float32)
        runs[BITSANDBYTES] = BitsAndBytes(thetas[BITSANDBYTES])
    dropping = None
    for grad, dropping in gradients(rng, elements, steps, spread):  # noqa: B007  (the same in every step)
        for run in runs.values():
            run.step(grad)
    exact, length = thetas["float32"], float(np.linalg.norm(thetas["float32"].astype(np.float64)))
    right = runs["float32"].root()
    rows = []
    for name in (NEAREST, *STATES, *({BITSANDBYTES} & runs.keys())):
        root = runs[name].root()
        off = None if root is None else root[dropping] / right[dropping] - 1
        rows.append(
            {
                "name": name,
                "path": float(np.linalg.norm((thetas[name] - exact).astype(np.float64))) / length,
                "bias": None if off is None else float(off.mean()),
                "rms": None if off is None else float(np.sqrt((off * off).mean())),
            }
        )
    return rows


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def main() -> None:
    question = "How exact is state in fewer bits, when gradients drift?"
    parser = report.parser(question, timed=False)
    parser.add_argument("--elements", type=int, default=65_536, help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, nargs="+", default=[60, 1000], help="(default: %(default)s)")
    arguments = parser.parse_args()
    fs.set_num_threads(arguments.threads)
    tables, rows = [], []
    for words, spread in SPREADS.items():
        for steps in arguments.steps:
            table = Table(
                f"{steps} steps, gradients that differ by {words} within a block",
                ["", "error of the path", "bias of √v", "rms of √v", "goal", ""],
            )
            for row in study(arguments.elements, steps, spread, seed=1):
                asked = row["name"] == "sq8" and steps == 60 and spread == 0.25
                verdict = report.reached(row["path"] <= GOAL) if asked else ""
                cells = [percent(row[key]) for key in ("path", "bias", "rms")]
                table.rows.append([row["name"], *cells, f"≤ {GOAL:.0%}" if asked else "", verdict])
                rows.append({"steps": steps, "spread": spread, **row})
            tables.append(table)
    tables[-1].notes.append(
        "The error of the path is that of the way from the start, against float32's. √v: of the elements whose "
        "gradients dropped tenfold half-way."
    )
    report.write("drift", question, tables, rows, arguments.out)


if __name__ == "__main__":
    main()
