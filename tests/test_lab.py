"""The lab: whole files, numbers that come again, claims that hold where they are robust, mistakes told in a line."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from html.parser import HTMLParser

import numpy as np
import pytest

from fusedstep import lab
from fusedstep.__main__ import main
from fusedstep.lab.claim import Claim
from fusedstep.lab.folder import Folder
from fusedstep.lab.method import DOCUMENTED, Method
from fusedstep.lab.path import crossings, detour, steps_to_goal, walk
from fusedstep.lab.reddi import EXAMPLES
from fusedstep.lab.settings import Settings
from fusedstep.lab.terrain import SADDLE, TERRAINS, quadratic

from process import interruptible

for extra in ("scipy", "sklearn"):
    pytest.importorskip(extra)
page = pytest.importorskip("fusedstep.lab.page")
protocol = pytest.importorskip("fusedstep.lab.protocol")
regression = pytest.importorskip("fusedstep.lab.regression")
runner = pytest.importorskip("fusedstep.lab.runner")

#: Of every experiment that has some: the beginnings of claims that hold whatever the seed and the machine.
ROBUST = {
    "surfaces": (
        "GD, which has no noise",
        "Momentum swings",
        "It owes the escape",
        "Adam goes straight down",
        "Along the narrow valley",
        "At the same γ",
        "At a larger γ",
        "Momentum swings more",
        "NAG's two forms",
    ),
    "bias-correction": (
        "The first corrected",
        "With the correction the first step",
        "In the first hundred",
        "Adam goes",
    ),
    "early-variance": (
        "The exponential average's",
        "Var[ψ] falls",
        "Monte Carlo agrees",
        "To first order",
        "A simple average",
        "The rectifier keeps",
    ),
    "vanishing": (
        "Through 32 sigmoid",
        "ReLU's price",
        "The layers farthest",
        "With 2 sigmoid",
        "With 8 sigmoid",
        "With 32 sigmoid",
        "Adaptive methods do not",
        "The lever is the activation: with 32 tanh layers the adaptive",
        "The lever is the activation: with 32 ReLU layers the adaptive",
    ),
    "lr-robustness": (
        "Adam works with the published",
        "With too high",
        "With too low",
        "With a rate that falls",
        "AdaGrad is good",
        "AdaGrad stalls",
        "windowed-AdaGrad",
        "RMSProp, which forgets",
    ),
    "schedules": ("Where gradients stay noisy, the piecewise", "The constant rate never"),
}


class Whole(HTMLParser):
    """Collects what a page would load from elsewhere, and sees to it that its tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.pictures, self.elsewhere = [], 0, []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("src", "href") and not value.startswith(("data:", "#")):
                self.elsewhere.append(value)
        self.pictures += tag == "img"
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


#: The experiments that are run every time. All of them take minutes.
FEW = ("surfaces", "bias-correction", "schedules")


@pytest.fixture(
    scope="module",
    params=[pytest.param(FEW, id="few"), pytest.param(tuple(lab.EXPERIMENTS), id="all", marks=pytest.mark.long)],
)
def names(request):
    return request.param


@pytest.fixture(scope="module")
def quick(names, tmp_path_factory):
    """A quick run of them."""
    out = tmp_path_factory.mktemp("lab")
    assert main(["lab", "run", *names, "--quick", "--out", str(out)]) == 0
    return out


