"""Does a step on a GPU run at its memory's speed? Beside the device's own copy, and others on the same memory."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import numpy as np

import fusedstep as fs
import report
from fusedstep import machine
from fusedstep.cuda import to_host
from fusedstep.encodings import bfloat16_nearest
from fusedstep.measuring import Step, no_collections, ratio
from fusedstep.rivals import ROWS, Contest, Work, torch_rival
from fusedstep.rivals.contest import FUSED, reason
from fusedstep.rivals.rival import Rival, package
from fusedstep.tables import Table, duration

QUESTION = "Does a step on a GPU run at its memory's speed?"
COPY, TORCH_FUSED, TORCH_FOREACH, BITSANDBYTES = "copy", "torch fused", "torch foreach", "bitsandbytes, 8 bits"

Arrays = list[fs.cuda.Array]


class Setting(NamedTuple):
    """What is measured."""

    kind: str  #: the type of parameters and gradients
    method: str
    options: dict[str, Any]
    storage: dict[str, Any]  #: how this package keeps the numbers
    of_copy: float = 0.0  #: the goal, as a share of the copy's bandwidth
    times_ours: Mapping[str, float] = {}  #: those of rivals' times; of the first of them that is measured


SINGLE = ("SGD", "SGD, momentum", "Adagrad", "Adam", "AdamW", "AMSGrad", "RAdam")
ADAM, BFLOAT16, MANY = "Adam", "Adam, all bfloat16", "Adam, many tensors"
SQ8, HALF_SQ8 = "Adam, m and v in sq8", "Adam, bfloat16, m and v in sq8"
METHOD, HALF = ROWS[ADAM], {"rounding": "stochastic"}
FORMS = {TORCH_FUSED: 1.05, TORCH_FOREACH: 2.0}
SETTINGS: dict[str, Setting] = {
    **{row: Setting("float32", *ROWS[row], {}, 0.92, FORMS) for row in SINGLE if row != "RAdam"},
    "RAdam": Setting("float32", *ROWS["RAdam"], {}, 0.92, {TORCH_FOREACH: 2.0}),
    BFLOAT16: Setting("bfloat16", *METHOD, {"state": "bfloat16", **HALF}, 0.90, {TORCH_FUSED: 1.7}),
    SQ8: Setting("float32", *METHOD, {"state": "sq8"}, 0.88, {BITSANDBYTES: 2.0}),
    HALF_SQ8: Setting("bfloat16", *METHOD, {"state": "sq8", **HALF}, 0.65, {BITSANDBYTES: 2.0}),
    MANY: Setting("float32", *METHOD, {}),
}

#: The row of many tensors: how many, the elements of each, and the seconds that a step may take device and processor.
TENSORS, SIZE, MOST_TIME, MOST_CALL = 300, 85_333, 0.25e-3, 10e-6
#: Steps before any is timed, and those that are checked: of RAdam's, the sixth is the first that is rectified.
WARM, CHECKED = 10, 8
#: Elements of a place that is looked at, and those that share a scale.
PLACE, BLOCK = 8192, 128
#: Random numbers that fill an array over and over: as many as no index that wraps around is wrong by a multiple of.
PERIOD = 17_000_003


class Device:
    """The first device's clock and copies, by the driver's own interface: whatever else is installed."""

    def __init__(self) -> None:
        self._driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        number, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(number), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), number)
        self._call("cuCtxSetCurrent", context)
        self._events = [ctypes.c_void_p(), ctypes.c_void_p()]
        for event in self._events:
            self._call("cuEventCreate", ctypes.byref(event), 0)

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code:
            raise RuntimeError(f"{name}: error {code} of the CUDA driver")

    def seconds(self, step: Step, count: int) -> float:
        """What one of so many steps takes, by events around them in the default stream."""
        begin, end = self._events
        self._call("cuEventRecord", begin, None)
        for _ in range(count):
            step()
        self._call("cuEventRecord", end, None)
        self._call("cuEventSynchronize", end)
        milliseconds = ctypes.c_float()
        self._call("cuEventElapsedTime", ctypes.byref(milliseconds), begin, end)
        return milliseconds.value / 1e3 / count

    def wait(self) -> None:
        self._call("cuCtxSynchronize")

    def copy(self, to: int, source: int, nbytes: int) -> None:
        """Within the device's memory; nothing is waited for."""
        addresses = ctypes.c_uint64(to), ctypes.c_uint64(source)
        self._call("cuMemcpyDtoDAsync_v2", *addresses, ctypes.c_size_t(nbytes), None)

    def facts(self) -> str:
        fields = "--query-gpu=name,compute_cap,memory.total,driver_version"
        return subprocess.check_output(["nvidia-smi", "--id=0", fields, "--format=csv,noheader"], text=True).strip()


