"""`fusedstep lab`: what the papers on optimizers promise, tried on the fused kernels."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..lab import EXPERIMENTS, load
from ..measurement.table import Table
from . import Problem
from .demo import option

ALL = "all"


def experiment(text: str) -> str:
    if text not in EXPERIMENTS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(EXPERIMENTS)}, got {text}")
    return text


def experiment_or_all(text: str) -> str:
    return text if text == ALL else experiment(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|run")
    known = ", ".join(EXPERIMENTS)
    listing = actions.add_parser("list", help="the experiments, or the settings of those that are named")
    listing.add_argument("name", nargs="*", type=experiment, metavar="NAME", help=known)
    running = actions.add_parser("run", help="run experiments and write a report on them")
    running.add_argument("name", nargs="+", type=experiment_or_all, metavar="NAME", help=f"all, or any of {known}")
    running.add_argument("--quick", action="store_true", help="smaller and shorter: seconds for each")
    running.add_argument(
        "--out",
        type=Path,
        default="fusedstep-lab",
        metavar="DIR",
        help="folder of the report and the files (default: %(default)s)",
    )
    running.add_argument(
        "--set",
        action="append",
        default=[],
        type=option,
        metavar="NAME=VALUE",
        help="change a setting, such as epochs=5, or a method's option, such as Adam.lr=1e-3; may be given several "
        "times; `fusedstep lab list NAME` shows what there is",
    )


def run(arguments: argparse.Namespace) -> int:
    return show(arguments.name) if arguments.action == "list" else carry_out(arguments)


def show(names: list[str]) -> int:
    """The experiments in a line each, or the settings of some."""
    if not names:
        width = max(map(len, EXPERIMENTS))
        print("\n".join(f"{name:<{width}}  {summary}" for name, summary in EXPERIMENTS.items()))
    for name in names:
        settings = load(name).Settings()
        table = Table(f"{name}: {EXPERIMENTS[name]}", ["setting", "value", "with --quick"])
        for setting, value in settings.as_data().items():
            quick = settings.quick.get(setting)
            table.rows.append([setting, repr(value), "" if quick is None else repr(quick)])
        print(table.plain())
    return 0


def carry_out(arguments: argparse.Namespace) -> int:
    # Imported here, so that `list` and `--help` need none of the packages behind them.
    from ..lab.runner import prepare, run
    from .display import display

    names = list(EXPERIMENTS) if ALL in arguments.name else list(dict.fromkeys(arguments.name))
    try:
        experiments = prepare(names, quick=arguments.quick, changes=dict(arguments.set))
    except (TypeError, ValueError) as error:
        raise Problem(str(error)) from error
    progress = display()
    with progress:
        try:
            pages = run(experiments, arguments.out, progress)
        except OSError as error:
            raise Problem(f"--out: {error}") from error
        except KeyboardInterrupt:
            print(f"interrupted; report on what was done: {arguments.out / 'report.html'}")
            raise
    for page in pages:
        print(f"{page.name}")
        for line in (*page.notes, *(f"{claim.verdict:<9} {claim.text}" for claim in page.claims)):
            print(f"  {line}")
    print(f"report: {arguments.out / 'report.html'}")
    return 0 if ALL in arguments.name or all(page.finished for page in pages) else 2
