"""The optimizer that is one of torch's: it does what torch's own does, in the hands of whatever drives those."""

from __future__ import annotations

import copy
import functools
import pickle
import threading
import warnings

import numpy as np
import pytest

import fusedstep as fs

torch = pytest.importorskip("torch")

from fusedstep.torch import Optimizer, mapped  # noqa: E402 (which needs torch)

TOLERANCE = 1e-11
SCHEDULERS = torch.optim.lr_scheduler

X, Y = (torch.from_numpy(np.random.default_rng(0).standard_normal((64, size))) for size in (5, 1))


def theirs(groups, **options):
    return torch.optim.AdamW(groups, **options)


def ours(groups, **options):
    return Optimizer(groups, fs.AdamW, **options)


class Run:
    """A linear model, its optimizer, and what drives that."""

    def __init__(self, make, schedule=lambda optimizer: None, **options):
        self.w, self.b = (torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in ((5, 1), 1))
        groups = [{"params": [self.w], "weight_decay": 0.1}, {"params": [self.b], "weight_decay": 0.0, "lr": 0.02}]
        self.optimizer = make(groups, **{"lr": 0.01, "betas": (0.9, 0.99)} | options)
        self.scheduler = schedule(self.optimizer)

    def loss(self):
        self.optimizer.zero_grad()
        found = ((X @ self.w + self.b - Y) ** 2).mean()
        found.backward()
        return found

    def train(self, steps=30):
        for _ in range(steps):
            with torch.no_grad():  # which must not reach the closure
                loss = self.optimizer.step(self.loss)
            assert loss > 0
            if isinstance(self.scheduler, SCHEDULERS.ReduceLROnPlateau):
                self.scheduler.step(loss.item())
            elif self.scheduler:
                self.scheduler.step()
        return self

    def equals(self, other, tolerance=0.0):
        for own, their in ((self.w, other.w), (self.b, other.b)):
            assert own.any()
            assert (own - their).abs().max() <= tolerance * their.abs().max()


SCHEDULES = {
    "none": lambda optimizer: None,
    "one cycle": lambda optimizer: SCHEDULERS.OneCycleLR(optimizer, max_lr=[0.1, 0.2], total_steps=60),
    "cyclic": lambda optimizer: SCHEDULERS.CyclicLR(optimizer, 0.001, 0.1, step_size_up=7, cycle_momentum=False),
    "plateau": lambda optimizer: SCHEDULERS.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5),
    "restarts": lambda optimizer: SCHEDULERS.CosineAnnealingWarmRestarts(optimizer, 7),
    "lambda": lambda optimizer: SCHEDULERS.LambdaLR(optimizer, lambda t: 1 / (1 + t)),
    "in sequence": lambda optimizer: SCHEDULERS.SequentialLR(
        optimizer,
        [SCHEDULERS.LinearLR(optimizer, 0.1, total_iters=5), SCHEDULERS.ExponentialLR(optimizer, 0.9)],
        milestones=[5],
    ),
    "averaged": lambda optimizer: torch.optim.swa_utils.SWALR(optimizer, swa_lr=0.05),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedulers(schedule):
    runs = [Run(make, SCHEDULES[schedule]).train() for make in (ours, theirs)]
    runs[0].equals(runs[1], TOLERANCE)
    rates = [[group["lr"] for group in run.optimizer.param_groups] for run in runs]
    assert rates[0] == rates[1]
    assert (rates[0] == [0.01, 0.02]) == (schedule == "none")


def test_a_schedulers_names_are_not_ours():
    """OneCycleLR leaves the largest rate of its cycle as "max_lr"."""
    options = {"decay": "fully_decoupled", "max_lr": 0.5}
    run = Run(ours, SCHEDULES["one cycle"], **options).train(3)
    assert run.optimizer.param_groups[0]["max_lr"] == 0.1
    assert [group["max_lr"] for group in run.optimizer.inner.param_groups] == [0.5, 0.5]


