"""Tensors of torch in the processor's memory: taken by a quick look in a step, refused by a longer one."""

from __future__ import annotations

import copy
import gc
import re
import weakref

import numpy as np
import pytest

import fusedstep as fs

from cases import frozen, random, same_bytes
from process import output

torch = pytest.importorskip("torch")


def test_torch_on_the_processor():
    rng = np.random.default_rng(6)
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        values, grad = (torch.from_numpy(random(rng, (40, 30), np.float32)).to(dtype) for _ in range(2))
        param = torch.nn.Parameter(values.clone())
        address = param.data_ptr()
        opt, twin = fs.AdamW({"w": param}, lr=0.1), values.clone().contiguous()
        view = twin.view(torch.uint16).numpy() if dtype == torch.bfloat16 else twin.numpy()
        other = fs.AdamW({"w": fs.as_bfloat16(view) if dtype == torch.bfloat16 else view}, lr=0.1)
        for _ in range(3):
            opt.step({"w": grad})
            other.step(
                {"w": fs.as_bfloat16(grad.view(torch.uint16).numpy()) if dtype == torch.bfloat16 else grad.numpy()}
            )
        assert torch.equal(param.detach(), twin)
        assert not torch.equal(twin, values)
        assert param.data_ptr() == address
        assert param.requires_grad


def test_torch_transposed_and_copied():
    param = torch.ones(4, 3).T
    opt = fs.SGD([param], lr=0.5)
    opt.step([torch.ones(4, 3).T])
    assert (param == 0.5).all()
    other = copy.deepcopy(opt)
    other.step([torch.ones(4, 3).T])
    assert (param == 0.5).all()
    with pytest.raises(ValueError, match="strides"):
        opt.step([torch.ones(3, 4)])


class Tensor(torch.Tensor):
    """A class of its own, which might have its data elsewhere."""


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize("cls", [torch.nn.Parameter, torch.Tensor, Tensor])
def test_tensors_whose_data_was_replaced(cls, bound):
    """A step on the memory that a tensor had once would be lost; that memory is kept, so that nothing worse happens."""

    def made(value):
        return torch.full((5,), value)

    for what in ("params['w']", "grads['w']", "state['w']['momentum_buffer']"):
        param = torch.nn.Parameter(made(1.0)) if cls is torch.nn.Parameter else made(1.0).as_subclass(cls)
        grad, buffer = made(1.0), made(0.0)
        opt = fs.SGD({"w": param}, lr=0.5, momentum=0.5, memory={"w": {"momentum_buffer": buffer}})
        step = opt.bind({"w": grad}).step if bound else lambda opt=opt, grad=grad: opt.step({"w": grad})
        step()
        assert (param == 0.5).all()
        moved = {"params['w']": param, "grads['w']": grad}.get(what, buffer)
        moved.data = made(7.0)
        if what.startswith("grads") and not bound:
            step()  # looked at in every step
            assert (param == 0.5 - 0.5 * 7.5).all()
            continue
        before = param.detach().clone()
        with pytest.raises(ValueError, match=re.escape(f"SGD: {what} must stay in the memory that it was given in")):
            step()
        assert torch.equal(param, before)
        opt.state_dict()


def test_that_a_parameter_has_moved_is_told_before_what_follows():
    """Gradients are like what it is now, as those of a model that was brought to another order of axes."""
    param = torch.nn.Parameter(torch.ones(2, 3, 4, 4))
    opt = fs.SGD([param], lr=0.5)
    param.data = param.data.to(memory_format=torch.channels_last)
    for take in (opt.step, opt.bind):
        with pytest.raises(ValueError, match=r"^SGD: params\[0\] must stay in the memory that it was given in"):
            take([torch.ones_like(param)])


