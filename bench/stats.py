"""How fast are a gradient's numbers? Beside the same numbers by NumPy, and beside reading the memory once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import fusedstep as fs
import report
from fusedstep.measurement.table import Table, duration
from fusedstep.measurement.timing import Others, compete, ratio

OURS, NUMPY, READ = "fusedstep.stats", "NumPy", "reading once"

#: Times of NumPy over ours, and ours as a share of the read bandwidth: at least.
TIMES, SHARE = 5.0, 0.9


def by_numpy(grad: np.ndarray) -> tuple[Any, ...]:
    """What a user writes today; nothing of it is fused, and non-finite numbers are not left out."""
    sizes = np.abs(grad)
    return (
        sizes.sum(dtype=np.float64),
        np.linalg.norm(grad),
        sizes.max(),
        grad.mean(dtype=np.float64),
        grad.size - np.count_nonzero(grad),
        grad.size - np.count_nonzero(np.isfinite(grad)),
        np.bincount(sizes.view(np.uint32) >> 23, minlength=256),
    )


def measure(elements: int, arguments: Any) -> dict[str, list[float]]:
    grad = np.random.default_rng(0).standard_normal(elements, np.float32)
    found, (absolute, norm, largest, mean, zeros, nonfinite, histogram) = fs.stats(grad)["0"], by_numpy(grad)
    assert (found.linf, found.zeros, found.nonfinite) == (largest, zeros, nonfinite)
    exact = np.sqrt(np.square(grad, dtype=np.float64).sum())
    assert np.allclose([found.l1, found.l2, found.mean], [absolute, exact, mean], rtol=1e-9, atol=1e-12)
    assert np.isclose(norm, exact, rtol=1e-2)  # NumPy's own is added up in float32
    histogram[0] -= zeros
    assert (found.histogram == histogram).all()
    parts = np.array_split(grad, arguments.threads)
    with ThreadPoolExecutor(arguments.threads) as pool:
        steps = {
            OURS: lambda: fs.stats(grad),
            NUMPY: lambda: by_numpy(grad),
            READ: lambda: list(pool.map(np.max, parts)),
        }
        return compete(steps, rounds=arguments.rounds)


def main() -> None:
    question = "How fast are a gradient's numbers?"
    parser = report.parser(question)
    parser.add_argument("--elements", type=int, nargs="+", default=[1_000_000, 50_000_000], help="(default: 1e6, 5e7)")
    arguments = parser.parse_args()
    fs.set_num_threads(arguments.threads)
    others, rows = Others(), []
    head = ["float32", "ours", "GB/s", "NumPy ÷ ours", f"goal ≥ {TIMES}×", "reading once ÷ ours", f"goal ≥ {SHARE}"]
    table = Table("L1, L2, L∞, mean, zeros, non-finite and the histogram of normal numbers", head)
    for elements in arguments.elements:
        seconds = measure(elements, arguments)
        numpy, read = (ratio(seconds[name], seconds[OURS]) for name in (NUMPY, READ))
        ours = float(np.median(seconds[OURS]))
        rate = f"{4 * elements / ours / 1e9:.1f}"
        goals = report.verdict(numpy, TIMES), report.verdict(read, SHARE)
        table.rows.append(
            [
                f"{elements:,}",
                duration(ours),
                rate,
                report.spread(numpy),
                goals[0],
                f"{read.median:.2f}",
                goals[1],
            ]
        )
        rows.append({"elements": elements, "seconds": ours, "numpy": numpy._asdict(), "read": read._asdict()})
    table.notes.append(f"{arguments.threads} threads; NumPy uses one. Reading once: np.max of a part in each thread.")
    table.notes += report.taken(others)
    report.write("stats", question, [table], rows, arguments.out)


if __name__ == "__main__":
    main()
