"""The chart of all results: everyone's time over fusedstep's, and how near each method comes to the memory's limit."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from fusedstep.measurement.table import times

RESULTS = Path(__file__).resolve().parent / "results"

#: From Okabe and Ito's palette, which the colour-blind can tell apart; the markers differ too.
LOOKS = {
    "NumPy reference": ("#000000", "s"),
    "torch foreach": ("#E69F00", "^"),
    "torch fused": ("#D55E00", "o"),
    "DeepSpeed": ("#CC79A7", "v"),
    "optax": ("#009E73", "P"),
    "numba": ("#56B4E9", "X"),
    "limit": ("#0072B2", "|"),
}


def load(folder: Path, name: str) -> dict[str, Any]:
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {"rows": [], "machine": None}


def speedups(axes: Axes, rows: list[tuple[str, dict[str, Any]]]) -> None:
    """Work by work, everyone's time over fusedstep's."""
    for place, (_, row) in enumerate(rows):
        ratios = {name: ratio["median"] for name, ratio in row["times_ours"].items() if name in LOOKS}
        axes.plot([1, max(ratios.values())], [place, place], color="#DDDDDD", linewidth=1, zorder=0)
        for name, ratio in ratios.items():
            colour, marker = LOOKS[name]
            axes.plot(ratio, place, marker, color=colour, markersize=11 if marker == "|" else 7, markeredgewidth=1.5)
            if name == "torch fused":
                axes.annotate(times(ratio), (ratio, place), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("time of one step ÷ fusedstep's (right of the line: slower than fusedstep)")
    axes.grid(axis="x", alpha=0.3)


def shares(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Method by method, the limit's speed taken as 1."""
    for place, row in enumerate(rows):
        axes.plot([0, 1], [place, place], color="#EEEEEE", linewidth=1, zorder=0)
        limit = row["times_ours"].get("limit")
        if not limit:
            continue
        for name, ratio in row["times_ours"].items():
            if name in LOOKS and name != "limit":
                colour, marker = LOOKS[name]
                axes.plot(limit["median"] / ratio["median"], place, marker, color=colour, markersize=6)
        span = [[limit["median"] - limit["low"]], [limit["high"] - limit["median"]]]
        axes.errorbar(limit["median"], place, xerr=span, fmt="D", color=LOOKS["limit"][0], markersize=6, capsize=3)
    axes.axvline(1, color="black", linewidth=1)
    axes.axvline(0.95, color="black", linewidth=1, linestyle=":")
    axes.set_yticks(range(len(rows)), [row["row"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("speed, as a share of the same memory traffic without arithmetic (dotted: goal, 0.95)")
    axes.grid(axis="x", alpha=0.3)


def legend(figure: Figure, axes: Axes, names: set[str]) -> None:
    handles = [axes.plot([], [], "D", color=LOOKS["limit"][0], label="fusedstep (bars: quartiles)")[0]]
    for name, (colour, marker) in LOOKS.items():
        if name in names:
            label = "limit: the memory traffic alone" if name == "limit" else name
            handles += axes.plot([], [], marker, color=colour, label=label, markersize=7, markeredgewidth=1.5)
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)


def draw(folder: Path) -> Path:
    """Write chart.png beside the results that are there."""
    small, models, methods = (load(folder, name) for name in ("small", "models", "methods"))
    rows = [(f"AdamW, {row['name']}", row) for data in (small, models) for row in data["rows"]]
    large = [row for row in methods["rows"] if row["row"] == "AdamW"]
    rows += [(f"AdamW, {row['elements'] / 1e6:g} M", row) for row in large]
    rows = [(name, row) for name, row in rows if row["times_ours"]]
    measured = [row for row in methods["rows"] if row["times_ours"]]
    figure = Figure(figsize=(11, 1.6 + 0.42 * len(rows) + 0.34 * len(measured)), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(len(rows) or 1, 0.8 * len(measured) or 1))
    above.set_title("One step: how many times as long as fusedstep")
    speedups(above, rows)
    elements = measured[0]["elements"] / 1e6 if measured else 0
    below.set_title(f"Every method on one array of {elements:g} M float32: how near to the limit")
    shares(below, measured)
    legend(figure, above, {name for _, row in rows for name in row["times_ours"]})
    facts = next(data["machine"] for data in (small, models, methods) if data["machine"])
    where = f"{facts['processor']}, {facts['threads']} threads, {facts['target']}"
    figure.suptitle(f"{where}; float32, medians", fontsize=10)
    path = folder / "chart.png"
    figure.savefig(path, dpi=150)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER", help="where the results are")
    print(f"wrote {draw(parser.parse_args().out).name}")


if __name__ == "__main__":
    main()
