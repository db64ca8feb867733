"""The optimizer that is one of torch's: it does what torch's own does, in the hands of whatever drives those."""

from __future__ import annotations

import functools
import warnings

import pytest

import fusedstep as fs

torch = pytest.importorskip("torch")

from fusedstep.torch import Optimizer  # noqa: E402 (which needs torch)

from linear import SCHEDULES, TOLERANCE, Run, X, Y, ours, theirs  # noqa: E402


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedulers(schedule):
    runs = [Run(make, SCHEDULES[schedule]).train() for make in (ours, theirs)]
    runs[0].equals(runs[1], TOLERANCE)
    rates = [[group["lr"] for group in run.optimizer.param_groups] for run in runs]
    assert rates[0] == rates[1]
    assert (rates[0] == [0.01, 0.02]) == (schedule == "none")


@pytest.mark.parametrize("method", ["adam", torch.optim.Adam, functools.partial(torch.optim.SGD), None], ids=str)
def test_methods_that_are_refused(method):
    w = torch.ones(2, requires_grad=True)
    message = r"^Optimizer: method must be one of fusedstep's classes, such as fs\.AdamW, got "
    with pytest.raises(TypeError, match=message):
        Optimizer([w], method, lr=0.1)


def test_stages_and_other_makers():
    w = torch.zeros(2, requires_grad=True)
    optimizer = Optimizer([w], functools.partial(fs.SGD, rounding="stochastic"), lr=torch.tensor(0.5))
    w.grad = torch.tensor([30.0, 40.0])
    optimizer.step(grad_scale=10.0, max_norm=1.0, zero_grad=True)
    assert torch.allclose(w, torch.tensor([-0.3, -0.4]))
    assert not w.grad.any()
    optimizer.param_groups[0]["lr"] = torch.tensor(0.25)
    w.grad += 1
    optimizer.step()
    assert torch.allclose(w, torch.tensor([-0.55, -0.65]))


def test_hooks_and_scalers():
    run, called = Run(ours), []
    run.optimizer.register_step_pre_hook(lambda *given: called.append("before"))
    run.optimizer.register_step_post_hook(lambda *given: called.append("after"))
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for factor, after in ((torch.inf, 2.0), (1.0, 2.0)):
        before = run.w.detach().clone()
        run.optimizer.zero_grad()
        scaler.scale(((X @ run.w + run.b - Y) ** 2).mean() * factor).backward()
        scaler.step(run.optimizer)
        scaler.update()
        assert torch.equal(run.w, before) == (factor == torch.inf)
        assert scaler.get_scale() == after
    assert called == ["before", "after"]


def test_parameters_that_are_frozen():
    w, b = (torch.zeros(2, requires_grad=True) for _ in range(2))
    optimizer = Optimizer([w, b], fs.Adam, lr=0.1)
    w.requires_grad_(False)
    b.grad = torch.ones(2)
    optimizer.step()
    assert not w.any()
    assert b.all()


