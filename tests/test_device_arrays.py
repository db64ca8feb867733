"""Arrays of a CUDA device: of other libraries, described by their dicts, and what is refused."""

from __future__ import annotations

import contextlib
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import _core
from fusedstep.bfloat16 import bits_of
from fusedstep.in_numpy.encodings import bfloat16_nearest

from cases import random, same_bytes
from twins import Shifted, start


class CuPy:
    """Its arrays, and a stream of its own that is the current one."""

    def __init__(self):
        self.cupy = pytest.importorskip("cupy")
        self.stream = self.cupy.cuda.Stream(non_blocking=True)
        self.put = self.see = self.cupy.asarray

    def param(self, values):
        return self.put(values)

    def get(self, array):
        return self.cupy.asnumpy(array)


class Torch:
    def __init__(self):
        self.torch = pytest.importorskip("torch")
        self.stream = self.torch.cuda.stream(self.torch.cuda.Stream())

    def put(self, values):
        return self.torch.from_numpy(values).cuda()

    def param(self, values):
        return self.torch.nn.Parameter(self.put(values))

    def see(self, array):
        return self.torch.as_tensor(array, device="cuda")

    def get(self, array):
        return array.detach().cpu().numpy()


@pytest.fixture(params=[CuPy, Torch])
def library(request, device):
    if device.simulation:
        pytest.skip("needs a GPU")
    library = request.param()
    with library.stream:
        yield library


@pytest.mark.parametrize("bound", [False, True])
def test_arrays_of_other_libraries(library, bound):
    """A step comes behind what their stream is still at, and before what they put into it next."""
    rng, size = np.random.default_rng(6), 5_000_003
    values, grad = random(rng, size, np.float32), random(rng, size, np.float32)
    here, there, own = {"w": values.copy()}, {"w": library.param(values)}, {"w": library.put(grad)}
    pair = fs.Adam(here, lr=0.1), fs.Adam(there, lr=0.1)
    step = pair[1].bind(own).step if bound else lambda: pair[1].step(own)
    for _ in range(4):
        own["w"] += 1
        step()
        own["w"] *= 2
        grad += 1
        pair[0].step({"w": grad})
        grad *= 2
    assert same_bytes(library.get(there["w"]), here["w"])
    for name in ("exp_avg", "exp_avg_sq"):
        assert same_bytes(library.get(library.see(pair[1].state["w"][name])), pair[0].state["w"][name])


def test_bfloat16_of_torch(device):
    if device.simulation:
        pytest.skip("needs a GPU")
    torch, rng = pytest.importorskip("torch"), np.random.default_rng(7)
    here, grad = (fs.as_bfloat16(bfloat16_nearest(random(rng, 9000, np.float32))) for _ in range(2))
    there, own = (torch.from_numpy(bits_of(array).view(np.int16)).cuda().view(torch.bfloat16) for array in (here, grad))
    options = {"lr": 0.01, "state": "bfloat16", "rounding": "stochastic"}
    pair = fs.Adam(here, **options), fs.Adam(there, **options)
    for _ in range(3):
        pair[0].step(grad)
        pair[1].step(own)
    assert same_bytes(there.view(torch.int16).cpu().numpy().view(np.uint16), bits_of(here))


def test_memory_is_given_back_behind_the_steps_that_use_it(device):
    """Whoever lets arrays go has not waited for steps that are on their way, and what is made next may lie in their
    place. CUDA promises this of no memory that is freed, and has always kept it."""
    size = 5000 if device.simulation else 2**27  # eight steps take a GPU milliseconds, and to free and make arrays less
    there, here = fs.cuda.Array((size,), (4,), "float32", 0), np.zeros(1, np.float32)
    grad = fs.cuda.Array.of(np.ones(size, np.float32))
    options = {"lr": 1.0, "momentum": 0.5}
    expected, bound = fs.SGD(here, **options), fs.SGD(there, **options).bind(grad)
    for _ in range(8):
        expected.step(np.ones(1, np.float32))
        bound.step()
    del bound, grad
    made = [fs.cuda.Array((size,), (4,), "float32", 0) for _ in range(2)]
    assert (device.get(there) == here).all()
    assert not any(device.get(array).any() for array in made)


