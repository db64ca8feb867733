"""What is measured on a GPU, a row for each, and what is to be reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import fusedstep as fs
from fusedstep.in_numpy.encodings import cast
from fusedstep.rivals import ROWS

COPY, TORCH_FUSED, TORCH_FOREACH, BITSANDBYTES = "copy", "torch fused", "torch foreach", "bitsandbytes, 8 bits"


class Setting(NamedTuple):
    """What a row measures."""

    kind: str  #: the type of parameters and gradients
    method: str
    options: dict[str, Any]
    storage: dict[str, Any]  #: how this package keeps the numbers
    of_copy: float = 0.0  #: the goal, as a share of the copy's bandwidth
    times_ours: Mapping[str, float] = {}  #: those of rivals' times; of the first of them that is measured


SINGLE = ("SGD", "SGD, momentum", "Adagrad", "Adam", "AdamW", "AMSGrad", "RAdam")
ADAM, BFLOAT16, MANY = "Adam", "Adam, all bfloat16", "Adam, many tensors"
SQ8, HALF_SQ8 = "Adam, m and v in sq8", "Adam, bfloat16, m and v in sq8"
MIXED, PAIRS = "Adam, bfloat16, m and v in float32", "Adam, bfloat16 in two halves, m and v in float32"
METHOD, HALF = ROWS[ADAM], {"rounding": "stochastic"}
FORMS = {TORCH_FUSED: 1.05, TORCH_FOREACH: 2.0}
#: Those that no other stands for come first: a run may end early.
SETTINGS: dict[str, Setting] = {
    ADAM: Setting("float32", *METHOD, {}, 0.92, FORMS),
    BFLOAT16: Setting("bfloat16", *METHOD, {"state": "bfloat16", **HALF}, 0.90, {TORCH_FUSED: 1.7}),
    MANY: Setting("float32", *METHOD, {}),
    SQ8: Setting("float32", *METHOD, {"state": "sq8"}, 0.88, {BITSANDBYTES: 2.0}),
    HALF_SQ8: Setting("bfloat16", *METHOD, {"state": "sq8", **HALF}, 0.65, {BITSANDBYTES: 2.0}),
    MIXED: Setting("bfloat16", *METHOD, HALF, 0.90),
    PAIRS: Setting("bfloat16", *METHOD, {"rounding": "remainder"}, 0.90),
    **{row: Setting("float32", *ROWS[row], {}, 0.92, FORMS) for row in SINGLE if row not in (ADAM, "RAdam")},
    "RAdam": Setting("float32", *ROWS["RAdam"], {}, 0.92, {TORCH_FOREACH: 2.0}),
}

#: The row of many tensors: how many, the elements of each, and the seconds that a step may take device and processor.
TENSORS, SIZE, MOST_TIME, MOST_CALL = 300, 85_333, 0.25e-3, 10e-6


def optimizer_of(row: str, params: Any, package_: Any = fs, **given: Any) -> Any:
    setting = SETTINGS[row]
    return getattr(package_, setting.method)(params, **setting.options, **setting.storage, **given)


def states_of(optimizer: Any, tensor: int = 0) -> dict[str, Any]:
    return {name: array for name, array in optimizer.state[str(tensor)].items() if name != "step"}


def bytes_per_element(row: str) -> float:
    """What a step must move, counted from the arrays: the gradient is read, all others are read and written."""
    param = cast(np.ones(8192, np.float32), SETTINGS[row].kind)  # so many that the states have their fewest bits
    states = states_of(optimizer_of(row, param)).values()
    return (3 * param.nbytes + 2 * sum(array.nbytes for array in states)) / param.size
