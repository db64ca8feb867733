"""What does a step cost in fewer bits? Adam in every storage that people use, on every target, beside torch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

import fusedstep as fs
import report
from fusedstep.in_numpy.encodings import cast
from fusedstep.measurement.table import Table, duration
from fusedstep.measurement.timing import Others, compete, ratio
from fusedstep.rivals.rival import package

FULL, TORCH_FULL, TORCH_HALF = "float32", "torch fused, float32", "torch fused, bfloat16"

#: name -> type of parameters and gradients, options, and bytes that a step moves for an element
STORAGES: dict[str, tuple[str, dict[str, Any], float]] = {
    FULL: ("float32", {}, 28),
    "bfloat16, m and v in float32": ("bfloat16", {}, 22),
    "the same, exact (remainder)": ("bfloat16", {"rounding": "remainder"}, 26),
    "the same, Kahan": ("bfloat16", {"rounding": "kahan"}, 26),
    "all bfloat16, stochastic": ("bfloat16", {"state": "bfloat16", "rounding": "stochastic"}, 14),
    "float32, m and v in sq8": ("float32", {"state": "sq8"}, 16.1),
    "bfloat16, m and v in sq8": ("bfloat16", {"state": "sq8", "rounding": "stochastic"}, 10.1),
}
BFLOAT16, SQ8 = "all bfloat16, stochastic", "float32, m and v in sq8"

#: target -> (what, whose time is divided, by whose, at least)
GOALS = {
    "x86-64-v4": [(BFLOAT16, FULL, 1.6), (BFLOAT16, TORCH_HALF, 1.4), (SQ8, FULL, 1 / 1.25)],
    "x86-64-v3": [(BFLOAT16, FULL, 1.1)],
}
BITSANDBYTES = "bitsandbytes, 8 bits"


def check(name: str, start: np.ndarray, grad: np.ndarray) -> None:
    """Three steps of a part, bit for bit as the reference."""
    kind, options, _ = STORAGES[name]
    params = [cast(start[:20_000], kind) for _ in range(2)]
    for package_, param in zip((fs, fs.reference), params, strict=True):
        optimizer = package_.Adam(param, **options)
        for _ in range(3):
            optimizer.step(cast(grad[:20_000], kind))
    if params[0].tobytes() != params[1].tobytes() or params[0].tobytes() == cast(start[:20_000], kind).tobytes():
        sys.exit(f"{name}: the kernel differs from the reference")


def of_torch(start: np.ndarray, grad: np.ndarray, threads: int, **options: Any) -> dict[str, Any]:
    """Its optimizers."""
    if find_spec("torch") is None:
        return {}
    torch = package("torch")
    torch.set_num_threads(threads)
    optimizers = {}
    for name, dtype in ((TORCH_FULL, torch.float32), (TORCH_HALF, torch.bfloat16)):
        param = torch.from_numpy(start).to(dtype, copy=True).requires_grad_()
        param.grad = torch.from_numpy(grad).to(dtype, copy=True)
        optimizers[name] = torch.optim.Adam([param], fused=True, **options)
    return optimizers


def check_torch(start: np.ndarray, grad: np.ndarray, threads: int) -> None:
    """Three steps of a part, as the reference but for rounding; large ones, which bfloat16 does not swallow."""
    start, grad = (fs.as_float32(cast(array[:20_000], "bfloat16")) for array in (start, grad))
    expected = start.copy()
    reference = fs.reference.Adam(expected, lr=0.1)
    optimizers = of_torch(start, grad, threads, lr=0.1)
    for optimizer in (*optimizers.values(), reference):
        for _ in range(3):
            optimizer.step(*([grad] if optimizer is reference else []))
    for name, optimizer in optimizers.items():
        found = optimizer.param_groups[0]["params"][0].detach().float().numpy()
        moved, half = np.abs(expected - start).max(), name == TORCH_HALF
        near = (0.02 if half else 2e-4) * moved + half * 2.0**-7 * np.abs(expected)
        if not (np.abs(found - expected) <= near).all():
            sys.exit(f"{name}: torch differs from the reference")


def of_bitsandbytes(start: np.ndarray, grad: np.ndarray) -> dict[str, Callable[[], Any]]:
    if find_spec("bitsandbytes") is None or find_spec("torch") is None:
        return {}
    torch, bitsandbytes = package("torch"), package("bitsandbytes")
    param = torch.from_numpy(start.copy()).requires_grad_()
    param.grad = torch.from_numpy(grad)
    step = bitsandbytes.optim.Adam8bit([param]).step
    step()
    return {BITSANDBYTES: step}


def measure(arguments: Any) -> dict[str, dict[str, list[float]]]:
    rng = np.random.default_rng(0)
    start, grad = (rng.standard_normal(arguments.elements, np.float32) for _ in range(2))
    seconds = {}
    for target in arguments.targets:
        print(target, file=sys.stderr)
        with fs.use_target(target):
            steps: dict[str, Callable[[], Any]] = {}
            for name, (kind, options, _) in STORAGES.items():
                check(name, start, grad)
                optimizer = fs.Adam(cast(start, kind), **options)
                steps[name] = optimizer.bind(cast(grad, kind)).step
            check_torch(start, grad, arguments.threads)
            steps |= {name: one.step for name, one in of_torch(start, grad, arguments.threads).items()}
            seconds[target] = compete(steps, rounds=arguments.rounds)
            steps.clear()
    return seconds


def slow(arguments: Any) -> dict[str, list[float]]:
    """What takes so long that fewer elements and rounds must do."""
    rng = np.random.default_rng(0)
    count = min(arguments.elements, 4_000_000)
    start, grad = (rng.standard_normal(count, np.float32) for _ in range(2))
    try:
        steps = of_bitsandbytes(start, grad)
    except Exception as error:  # another package's: ours are measured all the same
        print(f"{BITSANDBYTES}: {type(error).__name__}: {error}", file=sys.stderr)
        return {}
    if not steps:
        return {}
    return compete(steps | {SQ8: fs.Adam(start.copy(), state="sq8").bind(grad).step}, rounds=3)


def main() -> None:
    question = "What does a step cost in fewer bits?"
    parser = report.parser(question)
    parser.add_argument("--elements", type=int, default=48_000_000, help="(default: %(default)s)")
    known = fs.available_targets()
    usual = [target for target in known if target in GOALS] or [fs.active_target()]
    parser.add_argument("--targets", nargs="+", choices=known, default=usual, help=f"(default: {' '.join(usual)})")
    arguments = parser.parse_args()
    fs.set_num_threads(arguments.threads)
    others, rows, tables = Others(), [], []
    for target, seconds in measure(arguments).items():
        table = Table(
            f"Adam, {arguments.elements:,} elements, {target}", ["", "B/element", "time", "over our float32", "GB/s"]
        )
        for name, times in seconds.items():
            found, median = ratio(times, seconds[FULL]), float(np.median(times))
            size = STORAGES[name][2] if name in STORAGES else {TORCH_FULL: 28, TORCH_HALF: 14}[name]
            moved = f"{size * arguments.elements / median / 1e9:.1f}"
            table.rows.append([name, f"{size:g}", duration(median), report.spread(found), moved])
            rows.append({"target": target, "name": name, "seconds": median, "over_float32": found._asdict()})
        goals = Table(f"Goals, {target}", ["", "beside", "its time ÷ ours", "goal", ""])
        for ours, theirs, goal in GOALS.get(target, []):
            if theirs in seconds:
                found = ratio(seconds[theirs], seconds[ours])
                goals.rows.append([ours, theirs, report.spread(found), f"≥ {goal:g}×", report.verdict(found, goal)])
        tables += [table, goals]
    with fs.use_target(arguments.targets[0]):  # whose goals it joins
        seconds = slow(arguments)
    if seconds:
        found = ratio(seconds[BITSANDBYTES], seconds[SQ8])
        tables[1].rows.append([SQ8, BITSANDBYTES, report.spread(found), "≥ 15×", report.verdict(found, 15)])
        rows.append({"name": BITSANDBYTES, "times_ours": found._asdict()})
    tables = [table for table in tables if table.rows]
    tables[-1].notes += report.taken(others)
    report.write("storage", question, tables, rows, arguments.out)


if __name__ == "__main__":
    main()