def test_axes_that_are_turned_in_place():
    """A square tensor has the address and the shape of before then; strides of a single element do not count."""
    param, line = torch.arange(9.0).view(3, 3), torch.ones(1, 5)
    opt, grads = fs.SGD([param, line], lr=0.5), [torch.ones(3, 3), torch.ones(1, 5)]
    bound = opt.bind(grads)
    line.as_strided_((1, 5), (99, 1))
    before = param.t_().clone()
    for step in (lambda: opt.step(grads), bound.step):
        with pytest.raises(ValueError, match=r"^SGD: params\[0\] must stay .* got other data or strides \(a new"):
            step()
    assert torch.equal(param, before)
    assert (line == 1).all()
    param.t_()
    bound.step()
    assert torch.equal(param, before.t() - 0.5)
    assert (line == 0.5).all()


@pytest.mark.parametrize("state", ["float32", "bfloat16", "sq8"])
def test_tensors_as_memory(state):
    """They begin as state begins, and are what is stepped."""
    shape, kinds = (64, 64), {"float32": torch.float32, "bfloat16": torch.bfloat16, "sq8": torch.int8}
    param, grad = torch.ones(shape), torch.full(shape, 0.5)
    memory = {"exp_avg": torch.full(shape, 7, dtype=kinds[state]), "average": torch.full(shape, 7.0)}
    opt = fs.Adam([torch.ones(3)], state=state, weight_average=0.9)
    opt.add({"w": param}, memory={"w": memory})
    assert torch.equal(memory["average"], param)
    assert not memory["exp_avg"].any()
    other = fs.Adam([np.ones(3, np.float32)], state=state, weight_average=0.9)
    other.add({"w": np.ones(shape, np.float32)})
    opt.step([[torch.ones(3)], {"w": grad}])
    other.step([[np.ones(3, np.float32)], {"w": grad.numpy()}])
    assert same_bytes(memory["average"].numpy(), other.average[1]["w"])
    assert memory["exp_avg"].any()
    assert frozen(opt.state_dict()["state"]["w"]) == frozen(other.state_dict()["state"]["w"])


def test_tensors_are_held_as_long_as_they_are_stepped():
    """Two tensors that changed places would be missed: torch lets none that is held."""

    def stepped():
        fs.SGD([first], lr=0.5).bind([torch.ones(5)]).step()
        gc.collect()
        yield
        opt = fs.SGD([first], lr=0.5)
        bound = opt.bind([second])
        yield
        bound.step()

    first, second = torch.ones(5), torch.zeros(5)
    steps = stepped()
    next(steps)
    torch.utils.swap_tensors(first, second)
    assert (second == 0.5).all()
    next(steps)
    for one in (first, second):
        with pytest.raises(RuntimeError, match=r"use_count|gradient edge"):
            torch.utils.swap_tensors(one, torch.ones(5))
    next(steps, None)
    assert (first == -0.25).all()


#: What another torch might have in the place of what asks for addresses
OTHERS = {
    "none": "del torch._C._aoti",
    "a number": "torch._C._aoti.unsafe_alloc_void_ptr_from_tensor = id",
    "an error": "torch._C._aoti.unsafe_alloc_void_ptr_from_tensor = lambda: None",
    "another library": "torch._C.__file__ = '/'",
}


@pytest.mark.parametrize("other", OTHERS)
def test_tensors_of_another_torch(tmp_path, other):
    program = f"""
        import torch
        {OTHERS[other]}
        import fusedstep as fs

        param = torch.ones(5)
        step = fs.SGD([param], lr=0.5).bind([torch.ones(5)]).step
        step()
        print(param.tolist())
        param.data = torch.ones(5)
        try:
            step()
        except ValueError as error:
            print(error)
    """
    stepped, refused = output(tmp_path, program).splitlines()
    assert stepped == "[0.5, 0.5, 0.5, 0.5, 0.5]"
    assert "SGD: params[0] must stay in the memory that it was given in" in refused


