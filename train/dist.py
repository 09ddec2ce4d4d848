"""The processes of a run: who they are, and the few words they exchange.

    torchrun --nproc-per-node 2 -m train --data shards --out runs/h

Started alone, a process is the only one and nothing here talks to anybody.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from gen.command import say
from gen.errors import UserError
from gen.estimate import processors

PATIENCE = timedelta(minutes=10)  # for a rank that does not answer; a hung one must not hang the others for ever


@dataclass(frozen=True)
class World:
    """This process among the others."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and talks to the user."""
        return self.rank == 0

    def worst(self, status: int) -> int:
        """The largest of all processes' numbers."""
        if self.size == 1:
            return status
        value = torch.tensor([int(status)], device=self.device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return int(value)

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in order of ranks (small, picklable)."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found


@contextmanager
def joined(device: str | None) -> Iterator[World]:
    """The process group that torchrun's environment describes, with gloo on CPUs and NCCL on GPUs; its threads set.

    ``device``: cpu, cuda or None for the better one that is there. Raises `UserError` when it is not there.
    """
    rank, size, local, locals_ = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
    )
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no GPU here; leave it out, or install torch with CUDA")
    if kind == "cuda" and local >= torch.cuda.device_count():
        raise UserError(f"{locals_} processes on a machine with {torch.cuda.device_count()} GPUs: one each")
    where = torch.device("cuda", local) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(where)
        torch.set_float32_matmul_precision("high")
    else:  # torchrun sets OMP_NUM_THREADS to 1 by itself
        wanted = os.environ.get("OMP_NUM_THREADS", "") if size == 1 else ""
        torch.set_num_threads(int(wanted) if wanted.isdecimal() else max(1, processors() // locals_))
    if size > 1:
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        try:
            store, *_ = next(rendezvous("env://", timeout=PATIENCE))
            # After a restart the store may be the old one, with the addresses of processes that are no more.
            store = PrefixStore(f"crnn-shards/{attempt}", store)
            backend = "nccl" if kind == "cuda" else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
        except (RuntimeError, ValueError) as error:
            place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
            raise UserError(f"rank {rank} cannot join the others at {place}: {str(error).splitlines()[0]}") from None
    yield World(rank, size, local, locals_, where)
    if size > 1:  # not after an error: the others may be gone, and would be waited for
        dist.destroy_process_group()


def tell_once(text: str) -> None:
    """A line on stderr, by the first of a machine's processes that has it to tell; another line is told as well.

    They agree through the store of torchrun, which outlives them; started otherwise, or without an answer, each tells.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        key = f"told/{os.environ.get('GROUP_RANK')}/{hashlib.sha256(text.encode()).hexdigest()}"
        with suppress(RuntimeError, ValueError):
            store, *_ = next(rendezvous("env://", timeout=timedelta(seconds=5)))
            if store.add(key, 1) > 1:
                return
    say(text)