#: What gives a model's tensors other memory.
MOVES = {
    "to": lambda model: model.to("cpu:0"),  # as accelerate does; "cpu" is another device than "cpu:0"
    "data": lambda model: [setattr(param, "data", param.data.clone()) for param in model.parameters()],
    "one of them": lambda model: setattr(model.weight, "data", model.weight.data.clone()),
    "flat": lambda model: torch.nn.utils.vector_to_parameters(
        torch.nn.utils.parameters_to_vector(model.parameters()), model.parameters()
    ),
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize(
    "options", [{}, {"state": "bfloat16", "rounding": "stochastic", "weight_average": 0.9}, {"state": "sq8"}], ids=str
)
def test_a_model_that_is_moved_behind_its_optimizer(move, options):
    def steps(count):
        for _ in range(count):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step(max_norm=1.0)

    x, ends = X.float(), []
    for moved in (False, True):
        torch.manual_seed(0)
        model = torch.nn.Linear(5, 3)
        empty = torch.nn.Parameter(torch.empty(0))
        optimizer = Optimizer([*model.parameters(), empty], fs.AdamW, lr=lambda step: 0.1 / (step + 1), **options)
        inner = optimizer.inner
        steps(3)
        if moved:
            MOVES[move](model)
        steps(3)
        assert optimizer.inner is inner
        ends.append(
            torch.utils._pytree.tree_map_only(
                torch.Tensor, torch.Tensor.tolist, [model.state_dict(), optimizer.state_dict()]
            )
        )
    assert ends[0] == ends[1]


def test_a_weight_that_is_turned_in_place():
    """Its state is that of the same elements, which lie elsewhere now."""
    grad, turned = torch.arange(9.0).view(3, 3), []
    for make in (functools.partial(Optimizer, method=fs.SGD), torch.optim.SGD):
        w = torch.nn.Parameter(torch.arange(9.0).view(3, 3) ** 2)
        optimizer = make([w], lr=0.5, momentum=0.5)
        w.grad = grad
        optimizer.step()
        with torch.no_grad():
            w.t_()
        w.grad = grad.t()
        optimizer.step()
        turned.append((w.tolist(), optimizer.state[w]["momentum_buffer"].tolist()))
    assert turned[0] == turned[1]


def test_what_is_refused_for_another_reason_than_a_move():
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = Optimizer([w], fs.SGD, lr=0.5)
    w.grad = torch.ones(3)
    plan = optimizer.inner._plan
    with pytest.raises(ValueError, match=r"^SGD: max_norm must be"):
        optimizer.step(max_norm=-1.0)
    assert optimizer.inner._plan is plan
    for other, message in (
        (torch.ones(3, dtype=torch.float64), r"^SGD: params\['0'\] must stay float32, .* got float64$"),
        (torch.ones(5), r"^SGD: params\['0'\] must stay \[3\], .* got \[5\]$"),
    ):
        w.grad, w.data = None, other  # the state would have to be another
        w.grad = torch.ones_like(w)
        with pytest.raises(ValueError, match=message):
            optimizer.step()
        assert optimizer.inner._plan is plan


def test_autograd_notices_a_step_between_its_passes():
    w = torch.nn.Parameter(torch.ones(3))
    frozen = torch.nn.Parameter(torch.ones(3))
    optimizer = Optimizer([w, frozen], fs.SGD, lr=0.5)
    loss, other = (w * w).sum(), (frozen * frozen).sum()
    w.grad = torch.ones(3)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    other.backward()  # it has not moved


def test_a_compiled_loop_warns_of_nothing_here():
    """Dynamo follows the step up to where the core begins, and warns of what it meets on its way."""
    run = Run(ours, SCHEDULES["lambda"])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.compile(run.train, backend="eager")(5)
    assert not [one for one in told if "fusedstep" in str(one.message)]
    run.equals(Run(ours, SCHEDULES["lambda"]).train(5))


def test_rates_reach_the_device_as_those_of_the_method():
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = Optimizer([w], fs.SGD, lr=0.5)
    optimizer.param_groups[0]["lr"] = 0.25
    fs.cuda.put_rates(optimizer)
    assert optimizer.inner.param_groups[0]["lr"] == 0.25
    assert optimizer.inner._plan.rate(0, 0) == 0.25


@pytest.mark.parametrize("several", [True, False])
def test_autograd_is_told_by_any_version_of_torch(monkeypatch, several):
    told = []

    def increment(tensors):
        if isinstance(tensors, list) and not several:
            raise TypeError("must be Tensor, not list")
        told.extend(tensors if isinstance(tensors, list) else [tensors])

    monkeypatch.setattr(torch.autograd.graph, "increment_version", increment)
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = Optimizer(params, fs.SGD, lr=0.5)
    for param in params:
        param.grad = torch.ones(3)
    optimizer.step()
    assert [id(one) for one in told] == [id(param) for param in params]
