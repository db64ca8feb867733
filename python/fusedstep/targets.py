"""Instruction sets and threads: which there are, and which are used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from . import _core
from .options import Whole

THREADS = Whole(1, "", expected=f"an integer in 1 … {_core.most_threads}", low=1, below=_core.most_threads + 1)


def available_targets() -> tuple[str, ...]:
    """The targets (instruction sets, as "x86-64-v3") of this build that this processor can run, best first.

    >>> import fusedstep as fs
    >>> fs.active_target() in fs.available_targets()
    True
    """
    return _core.available_targets()


def active_target() -> str:
    """The target that steps use: the best, unless ``FUSEDSTEP_TARGET`` or `use_target` has chosen another."""
    return _core.active_target()


def use_target(name: str) -> AbstractContextManager[None]:
    """A context in which the whole process uses this target; results have the same bits with every target.

    Args:
        name: one of `available_targets()`.

    Raises:
        ValueError: the target was not built, or does not run on this processor.

    >>> import fusedstep as fs
    >>> with fs.use_target(fs.available_targets()[-1]):
    ...     pass
    """
    check_target("use_target: name", name, ValueError)
    return _used(name)


@contextmanager
def _used(name: str) -> Iterator[None]:
    before = _core.active_target()
    _core.force_target(name)
    try:
        yield
    finally:
        _core.force_target(before)


def check_target(what: str, name: str, error: type[Exception]) -> None:
    if name not in available_targets():
        known = ", ".join(map(repr, available_targets()))
        raise error(f"{what} must be a target that runs here, {known}, got {name!r}")


def set_num_threads(n: int | np.integer[Any]) -> int:
    """Set how many threads a step may use in the whole process, and return the old number.

    Args:
        n: from 1 to 1024; results have the same bits with any number.

    Raises:
        TypeError: `n` is not an integer.
        ValueError: `n` is out of range.

    >>> import fusedstep as fs
    >>> before = fs.set_num_threads(2)
    >>> fs.set_num_threads(before)
    2
    """
    count = THREADS.take("set_num_threads", "n", n)
    before = _core.thread_count()
    _core.set_thread_count(count)
    return before


def get_num_threads() -> int:
    """How many threads a step may use.

    It is what `set_num_threads` has set, or else ``FUSEDSTEP_NUM_THREADS``, or else ``OMP_NUM_THREADS``, or else the
    number of processors that the affinity mask and the control group leave to this process.
    """
    return _core.thread_count()


def take_environment() -> None:
    """Force the target that ``FUSEDSTEP_TARGET`` names; the core has read ``FUSEDSTEP_NUM_THREADS`` by itself."""
    name, threads = os.environ.get("FUSEDSTEP_TARGET"), os.environ.get("FUSEDSTEP_NUM_THREADS")
    if name:
        check_target("FUSEDSTEP_TARGET:", name, ImportError)
        _core.force_target(name)
    if threads and not (threads.isascii() and threads.isdigit() and 1 <= int(threads) <= _core.most_threads):
        raise ImportError(f"FUSEDSTEP_NUM_THREADS: must be an integer in 1 … {_core.most_threads}, got {threads!r}")
