"""How the processes of a run come to the same numbers: by gradients at every step, or by parameters now and then.

    torchrun --nproc-per-node 2 -m train --data shards --out runs/h --set comm=local --set comm.every=64

allreduce averages the gradients of every step (DDP); compress does so in half precision. With local each process, or
each host, goes its own way for ``every`` steps; then the changes of the parameters since the last time are averaged
(local SGD, Stich 2019; with momentum: DiLoCo, Douillard et al. 2023), in half precision. Sent by a host, of N, for
P parameters: 8 P (N - 1) / N bytes a step, half of it, or 4 P (N - 1) / N at each synchronisation.

Adam's moments are each process's own and never averaged: when a checkpoint is written, the first process collects
them, 8 P bytes from every other. So writing one changes nothing, and a run may be stopped at any synchronisation and
go on to the bit.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from train.dist import World
from train.setting import Leg

HALF_MAX = 32768.0  # half of what float16 holds
GRADIENTS = 1024.0  # gradients are sent as so many times their size


@dataclass(frozen=True)
class Chosen:
    """A strategy with nothing left open, see `train.config.Comm`."""

    strategy: Literal["allreduce", "compress", "local"] = "allreduce"
    every: int = 1
    scope: Literal["world", "hosts"] = "world"
    momentum: float = 0.0
    rate: float = 1.0
    ramp: int = 0

    def __str__(self) -> str:
        if self.strategy != "local":
            return self.strategy
        outer = f"momentum {self.momentum:g} and rate {self.rate:g}" if self.momentum else f"rate {self.rate:g}"
        between = "hosts" if self.scope == "hosts" else "processes"
        return f"local, between {between} every {self.every} steps, {outer}"

    def next(self, step: int, legs: Sequence[Leg]) -> int:
        """The first step from ``step`` on after which all processes are together."""
        ends = {leg.last for leg in legs}
        while step not in ends and not self.meets(step):
            step += 1
        return step

    def meets(self, step: int) -> bool:
        """Whether all processes meet after ``step`` steps of the run: every so many, and oftener at its beginning,
        when they learn most and part soonest: after at most the ``ramp``-th part of the steps made (0: not so)."""
        every = self.every
        if self.ramp:
            every = min(every, 1 << max(0, (step // self.ramp).bit_length() - 1))
        return step % every == 0


class Strategy:
    """allreduce and compress, and a process alone: all are the same after every step."""

    apart = False
    """Whether processes differ between synchronisations."""

    def __init__(self, chosen: Chosen, world: World, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.chosen, self.world, self.net, self.optimizer = chosen, world, net, optimizer
        self._buffers = [buffer for buffer in net.buffers() if buffer.is_floating_point()]

    def wrap(self, module: nn.Module, scaled: bool = False) -> nn.Module:
        """The module to train through, which holds the network. ``scaled``: its loss is, for gradients in float16."""
        if self.world.size == 1:
            return module
        ddp = _ddp(module, self.world, None)
        if self.chosen.strategy == "compress":
            # torch wants its own annotations of a hook, or none
            ddp.register_comm_hook(self.world.size, lambda size, bucket: _half_hook(size, scaled, bucket))
        return ddp

    def after_step(self) -> None:
        """Average what a step has noted besides the gradients."""
        self._average_buffers()

    def _average_buffers(self) -> None:
        """The running means of batch normalisation, which each process has of its own lines."""
        if self.world.size > 1 and self._buffers:
            spread(self.world.total(flat(self._buffers)).div_(self.world.size), self._buffers)

    def together(self, step: int, last: int) -> bool:
        """Whether all are the same after ``step`` steps of the run, of a stretch that ends with step ``last``."""
        return step == last or self.chosen.meets(step)

    def nearby(self, failed: bool) -> bool:
        """Whether one has failed of those that a step between synchronisations needs."""
        return failed

    def synchronise(self) -> None:
        """Make all the same, where `together` says so."""

    def undo(self) -> None:
        """Be again as after the last `synchronise`."""

    def begin_stage(self) -> None:
        """Forget what belongs to the stage before."""

    def state(self) -> dict[str, Any]:
        """What `load` needs besides the first process's parameters and optimizer; all processes call it together."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, after the parameters and the optimizer did, with any number of processes."""
        if moments := state.get("moments"):
            spread(torch.stack(moments).mean(0), self.moments())

    def moments(self) -> list[Tensor]:
        """What the optimizer has noted of each parameter, in its order."""
        states = (self.optimizer.state.get(p, {}) for group in self.optimizer.param_groups for p in group["params"])
        return [value for state in states for value in state.values()]


