"""What does a step cost on the parameters of real models? AdamW on ResNet-50's and GPT-2 small's."""

from __future__ import annotations

import sys

import report
from architectures import gpt2_small, resnet50
from fusedstep.measurement.table import Table, duration
from fusedstep.rivals import Contest, Work, hold
from fusedstep.rivals.contest import FUSED, RIVALS
from fusedstep.rivals.own import Bound, OnTensors
from fusedstep.rivals.torch_rival import TorchForeach, TorchFused

#: Name -> shapes, and the goals over torch's two forms.
MODELS = {
    "ResNet-50": (resnet50, {TorchFused.name: 1.1, TorchForeach.name: 5.0}),
    "GPT-2 small": (gpt2_small, {TorchFused.name: 1.0, TorchForeach.name: 5.0}),
}

ENTERED = tuple(OnTensors if rival is Bound else rival for rival in RIVALS)


def tabulate(contests: dict[str, Contest]) -> Table:
    head = ["", "tensors", "parameters", "time", "rival", "its time ÷ ours", "goal", ""]
    table = Table("AdamW on models' parameters", head)
    for row, contest in contests.items():
        seconds = contest.median(FUSED)
        size = [f"{contest.tensors}", f"{contest.elements:,}", duration(seconds) if seconds else "FAILED"]
        for rival, goal in MODELS[row][1].items():
            ratio = contest.times_ours(rival)
            verdict = report.verdict(ratio, goal)
            table.rows.append([row, *size, rival, report.spread(ratio) if ratio else "–", f"≥ {goal}×", verdict])
    return table


def main() -> None:
    question = "What does a step cost on the parameters of real models?"
    parser = report.parser(question)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL", help="only these")
    arguments = parser.parse_args()
    contests = {}
    for model in arguments.models:
        print(model, file=sys.stderr)
        contests[model] = hold(
            Work("AdamW", MODELS[model][0]()), threads=arguments.threads, rounds=arguments.rounds, rivals=ENTERED
        )
    rows = [{"name": model, **contest.as_data()} for model, contest in contests.items()]
    report.write("models", question, [tabulate(contests), report.comparison("Everyone", contests)], rows, arguments.out)


if __name__ == "__main__":
    main()
