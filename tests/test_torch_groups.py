"""The groups of the optimizer that is one of torch's, and the options in them."""

from __future__ import annotations

import copy
import functools
import pickle
import threading

import numpy as np
import pytest

import fusedstep as fs

torch = pytest.importorskip("torch")

from fusedstep.torch import Optimizer  # noqa: E402 (which needs torch)

from linear import SCHEDULERS, SCHEDULES, Run, ours  # noqa: E402


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


def test_defaults_that_have_become_others():
    """As torch's own: what is there when a group is added, and a tensor that all groups share."""
    weights = [torch.zeros(1, requires_grad=True) for _ in range(4)]
    rate = torch.tensor(0.5)
    for make in (functools.partial(Optimizer, method=fs.SGD), torch.optim.SGD):
        optimizer = make(weights[:1], lr=rate.fill_(0.5))
        optimizer.add_param_group({"params": weights[1:2]})
        rate.fill_(0.25)
        optimizer.add_param_group({"params": weights[2:3]})
        optimizer.defaults["weight_decay"] = 0.125
        optimizer.add_param_group({"params": weights[3:], "lr": 0.75})
        told = [(float(group["lr"]), group["weight_decay"]) for group in optimizer.param_groups]
        assert told == [(0.25, 0), (0.25, 0), (0.25, 0), (0.75, 0.125)]
        for weight in weights:
            weight.data.fill_(1.0)
            weight.grad = torch.ones(1)
        rate.fill_(0.5)
        optimizer.step()
        assert [weight.item() for weight in weights] == [0.5, 0.5, 0.5, 1 - 0.75 * 1.125]
    copied = pickle.loads(pickle.dumps(Optimizer(weights[:1], fs.NAdam)))
    copied.add_param_group({"params": weights[1:2], "decoupled_weight_decay": True})
    assert copied.param_groups[1]["decay"] == "decoupled"


def test_options_that_are_repaired():
    """What was refused is not what the state begins with."""
    for change in ("clear", "copy", "others"):
        w = torch.nn.Parameter(torch.ones(2))
        optimizer = Optimizer([w], fs.SGD, lr=0.5)
        w.grad = torch.ones(2)
        optimizer.param_groups[0]["lr"] = -1.0
        with pytest.raises(ValueError, match=r"^SGD: lr must be"):
            optimizer.step()
        optimizer.param_groups[0]["lr"] = 0.25
        if change == "clear":
            optimizer.state.clear()
        elif change == "copy":
            w, optimizer = copy.deepcopy((w, optimizer))
        else:
            w = torch.nn.Parameter(torch.ones(2))
            optimizer.param_groups[0]["params"] = [w]
        w.grad = torch.ones(2)
        optimizer.step()
        assert w.tolist() == [0.75] * 2


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
    group["decoupled_weight_decay"] = True  # which ZeRO copies from a state of torch's
    optimizer.step()
    for wrong, message in {
        False: r"^NAdam: param_groups\[0\] must have options by their own names, got 'decoupled_weight_decay'$",
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
    for one in before:
        one.grad = torch.zeros(2)
    optimizer.step()
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


@pytest.mark.parametrize("change", OTHER_TENSORS)
def test_tensors_that_come_before_the_first_step(change):
    """As accelerate shards a model behind its optimizer: the tensors that are there now are stepped."""
    optimizer = Optimizer([torch.nn.Parameter(torch.ones(2)) for _ in range(2)], fs.SGD, lr=0.5, momentum=0.5)
    before = list(optimizer.param_groups[0]["params"])
    OTHER_TENSORS[change][0](optimizer.param_groups[0]["params"])
    now = optimizer.param_groups[0]["params"]
    for _ in range(2):
        for one in now:
            one.grad = torch.ones(2)
        optimizer.step()
    assert all((one == 1 - 0.5 * (1 + 1.5)).all() for one in now)
    assert all((one == 1).all() for one in before if all(one is not other for other in now))
    assert list(optimizer.state) == now


def test_options_that_come_with_other_tensors():
    """As a schedule does that is made before a model is sharded."""
    optimizer = Optimizer([torch.nn.Parameter(torch.ones(2))], fs.SGD, lr=0.5)
    schedule = SCHEDULERS.LinearLR(optimizer, 0.5, 1.0, total_iters=1)
    now = torch.nn.Parameter(torch.ones(2))
    optimizer.param_groups[0]["params"] = [now]
    rates = []
    for _ in range(2):
        now.grad = torch.ones(2)
        optimizer.step()
        rates.append(optimizer.param_groups[0]["lr"])
        schedule.step()
    assert rates == [0.25, 0.5]
    assert now.tolist() == [0.25] * 2


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
