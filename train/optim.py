"""How parameters move: groups with their own rates, warm-up and cosine, and an average over the last steps.

python -m pytest tests/test_train_optim.py
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from train.config import Learning, Stage


def make_optimizer(net: nn.Module, learning: Learning) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019): weights decay, biases and norms do not, nor does the class matrix, which
    has a rate of its own (the group's ``classes``)."""
    matrix = [p for name, p in net.named_parameters() if name in ("matrix", "transcript.weight")]
    rest = [p for p in net.parameters() if all(p is not q for q in matrix)]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": learning.weight_decay, "classes": False},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0, "classes": False},
        {"params": matrix, "weight_decay": 0.0, "classes": True},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=1e-3, betas=(0.9, 0.99), fused=True)


def rate(stage: Stage, steps: int, step: int) -> float:
    """The learning rate of step ``step`` (from 0) of a stage of ``steps``: linear warm-up, then half a cosine
    (Loshchilov and Hutter 2017) down to ``stage.final`` of it."""
    warm = min(1.0, (step + 1) / max(1, min(stage.warmup, steps // 4)))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))
    return stage.lr * warm * (stage.final + (1 - stage.final) * cosine)


def set_rate(optimizer: torch.optim.Optimizer, stage: Stage, steps: int, step: int) -> float:
    """Give every group its rate; the one of the network."""
    lr = rate(stage, steps, step)
    for group in optimizer.param_groups:
        group["lr"] = lr * (stage.class_lr if group["classes"] else 1.0)
    return lr


class Average:
    """An exponential moving average of a network's numbers, with a shorter memory while they are few steps old.

    ``kept``: what share of the numbers that the network had at first stays in `weights` (Wortsman et al. 2022): after a
    fine-tuning most of what was known before is known again, at a smaller part of what was learned.
    """

    def __init__(self, net: nn.Module, decay: float, kept: float = 0.0) -> None:
        self.decay, self.kept, self.steps = decay, kept, 0
        self.state = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
        self.origin = {name: tensor.clone() for name, tensor in self.state.items()} if kept else {}

    @torch.no_grad()
    def update(self, net: nn.Module, steps: int = 1) -> None:
        """Take in the numbers after a step, or after several, which then count as if all had ended there."""
        decay = 1.0
        for _ in range(steps):
            self.steps += 1
            decay *= min(self.decay, (1 + self.steps) / (10 + self.steps))
        now = net.state_dict()
        names = [name for name, tensor in now.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.state[n] for n in names], [now[n] for n in names], 1 - decay)
        for name in now.keys() - set(names):
            self.state[name].copy_(now[name])

    def weights(self, fresh: Tensor | None) -> dict[str, Tensor]:
        """The numbers to read with; rows of ``fresh`` classes (bool [classes]) had at first nothing worth keeping."""
        return mixed(self.state, self.origin, self.kept, fresh)

    def load(self, state: Mapping[str, Tensor], steps: int, origin: Mapping[str, Tensor]) -> None:
        """Go on from an earlier average."""
        self.steps = steps
        for name, tensor in state.items():
            self.state[name].copy_(tensor)
        if self.kept:
            self.origin = {name: tensor.to(self.state[name]) for name, tensor in origin.items()}


def mixed(
    state: Mapping[str, Tensor], origin: Mapping[str, Tensor], kept: float, fresh: Tensor | None
) -> dict[str, Tensor]:
    """Of numbers, and those that they began as, so much kept of the latter; not in rows of ``fresh`` classes."""
    result = dict(state)
    for name, first in origin.items():
        if first.is_floating_point():
            result[name] = torch.lerp(state[name], first, kept)
            if name == "matrix" and fresh is not None:
                chosen = fresh.to(first.device)
                result[name][chosen] = state[name][chosen]
    return result
