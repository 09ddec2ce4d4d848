"""Groups of parameters, rates over a stage, and the average of the last steps."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from train.config import Crnn, Learning, Lite, Stage
from train.dist import World
from train.model import build
from train.objective import Learner
from train.optim import Average, make_optimizer, rate, set_rate

TINY = Lite(widths=(4, 4, 8, 8), depths=(0, 1, 1, 1), dim=8)
torch.set_num_threads(1)


@pytest.mark.parametrize("config", [TINY, Crnn(kind="crnn")], ids=lambda config: config.kind)
def test_every_parameter_is_in_one_group(config: Lite | Crnn) -> None:
    net = build(config, 7)
    optimizer = make_optimizer(net, Learning(weight_decay=0.25))
    matrix = net.get_parameter("matrix" if config.kind == "lite" else "transcript.weight")
    grouped = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, net.parameters()))
    for group in optimizer.param_groups:
        holds_matrix = any(parameter is matrix for parameter in group["params"])
        assert group["classes"] == holds_matrix
        if holds_matrix:
            assert len(group["params"]) == 1
        decays = not holds_matrix and group["params"][0].ndim > 1
        assert group["weight_decay"] == (0.25 if decays else 0)
        assert all((parameter.ndim > 1) == (holds_matrix or decays) for parameter in group["params"])


def test_biases_and_norms_do_not_decay() -> None:
    """With gradients of zero only what decays moves."""
    net = build(TINY, 7)
    before = copy.deepcopy(net.state_dict())
    optimizer = make_optimizer(net, Learning(weight_decay=0.1))
    set_rate(optimizer, Stage(name="a", lines=1, lr=0.5, warmup=0), 10, 0)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in net.named_parameters():
        decays = parameter.ndim > 1 and name != "matrix"
        torch.testing.assert_close(parameter.data, before[name] * (0.95 if decays else 1), msg=name)


def test_a_stage_worked_by_hand() -> None:
    stage = Stage(name="a", lines=1, lr=0.1, warmup=4, final=0.2)
    rates = [rate(stage, 100, step) for step in range(100)]
    cosine = [0.5 * (1 + math.cos(math.pi * step / 100)) for step in range(100)]
    expected = [0.1 * (0.2 + 0.8 * value) * min(1, (step + 1) / 4) for step, value in enumerate(cosine)]
    assert rates == pytest.approx(expected)
    assert max(rates) == rates[3]
    assert rates[-1] == pytest.approx(0.02, rel=0.01)


@given(st.integers(1, 300), st.integers(0, 500), st.floats(0, 1))
def test_any_stage_warms_up_and_cools_down(steps: int, warmup: int, final: float) -> None:
    stage = Stage(name="a", lines=1, lr=1e-2, warmup=warmup, final=final)
    rates = [rate(stage, steps, step) for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0 < value <= 1e-2 * (1 + 1e-9) for value in rates)
    assert top <= max(1, steps // 4)  # a stage shorter than its warm-up still gets to learn
    assert all(a >= b for a, b in zip(rates[top:], rates[top + 1 :]))
    assert rate(stage, steps, steps) == pytest.approx(1e-2 * final, abs=1e-12)


def test_the_class_matrix_has_its_own_rate() -> None:
    net = build(TINY, 7)
    optimizer = make_optimizer(net, Learning())
    stage = Stage(name="a", lines=1, lr=0.01, class_lr=0.25, warmup=0)
    for step in range(3):
        lr = set_rate(optimizer, stage, 100, step)
        assert lr == rate(stage, 100, step)
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(lr * (0.25 if group["classes"] else 1))


def steps_of(net: nn.Module, count: int) -> list[dict[str, torch.Tensor]]:
    """States of a network that moves at random, batch statistics included."""
    states = []
    for step in range(count):
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_()
            else:
                tensor.fill_(step)
        states.append(copy.deepcopy(net.state_dict()))
    return states


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_the_average_is_exponential_and_young_at_first(decay: float) -> None:
    torch.manual_seed(2)
    net = build(TINY, 7)
    expected = copy.deepcopy(net.state_dict())
    average = Average(net, decay)
    states = steps_of(build(TINY, 7), 25)
    for number, state in enumerate(states, start=1):
        net.load_state_dict(state)
        average.update(net)
        kept = min(decay, (1 + number) / (10 + number))
        for name, tensor in state.items():
            old = expected[name]
            expected[name] = kept * old + (1 - kept) * tensor if tensor.is_floating_point() else tensor
    for name, tensor in average.state.items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-5, rtol=1e-5, msg=name)
        if decay == 0:
            assert torch.equal(tensor, states[-1][name])


def test_an_average_goes_on_where_it_was() -> None:
    torch.manual_seed(3)
    net = build(TINY, 7)
    states = steps_of(net, 8)
    whole, first, second = Average(net, 0.9), Average(net, 0.9), Average(build(TINY, 7), 0.9)
    for number, state in enumerate(states):
        net.load_state_dict(state)
        whole.update(net)
        (first if number < 5 else second).update(net)
        if number == 4:
            second.load(copy.deepcopy(first.state), first.steps, {})
    assert second.steps == whole.steps == 8
    assert all(torch.equal(second.state[name], tensor) for name, tensor in whole.state.items())


def test_a_changed_weight_decay_holds_when_a_run_goes_on() -> None:
    world = World(0, 1, 0, 1, torch.device("cpu"))
    before, after = (Learner(build(TINY, 7), Learning(weight_decay=decay), world, 1) for decay in (0.1, 0.3))
    for parameter in before.net.parameters():
        parameter.grad = torch.ones_like(parameter)
    before.optimizer.step()
    after.load(copy.deepcopy(before.state()))  # type: ignore[arg-type]
    assert [group["weight_decay"] for group in after.optimizer.param_groups] == [0.3, 0, 0]
    assert all(torch.equal(a, b) for a, b in zip(before.net.parameters(), after.net.parameters(), strict=True))
    moments = [learner.optimizer.state_dict()["state"][0]["exp_avg"] for learner in (before, after)]
    assert torch.equal(*moments)


def test_a_share_of_the_origin_stays_but_in_fresh_rows() -> None:
    net = build(TINY, 7)
    origin = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    average = Average(net, 0.0, kept=0.25)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor += 1
    average.update(net)
    fresh = torch.tensor([False] * 5 + [True] * 2)
    found = average.weights(fresh)
    for name, tensor in net.state_dict().items():
        if not tensor.is_floating_point():
            assert torch.equal(found[name], tensor)
            continue
        wanted = 0.75 * tensor + 0.25 * origin[name]
        if name == "matrix":
            wanted[fresh] = tensor[fresh]
        torch.testing.assert_close(found[name], wanted)
    again = Average(build(TINY, 7), 0.0, kept=0.25)
    again.load(average.state, average.steps, average.origin)
    assert all(torch.equal(tensor, found[name]) for name, tensor in again.weights(fresh).items())
