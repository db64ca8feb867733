"""The state of the optimizer that is one of torch's: as torch's own have it, and on from there."""

from __future__ import annotations

import copy
import pickle

import pytest

import fusedstep as fs

torch = pytest.importorskip("torch")

from fusedstep.torch import Optimizer  # noqa: E402 (which needs torch)

from linear import SCHEDULERS, SCHEDULES, Run, ours  # noqa: E402


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
        assert state["state"][0]["exp_avg"].dtype == torch.bfloat16


def test_states_of_others_are_refused():
    run, small = Run(ours), Optimizer([torch.zeros(3, requires_grad=True)], fs.AdamW)
    before = run.optimizer.state_dict()
    with pytest.raises(ValueError, match=r"^AdamW: state must have 2 groups, got 1$"):
        run.optimizer.load_state_dict(small.state_dict())
    with pytest.raises(ValueError, match=r"^AdamW: state"):
        Optimizer([run.w, run.b], fs.AdamW).load_state_dict({**before, "param_groups": [{}]})
    assert repr(run.optimizer.state_dict()) == repr(before)


def with_tensor(state, change):
    entry = state["state"][0]
    entry["exp_avg"] = change(entry["exp_avg"])
    return state


def without_step(state):
    """Only torch's SGD does not count."""
    del state["state"][0]["step"]
    return {**state, "fusedstep": None}


def with_layout(state, **facts):
    state["fusedstep"]["layouts"]["0"].update(facts)
    return state


def with_step(state, step):
    state["state"][0]["step"] = torch.tensor(step)
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
    "no entry": (
        lambda run, state: {**state, "state": {0: [1]}},
        r"^AdamW: state_dict\['state'\]\['0'\] must be a dict, got list$",
    ),
    "another's entry": (
        lambda run, state: {**state, "state": {2: {}}},
        r"^AdamW: state_dict\['state'\] must have entries of the parameters of its groups, got one of 2$",
    ),
    "another method's": (
        lambda run, state: Run(lambda groups, **options: Optimizer(groups, fs.Lion, **options)).optimizer.state_dict(),
        r"^AdamW: state_dict\['optimizer'\] must be 'AdamW', got 'Lion'$",
    ),
    "another method of torch's": (
        lambda run, state: Run(lambda groups, lr, betas: torch.optim.Adadelta(groups)).train(1).optimizer.state_dict(),
        r"^AdamW: state_dict\['state'\]\['0'\] must have exactly the keys .* unknown \['acc_delta', 'square_avg'\]$",
    ),
    "half a step": (
        lambda run, state: with_step(state, 1.5),
        r"^AdamW: state_dict\['state'\]\['0'\]\['step'\] must be an integer in .*, got 1.5$",
    ),
    "another type": (
        lambda run, state: with_tensor(state, torch.Tensor.long),
        r"\['exp_avg'\] must have shape \(5, 1\) and dtype float64, got \(5, 1\) and int64$",
    ),
    "no parameters": (
        lambda run, state: {**state, "param_groups": [{}, {}]},
        r"^AdamW: state_dict\['param_groups'\]\[0\]\['params'\] must be a list of 1 numbers or names .*, got None$",
    ),
    "more parameters": (
        lambda run, state: {**state, "param_groups": [{"params": [0, 1]}, {"params": [2]}]},
        r"\['param_groups'\]\[0\]\['params'\] must be a list of 1 numbers or names .*, got \[0, 1\]$",
    ),
    "one parameter twice": (
        lambda run, state: {**state, "param_groups": [{"params": [0]}, {"params": [0]}]},
        r"^AdamW: state_dict\['param_groups'\]\[1\]\['params'\] must be .* that no other parameter has, got \[0\]$",
    ),
    "a list for a parameter": (
        lambda run, state: {**state, "param_groups": [{"params": [[0]]}, {"params": [1]}]},
        r"^AdamW: state_dict\['param_groups'\]\[0\]\['params'\] must be .*, got \[\[0\]\]$",
    ),
    "no step": (
        lambda run, state: without_step(state),
        r"^AdamW: state_dict\['state'\]\['0'\] must have exactly the keys .*, got none for \['step'\] and unknown",
    ),
    "another layout": (
        lambda run, state: with_layout(state, shape=[1, 5]),
        r"^AdamW: state_dict\['layouts'\]\['0'\]\['shape'\] must be \[5, 1\], got \[1, 5\]$",
    ),
    "no layouts": (
        lambda run, state: {**state, "fusedstep": {**state["fusedstep"], "layouts": {}}},
        r"^AdamW: state_dict\['fusedstep'\]\['layouts'\] must have exactly the keys \['0', '1'\], got none for ",
    ),
    "half of ours": (
        lambda run, state: {**state, "fusedstep": {"seed": 1}},
        r"^AdamW: state_dict\['fusedstep'\] must have exactly the keys ",
    ),
    "gradients": (
        lambda run, state: with_tensor(state, torch.Tensor.requires_grad_),
        r"without gradients, got one that requires grad$",
    ),
    "sparse": (
        lambda run, state: with_tensor(state, torch.Tensor.to_sparse),
        r"^state must hold dense tensors .*, got torch\.sparse_coo on cpu$",
    ),
    "no values": (
        lambda run, state: with_tensor(state, lambda tensor: tensor.to("meta")),
        r"tensors with values .*, got torch\.strided on meta$",
    ),
    "rate": (lambda run, state: with_option(state, "lr", -1.0), r"^AdamW: lr must be a finite .*, got -1.0$"),
    "rates": (lambda run, state: with_option(state, "lr", torch.ones(2)), r"^AdamW: lr must be a finite number"),
    "spelling": (lambda run, state: with_option(state, "decoupled_weight_decay", False), r"decoupled_weight_decay"),
    "schedule": (lambda run, state: with_option(state, "lr", "schedule"), r"must find one in the group, .* got 0"),
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
    assert state["param_groups"][1]["betas"] == (0.9, 0.99)
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
    second.load_state_dict({**state, "param_groups": [{"lr": rates[0], "params": [0]}]})
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


