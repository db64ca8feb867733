"""The optimizer that is one of torch's where several processes share a model, and its checkpoints there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict  # noqa: E402

import fusedstep as fs  # noqa: E402
from fusedstep.torch import Optimizer  # noqa: E402 (which needs torch)

if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("this torch has no processes that talk to each other", allow_module_level=True)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Of each scenario, in both processes."""
    command = [sys.executable, "-W", "ignore", Path(__file__).with_name("ranks.py"), tmp_path_factory.mktemp("ranks")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(line) for line in ended.stdout.splitlines() if line.startswith("["))


def test_steps_are_torchs(outcomes):
    """With a norm over all gradients, of which each process has a part."""
    for difference, norm in outcomes["beside torch"]:
        assert difference <= 1e-6
        assert norm == outcomes["beside torch"][0][1] > 0.5


@pytest.mark.parametrize("form", ["distributed", "in one", "by name", "in files", "by number", "flat", "divided"])
def test_runs_go_on_bit_for_bit(outcomes, form):
    """From all forms of a state that torch puts together and takes apart."""
    assert outcomes[form] == [0.0, 0.0]


@pytest.mark.parametrize("way", ["sharded behind", "compiled"])
def test_steps_are_those_of_a_sharded_model(outcomes, way):
    assert outcomes[way] == [0.0, 0.0]


def test_a_model_in_parallel(outcomes):
    for difference, norm in outcomes["parallel"]:
        assert difference <= 1e-6
        assert norm <= 1e-6


def test_one_process_has_a_gradient_that_is_infinite(outcomes):
    assert outcomes["one infinite"] == [[1, True, 0, 80000.0]] * 2


def test_a_sharded_model_is_moved_behind_its_optimizer(outcomes):
    assert outcomes["moved"] == [True, True]


def test_what_is_refused(outcomes):
    messages, norms, step = outcomes["refused"][0]
    assert [messages, norms, step] == outcomes["refused"][1]
    placed, per_tensor, codes, scale, replicated, columns, less, part, *types = messages
    assert placed.startswith(
        "AdamW: grads['0'] must be placed as its parameter, (Shard(dim=0),), got (Replicate(),) on "
    )
    assert per_tensor == "AdamW: max_norm_per_tensor must be left out where tensors are distributed, got 1.0"
    assert codes.startswith("AdamW: state must be without codes to be put together from several processes ")
    expected = "AdamW: state['0']['exp_avg'] must be distributed as its parameter, (Shard(dim=0),) of (600, 20), got "
    assert replicated == f"{expected}(Replicate(),) of (600, 20)"
    assert columns == f"{expected}(Shard(dim=1),) of (600, 20)"
    assert less == f"{expected}(Shard(dim=0),) of (599, 20)"  # of which the first process has as much
    assert part == (
        "AdamW: state['1']['exp_avg'] must be distributed as its parameter, which is whole, got (Shard(dim=0),) of (4,)"
    )
    assert scale.startswith("AdamW: grad_scale must be ")
    message = (
        "SGD: params['0'] must stay float32, which its state was made for (a new optimizer takes others), got float64"
    )
    assert types == [message] * 2
    # Of all 12,000 elements, and of two that each process has; given; the average of a model that was moved and filled.
    assert norms == [pytest.approx(12002**0.5 / 2), 3.0, 100.0]
    assert step == 2


def test_a_state_by_the_names_of_a_model():
    """Of one process, as `torch.distributed.checkpoint` wants it, before the first step as well."""

    def made():
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        return model, Optimizer(model.parameters(), fs.AdamW, lr=lambda step: 0.1 / (step + 1))

    def train(model, optimizer):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()

    for steps in (0, 3):
        (model, optimizer), (resumed, other) = made(), made()
        for _ in range(steps):
            train(model, optimizer)
        state = get_optimizer_state_dict(model, optimizer)
        assert state["state"]["weight"]["step"] == optimizer.inner.state["0"]["step"] == steps
        resumed.load_state_dict(model.state_dict())
        set_optimizer_state_dict(resumed, other, state)
        train(model, optimizer)
        train(resumed, other)
        assert torch.equal(model.weight, resumed.weight)