# Refusals


def test_devices_do_not_mix(device):
    here, there = start()["w"], device.put(start()["w"])
    with pytest.raises(ValueError, match=r"SGD: params\[1\] must be on the device of params\[0\], cuda:0, got .*proc"):
        fs.SGD([there, here])
    with pytest.raises(
        ValueError, match=r"SGD: params\[1\] must be on the device of params\[0\], the pro.*got .*cuda:0"
    ):
        fs.SGD([here, there])
    with pytest.raises(ValueError, match=r"SGD: grads must be on the device of params, cuda:0, got an array on the p"):
        fs.SGD(there).step(here)
    with pytest.raises(ValueError, match=r"SGD: grads must be on the device of params, the processor, got .* cuda:0"):
        fs.SGD(here).step(there)
    with pytest.raises(ValueError, match="must be on the device of params, cuda:0"):
        fs.Adam(there, memory={"0": {"exp_avg": np.zeros_like(here)}})
    with pytest.raises(ValueError, match="copy_to must be on the device of params, cuda:0"):
        fs.SGD(there).step(device.put(here), copy_to=here)
    opt = fs.SGD(here)
    with pytest.raises(ValueError, match="must be on the device of params"):
        opt.add(there)
    grouped = fs.SGD([{"params": {"w": here}}])
    with pytest.raises(ValueError, match=r"SGD: params\['v'\] must be on the device of params\[0\]\['w'\]"):
        grouped.add({"v": there})
    with pytest.raises(ValueError, match=r"stats: grads\[1\] must be on the device of grads\[0\], cuda:0"):
        fs.stats([there, here])
    with pytest.raises(ValueError, match=r"stats: grads\[2\] must be on the device of grads\[1\], the processor, got"):
        fs.stats([None, here, there])
    with pytest.raises(ValueError, match="stats: before must be on the device of grads, cuda:0"):
        fs.stats(there, before=here, after=here)


def test_the_same_three_facts(device):
    there = device.put(start()["w"])
    opt = fs.SGD({"w": there})
    for grad, error, fact in (
        (device.put(np.zeros(5, np.float32)), ValueError, r"shape of params\['w'\], \(37, 11\), got \(5,\)"),
        (device.put(np.zeros((37, 11), np.int32)), TypeError, "float32.*, got int32"),
        (device.put(np.asfortranarray(np.zeros((37, 11), np.float32))), ValueError, "strides"),
        (there, ValueError, "overlap"),
        (7, TypeError, "got int"),
    ):
        with pytest.raises(error, match=rf"SGD: grads\['w'\] must .*{fact}"):
            opt.step({"w": grad})
    read_only = Shifted(there, 0, 100)
    read_only.__cuda_array_interface__["data"] = (read_only.__cuda_array_interface__["data"][0], True)
    with pytest.raises(ValueError, match="params must be writeable, got a read-only array"):
        fs.SGD(read_only)
    every_other = Shifted(there, 0, 100)
    every_other.__cuda_array_interface__["strides"] = (8,)
    with pytest.raises(ValueError, match="params must be dense in memory"):
        fs.SGD(every_other)
    odd = Shifted(there, 0, 100)
    odd.__cuda_array_interface__["data"] = (odd.__cuda_array_interface__["data"][0] + 1, False)
    with pytest.raises(ValueError, match="params must be aligned to its elements"):
        fs.SGD(odd)
    with pytest.raises(ValueError, match="must not overlap"):
        fs.SGD([Shifted(there, 0, 100), Shifted(there, 99, 100)])


