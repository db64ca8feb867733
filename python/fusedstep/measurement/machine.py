"""The machine and the packages that a measurement belongs to."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, _core
from ..targets import active_target, get_num_threads
from .packages import RIVALS, version


def describe(*packages: str) -> dict[str, Any]:
    """Processor, caches, memory, versions, and what steps run with; nothing that tells where files lie.

    Args:
        packages: whose versions matter as well as NumPy's and the rivals'.
    """
    found = {name: version(name) for name in (*RIVALS, *packages)}
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "caches": caches(),
        "memory": memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "fusedstep": __version__,
        "compiler": _core.compiler,
        "target": active_target(),
        "threads": get_num_threads(),
        "packages": {"numpy": np.__version__} | {name: number for name, number in found.items() if number},
    }


def in_words(facts: dict[str, Any]) -> str:
    """The same in a few sentences."""
    caches = ", ".join(f"{name} {size}" for name, size in facts["caches"].items()) or "caches unknown"
    packages = ", ".join(f"{name} {number}" for name, number in facts["packages"].items())
    return (
        f"{facts['processor']}, {facts['cores']} cores ({caches}), {facts['memory']} of memory; {facts['system']}. "
        f"fusedstep {facts['fusedstep']} ({facts['compiler']}, target {facts['target']}, {facts['threads']} threads), "
        f"Python {facts['python']}, {packages}."
    )


def processor() -> str:
    """Its name, which several may share, with what tells them apart where the system says that."""
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        told = ""
    found = re.search(r"^model name\s*: (.+)$", told, re.MULTILINE)
    kind = re.search(r"^cpu family\s*: (\d+)\nmodel\s*: (\d+)$", told, re.MULTILINE)
    name = found[1] if found else platform.processor() or platform.machine()
    return f"{name} (family {kind[1]}, model {kind[2]})" if kind else name


def caches() -> dict[str, str]:
    """Of the first core, by level: those of which the system tells."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction":
            found[f"L{level}"] = size.replace("K", " KiB").replace("M", " MiB")
    return found


def memory() -> str:
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):
        return "an unknown size"
    return f"{pages / 2**30:.0f} GiB"