def test_options_that_are_not_given():
    """Schedulers read them: rates, and betas or momentum."""
    w = torch.zeros(3, requires_grad=True)
    optimizer = Optimizer([w], fs.Adam)
    assert optimizer.param_groups[0]["lr"] == optimizer.defaults["lr"] == 1e-3
    SCHEDULERS.OneCycleLR(optimizer, 0.05, total_steps=9)
    w.grad = torch.ones(3)
    optimizer.step()
    assert optimizer.inner.param_groups[0]["betas"][0] == 0.95  # that a cycle begins with


@pytest.mark.parametrize("options", [{}, {"state": "bfloat16"}, {"weight_average": 0.9}], ids=str)
def test_a_run_in_a_file(tmp_path, options):
    """With torch's defaults, which load no pickle; schedulers find again what they have left in the groups."""
    run = Run(ours, SCHEDULES["one cycle"], **options).train()
    torch.save([run.optimizer.state_dict(), run.scheduler.state_dict(), run.w, run.b], tmp_path / "run.pt")
    state, schedule, w, b = torch.load(tmp_path / "run.pt")
    other = Run(ours, SCHEDULES["one cycle"], **options)
    other.w.data.copy_(w)
    other.b.data.copy_(b)
    other.optimizer.load_state_dict(state)
    other.scheduler.load_state_dict(schedule)
    assert other.optimizer.param_groups[0]["lr"] == run.optimizer.param_groups[0]["lr"] != 0.01
    other.train().equals(run.train())
    SCHEDULERS.StepLR(other.optimizer, 3, last_epoch=30)  # needs "initial_lr"
    if options.get("state"):
        assert state["state"]["state"]["0"]["exp_avg"].dtype == torch.bfloat16


def test_states_of_others_are_refused():
    run, small = Run(ours), Optimizer([torch.zeros(3, requires_grad=True)], fs.AdamW)
    before = run.optimizer.state_dict()
    with pytest.raises(ValueError, match=r"^AdamW: state must have 2 groups, got 1$"):
        run.optimizer.load_state_dict(small.state_dict())
    with pytest.raises(ValueError, match=r"^AdamW: state"):
        Optimizer([run.w, run.b], fs.AdamW).load_state_dict({**before, "param_groups": [{}]})
    assert repr(run.optimizer.state_dict()) == repr(before)


def with_tensor(state, change):
    entry = state["state"]["state"]["0"]
    entry["exp_avg"] = change(entry["exp_avg"])
    return state


def with_option(state, name, value):
    state["param_groups"][1][name] = value
    return state


#: What somebody may take for a state, and what is said of it.
NO_STATES = {
    "none": (lambda run, state: None, r"^AdamW: state_dict must be a dict, got NoneType$"),
    "no group": (lambda run, state: {**state, "param_groups": [None, {}]}, r"must be a list of 2 dicts, got \[None, "),
    "groups by name": (
        lambda run, state: {**state, "param_groups": dict(enumerate(state["param_groups"]))},
        r"^AdamW: state_dict\['param_groups'\] must be a list of 2 dicts, got \{0: ",
    ),
    "half": (lambda run, state: {"state": state["state"]}, r"exactly the keys .* got none for \['param_groups'\]"),
    "ours inside": (lambda run, state: run.optimizer.inner.state_dict(), r"got none for \['param_groups'\]"),
    "a list": (lambda run, state: {**state, "state": [1]}, r"^AdamW: state_dict\['state'\] must be a dict, got list$"),
    "inner groups": (
        lambda run, state: {**state, "state": {**state["state"], "groups": None}},
        r"^AdamW: state_dict\['state'\]\['groups'\] must be a list of 2 dicts, got None$",
    ),
    "torch's": (
        lambda run, state: Run(theirs).train(1).optimizer.state_dict(),
        r"^AdamW: state_dict must be one of fusedstep\.torch\.Optimizer's, got that of an optimizer of torch's own$",
    ),
    "torch's, fresh": (lambda run, state: Run(theirs).optimizer.state_dict(), r"an optimizer of torch's own$"),
    "gradients": (
        lambda run, state: with_tensor(state, torch.Tensor.requires_grad_),
        r"without gradients, got one that requires grad$",
    ),
    "sparse": (
        lambda run, state: with_tensor(state, torch.Tensor.to_sparse),
        r"^state_dict must hold dense tensors .*, got torch\.sparse_coo on cpu$",
    ),
    "no values": (
        lambda run, state: with_tensor(state, lambda tensor: tensor.to("meta")),
        r"tensors with values .*, got torch\.strided on meta$",
    ),
    "rate": (lambda run, state: with_option(state, "lr", -1.0), r"^AdamW: lr must be a finite .*, got -1.0$"),
    "rates": (lambda run, state: with_option(state, "lr", torch.ones(2)), r"^AdamW: lr must be a finite number"),
    "spelling": (lambda run, state: with_option(state, "decoupled_weight_decay", True), r"decoupled_weight_decay"),
    "schedule": (lambda run, state: with_option(state, "lr", "schedule"), r"must find one in the constructor, got 0"),
}