class Described:
    """An array as its library's class describes it: by the dict that a CUDA array has."""

    def __init__(self, array, **facts):
        self.array, self.asked, self.facts = array, 0, facts

    @property
    def __cuda_array_interface__(self):
        self.asked += 1
        return {**self.array.__cuda_array_interface__, **self.facts}


def test_more_elements_than_int64_counts(device, monkeypatch):
    asked = []
    monkeypatch.setattr(_core, "DeviceMemory", lambda _, size: asked.append(size))
    assert fs.cuda.Array((2**32, 2**32), (4, 4), "float32", 0).nbytes == 2**66
    assert asked == [sys.maxsize]


def test_addresses_of_no_device(device):
    """An array of the processor's that says it were one of a device's, or one that was freed."""
    there = device.put(start()["w"])
    here = Described(there, data=(np.zeros((37, 11), np.float32).ctypes.data, False))
    for call, name in (
        (lambda: fs.SGD(here), "SGD: params"),
        (lambda: fs.SGD({"w": there}).step({"w": here}), r"SGD: grads\['w'\]"),
        (lambda: fs.stats(here), "stats: grads"),
        (lambda: fs.cuda.to_host(here), "to_host"),
    ):
        with pytest.raises(
            TypeError, match=f"^{name} must lie in memory that a CUDA device knows, got an address of no"
        ):
            call()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("strides", ["given", None])
def test_gradients_of_a_library_for_devices(device, dtype, order, strides):
    """A quick look asks once."""
    values = np.asarray(start()["w"], order=order)
    grad = np.asarray(start(1)["w"], dtype, order=order)
    here, there = values.copy("K"), device.put(values)
    facts = {"strides": strides} if strides is None and order == "C" else {}
    described = Described(device.put(grad), **facts)
    fs.SGD({"w": here}, lr=0.5).step({"w": grad})
    opt = fs.SGD({"w": there}, lr=0.5)
    for asked in (1, 2):
        opt.step({"w": described})
        assert described.asked == asked
        if asked == 1:
            assert same_bytes(fs.cuda.to_host(there), here)


OTHER_FACTS = {
    "shape": ({"shape": (11, 37), "strides": None}, "shape of params"),
    "fewer axes": ({"shape": (407,), "strides": None}, "shape of params"),
    "strides": ({"strides": (4, 148)}, "strides of params"),
    "strides that are no elements": ({"strides": (44, 6)}, "strides of params"),
    "strides that are too large": ({"strides": (44 + 2**62, 4)}, "strides of params"),
    "a shape that is too large": ({"shape": (37, 2**62), "strides": None}, "too big|shape of params"),
    "strides of fewer axes": ({"strides": (4,)}, "describes itself"),
    "numbers that are none": ({"shape": ("a", "b")}, ""),
    "no memory": ({"data": (0, False)}, "numbers in memory"),
    "data that is none": ({"data": ()}, ""),
    "type": ({"typestr": "<i4"}, "int32"),
    "order of bytes": ({"typestr": ">f4"}, "native byte order"),
    "a type that is none": ({"typestr": 4}, ""),
    "a mask": ({"mask": np.zeros((37, 11), bool)}, "mask"),
}


@pytest.mark.parametrize("what", OTHER_FACTS)
def test_gradients_of_a_library_for_devices_that_are_refused(device, what):
    facts, said = OTHER_FACTS[what]
    there = device.put(start()["w"])
    opt = fs.SGD({"w": there}, lr=0.5)
    with pytest.raises((TypeError, ValueError), match=r"SGD: grads\['w'\] must .*" + said):
        opt.step({"w": Described(device.put(start(1)["w"]), **facts)})
    assert same_bytes(fs.cuda.to_host(there), start()["w"])


class Key:
    """Taken for a name, and then it does something."""

    def __init__(self, name, act):
        self.name, self.act = name, act

    def __hash__(self):
        return hash(self.name)

    def __eq__(self, other):
        return self.act()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["strides", "mask"])
