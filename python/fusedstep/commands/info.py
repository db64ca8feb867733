"""`fusedstep info`: what is installed, and what it runs on."""

from __future__ import annotations

import argparse
import json
import platform
from typing import Any

import numpy as np

from .. import __version__, _core, cuda
from ..measurement.packages import OPTIONAL, version


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(arguments: argparse.Namespace) -> int:
    facts = gather()
    print(json.dumps(facts, indent=2) if arguments.json else in_words(facts))
    return 0


def gather() -> dict[str, Any]:
    """Everything that `info` shows, as plain data."""
    threads, source = _core.default_threads()
    return {
        "version": __version__,
        "compiler": _core.compiler,
        "targets": {
            "built": list(_core.built_targets()),
            "available": list(_core.available_targets()),
            "active": _core.active_target(),
        },
        "threads": {"count": threads, "source": source},
        "cuda": {"devices": cuda.device_count(), "why_not": cuda.why_not()},
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "numpy": np.__version__,
        "platform": platform.platform(),
        "optional": {name: version(name) for name in OPTIONAL},
    }


def in_words(facts: dict[str, Any]) -> str:
    targets, threads, devices = facts["targets"], facts["threads"], facts["cuda"]
    rows = {
        "fusedstep": facts["version"],
        "compiler": facts["compiler"],
        "targets built": ", ".join(targets["built"]),
        "targets available": ", ".join(targets["available"]),
        "target active": targets["active"],
        "threads": f"{threads['count']} (from: {threads['source']})",
        "CUDA devices": f"{devices['devices']}" if devices["devices"] else f"0 ({devices['why_not']})",
        "python": facts["python"],
        "numpy": facts["numpy"],
        "platform": facts["platform"],
        **{name: found or "not installed" for name, found in facts["optional"].items()},
    }
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())
