"""One process of ``python -m tools.bench_net``: steps with the strategies of `train.comm`, timed, its bytes counted.

What a GPU would compute is replaced by waiting: a third of a step before the backward pass, the rest in it, divided
evenly among the tensors of parameters, whose gradients appear one after the other, the last layer's first. So buckets
fill, and are sent, while the rest of the step goes on. All that is sent is real. `--real` computes steps instead.

    python -m tools.bench_net --hosts 2 --rate 1gbit --step-ms 40
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, nn

from tools.netns import INTERFACE, Host, sent_here
from train.auto import Measured, measure, measure_net, noise, predict, settle
from train.comm import Chosen, Strategy, strategy
from train.config import Comm, Crnn, Learning, Lite, Stage
from train.dist import World, joined
from train.model import Net, build, parameter_count
from train.objective import Learner
from train.optim import make_optimizer

CLASSES = 30_656
FORWARD = 1 / 3  # of a step's time
WARM = 2  # steps; in the second DDP has dealt its buckets anew
PATIENCE = 120.0  # seconds


@dataclass(frozen=True)
class Job:
    """What all processes of a measurement do. ``step_ms`` None: real steps of ``lines`` lines each."""

    model: str  # lite or crnn
    comm: Comm
    steps: int
    step_ms: float | None
    lines: int = 48
    apart: bool = False  # no word between the processes: what the machine itself makes of so many


@dataclass(frozen=True)
class Seat:
    """A process among the others, and the host that it is on."""

    host: Host
    master: str
    port: int
    rank: int
    size: int
    local_rank: int
    local_size: int
    group: int


@dataclass(frozen=True)
class Timed:
    """What a process has seen. ``sent``: bytes through its host's link. ``told``: what `train.auto` says."""

    steps: int
    seconds: float
    sent: int
    chosen: Chosen
    told: list[str] = field(default_factory=list)
    predicted: dict[str, float] = field(default_factory=dict)


class Waiting(nn.Module):
    """A network's parameters without its arithmetic: gradients appear when a device would have computed them."""

    def __init__(self, net: nn.Module, seconds: float) -> None:
        super().__init__()
        self.net, self.seconds = net, seconds
        self.begin = 0.0
        self.sends = False
        """Whether anybody asks for the gradients; where nobody does, writing them is not for the processor to do."""

    def forward(self, x: Tensor) -> Tensor:
        self.begin = time.perf_counter()
        parameters = list(self.net.parameters())
        for number, parameter in enumerate(parameters):
            x = _Layer.apply(x, parameter, self, 1 - (1 - FORWARD) * number / len(parameters))
        self.wait(FORWARD)
        return x

    def wait(self, share: float) -> None:
        """Sleep until that share of the step's time is over. Of a deadline, since what a processor does here besides
        waiting would not hold up a GPU."""
        time.sleep(max(0.0, self.begin + share * self.seconds - time.perf_counter()))


class _Layer(torch.autograd.Function):
    """Passes its input on; in the backward pass the gradient of its parameters is there at ``share`` of the step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, parameter: Tensor, clock: Waiting, share: float) -> Tensor:
        ctx.clock, ctx.share = clock, share
        ctx.save_for_backward(parameter)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        ctx.clock.wait(ctx.share)
        parameter = ctx.saved_tensors[0]
        return grads[0], parameter.new_full((), 1e-3).expand_as(parameter) if ctx.clock.sends else None, None, None


def work(pipe: Connection, seat: Seat, job: Job) -> None:
    """Do a job; a `Timed`, or the words of an error, goes into the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends all
    try:
        pipe.send(_work(seat, job))
    except Exception as error:
        pipe.send(f"rank {seat.rank}: {type(error).__name__}: {error}")
    finally:
        pipe.close()


def _work(seat: Seat, job: Job) -> Timed:
    seat.host.enter()
    size = 1 if job.apart else seat.size
    words = {
        "RANK": seat.rank if size > 1 else 0, "WORLD_SIZE": size, "GROUP_RANK": seat.group,
        "LOCAL_RANK": seat.local_rank, "LOCAL_WORLD_SIZE": seat.local_size,
        "MASTER_ADDR": seat.master, "MASTER_PORT": seat.port, "GLOO_SOCKET_IFNAME": INTERFACE, "OMP_NUM_THREADS": 1,
    }  # fmt: skip
    os.environ.update({name: str(word) for name, word in words.items()})
    with joined("cpu", PATIENCE) as world, world.doing("the bench"):
        torch.set_num_threads(1)  # the others have the other cores
        torch.manual_seed(1)
        net = build(Lite() if job.model == "lite" else Crnn(kind="crnn"), CLASSES)
        return real(net, job, world) if job.step_ms is None else imitated(net, job, job.step_ms / 1e3, world)


def imitated(net: Net, job: Job, seconds: float, world: World) -> Timed:
    """Steps that wait."""
    optimizer = make_optimizer(net, Learning())
    begin = torch.zeros(1, requires_grad=True)
    waiting = Waiting(net, seconds)

    def step(module: nn.Module) -> None:
        module(begin).backward()  # gradients are added to those that are there: to make room for them takes time

    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # so that it has its moments, of which strategies keep a copy
    measuring = partial(measure, world, parameter_count(net), partial(step, waiting))
    chosen, now, told = settle(job.comm, world, {}, measuring)
    comm = strategy(chosen, world, net, optimizer)
    module = comm.wrap(waiting)
    waiting.sends = module is not waiting

    def whole() -> None:
        step(module)
        comm.after_step()

    return _timed(comm, world, whole, job.steps, now, told)


def real(net: Net, job: Job, world: World) -> Timed:
    """Steps of learning, on a batch of noise."""
    learning, stage = Learning(), Stage(name="bench", lines=1)
    measuring = partial(measure_net, world, net, learning, CLASSES, job.lines)
    chosen, now, told = settle(job.comm, world, {}, measuring)
    learner = Learner(net, learning, world, 1, chosen)
    batch = noise(job.lines, CLASSES)
    return _timed(learner.comm, world, lambda: learner.step(batch, stage, 1000, 0, 0), job.steps, now, told)


def _timed(
    comm: Strategy, world: World, step: Callable[[], object], steps: int, now: dict[str, Any], told: list[str]
) -> Timed:
    """Steps with what a run exchanges about them (see `train.loop`), whole periods of the strategy."""
    every = comm.chosen.every
    steps = -(-steps // every) * every

    late = every << 20  # in the middle of a run, where they no longer meet oftener

    def go(count: int) -> None:
        for number in range(count):
            if number % every == 0:
                world.total(torch.zeros(4))  # the word on whether to go on, and the loss
            step()
            if comm.apart and comm.together(late + number + 1, late + count):
                world.worst(0)
                world.total(torch.zeros(2 * every))
                comm.synchronise()

    go(WARM)
    world.worst(0)
    sent, begin = sent_here(), time.perf_counter()
    go(steps)
    seconds = time.perf_counter() - begin
    world.worst(0)
    predicted = predict(Measured(**now["measured"]), every) if now["measured"] else {}
    return Timed(steps, seconds, sent_here() - sent, comm.chosen, told, predicted)