def test_dicts_that_raise(device, error, name):
    def act():
        raise error

    class Raising(Described):
        @property
        def __cuda_array_interface__(self):
            known = self.array.__cuda_array_interface__
            return {Key(name, act): 0, **{key: value for key, value in known.items() if key != name}}

    there = device.put(start()["w"])
    opt = fs.SGD({"w": there}, lr=0.5)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else TypeError):
        opt.step({"w": Raising(device.put(start(1)["w"]))})
    assert same_bytes(fs.cuda.to_host(there), start()["w"])


def test_dicts_that_change_while_they_are_read(device):
    class Changing(Described):
        @property
        def __cuda_array_interface__(self):
            known = self.array.__cuda_array_interface__
            return (given := {Key("mask", lambda: given.pop("shape", None) and False): 0, **known})

    there = device.put(start()["w"])
    opt = fs.SGD({"w": there}, lr=0.5)
    with contextlib.suppress(TypeError):
        opt.step({"w": Changing(device.put(start(1)["w"]))})
    assert opt.state["w"]["step"] in (0, 1)


def test_gradients_at_odd_addresses(device):
    grad = device.put(start(1)["w"])
    address, _ = grad.__cuda_array_interface__["data"]
    opt = fs.SGD({"w": device.put(start()["w"])}, lr=0.5)
    with pytest.raises(ValueError, match=r"grads\['w'\] must be aligned to its elements"):
        opt.step({"w": Described(grad, data=(address + 2, False))})


def test_gradients_that_are_only_read(device):
    values = start(1)["w"]
    grad = device.put(values)
    address, _ = grad.__cuda_array_interface__["data"]
    there, read_only = device.put(start()["w"]), Described(grad, data=(address, True))
    opt = fs.SGD({"w": there}, lr=0.5)
    opt.step({"w": read_only})
    with pytest.raises(ValueError, match=r"^SGD: grads\['w'\] must be writeable, got a read-only array"):
        opt.step({"w": read_only}, zero_grad=True)
    assert same_bytes(device.get(grad), values)
    opt.step({"w": grad}, zero_grad=True)
    assert not device.get(grad).any()


def test_copies_are_of_dense_arrays(device):
    sparse = Shifted(device.put(start()["w"]), 0, 100)
    sparse.__cuda_array_interface__["strides"] = (8,)
    for call in (fs.cuda.to_host, lambda array: fs.cuda.to_device(array, np.zeros(100, np.float32))):
        with pytest.raises(ValueError, match="array must be dense in memory, got strides"):
            call(sparse)


def of_cupy(monkeypatch, device):
    """An array of a CuPy whose current stream is a hundred more than its current device, which is 0."""
    current = [0]

    @contextlib.contextmanager
    def as_current():
        current.append(device)
        yield
        current.pop()

    cupy = ModuleType("cupy")
    cupy.cuda = SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=100 + current[-1]))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return type("ndarray", (), {"__module__": "cupy", "device": as_current()})()


def of_torch(monkeypatch, device):
    """The same of a torch, as a class of one's own; without a device it means the current one."""
    torch = ModuleType("torch")
    torch.cuda = SimpleNamespace(current_stream=lambda device=0: SimpleNamespace(cuda_stream=100 + device))
    monkeypatch.setitem(sys.modules, "torch", torch)
    tensor = type("Tensor", (), {"__module__": "torch._tensor", "device": device})
    return type("Weight", (tensor,), {})()


@pytest.mark.parametrize("made", [of_cupy, of_torch])
def test_streams_are_those_of_the_device(made, monkeypatch):
    """There is a current one for each."""
    assert fs.cuda.current_stream(made(monkeypatch, 1)) == 101


@pytest.mark.parametrize("made", [of_cupy, of_torch])
def test_the_default_stream_may_be_chosen(made, monkeypatch):
    """Its handle is 0."""
    array = made(monkeypatch, 0)
    with fs.cuda.use_stream(0):
        assert fs.cuda.current_stream(array) == 0
    assert fs.cuda.current_stream(array) == 100