class Part:
    """Some elements of a flat array on a device."""

    def __init__(self, array: fs.cuda.Array, begin: int, count: int) -> None:
        given = array.__cuda_array_interface__
        place = given["data"][0] + begin * np.dtype(given["typestr"]).itemsize, False
        self.__cuda_array_interface__ = {**given, "shape": (count,), "strides": None, "data": place}
        self.device, self.fusedstep_bfloat16, self._array = array.device, array.fusedstep_bfloat16, array


def address_of(array: fs.cuda.Array) -> int:
    return array.__cuda_array_interface__["data"][0]


def cast(values: np.ndarray, kind: str) -> np.ndarray:
    return fs.as_bfloat16(bfloat16_nearest(values)) if kind == "bfloat16" else values.copy()


def put(values: np.ndarray) -> fs.cuda.Array:
    array = fs.cuda.Array.like(values, 0)
    fs.cuda.to_device(array, values)
    return array


def random(device: Device, elements: int, kind: str, seed: int) -> fs.cuda.Array:
    """Normal numbers, the first of them over and over."""
    values = cast(np.random.default_rng(seed).standard_normal(min(elements, PERIOD), np.float32), kind)
    some, array = put(values), fs.cuda.Array((elements,), values.strides, kind, 0)
    for at in range(0, array.nbytes, some.nbytes):
        device.copy(address_of(array) + at, address_of(some), min(some.nbytes, array.nbytes - at))
    device.wait()
    return array


def optimizer_of(row: str, params: Any, package_: Any = fs, **given: Any) -> Any:
    setting = SETTINGS[row]
    return getattr(package_, setting.method)(params, **setting.options, **setting.storage, **given)


def states_of(optimizer: Any, tensor: int = 0) -> dict[str, Any]:
    return {name: array for name, array in optimizer.state[str(tensor)].items() if name != "step"}


def bytes_per_element(row: str) -> float:
    """What a step must move, counted from the arrays: the gradient is read, all others are read and written."""
    param = cast(np.ones(PLACE, np.float32), SETTINGS[row].kind)
    states = states_of(optimizer_of(row, param)).values()
    return (3 * param.nbytes + 2 * sum(array.nbytes for array in states)) / param.size


