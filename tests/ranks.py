"""What two processes do together: each scenario's outcome in both of them, as JSON. Its argument is a new folder."""

from __future__ import annotations

import copy
import json
import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint
import torch.multiprocessing
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import fusedstep as fs
from fusedstep.torch import Optimizer


def dense():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 1))


def sharded():
    """The last layer has one row, of which the second process has nothing."""
    model, mesh = dense(), init_device_mesh("cpu", (2,))
    for layer in (*model[::2], model):
        fully_shard(layer, mesh=mesh)
    return model


def train(model, optimizer, steps, step=lambda model, optimizer: optimizer.step()):
    for number in steps:
        torch.manual_seed(10 * number + dist.get_rank())
        optimizer.zero_grad()
        (model(torch.randn(6, 5)) ** 2).sum().backward()
        step(model, optimizer)


def numbers(model):
    """All parameters, one behind the other; of those that FullyShardedDataParallel has cut, this process's part."""
    tensors = [param.detach() for param in model.parameters()]
    return torch.cat([getattr(tensor, "full_tensor", lambda same=tensor: same)().flatten() for tensor in tensors])


def distance(one, other):
    difference = numbers(one) - numbers(other)
    return max(difference.abs().tolist(), default=0.0)


def clipped(model, optimizer):
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()


def beside_torch():
    ours, theirs = sharded(), sharded()
    optimizer = Optimizer(ours.parameters(), fs.AdamW, lr=0.01)
    train(ours, optimizer, range(6), lambda model, optimizer: optimizer.step(max_norm=0.5))
    train(theirs, torch.optim.AdamW(theirs.parameters(), lr=0.01), range(6), clipped)
    return [distance(ours, theirs), optimizer.inner.last.norm]


def resumed(model, save, load, make=lambda params: Optimizer(params, fs.NAdam, lr=0.1)):
    """How far a run that goes on from a state is from the run that was saved."""
    first, second = model(), model()
    one = make(first.parameters())
    train(first, one, range(3))
    state = copy.deepcopy(save(first, one))
    second.load_state_dict(first.state_dict())
    other = make(second.parameters())
    load(second, other, state)
    for model, optimizer in ((first, one), (second, other)):
        train(model, optimizer, range(3, 6))
    return distance(first, second)


def gathered(**options):
    options = StateDictOptions(**options)
    return resumed(
        sharded,
        lambda model, optimizer: get_optimizer_state_dict(model, optimizer, options=options),
        lambda model, optimizer, state: set_optimizer_state_dict(model, optimizer, state, options=options),
    )


def in_files(folder):
    def load(model, optimizer, _):
        states = dict(zip(("model", "optimizer"), get_state_dict(model, optimizer), strict=True))
        checkpoint.load(states, checkpoint_id=folder)
        set_state_dict(model, optimizer, model_state_dict=states["model"], optim_state_dict=states["optimizer"])

    def save(model, optimizer):
        states = dict(zip(("model", "optimizer"), get_state_dict(model, optimizer), strict=True))
        checkpoint.save(states, checkpoint_id=folder)

    return resumed(sharded, save, load, lambda params: Optimizer(params, fs.WindowedAdagrad, window=3, lr=0.1))


def by_number(folder):
    """The optimizer's own state, of which one file has what all processes share."""

    def load(_, optimizer, __):
        state = optimizer.state_dict()
        checkpoint.load({"optimizer": state}, checkpoint_id=folder)
        optimizer.load_state_dict(state)

    return resumed(
        sharded, lambda _, optimizer: checkpoint.save({"optimizer": optimizer.state_dict()}, checkpoint_id=folder), load
    )


