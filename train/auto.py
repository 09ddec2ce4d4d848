"""Which strategy suits a network: by the time that a step and an average over all processes take here.

    torchrun --nnodes 2 --nproc-per-node 1 --rdzv-endpoint HOST:29400 -m train --data shards --out runs/h

allreduce on one host. On several: the plainest strategy that is nearly as fast as the fastest.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from train.comm import GRADIENTS, HALF_MAX, Chosen
from train.config import Comm, Learning, Stage
from train.data import Batch
from train.dist import World
from train.model import Net, parameter_count
from train.objective import Learner

ROUNDS = 3
OVERLAP = 0.25  # of a step's time in which gradients are already on their way; tools.bench_net shows no more
SPENT = 0.025  # of a step's time, the most that local is to spend on synchronising
LONGEST = 256  # steps
NEARLY = 0.97  # a plainer strategy is taken that has so much of the speed of the fastest


@dataclass(frozen=True)
class Measured:
    """Seconds, of the slowest process: ``step`` computes alone; ``full`` and ``half`` average what is as large as the
    ``numbers`` gradients over all processes, in float32 and float16; ``inside``: float32, over a host's processes."""

    hosts: int
    ranks: int
    numbers: int
    step: float
    full: float
    half: float
    inside: float = 0.0


def every(measured: Measured, patience: float = math.inf) -> int:
    """Steps between synchronisations: the smallest power of two that spends little on them, up to `LONGEST`, and to
    half of the seconds that processes wait for each other."""
    steps = 1
    longest = min(LONGEST, patience / (2 * measured.step))
    while 2 * steps <= longest and measured.half > SPENT * measured.step * steps:
        steps *= 2
    return steps


def predict(measured: Measured, steps: int) -> dict[str, float]:
    """Lines per second against one host's, for each strategy; ``steps`` between the synchronisations of local."""
    hidden = OVERLAP * measured.step
    host = measured.step + max(0.0, measured.inside - hidden)
    seconds = {
        "allreduce": measured.step + max(0.0, measured.full - hidden),
        "compress": measured.step + max(0.0, measured.half - hidden),
        "local": host + measured.half / steps,
    }
    return {name: measured.hosts * (host / max(host, value)) for name, value in seconds.items()}


def choose(measured: Measured, steps: int | None = None) -> str:
    """The plainest strategy that is nearly as fast as the fastest."""
    predicted = predict(measured, steps or every(measured))
    return next(name for name, speed in predicted.items() if speed >= NEARLY * max(predicted.values()))


def outer_rate(asked: Comm, copies: int) -> float:
    """How many times the average of so many copies' changes is taken, unless it was said: 0.7 with momentum (Douillard
    et al. 2023); else 1.4142, with which two processes that met every 128 steps read as well as with all-reduce, to a
    point. More processes have not been tried."""
    if asked.rate is not None:
        return asked.rate
    if asked.momentum:
        return 0.7
    return 1.4142 if copies > 1 else 1.0


def measure(world: World, count: int, step: Callable[[], object]) -> Measured:
    """What ``step``, which computes one step alone, and averages of ``count`` numbers take; the same in all processes,
    which call it together."""
    values = torch.zeros(count, device=world.device)

    def half() -> None:
        limit = HALF_MAX / world.size
        world.total((values * GRADIENTS).clamp_(-limit, limit).half()).float()

    group = world.group(world.hosts) if 1 < len(world.hosts) < world.size else None

    def inside() -> None:
        if group is not None:
            torch.distributed.all_reduce(values, group=group)

    jobs = (step, lambda: world.total(values), half, inside)
    slowest = [max(times) for times in zip(*world.gather([_time(job, world) for job in jobs]))]
    return Measured(len(world.hosts), world.size, count, *slowest)


def _time(job: Callable[[], object], world: World) -> float:
    """Median seconds of a job that all processes begin together."""
    taken = []
    for _ in range(ROUNDS + 1):
        world.worst(0)
        begin = time.perf_counter()
        job()
        if world.device.type == "cuda":
            torch.cuda.synchronize(world.device)
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken[1:])


def settle(
    asked: Comm, world: World, kept: Mapping[str, Any], measuring: Callable[[], Measured]
) -> tuple[Chosen, dict[str, Any], list[str]]:
    """What is done about ``asked``; what a later run wants as ``kept``; what is to be told about it.

    ``measuring`` is called, by all processes, where something is open that no run of as many hosts and processes has
    measured before.
    """
    hosts = len(world.hosts)
    scope = asked.scope or ("hosts" if 1 < hosts < world.size else "world")
    measured, told = None, []
    name: str = asked.strategy
    if world.size == 1 or (name == "auto" and hosts == 1):
        name = "allreduce"
    if name == "auto" or (name == "local" and not asked.every):
        before = kept.get("measured") or {}
        if (before.get("hosts"), before.get("ranks")) == (hosts, world.size):
            measured = Measured(**before)
        else:
            with world.doing("the measuring of the network"):
                measured = measuring()
        steps = asked.every or every(measured, asked.patience_s)
        name = choose(measured, steps) if name == "auto" else name
    else:
        steps = asked.every or 1
    if name == "local":
        copies = hosts if scope == "hosts" else world.size
        chosen = Chosen("local", steps, scope, asked.momentum, outer_rate(asked, copies), asked.ramp)
    else:
        chosen = Chosen("compress" if name == "compress" else "allreduce")
    if measured is not None:
        told.append(f"{explain(measured, steps)}; comm: {chosen}")
    now = {"chosen": str(chosen) if world.size > 1 else "one process", "measured": measured and asdict(measured)}
    if kept and kept["chosen"] != now["chosen"]:
        told.append(f"comm was {kept['chosen']} up to the checkpoint and is {now['chosen']} from here on")
    return chosen, now, told


def explain(measured: Measured, steps: int) -> str:
    """What was measured and what is to be expected of it, in a line."""
    each = ", ".join(f"{name} {speed:.2f}" for name, speed in predict(measured, steps).items())
    return (
        f"a step takes {measured.step * 1e3:,.0f} ms, to average {measured.numbers * 4 / 1e6:,.1f} MB over "
        f"{measured.ranks} processes {measured.full * 1e3:,.0f} ms, in half precision {measured.half * 1e3:,.0f} ms; "
        f"expected of {measured.hosts} hosts, times the speed of one: {each} (every {steps} steps)"
    )


def measure_net(world: World, net: Net, learning: Learning, classes: int, lines: int) -> Measured:
    """`measure` with steps of a network on ``lines`` lines a process; nothing of the network is changed."""
    alone = replace(world, rank=0, size=1, local_rank=0, local_size=1, places=())
    learner = Learner(copy.deepcopy(net), learning, alone, seed=0)
    batch, stage = noise(lines, classes).to(world.device), Stage(name="noise", lines=1)
    return measure(world, parameter_count(net), lambda: learner.step(batch, stage, 1, 0, 0))


def noise(lines: int, classes: int, width: int = 320, characters: int = 11) -> Batch:
    """A batch of noise with labels: what a step computes does not depend on what the lines show."""
    rng = np.random.Generator(np.random.Philox(key=np.array([1, lines], np.uint64)))
    return Batch(
        torch.from_numpy(rng.integers(0, 256, (lines, 1, 32, width), np.uint8)),
        torch.full((lines,), width),
        torch.from_numpy(rng.integers(1, max(2, classes), lines * characters)),
        torch.full((lines,), characters),
        torch.linspace(14, width - 14, characters).repeat(lines),
        ("",) * lines,
        np.zeros((lines, 2), np.int64),
    )
