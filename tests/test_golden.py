"""Golden hashes: what every method gave when its row was written, whatever the compiler, the target and NumPy.

Gradients come from integers, so that nobody's random generator has a part in them. `python tests/test_golden.py`
writes the rows anew and names those that changed. A change of bits is a change of the minor version, and the
changelog says so.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.bfloat16 import bits_of
from fusedstep.in_numpy.encodings import bfloat16_nearest

from cases import CASES, DTYPES, IDS, SHARED

FILE = Path(__file__).with_name("golden.json")
SIZE, STEPS = 137, 12

#: Types of parameters and states, rounding: Adam in the storages that people use, and Adagrad whose sum is slow.
STORAGES = [
    ("Adam", "bfloat16", "bfloat16", "stochastic"),
    ("Adam", "bfloat16", None, "remainder"),
    ("Adam", "float16", "bfloat16", "kahan"),
    ("Adam", "float32", "sq8", "nearest"),
    ("Adam", "float64", "float32", "nearest"),
    ("Adagrad", "float16", "float16", "stochastic"),
]


def numbers(seed: int, dtype: Any, size: int = SIZE) -> np.ndarray:
    """Integers up to 2¹² in size, over 2⁰ to 2¹⁵: exact in every type. The mixing is SplitMix64's."""
    z = np.arange(1, size + 1, dtype=np.uint64) + np.uint64(1000 * seed)
    z *= np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    whole = (z & np.uint64(0x1FFF)).astype(np.int64) - 0x1000
    shift = (z >> np.uint64(60)).astype(np.int64)
    return np.ldexp((2 * whole + 1).astype(dtype), -shift).astype(dtype)


def golden(name: str, options: dict[str, Any], dtype: Any) -> str:
    """The hash of parameters and state after all steps, with each of the shared options."""
    digest = hashlib.sha256()
    for shared in SHARED:
        param = numbers(0, dtype)
        optimizer = getattr(fs, name)(param, lr=0.0625, **options, **shared)
        for step in range(STEPS):
            optimizer.step(numbers(step + 1, dtype))
        assert np.isfinite(param).all()
        arrays = {key: value for key, value in optimizer.state["0"].items() if key != "step"}
        for array in (param, *(arrays[key] for key in sorted(arrays))):
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()[:32]


def golden_storage(name: str, of_param: str, of_state: str | None, rounding: str) -> str:
    """The hash of parameters, of every array beside them and of the norm, with all stages."""
    size = 4096 + SIZE
    start = numbers(0, np.float32, size) / 64
    param = fs.as_bfloat16(bfloat16_nearest(start)) if of_param == "bfloat16" else start.astype(of_param)
    optimizer = getattr(fs, name)(
        param, lr=0.0625, state=of_state, rounding=rounding, seed=5, weight_average=0.75, flush_denormals=True
    )
    half, digest = np.zeros(size, np.float16), hashlib.sha256()
    for step in range(STEPS):
        grad = numbers(step + 1, np.float32, size)
        optimizer.step(grad, grad_scale=8.0, max_norm=100.0, clip_value=4.0, copy_to=half)
        digest.update(np.float64(optimizer.last.norm).astype("<f8").tobytes())
    state = {key: value for key, value in optimizer.state["0"].items() if key != "step"}
    for array in (param, half, *(state[key] for key in sorted(state))):
        bits = bits_of(array)
        digest.update(bits.astype(bits.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()[:32]


STORAGE_IDS = ["-".join(map(str, row)) for row in STORAGES]
ROWS = json.loads(FILE.read_text()) if FILE.exists() else {}


def test_every_case_has_a_row():
    assert list(ROWS) == [*IDS, *STORAGE_IDS], "run `python tests/test_golden.py`"
    hashes = [value for row in ROWS.values() for value in row.values()]
    assert len(set(hashes)) > len(hashes) // 2


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("case", list(zip(IDS, CASES, strict=True)), ids=IDS)
def test_same_as_ever(case, dtype, target):
    row, (name, options) = case
    assert golden(name, options, dtype) == ROWS[row][dtype.__name__]


@pytest.mark.parametrize("row", STORAGES, ids=STORAGE_IDS)
def test_same_as_ever_in_every_storage(row, target):
    assert golden_storage(*row) == ROWS["-".join(map(str, row))]["hash"]


if __name__ == "__main__":
    new = {
        case: {dtype.__name__: golden(name, options, dtype) for dtype in DTYPES}
        for case, (name, options) in zip(IDS, CASES, strict=True)
    }
    new |= {id: {"hash": golden_storage(*row)} for id, row in zip(STORAGE_IDS, STORAGES, strict=True)}
    print(*(f"changed: {case}" for case in new if ROWS.get(case) != new[case]), sep="\n")
    FILE.write_text(json.dumps(new, indent=1) + "\n")
