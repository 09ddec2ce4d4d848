"""The small run of `train_runs` on two imitated hosts, each with an agent of torchrun, and what may befall them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from small_set import ROOT
from train_runs import flags, steps

from tools.netns import INTERFACE, Host, network, why_not

EVERY = 10  # steps between checkpoints: what a fault may cost
STEPS = 150
PATIENCE = 45  # seconds; the links are cut for 20, and TCP then tries again at longer and longer intervals
CONFIG = f"""
model: {{widths: [8, 8, 16, 16], depths: [0, 1, 0, 1], dim: 16}}
data: {{workers: 0, val: 0, window: 16}}
keep: {{every: {EVERY}}}
learning: {{negatives: 30}}
comm: {{strategy: allreduce, patience_s: {PATIENCE}}}
stages:
  - {{name: full, lines: {12 * STEPS}, batch: 12, warmup: 2}}
"""
LONG = 300  # seconds, in which anything here ends


@contextmanager
def two_hosts(rate: str = "1gbit") -> Iterator[tuple[Host, Host]]:
    """Two hosts; where they cannot be imitated the test is skipped."""
    if why := why_not():
        pytest.skip(f"no hosts can be imitated here: {why}")
    with network(2, rate) as (first, second):
        yield first, second


class Agent:
    """An agent of torchrun on a host, with one process. What they say is in ``log``."""

    def __init__(
        self, host: Host, folder: Path, master: Host, nodes: str = "2", name: str = "", sets: Sequence[str] = ()
    ) -> None:
        self.host, self.out = host, folder / "run"
        self.log = folder / f"{name or host.port}.log"
        own = f"is_host={host == master}"  # the names of this machine are not those of its imitated hosts
        words = [
            *(sys.executable, "-m", "torch.distributed.run", "--nnodes", nodes, "--nproc-per-node", "1"),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{master.address}:29400", "--rdzv-id", folder.name),
            *(
                "--rdzv-conf",
                f"join_timeout=60,last_call_timeout=3,{own}",
                "--max-restarts",
                "3",
                "--local-addr",
                host.address,
            ),
            *("-m", "train", *flags(folder, config=CONFIG), *(word for each in sets for word in ("--set", each))),
        ]
        cores = sorted(os.sched_getaffinity(0))
        core = {cores[(host != master) % len(cores)]}  # each host has its own: else each takes all for its threads
        with self.log.open("w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                host.command(*words), cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, core),
                env={**os.environ, "PYTHONWARNINGS": "ignore", "GLOO_SOCKET_IFNAME": INTERFACE, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
            )  # fmt: skip

    def said(self) -> str:
        """What agent and process have said until now."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def workers(self) -> list[int]:
        """The processes that the agent has started and that still run."""
        pid = self.process.pid
        with suppress(FileNotFoundError):
            return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    def kill(self) -> None:
        """End the agent and all its processes at once, as a power cut would."""
        for pid in [*self.workers(), self.process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> int:
        """Wait for the end; the exit code."""
        return self.process.wait(LONG)


@contextmanager
def agents(*started: Agent) -> Iterator[None]:
    """None of them is left."""
    try:
        yield
    finally:
        for agent in started:
            agent.kill()


def until(happens: Callable[[], object], *running: Agent) -> None:
    """Wait for something, as long as these agents run."""
    end = time.monotonic() + LONG
    while not happens():
        for agent in running:
            assert agent.process.poll() is None, agent.said()
        assert time.monotonic() < end, "\n".join(agent.said() for agent in running)
        time.sleep(0.05)


def step(agent: Agent) -> int:
    """The last step that the run has told of."""
    told = steps(agent.out)
    return int(told[-1]["step"]) if told else 0
