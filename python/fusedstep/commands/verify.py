"""`fusedstep verify`: the bit contract, checked on this machine."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import cache, partial

import numpy as np

from .. import __version__
from ..targets import available_targets
from . import at_least
from .contract import CASES, DTYPES, OPTIONS, STORAGES, Options, Storage
from .trial import STEPS, Numbers, outcomes

#: Numbers of threads, and sizes of tensors: around the borders of vectors, and one so large that all the threads get
#: work. A thread wants 32768 elements of the step, and tensors are cut at multiples of 4096. States are codes of
#: one byte from there on.
FULL = (1, 2, 3, 7), (0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 4095, 4097, 39_003)
QUICK = (1, 2), (0, 1, 3, 8, 17, 33, 65, 14_003)

#: All numbers of one type.
PLAIN = [Storage(np.dtype(dtype).name, np.dtype(dtype).name) for dtype in DTYPES]

#: How many of a method's differences are told.
TOLD = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="smaller tensors and one or two threads: half a minute")
    parser.add_argument(
        "--method",
        action="append",
        choices=list(OPTIONS),
        metavar="NAME",
        help=f"only this method; may be given several times: {', '.join(OPTIONS)}",
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of the random numbers (default: %(default)s)")


def ways(method: str, options: Options, threads: Sequence[int]) -> list[tuple[Storage, Sequence[int]]]:
    """The storages that a set of options is checked with, and the numbers of threads."""
    other = STORAGES[CASES.index((method, options)) % len(STORAGES)]
    return [*((storage, threads) for storage in PLAIN), (other, (threads[0], threads[-1]))]


def run(arguments: argparse.Namespace) -> int:
    threads, sizes = QUICK if arguments.quick else FULL
    print(
        f"fusedstep {__version__}: the kernels against the NumPy reference, byte for byte\n"
        f"targets: {', '.join(available_targets())}\n"
        f"threads: {', '.join(map(str, threads))}\n"
        f"types:   {', '.join(one.param for one in PLAIN)}, and one of {len(STORAGES)} storages for each option set\n"
    )
    begin = time.perf_counter()
    runs = compared = differ = 0
    numbers = cache(partial(Numbers, sizes=sizes, seed=arguments.seed))
    for method in arguments.method or OPTIONS:
        since = time.perf_counter()
        found = [
            outcome
            for options in OPTIONS[method]
            for storage, counts in ways(method, options, threads)
            for outcome in outcomes(method, options, numbers(storage), counts)
        ]
        differences = [outcome.difference for outcome in found if outcome.difference]
        runs += len(found)
        compared += sum(outcome.compared for outcome in found)
        differ += len(differences)
        result = f"{len(differences)} runs differ" if differences else "same bits"
        seconds = time.perf_counter() - since
        print(
            f"{method:<16} {len(OPTIONS[method]):>3} option sets {len(found):>5} runs  {seconds:5.1f} s  {result}",
            flush=True,
        )
        for difference in differences[:TOLD]:
            print(f"    {difference}", flush=True)
    print(
        f"\n{'FAIL' if differ else 'PASS'}: {differ} of {runs} runs of {STEPS} steps differ; "
        f"{compared:,} values compared in {time.perf_counter() - begin:.1f} s"
    )
    return 1 if differ else 0