def results(out):
    return {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/result.json")}


def check_files(out):
    """Every file of a run is whole: it parses, and none is unfinished."""
    for path in (path for path in out.rglob("*") if path.is_file()):
        assert not path.name.startswith("."), path
        if path.suffix == ".json":
            json.loads(path.read_text(), parse_constant=pytest.fail)
        elif path.suffix == ".csv":
            head, *rows = csv.reader(path.read_text().splitlines())
            assert {len(row) for row in rows} == {len(head)}
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                assert all(np.isfinite(arrays[name]).all() for name in arrays.files)
        elif path.suffix in (".png", ".gif"):
            from PIL import Image

            with Image.open(path) as image:
                image.load()
                assert min(image.size) > 300
        else:
            assert path.name == "report.html"


# A whole run


def test_every_experiment_leaves_whole_files(names, quick):
    found = results(quick)
    assert set(found) == set(names)
    check_files(quick)
    for name, result in found.items():
        if any(note.startswith("Not run: ") for note in result["notes"]):
            continue
        assert result["finished"], name
        assert result["claims"], name
        assert result["pictures"], name
        assert {"numpy", "matplotlib"} <= set(result["versions"]["packages"])
        assert {"seed", "convention"} <= set(result["settings"])


def test_report_is_one_file_with_everything_in_it(quick):
    text = (quick / "report.html").read_text()
    seen = Whole(text)
    assert seen.elsewhere == []
    assert not re.search(r"url\(|@import|<script|<link|https?:", text)
    found = results(quick)
    assert seen.pictures == sum(len(result["pictures"]) for result in found.values())
    for name, result in found.items():
        assert f'<h2 id="{name}">' in text
        assert text.count('">seen</td>') + text.count('">not seen</td>') >= len(result["claims"])


def test_robust_claims_hold(quick):
    for name, result in results(quick).items():
        for beginning in ROBUST.get(name, ()):
            chosen = [claim for claim in result["claims"] if claim["text"].startswith(beginning)]
            assert chosen or not result["finished"], (name, beginning)
            assert all(claim["seen"] for claim in chosen), chosen


@pytest.mark.parametrize("name", ["schedules", "bias-correction"])
def test_a_second_run_gives_the_same_numbers(name, quick, tmp_path):
    assert main(["lab", "run", name, "--quick", "--out", str(tmp_path)]) == 0
    first, second = results(quick)[name], results(tmp_path)[name]
    assert first == second
    for path in (quick / name).glob("*.csv"):
        assert path.read_bytes() == (tmp_path / name / path.name).read_bytes()


def test_a_change_reaches_the_result(tmp_path, capsys):
    words = ["--set", "epochs=2", "--set", "seed=3", "--set", "Adam.betas=(0.8, 0.99)", "--set", "reddi_steps=2000"]
    assert main(["lab", "run", "schedules", "bias-correction", "--out", str(tmp_path), *words]) == 0
    found = results(tmp_path)
    for result in found.values():
        assert (result["settings"]["epochs"], result["settings"]["seed"]) == (2, 3)
    assert found["bias-correction"]["settings"]["Adam.betas"] == [0.8, 0.99]
    shown = capsys.readouterr().out
    for result in found.values():
        for claim in result["claims"]:
            assert f"{'seen' if claim['seen'] else 'not seen':<9} {claim['text']}" in shown


# The command


def test_list_names_every_experiment(capsys):
    assert main(["lab", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(lab.EXPERIMENTS)


@pytest.mark.parametrize("name", lab.EXPERIMENTS)
def test_list_shows_an_experiments_settings(name, capsys):
    assert main(["lab", "list", name]) == 0
    shown = capsys.readouterr().out
    for setting, value in lab.load(name).Settings().as_data().items():
        assert re.search(rf"^{re.escape(setting)} +{re.escape(repr(value))}", shown, re.MULTILINE)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("epochz=3", "lab: a setting must be one of .*epochs.*, got 'epochz'"),
        ("epochs=0", "schedules: epochs must be an integer ≥ 1, got 0"),
        ("epochs=many", "schedules: epochs must be an integer ≥ 1, got 'many'"),
        ("rates=0.1", "schedules: rates must be one or more finite numbers > 0, got 0.1"),
        ("rates=()", r"schedules: rates must be one or more finite numbers > 0, got \(\)"),
        ("rates=(0.1,0.0)", r"schedules: rates must be one or more finite numbers > 0, got \(0.1, 0.0\)"),
        ("rates=(0.1,0.2)", r"schedules: boundaries must be 1 rising epochs, one fewer than rates, got \(10, 20\)"),
        ("boundaries=(9,9)", r"schedules: boundaries must be 2 rising epochs, one fewer than rates, got \(9, 9\)"),
        ("convention=theirs", "schedules: convention must be one of 'paper', .*, got 'theirs'"),
        ("SGD.lr=1", "lab: a setting must be one of .*, got 'SGD.lr'"),
    ],
)
def test_mistaken_settings_are_told_in_one_line(change, told, tmp_path, capsys):
    assert main(["lab", "run", "schedules", "--out", str(tmp_path / "lab"), "--set", change]) == 2
    assert re.fullmatch(f"fusedstep lab: {told}\n", capsys.readouterr().err)
    assert not (tmp_path / "lab").exists()


def test_changes_are_made_together():
    """Each alone would not suit the others' old values."""
    changes = {"rates": (5.0,), "lowest": 4.0, "highest": 6.0, "Adam.lr": 0.5, "Adam.eps": 0.25}
    (found,) = runner.prepare(["lr-robustness"], changes=changes)
    assert changes.items() <= found.as_data().items()
    assert found.as_data()["Adam.betas"] == (0.9, 0.999)


def test_without_depths_there_is_nothing_to_measure(capsys):
    assert main(["lab", "run", "vanishing", "--set", "depths=()"]) == 2
    assert "vanishing: depths must be one or more integers ≥ 1, got ()" in capsys.readouterr().err


def test_too_short_for_its_warm_up(tmp_path, capsys):
    """An epoch has 45 steps. What one of them moves is seen before the next."""
    for warmup, code in ((44, 2), (43, 0)):
        words = [f"--set={one}" for one in ("epochs=1", "seeds=1", "hidden=()", "variance_steps=9", "draws=2000")]
        words.append(f"--set=warmup_steps={warmup}")
        assert main(["lab", "run", "early-variance", "--out", str(tmp_path), *words]) == code
        told = f"Not run: epochs must make two steps more than warmup_steps, {warmup}, got 45 steps"
        assert (told in capsys.readouterr().out) == bool(code)


def test_a_methods_own_checks_hold(tmp_path, capsys):
    for change, told in (("Adam.lr=-1", "Adam: lr must be"), ("Adam.momentum=1", "Adam: options must be among")):
        assert main(["lab", "run", "surfaces", "--out", str(tmp_path), "--set", change]) == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize("words", [["run", "surface"], ["list", "surface"], ["run"], []])
def test_unknown_experiments_are_refused(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["lab", *words])
    assert ended.value.code == 2
    if "surface" in words:
        assert "must be one of surfaces, " in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"lab: an experiment must be one of surfaces, .* got 'surface'"):
        lab.load("surface")


