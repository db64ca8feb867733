"""`fusedstep info` tells what is there, and what is missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.__main__ import main
from fusedstep.commands import info
from fusedstep.measurement import packages


def test_info_is_the_same_in_words_and_json(capsys, lines):
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["version"] == fs.__version__
    assert facts["targets"]["active"] == fs.active_target()
    assert facts["targets"]["available"] == list(fs.available_targets())
    assert set(facts["targets"]["available"]) <= set(facts["targets"]["built"])
    assert facts["numpy"] == np.__version__
    assert set(facts["threads"]) == {"count", "source"}
    assert main(["info"]) == 0
    words = dict(line.split("  ", 1) for line in lines())
    words = {name: value.strip() for name, value in words.items()}
    assert words["fusedstep"] == facts["version"]
    assert words["compiler"] == facts["compiler"]
    assert words["target active"] == facts["targets"]["active"]
    assert words["threads"] == f"{facts['threads']['count']} (from: {facts['threads']['source']})"
    assert words["platform"] == facts["platform"]
    assert words["CUDA devices"].startswith(str(fs.cuda.device_count()))
    assert facts["cuda"]["why_not"] is None or facts["cuda"]["why_not"] in words["CUDA devices"]
    for package, version in facts["optional"].items():
        assert words[package] == (version or "not installed")


def test_info_knows_threads_by_the_environment(monkeypatch):
    monkeypatch.setenv("FUSEDSTEP_NUM_THREADS", "5")
    done = subprocess.run(
        [sys.executable, "-m", "fusedstep", "info", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["threads"] == {"count": 5, "source": "FUSEDSTEP_NUM_THREADS"}


def test_info_names_all_that_the_extras_bring():
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    (lines,) = re.findall(r"^\[project\.optional-dependencies\]\n((?:.+\n)+)", text, re.MULTILINE)
    extras = {line.split()[0]: tuple(re.findall(r'"([\w-]+)', line)) for line in lines.splitlines()}
    assert extras == packages.EXTRAS
    assert {*chain(*extras.values()), *packages.RIVALS} <= set(info.OPTIONAL)
    assert len(set(info.OPTIONAL)) == len(info.OPTIONAL)


def test_info_tells_what_is_missing(monkeypatch):
    monkeypatch.setattr(info, "OPTIONAL", ("pytest", "no-such-package"))
    assert info.gather()["optional"] == {"pytest": pytest.__version__, "no-such-package": None}
    assert re.search(r"^no-such-package +not installed$", info.in_words(info.gather()), re.MULTILINE)


# verify