def places_of(elements: int) -> list[tuple[int, int]]:
    """Where a tensor is looked at, and how far: at its begin, in the middle, at its end."""
    begins = {0, elements // 2 // PLACE * PLACE, (elements - 1) // PLACE * PLACE}
    return [(begin, min(PLACE, elements - begin)) for begin in sorted(begins)]


def check(row: str, params: Arrays, grads: Arrays, optimizer: Any, step: Step) -> int:
    """Steps, after which the first tensor and the last must have the reference's bits where they are looked at; returns
    how many numbers were compared."""
    compared = 0
    places = [(tensor, *place) for tensor in {0, len(params) - 1} for place in places_of(params[tensor].shape[0])]
    before = [[to_host(Part(arrays[tensor], *place)) for arrays in (params, grads)] for tensor, *place in places]
    for _ in range(CHECKED):
        step()
    for (tensor, begin, count), (start, grad) in zip(places, before, strict=True):
        expected = start.copy()
        # A shard is rounded like its part of the whole.
        extents = {"0": (begin, params[tensor].shape[0])}
        reference = optimizer_of(row, expected, fs.reference, extents=extents)
        for _ in range(CHECKED):
            reference.step(grad)
        if expected.tobytes() == start.tobytes():
            raise ArithmeticError("nothing has moved")
        pairs = {"parameters": (to_host(Part(params[tensor], begin, count)), expected)}
        for name, array in states_of(reference).items():
            first = begin // BLOCK if name.endswith("_scale") else begin
            pairs[name] = to_host(Part(optimizer.state[str(tensor)][name], first, array.size)), array
        for name, (found, right) in pairs.items():
            if found.tobytes() != right.tobytes():
                raise ArithmeticError(f"{name} of tensor {tensor} differ from element {begin:,} on")
            compared += right.size
    return compared


def check_rival(row: str, make: Callable[[Setting, Arrays, Arrays], Step]) -> None:
    """A rival's steps on a small array must be near the reference's."""
    work = Work(SETTINGS[row].method if row == MANY else row, [(5000,)])
    param, grad = put(work.params[0]), put(work.grads[0])
    step = make(SETTINGS[row], [param], [grad])
    for _ in work.scaled():
        fs.cuda.to_device(grad, work.grads[0])
        step()
    error = work.compare({"": [to_host(param)]})[""].error
    if not error <= Rival.tolerance:
        raise ArithmeticError(f"differs from the reference by {error:.1e} of a movement")


def in_torch(array: fs.cuda.Array) -> Any:
    """The same memory as torch's tensor; bits of bfloat16 come as signed integers, which every version takes."""
    torch, part = package("torch"), Part(array, 0, array.shape[0])
    if array.dtype != "bfloat16":
        return torch.as_tensor(part, device="cuda")
    part.__cuda_array_interface__["typestr"] = "<i2"
    return torch.as_tensor(part, device="cuda").view(torch.bfloat16)


def with_grads(params: Arrays, grads: Arrays) -> list[Any]:
    tensors = [in_torch(param).requires_grad_() for param in params]
    for tensor, grad in zip(tensors, grads, strict=True):
        tensor.grad = in_torch(grad)
    return tensors


def torch_form(form: str, setting: Setting, params: Arrays, grads: Arrays) -> Step:
    kind = getattr(package("torch").optim, setting.method)
    return kind(with_grads(params, grads), **setting.options, **{form: True}).step


def compiled(setting: Setting, params: Arrays, grads: Arrays) -> Step:
    torch = package("torch")
    optimizer = torch.optim.Adam(with_grads(params, grads), **setting.options, foreach=True, capturable=True)
    return torch.compile(lambda: optimizer.step(), dynamic=False)


def cupy_kernel(setting: Setting, params: Arrays, grads: Arrays) -> Step:
    """What a user of CuPy writes for one pass."""
    cupy = package("cupy")
    kernel = cupy.ElementwiseKernel(
        "float32 g, float32 rate, float32 root",
        "float32 p, float32 m, float32 v",
        "m += (g - m) * 0.1f; v = 0.999f * v + 0.001f * g * g; p -= rate * m / (sqrtf(v) * root + 1e-8f)",
        "adam",
    )
    grad, param = cupy.asarray(grads[0]), cupy.asarray(params[0])
    m, v, steps = cupy.zeros_like(param), cupy.zeros_like(param), 0

    def step() -> None:
        nonlocal steps
        steps += 1
        rate, root = setting.options["lr"] / (1 - 0.9**steps), (1 - 0.999**steps) ** -0.5
        kernel(grad, np.float32(rate), np.float32(root), param, m, v)

    return step


def in_eight_bits(setting: Setting, params: Arrays, grads: Arrays) -> Step:
    return package("bitsandbytes").optim.Adam8bit(with_grads(params, grads), **setting.options).step


#: name -> rows, and what sets it up
RIVALS: dict[str, tuple[Sequence[str], Callable[[Setting, Arrays, Arrays], Step]]] = {
    TORCH_FUSED: ([*torch_rival.FUSED, BFLOAT16, MANY], partial(torch_form, "fused")),
    TORCH_FOREACH: ([*torch_rival.FOREACH, BFLOAT16, MANY], partial(torch_form, "foreach")),
    "torch.compile": ([ADAM], compiled),
    "CuPy, one kernel": ([ADAM], cupy_kernel),
    BITSANDBYTES: ([SQ8, HALF_SQ8], in_eight_bits),
}


def enter_rivals(row: str, contest: Contest, params: Arrays, grads: Arrays) -> dict[str, Step]:
    """Those that are there and agree, set up; where numbers have fewer bits, there is nothing to agree with."""
    steps: dict[str, Step] = {}
    for name, make in [(name, make) for name, (rows, make) in RIVALS.items() if row in rows]:
        try:
            if row in (*SINGLE, MANY):
                check_rival(row, make)
            step = make(SETTINGS[row], params, grads)
            step()
            steps[name] = step
        except Exception as error:  # another package's, or that it is not there: the others go on
            contest.failed[name] = reason(error)[:120]
    return steps


def compete(device: Device, steps: Mapping[str, Step], rounds: int, count: int) -> dict[str, list[float]]:
    """Seconds of one step, for every contestant and round; each is the first of a round as often as the others."""
    names = list(steps)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for step in steps.values():
        device.seconds(step, WARM)
    with no_collections():
        for turn in range(rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                steps[name]()  # so that the device is busy while the processor puts in what is timed
                seconds[name].append(device.seconds(steps[name], count))
    return seconds


def call_seconds(device: Device, step: Step, count: int = 20) -> float:
    """What a call takes the processor, as long as the device's queue has room for it."""
    device.wait()
    begin = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - begin) / count


class Bench:
    """The arrays that rows share, and what came out."""

    def __init__(self, device: Device, arguments: Any) -> None:
        self.device, self.arguments, self.facts = device, arguments, device.facts()
        self.contests: dict[str, Contest] = {}
        self.compared = 0  #: numbers that had the reference's bits
        self.calls: dict[str, list[float]] = {}  #: seconds that a step of many tensors takes the processor
        self._shared: dict[str, tuple[Arrays, Arrays]] = {}

    def arrays(self, row: str) -> tuple[Arrays, Arrays]:
        """Parameters and gradients, which every contestant steps on."""
        kind, elements = SETTINGS[row].kind, self.arguments.elements
        if row == MANY:
            params, grads = ([random(self.device, SIZE, kind, 2 * i + j) for i in range(TENSORS)] for j in (0, 1))
            return params, grads
        if kind not in self._shared:
            param, grad = (random(self.device, elements, kind, seed) for seed in (0, 1))
            self._shared[kind] = [param], [grad]
        return self._shared[kind]

    def measure(self, row: str) -> None:
        params, grads = self.arrays(row)
        contest = self.contests[row] = Contest(row, len(params), sum(param.shape[0] for param in params))
        try:
            optimizer = optimizer_of(row, params)
            step = optimizer.bind(grads).step
            compared = check(row, params, grads, optimizer, step)
        except (ArithmeticError, MemoryError, RuntimeError) as error:
            contest.failed[FUSED] = reason(error)
            print(f"{row}: FAILED: {contest.failed[FUSED]}", flush=True)
            return
        print(f"{row}: {compared:,} numbers have the reference's bits", flush=True)
        self.compared += compared
        if self.arguments.check:
            return
        steps = {FUSED: step, **enter_rivals(row, contest, params, grads)}
        if row == MANY:
            times = range(self.arguments.rounds)
            self.calls = {name: [call_seconds(self.device, one) for _ in times] for name, one in steps.items()}
        else:
            to = fs.cuda.Array(grads[0].shape, grads[0].strides, grads[0].dtype, 0)
            steps[COPY] = partial(self.device.copy, address_of(to), address_of(grads[0]), to.nbytes)
        contest.seconds = compete(self.device, steps, self.arguments.rounds, 20 if row == MANY else 3)
        if COPY in steps:  # what it would take the copy to move the bytes of our step
            share = bytes_per_element(row) * contest.elements / (2 * grads[0].nbytes)
            contest.seconds[COPY] = [share * seconds for seconds in contest.seconds[COPY]]


def speeds(contests: Mapping[str, Contest]) -> Table:
    table = Table("One step", ["", "elements", "B/element", "time", "GB/s", "the copy's", "of it", "goal", ""])
    for row, contest in contests.items():
        goal, size = SETTINGS[row].of_copy, bytes_per_element(row)
        found, cells = contest.ratio(COPY, FUSED), ["FAILED", "–", "–", "–"]
        if found:
            times = [median(contest.seconds[name]) for name in (FUSED, COPY)]
            moved = [f"{size * contest.elements / seconds / 1e9:,.0f}" for seconds in times]
            cells = [duration(times[0]), *moved, report.spread(found)]
        verdict = [f"≥ {goal:.2f}×", report.verdict(found, goal)]
        table.rows.append([row, f"{contest.elements:,}", f"{size:.4g}", *cells, *verdict])
    return table


def beside(contests: Mapping[str, Contest]) -> Table:
    table = Table("Others, on the same memory", ["", "beside", "its time", "÷ ours", "goal", ""])
    for row, contest in contests.items():
        goals = SETTINGS[row].times_ours
        wanted = next((name for name in goals if name in contest.seconds), next(iter(goals), None))
        for name in RIVALS:
            found, cells = contest.times_ours(name), ["–", "–", "–", ""]
            if found:
                cells[:2] = duration(median(contest.seconds[name])), report.spread(found)
            if name == wanted:
                cells[2:] = f"≥ {goals[name]:g}×", report.verdict(found, goals[name])
            if found or name == wanted:
                table.rows.append([row, name, *cells])
        table.notes += [f"{name}: {why}" for name, why in contest.failed.items()]
    table.notes = list(dict.fromkeys(table.notes))
    return table


def many(contest: Contest, calls: Mapping[str, list[float]]) -> Table:
    title = f"Adam on {contest.tensors} tensors, {contest.elements:,} elements in all, gradients bound"
    table = Table(title, ["", "time", "goal", "", "of the processor's", "goal", ""])
    for name, seconds in contest.seconds.items():
        cells = []
        for found, most in ((seconds, MOST_TIME), (calls[name], MOST_CALL)):
            goal = [f"≤ {duration(most)}", report.verdict(ratio([most] * len(found), found), 1)]
            cells += [duration(median(found)), *(goal if name == FUSED else ["–", ""])]
        table.rows.append([name, *cells])
    return table


def write(bench: Bench) -> None:
    contests, packages = bench.contests, ("cupy-cuda13x", "cupy-cuda12x", "bitsandbytes")
    tables = [speeds({row: contests[row] for row in contests if row != MANY}), beside(contests)]
    if MANY in contests:
        tables.append(many(contests[MANY], bench.calls))
    tables[0].notes = [
        f"Medians and quartiles of {bench.arguments.rounds} rounds, by the device's events; contestants take turns. "
        f"Before that, {bench.compared:,} numbers had the bits of NumPy's reference.",
        ", ".join([bench.facts, *(f"{name} {version}" for name in packages if (version := machine.version(name)))]),
    ]
    rows: list[dict[str, Any]] = [{"name": "device", "facts": bench.facts}]
    for row, contest in contests.items():
        seconds = {name: median(times) for name, times in contest.seconds.items()}
        over_ours = {name: found._asdict() for name in seconds if (found := contest.times_ours(name))}
        sizes = {"elements": contest.elements, "bytes_per_element": bytes_per_element(row)}
        rows.append({"name": row, **sizes, "seconds": seconds, "times_ours": over_ours, "failed": contest.failed})
    rows.append({"name": "calls", "seconds": {name: median(times) for name, times in bench.calls.items()}})
    report.write("gpu", QUESTION, tables, rows, bench.arguments.out)


def main() -> None:
    parser = report.parser(QUESTION)
    parser.set_defaults(rounds=31)
    parser.add_argument("--elements", type=int, default=1_000_000_000, help="of one array (default: %(default)s)")
    parser.add_argument("--rows", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="ROW", help="only these")
    parser.add_argument("--check", action="store_true", help="compare results with the reference's, and time nothing")
    arguments = parser.parse_args()
    why_not = fs.cuda.why_not()
    if why_not:
        sys.exit(f"there is no CUDA device to measure: {why_not}")
    bench = Bench(Device(), arguments)
    for row in arguments.rows:
        bench.measure(row)
        gc.collect()
        if "torch" in sys.modules:  # it keeps the memory that the next row needs
            sys.modules["torch"].cuda.empty_cache()
        if "cupy" in sys.modules:
            sys.modules["cupy"].get_default_memory_pool().free_all_blocks()
    if not arguments.check:
        write(bench)
    wrong = [row for row, contest in bench.contests.items() if FUSED in contest.failed]
    if wrong:
        sys.exit(f"not as the reference: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