def sharded_behind():
    """As accelerate does: the optimizer is there before its parameters are sharded, and is given those."""
    ours, theirs = dense(), sharded()
    optimizer = Optimizer(ours.parameters(), fs.AdamW, lr=0.1, weight_average=0.5)
    mesh = init_device_mesh("cpu", (2,))
    for layer in (*ours[::2], ours):
        fully_shard(layer, mesh=mesh)
    optimizer.param_groups[0]["params"] = list(ours.parameters())
    train(ours, optimizer, range(3))
    train(theirs, Optimizer(theirs.parameters(), fs.AdamW, lr=0.1), range(3))
    return distance(ours, theirs)


def compiled():
    """Dynamo goes through a step as far as it can."""
    ours, theirs = sharded(), sharded()
    optimizer = Optimizer(ours.parameters(), fs.AdamW, lr=0.1)
    train(ours, optimizer, range(3), lambda _, optimizer: torch.compile(optimizer.step, backend="eager")())
    train(theirs, Optimizer(theirs.parameters(), fs.AdamW, lr=0.1), range(3))
    return distance(ours, theirs)


def flat():
    return resumed(
        lambda: FullyShardedDataParallel(dense(), device_id=torch.device("cpu")),
        FullyShardedDataParallel.optim_state_dict,
        lambda model, optimizer, state: optimizer.load_state_dict(
            FullyShardedDataParallel.optim_state_dict_to_load(model, optimizer, state)
        ),
    )


def divided():
    def save(_, optimizer):
        optimizer.consolidate_state_dict(0)
        box = [optimizer.state_dict() if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(box, 0)
        return box[0]

    return resumed(
        lambda: torch.nn.parallel.DistributedDataParallel(dense()),
        save,
        lambda _, optimizer, state: optimizer.load_state_dict(state),
        lambda params: ZeroRedundancyOptimizer(params, Optimizer, method=fs.NAdam, lr=0.1),
    )


def parallel():
    """A model of which each process has half of the columns, then half of the rows, and all of the last bias."""

    def made():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Linear(8, 2))
        plan = {"0": ColwiseParallel(), "1": RowwiseParallel()}
        return parallelize_module(model, init_device_mesh("cpu", (2,)), plan)

    def whole_step(model, optimizer):
        optimizer.step(max_norm=0.5)
        norms.append(optimizer.inner.last.norm)

    def theirs_step(model, optimizer):
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5).full_tensor().item())
        optimizer.step()

    ends, norms = [], []
    for make, step in (
        (lambda params: Optimizer(params, fs.AdamW, lr=0.01), whole_step),
        (lambda params: torch.optim.AdamW(params, lr=0.01), theirs_step),
    ):
        model = made()
        optimizer = make(model.parameters())
        for number in range(4):
            torch.manual_seed(number)
            optimizer.zero_grad()
            (model(torch.randn(6, 6)) ** 2).sum().backward()
            step(model, optimizer)
        ends.append(model)
    return [distance(*ends), max(abs(one / other - 1) for one, other in zip(norms[:4], norms[4:], strict=True))]


def one_infinite():
    """Both skip a step where one of them has an infinite gradient, and not where a sum of squares is one in half."""
    model = sharded()
    before = numbers(model)
    optimizer = Optimizer(model.parameters(), fs.SGD, lr=0.1)

    def step(model, optimizer):
        if dist.get_rank() == 1:
            next(model.parameters()).grad.to_local()[0, 0] = torch.inf
        optimizer.step(on_nonfinite="skip", grad_scale=2.0)

    train(model, optimizer, range(1), step)
    same = torch.equal(before, numbers(model))
    half = torch.nn.Parameter(distribute_tensor(torch.ones(4).half(), init_device_mesh("cpu", (2,)), [Shard(0)]))
    half.grad = torch.full_like(half, 40000.0)
    wide = Optimizer([half], fs.SGD, lr=0.1)
    wide.step(on_nonfinite="skip")
    return [optimizer.inner.skipped, same, wide.inner.skipped, wide.inner.last.norm]