def test_out_that_is_a_file_is_told(tmp_path, capsys):
    (tmp_path / "x").write_text("")
    assert main(["lab", "run", "schedules", "--out", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err.startswith("fusedstep lab: --out: ")


def test_missing_extra_is_one_line():
    program = (
        "import sys; sys.modules['matplotlib'] = None; "
        "from fusedstep.__main__ import main; sys.exit(main(['lab', 'run', 'schedules']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, "fusedstep lab needs matplotlib: pip install 'fusedstep[lab]'\n")


# What stops early


@dataclass(frozen=True)
class Stopped(Settings):
    """An experiment's settings, under the name of one that exists."""

    @property
    def experiment(self):
        return "schedules"


def stopping(monkeypatch, error):
    """Every experiment finds something, and then this happens."""

    class Module:
        Settings = Stopped

        @staticmethod
        def run(settings, page):
            page.series("found", ["step", "loss"], [[1, np.float64(np.nan)], [2, 0.5]])
            page.claim("Something is seen.", True, number=1.0)
            with page.folder.new("cut.csv") as path:
                path.write_text("half of a li")
                raise error

    monkeypatch.setattr("fusedstep.lab.runner.load", lambda name: Module)


def test_interrupt_keeps_what_is_done(monkeypatch, tmp_path):
    stopping(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        runner.run([Stopped(), Stopped()], tmp_path)
    check_files(tmp_path)
    (result,) = results(tmp_path).values()
    assert not result["finished"]
    assert [claim["text"] for claim in result["claims"]] == ["Something is seen."]
    assert (tmp_path / "schedules" / "found.csv").read_text().splitlines() == ["step,loss", "1,nan", "2,0.5"]
    assert not (tmp_path / "schedules" / "cut.csv").exists()
    assert "Interrupted" in (tmp_path / "report.html").read_text()


def test_what_cannot_run_says_why_and_the_rest_goes_on(monkeypatch, tmp_path, capsys):
    stopping(monkeypatch, lab.Unavailable("it needs a <moon>"))
    pages = runner.run([Stopped(), Stopped()], tmp_path)
    assert [one.finished for one in pages] == [False, False]
    assert (tmp_path / "report.html").read_text().count("Not run: it needs a &lt;moon&gt;") == 2
    assert main(["lab", "run", "schedules", "--out", str(tmp_path)]) == 2
    assert main(["lab", "run", "all", "--out", str(tmp_path)]) == 0
    assert "Not run: it needs a <moon>" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_ctrl_c_leaves_whole_files(tmp_path):
    words = ["lab", "run", "schedules", "surfaces", "--out", str(tmp_path), "--set", "epochs=2"]
    with interruptible(sys.executable, "-m", "fusedstep", *words) as process:
        end = time.monotonic() + 60
        while not (tmp_path / "surfaces" / "saddle.png").exists() and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert str(tmp_path / "report.html") in said
    check_files(tmp_path)
    found = results(tmp_path)
    assert found["schedules"]["finished"]
    assert not found["surfaces"]["finished"]
    assert Whole((tmp_path / "report.html").read_text()).elsewhere == []


# The parts


def test_files_take_their_name_when_they_are_whole(tmp_path):
    folder = Folder(tmp_path / "new" / "folder")
    folder.write("a.txt", "old")
    with suppress(RuntimeError), folder.new("a.txt") as path:
        path.write_text("ne")
        raise RuntimeError
    assert [(path.name, path.read_text()) for path in folder.path.iterdir()] == [("a.txt", "old")]


def test_plain_data():
    values = {"a": np.float64(np.inf), "b": (np.int64(1), [np.True_, None]), 3: "x"}
    assert page.plain(values) == {"a": "inf", "b": [1, [True, None]], "3": "x"}


def test_evidence_is_legible():
    claim = Claim("", False, {"rate": 0.123456, "steps": {"Adam": None, "SGD": 12}})
    assert (claim.verdict, claim.evidence()) == ("not seen", "rate: 0.1235; steps: Adam none, SGD 12")


def test_quick_settings_are_settings():
    for name, quick, full in zip(
        lab.EXPERIMENTS, runner.prepare(lab.EXPERIMENTS, quick=True), runner.prepare(lab.EXPERIMENTS), strict=True
    ):
        assert full == lab.load(name).Settings()
        assert set(full.quick) <= set(full.known())
        assert quick != full


def test_documented_hyper_parameters():
    rates = {name: DOCUMENTED[name].start(np.zeros(1), "paper").param_groups[0]["lr"] for name in DOCUMENTED}
    assert (rates["momentum"], rates["AdaGrad"], rates["RMSProp"], rates["Adam"]) == (0.01, 0.01, 1e-4, 1e-4)
    momentum = DOCUMENTED["momentum"].start(np.zeros(1), "paper").param_groups[0]
    assert (momentum["momentum"], momentum["buffer"]) == (0.9, "lr_inside")
    assert DOCUMENTED["RMSProp"].start(np.zeros(1), "paper").param_groups[0]["alpha"] == 0.9
    assert DOCUMENTED["Adam"].start(np.zeros(1), "paper").param_groups[0]["eps"] == 1e-8


@pytest.mark.parametrize("name", TERRAINS)
def test_slopes_are_the_heights_derivatives(name):
    terrain, small = TERRAINS[name], 1e-6
    for x, y in (terrain.start, (0.3, -0.7), (1.4, 0.9)):
        for along, slope in zip(((small, 0.0), (0.0, small)), terrain.slope(x, y), strict=True):
            there, here = (terrain.height(x + s * along[0], y + s * along[1]) for s in (1, -1))
            assert (there - here) / (2 * small) == pytest.approx(slope, rel=1e-5, abs=1e-7)
    for minimum in terrain.minima:
        assert terrain.slope(*minimum) == pytest.approx((0, 0), abs=1e-12)


def test_paths():
    path = walk(quadratic(4.0), Method("SGD", {"lr": 0.5}), 4, "paper")
    assert path.tolist() == [[-2.0, 0.5], [-1.0, -0.5], [-0.5, 0.5], [-0.25, -0.5], [-0.125, 0.5]]
    assert crossings(path[:, 1]) == 4
    assert steps_to_goal(SADDLE, np.array([[1.0, 0.0], [0.05, 1.4], [1.0, 0.0]])) == 1
    assert steps_to_goal(SADDLE, np.array([[1.0, 0.0]])) is None
    assert detour(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]])) == 7 / 5


def test_everyone_starts_from_the_same_weights_with_the_same_batches(tmp_path):
    from rich.progress import Progress

    sheet = page.Page(Stopped(), "", Folder(tmp_path), Progress(disable=True))
    task = regression.Regression(64, 3, 0.1, 16, 0)
    methods = {"SGD": Method("SGD", {"lr": 0.1}), "again": Method("SGD", {"lr": 0.1}), "Adam": DOCUMENTED["Adam"]}
    courses = protocol.compare(task, methods, epochs=3, seed=1, convention="paper", page=sheet, name="x")
    assert courses["SGD"] == courses["again"] != courses["Adam"]
    assert {len(course.losses) for course in courses.values()} == {12}
    assert courses["SGD"].errors[0] == courses["Adam"].errors[0]
    with np.load(tmp_path / "x-start.npz") as start:
        assert task.errors({"w": start["w"]}) == courses["SGD"].errors[0]
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    assert len(rows) == 3 * 4
    assert float(rows[-1]["excess"]) == courses["Adam"].final("excess")


@pytest.mark.parametrize("name", EXAMPLES)
def test_regret(name):
    example = EXAMPLES[name]
    assert example.slope > 0
    best = np.full(example.period * 10, -1.0)
    assert example.regret(best)[-1] == pytest.approx(example.steep / len(best))