@pytest.mark.parametrize("wrong", NO_STATES)
def test_what_is_no_state_changes_nothing(wrong):
    run = Run(ours, SCHEDULES["one cycle"]).train(3)
    make, message = NO_STATES[wrong]
    state = make(run, with_option(Run(ours, lr=0.5).train(5).optimizer.state_dict(), "note", "another's"))
    before, groups = repr(run.optimizer.state_dict()), repr(run.optimizer.param_groups)
    with pytest.raises((TypeError, ValueError), match=message):
        run.optimizer.load_state_dict(state)
    assert repr(run.optimizer.state_dict()) == before
    assert repr(run.optimizer.param_groups) == groups


def test_options_of_a_state_are_those_of_its_groups():
    """As with torch's own, whose states are edited there."""
    run = Run(ours).train(2)
    state = with_option(run.optimizer.state_dict(), "lr", 0.25)
    assert state["state"]["groups"][1]["betas"] == state["param_groups"][1]["betas"] == (0.9, 0.99)
    state["param_groups"][0]["name"] = ["weights"]
    run.optimizer.load_state_dict(state)
    state["param_groups"][0]["name"].append("none")
    groups = run.optimizer.param_groups
    assert [group["lr"] for group in groups] == [group["lr"] for group in run.optimizer.inner.param_groups]
    assert [groups[1]["lr"], groups[0]["name"], len(groups[0]["params"])] == [0.25, ["weights"], 1]


@pytest.mark.parametrize("schedule", [fs.schedules.cosine(0.1, 60), lambda step: 0.1 / (step + 1)], ids=["ours", "any"])
def test_our_schedules_in_a_file(tmp_path, schedule):
    """A function is not written; the constructor's stays."""
    run = Run(ours, lr=schedule).train()
    torch.save([run.optimizer.state_dict(), run.w, run.b], tmp_path / "run.pt")
    state, w, b = torch.load(tmp_path / "run.pt")
    assert [group["lr"] for group in state["param_groups"]] == ["schedule", 0.02]
    other = Run(ours, lr=schedule)
    other.w.data.copy_(w)
    other.b.data.copy_(b)
    other.optimizer.load_state_dict(state)
    assert other.optimizer.param_groups[0]["lr"] is schedule
    other.train().equals(run.train())
    other.optimizer.load_state_dict(Run(ours, lr=0.5).optimizer.state_dict())
    assert other.optimizer.param_groups[0]["lr"] is schedule
    late = Run(ours).optimizer
    late.param_groups[0]["lr"] = schedule
    late.load_state_dict(state)
    assert late.param_groups[0]["lr"] is late.inner.param_groups[0]["lr"] is schedule


def test_rates_in_tensors_are_shared_with_no_state():
    rates = [torch.tensor(0.5), torch.tensor(0.25)]
    w = torch.ones(2, requires_grad=True)
    first, second = (Optimizer([{"params": [w], "lr": lr, "note": [1]}], fs.SGD) for lr in rates)
    state = first.state_dict()
    rates[0].fill_(4.0)
    second.load_state_dict(state)
    state["param_groups"][0]["note"].append(2)
    assert second.param_groups[0]["lr"] == 0.5
    assert second.param_groups[0]["note"] == [1]
    assert rates[1] == 0.25
    w.grad = torch.ones(2)
    first.step()  # the owner of a tensor may still change it
    assert (w == -3).all()
    second.step()
    assert (w == -3.5).all()
    second.load_state_dict({**state, "param_groups": [{"lr": rates[0]}]})
    rates[0].fill_(5.0)
    assert second.param_groups[0]["lr"] == 4.0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda run: pickle.loads(pickle.dumps(run))], ids=["copy", "pickle"])