def test_first_optimizers_of_several_threads(tmp_path):
    """None waits for another that waits for Python's lock."""
    program = """
        import ctypes, threading, time
        import torch
        import fusedstep as fs

        def slow(name, library=ctypes.CDLL):
            time.sleep(0.2)
            return library(name)

        ctypes.CDLL = slow
        params = [torch.ones(5) for _ in range(4)]

        def step(param):
            fs.SGD([param], lr=0.5).step([torch.ones(5)])

        threads = [threading.Thread(target=step, args=[param]) for param in params]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(all((param == 0.5).all() for param in params))
    """
    assert output(tmp_path, program, timeout=30) == "True"


def test_parameters_that_are_added_in_spite_of_an_interruption(tmp_path):
    program = """
        import ctypes
        import numpy as np, torch
        import fusedstep as fs

        def interrupted(name, library=ctypes.CDLL):
            ctypes.CDLL = library
            raise KeyboardInterrupt

        param, added = np.ones(5, np.float32), torch.ones(5)
        opt = fs.SGD({"a": param}, lr=0.5)
        ctypes.CDLL = interrupted
        try:
            opt.add({"b": added})
        except KeyboardInterrupt:
            print(len(opt.param_groups))
        grad = np.ones(5, np.float32)
        opt.step({"a": grad})
        opt.add({"b": added})
        opt.step([{"a": grad}, {"b": torch.ones(5)}])
        print(param.tolist(), added.tolist())
    """
    assert output(tmp_path, program) == "1\n[0.0, 0.0, 0.0, 0.0, 0.0] [0.5, 0.5, 0.5, 0.5, 0.5]"


def test_functions_take_torchs_types():
    rng = np.random.default_rng(7)
    theirs = [torch.from_numpy(random(rng, 50, np.float32)).half() for _ in range(2)]
    theirs += [torch.zeros(50, dtype=torch.float16) for _ in range(2)]
    ours = [tensor.numpy().copy() for tensor in theirs]
    for arrays in (theirs, ours):
        fs.functional.adam_(*arrays, step=1, lr=0.1)
    for tensor, array in zip(theirs, ours, strict=True):
        assert same_bytes(tensor.numpy(), array)


def test_functions_let_tensors_go():
    tensors = [torch.zeros(5) for _ in range(4)]
    fs.functional.adam_(*tensors, step=1, lr=0.1)
    seen = [weakref.ref(tensor) for tensor in tensors]
    del tensors
    assert not any(ref() is not None for ref in seen)


class Wrapper(torch.Tensor):
    """One that has."""

    def __new__(cls, inner):
        made = torch.full_like(inner, 99).as_subclass(cls)
        made.inner = inner
        return made

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        inner = [arg.inner if type(arg) is cls else arg for arg in args]
        return function(*inner, **(kwargs or {}))


def test_parameters_whose_data_is_elsewhere():
    """Asked by the methods of their own class, also where they have it only since they were given."""
    inner, grad, late = torch.ones(5), torch.ones(5), torch.ones(5)
    bound = fs.SGD([Wrapper(inner), late], lr=0.5).bind([grad, Wrapper(grad)])
    bound.step()
    assert (inner == 0.5).all()
    assert (late == 0.5).all()
    late.inner = torch.zeros(5)
    late.__class__ = Wrapper
    with pytest.raises(ValueError, match=r"SGD: params\[1\] must stay .* given in, got other data or strides \(a new"):
        bound.step()
    assert (inner == 0.5).all()


def test_copies_whose_data_was_replaced():
    param, copied = torch.ones(5), torch.zeros(5)
    bound = fs.SGD([param], lr=0.5).bind([torch.ones(5)], copy_to=[copied])
    bound.step()
    assert (copied == 0.5).all()
    copied.data = torch.zeros(5)
    with pytest.raises(ValueError, match=r"SGD: copy_to\[0\] must stay in the memory that it was given in"):
        bound.step()
    assert (param == 0.5).all()


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize("what", ["params", "copy_to"])
def test_what_a_schedule_moves(what, bound):
    param, copied = torch.ones(5), torch.zeros(5)

    def lr(step):
        if step == 1 and (what == "params" or bound):
            {"params": param, "copy_to": copied}[what].data = torch.full((5,), 7.0)
        return 0.5

    opt, stages = fs.SGD([param], lr=lr), {"copy_to": [copied]}
    grads = [torch.ones(5)]
    step = opt.bind(grads, **stages).step if bound else lambda: opt.step(grads, **stages)
    step()
    if what == "params" or bound:
        with pytest.raises(ValueError, match=rf"SGD: {what}\[0\] must stay in the memory that it was given in"):
            step()
    assert (param == (7.0 if what == "params" else 0.5)).all()
    assert opt.state["0"]["step"] == 1


