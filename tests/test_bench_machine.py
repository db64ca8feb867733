"""A machine is told as its system tells it, and numbers as a reader wants them."""

from __future__ import annotations

import os

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.measurement import machine, packages
from fusedstep.measurement.table import Table, duration, times

TABLE = Table("Title", ["", "time"], [["a", "1 ms"], ["bcd", "12 ms"], ["e", ""]], ["Note [sic]."])


def test_tables():
    assert TABLE.plain() == "Title\n      time\n---  -----\na     1 ms\nbcd  12 ms\ne\nNote [sic]."
    assert (
        TABLE.markdown()
        == "## Title\n\n|  | time |\n| --- | ---: |\n| a | 1 ms |\n| bcd | 12 ms |\n| e |  |\n\nNote [sic]."
    )


@pytest.mark.parametrize("rich", [False, True])
def test_tables_are_shown(rich, capsys, monkeypatch):
    if rich:
        pytest.importorskip("rich")
    monkeypatch.setattr("fusedstep.measurement.table.find_spec", lambda name: rich)
    TABLE.show()
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("Title", "time", "bcd", "12 ms", "  1 ms", "Note [sic]."))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (1234.0, "1230 s"),
        (12.3, "12.3 s"),
        (0.9999, "1 s"),
        (0.9994, "999 ms"),
        (0.0123, "12.3 ms"),
        (9.996e-4, "1 ms"),
        (1.234e-4, "123 µs"),
        (1e-6, "1 µs"),
        (9.996e-7, "1 µs"),
        (1.234e-8, "12.3 ns"),
        (1.234e-10, "0.123 ns"),
        (0.0, "0 ns"),
    ],
)
def test_durations_have_three_digits(seconds, told):
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("ratio", "told"),
    [(0.0123, "0.01×"), (9.94, "9.94×"), (9.96, "10.0×"), (99.4, "99.4×"), (99.5, "100×"), (1234.5, "1234×")],
)
def test_ratios_have_three_digits(ratio, told):
    assert times(ratio) == told


def test_caches_are_those_that_the_system_tells(monkeypatch, tmp_path):
    told = (("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", None), ("3", "Unified", "32M"))
    for index, facts in enumerate(told):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, fact in zip(("level", "type", "size"), facts, strict=True):
            if fact:
                (folder / name).write_text(f"{fact}\n")
    monkeypatch.setattr(machine, "Path", lambda place: tmp_path)
    assert machine.caches() == {"L1": "48 KiB", "L3": "32 MiB"}
    monkeypatch.setattr(machine, "Path", lambda place: tmp_path / "nowhere")
    assert machine.caches() == {}


@pytest.mark.parametrize(
    ("told", "name"),
    [
        (
            "processor\t: 0\nvendor_id\t: Maker\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: Some CPU @ 2 GHz\n" * 2,
            "Some CPU @ 2 GHz (family 6, model 85)",
        ),
        ("model name\t: Some CPU\n", "Some CPU"),
        ("processor\t: 0\nCPU part\t: 0xd0c\n", "aarch64"),
        (None, "aarch64"),
    ],
)
def test_the_processor_is_told(told, name, monkeypatch, tmp_path):
    place = tmp_path / "cpuinfo"
    if told:
        place.write_text(told)
    monkeypatch.setattr(machine, "Path", lambda _: place)
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "aarch64")
    assert machine.processor() == name


def test_the_memory_is_told(monkeypatch):
    sizes = {"SC_PHYS_PAGES": 2**23, "SC_PAGE_SIZE": 2048}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__, raising=False)
    assert machine.memory() == "16 GiB"
    monkeypatch.setattr(os, "sysconf", lambda name: int("of no name"))
    assert machine.memory() == "an unknown size"
    monkeypatch.delattr(os, "sysconf")
    assert machine.memory() == "an unknown size"


def test_the_machine_is_told_in_words(set_threads, monkeypatch):
    monkeypatch.setattr(packages.metadata, "version", {"numba": "9.9", "rich": "8.8", "scipy": "7.7"}.__getitem__)
    monkeypatch.setattr(packages.metadata, "PackageNotFoundError", KeyError)
    set_threads(3)
    facts = machine.describe("rich")
    assert (facts["cores"], facts["threads"], facts["target"]) == (os.cpu_count(), 3, fs.active_target())
    assert facts["packages"] == {"numpy": np.__version__, "numba": "9.9", "rich": "8.8"}
    words = machine.in_words(facts | {"caches": {"L1": "1 KiB", "L2": "2 KiB"}})
    assert "cores (L1 1 KiB, L2 2 KiB), " in words
    assert f"target {fs.active_target()}, 3 threads), Python " in words
    assert words.endswith(f"numpy {np.__version__}, numba 9.9, rich 8.8.")
    assert "(caches unknown)" in machine.in_words(facts | {"caches": {}})


def test_who_is_on_the_path_has_a_version(monkeypatch):
    monkeypatch.setattr(packages.metadata, "version", lambda name: packages.metadata.distribution("no such package"))
    facts = machine.describe()
    assert facts["fusedstep"] == fs.__version__
    assert list(facts["packages"]) == ["numpy"]