def test_copies(copied):
    run = Run(ours, SCHEDULES["one cycle"]).train()
    other = copied(run)
    other.train()
    with pytest.raises(AssertionError):
        other.equals(run)
    other.equals(run.train())


def test_groups_of_torch():
    """Named parameters, and keys that are nobody's option."""
    model = torch.nn.Linear(3, 2)
    named = Optimizer(model.named_parameters(), fs.SGD, lr=0.5)
    assert named.param_groups[0]["param_names"] == ["weight", "bias"]
    tagged = Optimizer([{"params": list(model.parameters()), "name": "all", "lr_scale": 2.0}], fs.SGD, lr=0.5)
    assert tagged.param_groups[0]["lr_scale"] == 2.0
    SCHEDULERS.StepLR(tagged, 3)
    added = torch.ones(2, requires_grad=True)
    tagged.add_param_group({**tagged.param_groups[0], "params": [added], "lr": 0.25})
    added.grad = torch.ones(2)
    tagged.step()
    assert (added == 0.75).all()
    assert tagged.state_dict()["param_groups"][1]["initial_lr"] == 0.5


def test_groups_that_are_added_have_the_constructors_options():
    a, b, c, d = (torch.ones(1, requires_grad=True) for _ in range(4))
    optimizer = Optimizer([{"params": [a], "weight_decay": 0.5, "lr": 0.3}], fs.SGD, lr=0.1)
    optimizer.add_param_group({"params": [b]})
    for group in (optimizer.param_groups[1], optimizer.inner.param_groups[1], optimizer.defaults):
        assert (group["lr"], group["weight_decay"]) == (0.1, 0.0)
    keras = Optimizer([{"params": [c], "lr": 0.3}], fs.SGD, convention="keras")
    keras.add_param_group({"params": [d], "momentum": 0.5})
    assert [keras.param_groups[1][name] for name in ("lr", "decay", "momentum")] == [0.01, "decoupled", 0.5]
    assert (keras.defaults["lr"], keras.defaults["momentum"]) == (0.01, 0.0)


def test_the_largest_rate_may_be_changed():
    """As in the method's own class, which makes of None the rate of that moment."""
    w = torch.ones(1, dtype=torch.float64, requires_grad=True)
    theta = np.ones(1)
    options = {"lr": 0.1, "decay": "fully_decoupled", "weight_decay": 0.5}
    optimizer = Optimizer([{"params": [w], "max_lr": 1.0}], fs.AdamW, **options)
    plain = fs.AdamW([{"params": [theta], "max_lr": 1.0}], **options)
    w.grad = torch.ones(1, dtype=torch.float64)
    for changes in ({}, {"max_lr": 0.1}, {"max_lr": None}, {"lr": 0.05, "max_lr": None}, {"weight_decay": 1}):
        for one in (optimizer, plain):
            one.param_groups[0].update(changes)
            if "lr" not in changes:
                one.state_dict()  # is such a moment, too
                one.param_groups[0]["lr"] *= 0.5
        optimizer.step()
        plain.step([[np.ones(1)]])
        assert w.item() == theta[0]
        assert {name: optimizer.param_groups[0][name] for name in plain.param_groups[0]} == plain.param_groups[0]


def test_another_spelling_of_decay():
    """A group that is given takes it; one that is there has decay."""
    a, b = (torch.ones(1, requires_grad=True) for _ in range(2))
    optimizer = Optimizer([{"params": [a], "decoupled_weight_decay": True}], fs.NAdam, weight_decay=0.5)
    optimizer.add_param_group({"params": [b], "decoupled_weight_decay": True})
    assert [group["decay"] for group in optimizer.param_groups] == ["decoupled", "decoupled"]
    group = optimizer.param_groups[0]
    for wrong, message in {
        True: r"^NAdam: param_groups\[0\] must have options by their own names, got 'decoupled_weight_decay'$",
        "banana": r"^NAdam: decoupled_weight_decay must be True or False, got 'banana'$",
    }.items():
        group["decoupled_weight_decay"] = wrong
        for use in (optimizer.step, optimizer.state_dict):
            with pytest.raises((TypeError, ValueError), match=message):
                use()
        del group["decoupled_weight_decay"]
        optimizer.step()
    with pytest.raises(TypeError, match=r"^AdamW: options must be among .*, got 'decoupled_weight_decay'$"):
        Optimizer([{"params": [a], "decoupled_weight_decay": "banana"}], fs.AdamW)