def moved():
    """A model whose parameters are brought elsewhere: their state follows."""
    ends = []
    for other in (False, True):
        model = sharded()
        optimizer = Optimizer(model.parameters(), fs.AdamW, lr=0.1, state="bfloat16")
        train(model, optimizer, range(3))
        if other:
            model.double().float()
        train(model, optimizer, range(3, 6))
        ends.append(numbers(model).tolist())
    return ends[0] == ends[1]


def refused():
    mesh = init_device_mesh("cpu", (2,))
    param = torch.nn.Parameter(distribute_tensor(torch.ones(600, 20), mesh, [Shard(0)]))
    whole = torch.nn.Parameter(torch.ones(2))
    optimizer = Optimizer([param], fs.AdamW, lr=0.1, state="sq8")
    optimizer.add_param_group({"params": [whole]})
    whole.grad = torch.ones(2)
    messages = []
    for grad, stages in (
        (distribute_tensor(torch.ones(600, 20), mesh, [Replicate()]), {}),
        (distribute_tensor(torch.ones(600, 20), mesh, [Shard(0)]), {"max_norm_per_tensor": 1.0}),
    ):
        param.grad = grad
        try:
            optimizer.step(**stages)
        except ValueError as error:
            messages.append(str(error))
    optimizer.step(max_norm=0.5, grad_scale=2.0)
    norms = [optimizer.inner.last.norm]
    optimizer.step(max_norm=0.5, norm=3.0)
    norms.append(optimizer.inner.last.norm)
    try:
        optimizer.state_dict()
    except TypeError as error:
        messages.append(str(error))
    optimizer.zero_grad()
    optimizer.step(max_norm=0.5)
    try:
        param.grad = torch.ones_like(param)
        optimizer.step(max_norm=0.5, grad_scale=None)
    except TypeError as error:
        messages.append(str(error))
    plain = Optimizer([param], fs.AdamW, lr=0.1)
    for rows, wrong in ((600, Replicate()), (600, Shard(1)), (599, Shard(0))):
        other = distribute_tensor(torch.ones(rows, 20), mesh, [wrong])
        try:
            plain.state[param] = {**plain.state[param], "exp_avg": other}
        except ValueError as error:
            messages.append(str(error))
    try:
        optimizer.state[whole] = {
            **optimizer.state[whole],
            "exp_avg": distribute_tensor(torch.ones(4), mesh, [Shard(0)]),
        }
    except ValueError as error:
        messages.append(str(error))
    double = torch.nn.Linear(4, 4)
    fully_shard(double, mesh=mesh)
    moving = Optimizer(double.parameters(), fs.SGD, lr=0.1, weight_average=0.5)
    double.double()
    for param in double.parameters():
        param.grad = torch.ones_like(param)
    for _ in range(2):
        try:
            moving.step()
        except ValueError as error:
            messages.append(str(error))
    double.float()
    with torch.no_grad():
        for param in double.parameters():
            param.fill_(100.0)
    moving.state.clear()
    norms.append(moving.state[param]["average"].to_local().max().item())
    return [messages, norms, optimizer.inner.state_dict()["state"]["0"]["step"]]


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2, init_method=f"file://{folder}/meeting")
    scenarios = {
        "beside torch": beside_torch,
        "distributed": gathered,
        "in one": lambda: gathered(full_state_dict=True, broadcast_from_rank0=True),
        "by name": lambda: gathered(flatten_optimizer_state_dict=True),
        "in files": lambda: in_files(f"{folder}/checkpoint"),
        "by number": lambda: by_number(f"{folder}/numbers"),
        "sharded behind": sharded_behind,
        "compiled": compiled,
        "flat": flat,
        "parallel": parallel,
        "divided": divided,
        "one infinite": one_infinite,
        "moved": moved,
        "refused": refused,
    }
    for name, scenario in scenarios.items():
        outcomes = [None, None]
        dist.all_gather_object(outcomes, scenario())
        if rank == 0:
            print(json.dumps([name, outcomes]), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.multiprocessing.spawn(work, args=sys.argv[1:], nprocs=2)