GRADIENTS = {
    "dense": lambda g: g,
    "leaf": lambda g: g.requires_grad_(),
    "parameter": lambda g: torch.nn.Parameter(g),
    "subclass": lambda g: g.as_subclass(Tensor),
    "wrapper": Wrapper,
    "half": lambda g: g.half(),
    "bfloat16": lambda g: g.bfloat16(),
    "double": lambda g: g.double(),
    "of one element": lambda g: g.as_strided(g.shape, (3, 99, 1)),
    "pages": lambda g: torch.cat([g, g])[:4],
}


@pytest.mark.parametrize("kind", GRADIENTS)
def test_gradients_of_any_make(kind):
    """What a quick look sees is what a long one does, which a step with a copy to be made takes."""
    values = torch.from_numpy(random(np.random.default_rng(8), (4, 1, 3), np.float32))
    grad = GRADIENTS[kind](values * 0.25)
    ends = []
    for param in (values.clone(), values.clone(), values.numpy().copy()):
        opt = fs.SGD({"w": param}, lr=0.5)
        if len(ends) == 1:
            opt.step({"w": grad}, copy_to={"w": torch.zeros_like(values)})
        else:
            opt.step({"w": grad})
        ends.append(np.asarray(param))
    assert same_bytes(ends[0], (values - 0.5 * grad.detach().float()).numpy())
    assert same_bytes(ends[0], ends[1])
    assert same_bytes(ends[0], ends[2])


