"""`fusedstep demo`: a network learns handwritten digits, stepped by the kernels and, beside them, by NumPy."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path
from typing import Any

import numpy as np

from .. import methods
from ..lab.network import evaluate, gradient, random_weights
from ..targets import active_target, get_num_threads
from . import Problem, at_least
from .pair import Pair

HIDDEN = (1000, 1000)


def option(text: str) -> tuple[str, Any]:
    """NAME=VALUE, where the value is written as in Python; what is not, is a word."""
    name, given, value = text.partition("=")
    if not given:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    known = ", ".join(methods.__all__)
    parser.add_argument(
        "--optimizer",
        default="AdamW",
        choices=methods.__all__,
        metavar="NAME",
        help=f"{known} (default: %(default)s)",
    )
    parser.add_argument("--lr", type=float, help="learning rate (default: the optimizer's own)")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        type=option,
        metavar="NAME=VALUE",
        help="another keyword of the optimizer, such as momentum=0.9; may be given several times",
    )
    parser.add_argument(
        "--epochs",
        type=at_least(1),
        default=10,
        metavar="N",
        help="passes over the images (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size",
        type=at_least(1),
        default=64,
        metavar="N",
        help="images in a step (default: %(default)s)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        default="float32",
        help="type of the weights (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=at_least(0),
        default=0,
        help="seed of the weights, the split and the batches (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default="fusedstep-demo.png",
        metavar="FILE",
        help="picture of the loss (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    # Imported here, so that `--help` needs none of the packages behind them.
    from ..lab.data.digits import digits
    from .curves import Epoch, draw
    from .display import display

    if arguments.out.is_dir() or not arguments.out.absolute().parent.is_dir():
        raise Problem(f"--out must be a file in a folder that exists, got {arguments.out}")
    rng = np.random.default_rng(arguments.seed)
    images = digits(arguments.dtype, rng)
    sizes = (images.pixels, *HIDDEN, images.classes)
    weights = random_weights(sizes, arguments.dtype, rng)
    grads = {name: np.empty_like(array) for name, array in weights.items()}
    options = dict(arguments.option) | ({} if arguments.lr is None else {"lr": arguments.lr})
    pair = Pair(arguments.optimizer, weights, options)
    progress = display()
    tell = progress.console.print
    network = "-".join(map(str, sizes))
    tell(
        f"{arguments.optimizer} trains {network} on {len(images.train[1])} images of digits: "
        f"{sum(array.size for array in weights.values()):,} weights, {arguments.dtype}\n"
        f"kernels: {active_target()}, threads: {get_num_threads()}; both are given the same gradients\n"
    )
    epochs: list[Epoch] = []
    with progress, np.errstate(all="ignore"):
        task = progress.add_task("", total=arguments.epochs)
        for number in range(1, arguments.epochs + 1):
            losses: list[float] = []
            batches = list(images.batches(arguments.batch_size, rng))
            for batch in batches:
                losses.append(gradient(weights, *batch, out=grads))
                pair.step(grads)
                progress.update(task, advance=1 / len(batches), description=f"epoch {number}  loss {losses[-1]:.4f}")
            epoch = Epoch(losses, *(evaluate(mine, *images.test) for mine in pair.weights))
            epochs.append(epoch)
            difference = pair.difference()
            tell(
                f"epoch {number:>{len(str(arguments.epochs))}}  train loss {np.mean(losses):.4f}  "
                f"test accuracy {100 * epoch.kernel[1]:.2f} %  {'bits differ' if difference else 'same bits'}"
            )
            if difference:
                tell(f"\nFAIL: {difference}")
                return 1
    kernel, formula = pair.milliseconds()
    tell(
        "\nweights and state: same bits after every epoch\n"
        f"one step, median:  {kernel:.3g} ms by the kernels; {formula:.3g} ms by NumPy, "
        f"{formula / kernel:.1f} times as long"
    )
    title = (
        f"{arguments.optimizer} on handwritten digits, {network}, {arguments.dtype}\n"
        f"same bits; one step takes {kernel:.3g} ms by the kernels, {formula:.3g} ms by NumPy"
    )
    try:
        draw(epochs, title, arguments.out)
    except OSError as error:
        raise Problem(f"--out: {error}") from error
    tell(f"loss curves:       {arguments.out}")
    return 0
