"""How many instructions does a GPU need for one element? Counted on the processor, which runs what nvcc has made of the
kernels (cpp/tests/ptx): those of PTX, where a root or a quotient is one, and half a dozen or more of the machine's."""

from __future__ import annotations

import argparse
import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fusedstep as fs
import report
from fusedstep.in_numpy.encodings import cast
from fusedstep.measurement.table import Table


class Case(NamedTuple):
    """A step, and how its arrays are stored."""

    method: str
    options: dict[str, Any]
    param: str
    grad: str
    stages: Mapping[str, Any] = {}

    def arrays(self, elements: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        values = (rng.standard_normal(elements, np.float32) for _ in range(2))
        return cast(next(values), self.param), cast(next(values), self.grad)

    def optimizer(self, param: Any) -> Any:
        return getattr(fs, self.method)(param, lr=1e-3, **self.options)


FLOAT, HALF = "float32", "bfloat16"
RANDOM, SMALL, CODES = {"rounding": "stochastic"}, {"state": "bfloat16"}, {"state": "sq8"}

#: What it is called -> what is counted
CASES = {
    "SGD": Case("SGD", {}, FLOAT, FLOAT),
    "SGD, momentum": Case("SGD", {"momentum": 0.9}, FLOAT, FLOAT),
    "Adam": Case("Adam", {}, FLOAT, FLOAT),
    "RAdam": Case("RAdam", {}, FLOAT, FLOAT),
    "Adam, max_norm": Case("Adam", {}, FLOAT, FLOAT, {"max_norm": 1.0}),
    "Adam, all bfloat16": Case("Adam", SMALL | RANDOM, HALF, HALF),
    "Adam, m and v in sq8": Case("Adam", CODES, FLOAT, FLOAT),
    "Adam, bfloat16, m and v in sq8": Case("Adam", CODES | RANDOM, HALF, HALF),
    "Adam, gradients in bfloat16": Case("Adam", {}, FLOAT, HALF),
    "Adam, bfloat16, m and v in float32": Case("Adam", RANDOM, HALF, HALF),
    "Adam, bfloat16 in two halves, m and v in float32": Case("Adam", {"rounding": "remainder"}, HALF, HALF),
    "Adam, an average": Case("Adam", {"weight_average": 0.99}, FLOAT, FLOAT),
    "Adam, clip_value, zero_grad": Case("Adam", {}, FLOAT, FLOAT, {"clip_value": 1.0, "zero_grad": True}),
    "Adam, float64": Case("Adam", {}, "float64", "float64"),
}

#: Steps before the counted one: RAdam's sixth is rectified. An element is counted by how much more so many take.
BEFORE, ELEMENTS = 5, 65_536


def count(library: ctypes.CDLL, case: Case, elements: int) -> int:
    """The instructions of a step, of all threads. Its parameters must have the bits that the processor gives them."""
    here, grad = case.arrays(elements)
    there, given = (fs.cuda.Array.of(array) for array in (here, grad))
    pair = case.optimizer(here), case.optimizer(there)
    for _ in range(BEFORE):
        fs.cuda.to_device(given, grad)
        pair[1].step(given, **case.stages)
        pair[0].step(grad.copy(), **case.stages)
    fs.cuda.to_device(given, grad)
    fs.cuda.to_host(there)  # all is done
    begin = library.fusedstep_instructions()
    pair[1].step(given, **case.stages)
    found = fs.cuda.to_host(there)
    end = library.fusedstep_instructions()
    pair[0].step(grad, **case.stages)
    if found.tobytes() != here.tobytes():
        raise ArithmeticError(f"{case} has other bits")
    return 32 * (end - begin)


def main() -> None:
    question = "How many instructions does a GPU need for one element?"
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("library", type=Path, help="fusedstep_ptx.so (see CONTRIBUTING.md)")
    parser.add_argument("--out", type=Path, default=report.RESULTS, metavar="FOLDER", help="(default: bench/results)")
    arguments = parser.parse_args()
    fs.cuda.load(arguments.library)
    library = ctypes.CDLL(str(arguments.library))
    library.fusedstep_instructions.restype = ctypes.c_uint64
    table, rows = Table("Instructions of PTX by element, of a thread", ["", "instructions"]), []
    for name, case in CASES.items():
        more = count(library, case, 2 * ELEMENTS) - count(library, case, ELEMENTS)
        table.rows.append([name, f"{more / ELEMENTS:.1f}"])
        rows.append({"case": name, "instructions": more / ELEMENTS})
    table.notes.append("Each step had the processor's bits. A root counts as one, and so does a quotient.")
    report.write("instructions", question, [table], rows, arguments.out)


if __name__ == "__main__":
    main()