REFUSED = {
    "negative": (lambda g: torch._neg_view(g), "negatives"),
    "sparse": (lambda g: g.to_sparse(), "strided"),
    "meta": (lambda g: g.to("meta"), "meta|DLPack's kind"),
    "complex": (lambda g: g.to(torch.complex64), "complex"),
    "integers": (lambda g: g.int(), "int32"),
    "expanded": (lambda g: g[:1].expand(4, 1, 3), "stride|dense"),
    "transposed": (lambda g: g.transpose(0, 2).contiguous().transpose(0, 2), "strides of params"),
    "flat": (lambda g: g.flatten(), "shape of params"),
    "narrow": (lambda g: g[:3], "shape of params"),
    "a list": (lambda g: g.tolist(), "list"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_gradients_that_are_refused(kind):
    make, fact = REFUSED[kind]
    values = torch.from_numpy(random(np.random.default_rng(9), (4, 1, 3), np.float32))
    param = values.clone()
    opt = fs.SGD({"w": param}, lr=0.5, momentum=0.5)
    opt.step({"w": torch.zeros_like(values)})
    with pytest.raises((TypeError, ValueError), match=r"SGD: grads\['w'\] must .*(?:" + fact + ")"):
        opt.step({"w": make(values.clone())})
    assert torch.equal(param, values)
    assert opt.state["w"]["step"] == 1


def test_tensors_without_memory():
    """Zeros that torch does not keep."""
    none = torch._efficientzerotensor((6000,))
    opt = fs.SGD({"w": torch.ones(6000)}, lr=1.0)
    with pytest.raises(TypeError, match=r"grads\['w'\] must have its numbers in memory, got a Tensor without any$"):
        opt.step({"w": none})
    with pytest.raises(TypeError, match="params must have its numbers in memory"):
        fs.SGD(none)

    class Distributed(torch.Tensor):
        """As DTensor, which has its numbers in another tensor."""

        def to_local(self):
            raise AssertionError

    message = r"got a Distributed without any \(x\.to_local\(\) is this process's part\)$"
    with pytest.raises(TypeError, match=message):
        fs.SGD(none.as_subclass(Distributed))


def test_gradients_whose_data_is_replaced_on_the_way():
    """The step has taken the memory that was there; it is large enough to be given back to the system at once."""
    param, grad = torch.ones(1 << 22), torch.ones(1 << 22)

    def lr(step):
        grad.data = torch.zeros(1)
        return 0.5

    fs.SGD({"w": param}, lr=lr).step({"w": grad})
    assert (param == 0.5).all()


def test_gradients_that_lie_in_what_is_written():
    param = torch.ones(8)
    opt = fs.SGD({"w": param[:4]}, lr=0.5)
    opt.step({"w": param[4:]})
    with pytest.raises(ValueError, match=r"grads\['w'\] must not overlap params\['w'\]"):
        opt.step({"w": param[2:6]})
    assert param.tolist() == [0.5] * 4 + [1.0] * 4


def test_gradients_are_let_go():
    opt = fs.SGD({"w": torch.ones(8)}, lr=0.5)
    grad = torch.ones(8)
    opt.step({"w": grad})
    seen = weakref.ref(grad)
    del grad
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_set_to_zero_and_copies(dtype):
    param, grad, copied = torch.ones(8), torch.ones(8, dtype=dtype), torch.ones(8, dtype=dtype)
    opt = fs.SGD({"w": param}, lr=0.5)
    opt.step({"w": grad}, copy_to={"w": copied})
    assert grad.all()
    assert (copied == 0.5).all()
    opt.step({"w": grad}, zero_grad=True)
    assert not grad.any()
    assert not param.any()
    assert (copied == 0.5).all()


def test_what_a_step_writes_lies_apart():
    both, (w, b, copied) = torch.ones(12), torch.ones(3, 8)
    opt = fs.SGD([w, b], lr=0.5)
    within = "must not overlap in memory, got arrays that share 16 bytes"
    for grads, stages, expected in (
        ([both[:8], both[4:]], {"zero_grad": True}, rf"grads\[0\] and grads\[1\] {within}"),
        ([None, both[:8]], {"zero_grad": True, "copy_to": [both[4:], None]}, rf"grads\[1\] and copy_to\[0\] {within}"),
        ([w.clone(), b.clone()], {"copy_to": [both[:8], both[4:]]}, rf"copy_to\[0\] and copy_to\[1\] {within}"),
        ([both[:8], None], {"copy_to": [both[4:], None]}, r"grads\[0\] must not overlap copy_to\[0\] in memory"),
        ([w.clone(), None], {"copy_to": [b, None]}, r"copy_to\[0\] must not overlap params\[1\] in memory"),
    ):
        with pytest.raises(ValueError, match=f"^SGD: {expected}"):
            opt.step(grads, **stages)
    assert all((array == 1).all() for array in (both, w, b, copied))
    opt.step([both[:8], both[4:]])  # which are only read
    assert (w == 0.5).all()


def test_copies_are_let_go():
    opt, copied = fs.SGD({"w": torch.ones(8)}, lr=0.5), torch.ones(8)
    opt.step({"w": torch.ones(8)}, copy_to={"w": copied})
    seen = weakref.ref(copied)
    del copied
    gc.collect()
    assert seen() is None


def test_a_look_that_is_interrupted():
    """An interruption goes through, and is taken for nothing that a tensor says."""

    class Interrupting(torch.overrides.TorchFunctionMode):
        """Once."""

        interrupted = False

        def __torch_function__(self, function, types, args=(), kwargs=None):
            if not self.interrupted:
                self.interrupted = True
                raise KeyboardInterrupt
            return function(*args, **(kwargs or {}))

    param = np.ones(4, np.float32)
    opt = fs.SGD({"w": param}, lr=0.5)
    grads = {"w": torch.ones(4)}
    with pytest.raises(KeyboardInterrupt), Interrupting():
        opt.step(grads)
    assert (param == 1).all()
    opt.step(grads)
    assert (param == 0.5).all()