def test_a_state_without_what_is_ours_alone():
    """As one that was gathered from several processes: steps are counted on from those of the parameters."""
    schedule = fs.schedules.linear_warmup(0.1, 10)
    run = Run(ours, lr=schedule).train(4)
    state = copy.deepcopy(run.optimizer.state_dict())
    assert state.pop("fusedstep")["calls"] == 4
    other = Run(ours, lr=schedule)
    other.w.data.copy_(run.w)
    other.b.data.copy_(run.b)
    other.optimizer.load_state_dict(state)
    other.train(3).equals(run.train(3))


@pytest.mark.parametrize("name", ["NAdam", "SGD"])
def test_a_state_of_torch_in_single_precision(name):
    """Where a number that we count in double is one of float32, and older versions of torch leave None."""
    w = torch.nn.Parameter(torch.ones(3))
    empty = torch.nn.Parameter(torch.ones(0))
    theirs = getattr(torch.optim, name)([w, empty], lr=0.1)
    w.grad, empty.grad = torch.ones(3), torch.ones(0)
    theirs.step()
    state = copy.deepcopy(theirs.state_dict())
    state["state"].setdefault(0, {})["momentum_buffer"] = None
    ours = Optimizer([w, empty], getattr(fs, name))
    ours.load_state_dict(state)
    assert ours.state_dict()["state"].keys() == {0}  # torch's tools take apart what processes with empty parts have
    before = w.detach().clone()
    ours.step()
    after = w.detach().clone()
    w.data.copy_(before)
    theirs.step()
    assert torch.allclose(w, after, rtol=1e-6)


def test_a_state_of_ours_leaves_no_words_of_torch_behind():
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = Optimizer([w], fs.Adam, lr=0.5)
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.param_groups[0].update(decay="decoupled", weight_decay=0.5)
    w.grad = torch.zeros(3)
    optimizer.step()
    assert w.tolist() == [0.75] * 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_states_of_torch_are_widened(dtype):
    """They are those of narrow parameters, of which ours is float32; nothing is narrowed."""
    w = torch.nn.Parameter(torch.ones(3, dtype=dtype))
    theirs = torch.optim.AdamW([w], lr=0.1, betas=(torch.tensor(0.5), torch.tensor(0.75)))
    w.grad = torch.tensor([0.1, 0.2, 0.3], dtype=dtype)
    theirs.step()
    ours = Optimizer([w], fs.AdamW)
    ours.load_state_dict(theirs.state_dict())
    assert ours.param_groups[0]["betas"] == (0.5, 0.75)
    for key in ("exp_avg", "exp_avg_sq"):
        assert ours.state[w][key].dtype == torch.float32
        assert torch.equal(ours.state[w][key], theirs.state[w][key].float())
        assert ours.state[w][key].any()
    narrow = Optimizer([w], fs.AdamW, state="bfloat16")
    with pytest.raises(ValueError, match=r"\['exp_avg.*'\] must have shape \(3,\) and dtype bfloat16, got .* float32$"):
        narrow.load_state_dict({**ours.state_dict(), "fusedstep": None})