@pytest.mark.parametrize("method", ["adam", torch.optim.Adam, functools.partial(torch.optim.SGD), None], ids=str)
def test_methods_that_are_refused(method):
    w = torch.ones(2, requires_grad=True)
    message = r"^Optimizer: method must be one of fusedstep's classes, such as fs\.AdamW, got "
    with pytest.raises(TypeError, match=message):
        Optimizer([w], method, lr=0.1)


def test_groups_that_have_become_others():
    a = torch.ones(2, requires_grad=True)
    optimizer = Optimizer([a], fs.SGD, lr=0.5)
    a.grad = torch.ones(2)
    groups, optimizer.param_groups = optimizer.param_groups, []
    message = r"^SGD: param_groups must keep its 1 groups \(add_param_group\(\) adds one\), got 0$"
    with pytest.raises(ValueError, match=message):
        optimizer.step()
    optimizer.param_groups = groups
    del optimizer.param_groups[0]["lr"]
    with pytest.raises(ValueError, match=r"^SGD: param_groups\[0\] must keep all its options, got none for lr$"):
        optimizer.step()
    optimizer.param_groups[0]["lr"] = -0.5
    with pytest.raises(ValueError, match=r"^SGD: lr must be a finite number ≥ 0 .*, got -0.5$"):
        optimizer.step()
    assert (a == 1).all()
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.step()
    assert (a == 0.5).all()


def test_groups_that_have_been_put_beside_the_others():
    """As Lightning's BaseFinetuning does before it resumes: the list is another, and its last groups are new."""

    def made(count):
        return [torch.ones(2, requires_grad=True) for _ in range(count)]

    def step(params):
        for param in params:
            param.grad = torch.ones(2)
        optimizer.step()

    a, b, c = first = made(3)
    optimizer = Optimizer([a], fs.SGD, lr=0.5, momentum=0.5)
    optimizer.add_param_group({"params": [b, c], "lr": 0.25, "name": "late"})
    step(first)
    state = optimizer.state_dict()
    groups = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    a, b, c = second = made(3)
    optimizer = Optimizer([a], fs.SGD, lr=0.5, momentum=0.5)
    optimizer.param_groups = [groups[0] | {"params": [a]}, groups[1] | {"params": [b, c]}]
    optimizer.load_state_dict(state)
    step(second)
    assert [param.tolist() for param in second] == [[0.25] * 2, [0.625] * 2, [0.625] * 2]
    d, e, f = made(3)
    optimizer.param_groups += [{"params": [d]}, {"params": [e], "lr": -1.0}]
    with pytest.raises(ValueError, match=r"^SGD: lr must be a finite number ≥ 0 .*, got -1.0$"):
        step([d, e])
    del optimizer.param_groups[-1]["lr"]
    optimizer.add_param_group({"params": [f], "lr": 2.0})
    assert [group["lr"] for group in optimizer.inner.param_groups] == [0.5, 0.25, 0.5, 0.5, 2.0]
    optimizer.param_groups.append({"params": [a]})
    with pytest.raises(ValueError, match=r"^SGD: .* must not overlap"):
        optimizer.step()


#: What somebody does to a group's tensors: how many there are then, and how many are new.
OTHER_TENSORS = {
    "another": (lambda params: params.__setitem__(1, torch.nn.Parameter(torch.ones(2))), (2, 1)),
    "another order": (lambda params: params.reverse(), (2, 0)),
    "one less": (lambda params: params.pop(), (1, 0)),
    "one more": (lambda params: params.append(torch.nn.Parameter(torch.ones(2))), (3, 1)),
}