class Local(Strategy):
    """Steps apart, and parameters averaged every so many."""

    apart = True

    def __init__(self, chosen: Chosen, world: World, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(chosen, world, net, optimizer)
        self._parameters = [p.detach() for p in net.parameters()]
        members = world.hosts if chosen.scope == "hosts" else [[rank] for rank in range(world.size)]
        self._heads = [ranks[0] for ranks in members]  # one for each copy of the parameters
        self._place = next(place for place, ranks in enumerate(members) if world.rank in ranks)
        self._alone = len(members[self._place]) == 1
        within = len(members) < world.size
        self._group = world.group(members) if within else None
        self._between = world.group([self._heads]) if within else None
        everything = [*self._parameters, *self._buffers]
        values = flat(everything)
        dist.broadcast(values, 0)  # what is computed at the start may differ by a bit from machine to machine
        spread(values, everything)
        self._outer = torch.zeros_like(flat(self._parameters)) if chosen.momentum else None
        self._mark()

    def wrap(self, module: nn.Module, scaled: bool = False) -> nn.Module:
        return module if self._alone else _ddp(module, self.world, self._group)

    def nearby(self, failed: bool) -> bool:
        if self._alone:
            return failed
        word = torch.tensor([int(failed)], device=self.world.device)
        dist.all_reduce(word, dist.ReduceOp.MAX, group=self._group)
        return bool(word)

    def after_step(self) -> None:
        """Nothing: they are averaged with the parameters."""

    @torch.no_grad()
    def synchronise(self) -> None:
        count = self.world.size
        change = flat(self._parameters).sub_(self._anchor)
        largest = self.world.largest(change.abs().max())
        fits = 0 < largest < math.inf  # else the next loss tells
        scale = 2.0 ** min(100, math.floor(math.log2(HALF_MAX / count / largest))) if fits else 1.0
        change = self.world.total(change.mul_(scale).half()).float().div_(scale * count)
        if self._outer is not None:  # Nesterov's
            self._outer.mul_(self.chosen.momentum).add_(change)
            change.add_(self._outer, alpha=self.chosen.momentum)
        spread(self._anchor.add_(change, alpha=self.chosen.rate), self._parameters)
        self._average_buffers()
        self._mark()

    def _mark(self) -> None:
        """Note what `undo` goes back to."""
        self._anchor = flat(self._parameters)
        self._kept_buffers = flat(self._buffers) if self._buffers else None
        states = self.optimizer.state.items()
        self._kept = {p: {name: value.clone() for name, value in state.items()} for p, state in states}

    @torch.no_grad()
    def undo(self) -> None:
        spread(self._anchor, self._parameters)
        if self._kept_buffers is not None:
            spread(self._kept_buffers, self._buffers)
        self.optimizer.state.clear()
        self.optimizer.state.update(self._kept)
        self._mark()

    def begin_stage(self) -> None:
        if self._outer is not None:  # what it points to may be what the next stage is to leave alone
            self._outer.zero_()

    def state(self) -> dict[str, Any]:
        result: dict[str, Any] = {} if self._outer is None else {"outer": self._outer.cpu()}
        noted = bool(self.optimizer.state)  # not before the first step
        if noted and self.world.rank in self._heads and len(self._heads) > 1:
            own = flat(self.moments())
            all_ = [torch.empty_like(own) for _ in self._heads] if self.world.first else None
            dist.gather(own, all_, 0, group=self._between)
            result["moments"] = [each.cpu() for each in all_ or ()]
        return result

    def load(self, state: Mapping[str, Any]) -> None:
        moments = state.get("moments", [])
        if len(moments) == len(self._heads):
            spread(moments[self._place], self.moments())
        else:
            super().load(state)
        if self._outer is not None and "outer" in state:
            self._outer.copy_(state["outer"])
        self._mark()


def strategy(chosen: Chosen, world: World, net: nn.Module, optimizer: torch.optim.Optimizer) -> Strategy:
    """The strategy that was chosen; a process alone needs none."""
    kind = Local if chosen.strategy == "local" and world.size > 1 else Strategy
    return kind(chosen if world.size > 1 else Chosen(), world, net, optimizer)


def flat(tensors: list[Tensor]) -> Tensor:
    """A copy of many tensors as one, float32 [sum of their sizes]."""
    return torch.cat([tensor.detach().reshape(-1).float() for tensor in tensors] or [torch.empty(0)])


@torch.no_grad()
def spread(values: Tensor, tensors: list[Tensor]) -> None:
    """Write what `flat` made into the tensors again."""
    start = 0
    for tensor in tensors:
        tensor.copy_(values[start : start + tensor.numel()].view(tensor.shape))
        start += tensor.numel()


def _ddp(module: nn.Module, world: World, group: Any) -> DistributedDataParallel:
    devices = [world.device.index] if world.device.type == "cuda" else None
    # Of filters of one channel, whose strides can be written in two ways: nothing is slower for that.
    warnings.filterwarnings("ignore", "Grad strides do not match", UserWarning)
    with warnings.catch_warnings():  # the argument that is to come instead is not in older versions
        warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
        return DistributedDataParallel(module, devices, broadcast_buffers=False, process_group=group)


def _half_hook(size: int, scaled: bool, bucket: Any) -> Any:
    """Average a bucket of gradients of ``size`` processes in float16. With 30,656 classes nine in ten numbers of the
    class matrix's gradient are below what float16 holds with all its digits; scaled up they are above. Those that are
    then too large, from 32 on, are clipped, as the whole gradient is soon after. Of a ``scaled`` loss they are large
    enough as they are, and one that is too large becomes infinite, from which the scaler learns of it."""
    factor, limit = (1.0, math.inf) if scaled else (GRADIENTS, HALF_MAX / size)
    buffer = bucket.buffer()
    half = (buffer * (factor / size)).clamp_(-limit, limit).half()
    work = dist.all_reduce(half, async_op=True)
    assert work is not None
    return work.get_future().then(lambda done: buffer.copy_(done.value()[0]).div_(factor))