@pytest.mark.parametrize("change", OTHER_TENSORS)
@pytest.mark.parametrize("copied", [lambda same: same, copy.deepcopy], ids=["itself", "a copy"])
def test_tensors_of_a_group_that_have_become_others(copied, change):
    """Their gradients would have moved the tensors of before, or, in another order, each other's."""
    optimizer = copied(Optimizer([torch.nn.Parameter(torch.ones(2)) for _ in range(2)], fs.SGD, lr=0.5))
    params = optimizer.param_groups[0]["params"]
    before = list(params)
    make, (count, new) = OTHER_TENSORS[change]
    make(params)
    for one in (*before, *params):
        one.grad = torch.ones(2)
    message = (
        rf"^SGD: param_groups\[0\]\['params'\] must stay the 2 tensors that were given, in their order "
        rf"\(a new optimizer takes others\), got {count}, {new} of them new$"
    )
    with pytest.raises(ValueError, match=message):
        optimizer.step()
    params[:] = before
    assert all((one == 1).all() for one in before)
    optimizer.step()
    assert all((one == 0.5).all() for one in before)


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"lr": "much"}])
def test_groups_that_are_refused(wrong):
    w, added = (torch.ones(2, requires_grad=True) for _ in range(2))
    optimizer = Optimizer([w], fs.SGD, lr=0.5)
    with pytest.raises((TypeError, ValueError), match=r"^SGD: lr must be"):
        optimizer.add_param_group({"params": [added], **wrong})
    with pytest.raises(TypeError, match=r"^param_group must be a dict"):
        optimizer.add_param_group([added])
    with pytest.raises(TypeError, match=r"^SGD: options must be among"):
        Optimizer([w], fs.SGD, foreach=True)
    w.grad = torch.ones(2)
    optimizer.step()
    assert (w == 0.5).all()
    assert (added == 1).all()


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


def test_hooks_of_states():
    """Those that torch calls where a state is taken or loaded; what they return takes its place."""
    run, called = Run(ours).train(2), []
    run.optimizer.register_state_dict_pre_hook(lambda optimizer: called.append("about to save"))
    run.optimizer.register_state_dict_post_hook(lambda optimizer, state: {**state, "epoch": 3})
    run.optimizer.register_load_state_dict_pre_hook(lambda optimizer, state: called.append(state.pop("epoch")))
    run.optimizer.register_load_state_dict_post_hook(lambda optimizer: called.append("loaded"))
    state = run.optimizer.state_dict()
    run.optimizer.load_state_dict(state)
    assert called == ["about to save", 3, "loaded"]
    assert state["epoch"] == 3  # only a copy has lost it
    Run(ours).optimizer.load_state_dict(state)  # without hooks it is passed over, as by torch's own


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
        ends.append(mapped([model.state_dict(), optimizer.state_dict()], torch.Tensor, torch.Tensor.tolist))
    assert ends[0] == ends[1]


def test_what_is_refused_for_another_reason_than_a_move():
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = Optimizer([w], fs.SGD, lr=0.5)
    w.grad = torch.ones(3)
    plan = optimizer.inner._plan
    with pytest.raises(ValueError, match=r"^SGD: max_norm must be"):
        optimizer.step(max_norm=-1.0)
    assert optimizer.inner._plan is plan
    w.data = w.data.double()  # the state would have to be of another type
    with pytest.raises(ValueError, match=r"\['dtype'\] must be 'float64', got 'float32'$"):
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


def test_what_stands_in_a_group_beside_options():
    """It is kept as it is, and only where a smallest rate is a scheduler's are others its own as well."""
    lock, w = threading.Lock(), torch.nn.Parameter(torch.ones(3))
    for mark in ("min_lr", "initial_lr"):
        optimizer = Optimizer([{"params": [w], "lock": lock, "max_lr": 0.5, mark: 0.1}], fs.AdamW, lr=0.25)
        assert optimizer.inner.param_groups[0]["max_lr"] == 0.5
        assert optimizer.state_dict()["param_groups"][0]["lock"] is lock


def test_a_rate_in_a_tensor_of_the_constructor():
    """It stays the caller's, as in torch."""
    rate, w = torch.tensor(0.5), torch.nn.Parameter(torch.ones(3))
    optimizer = Optimizer([w], fs.SGD, lr=rate)
    rate.fill_(2.0)
    w.grad = torch.ones(3)
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] is rate
    assert w.tolist() == [-1.0] * 3


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
