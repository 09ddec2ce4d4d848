"""The processes of a run: who they are, and the few words they exchange.

    torchrun --nproc-per-node 2 -m train --data shards --out runs/h

Started alone, a process is the only one and nothing here talks to anybody.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from gen.command import say
from gen.errors import UserError
from gen.estimate import processors
from gen.store import LocalDraft, publish

PATIENCE = 180.0  # seconds; a link that is away for 20 is waited for, a process that hangs does not hang the others
ANSWER = 10.0  # seconds for the store of torchrun: 5 were once too few on a busy machine, and a line was told twice


class Lost(RuntimeError):
    """Another process is gone, or does not answer."""


@dataclass(frozen=True)
class World:
    """This process among the others. ``places``: for each rank the host that it is on (any word) and its address;
    ``patience``: seconds that it waits for another."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    device: torch.device
    places: tuple[tuple[str, str], ...] = ()
    patience: float = PATIENCE

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and talks to the user."""
        return self.rank == 0

    @property
    def hosts(self) -> list[list[int]]:
        """The ranks on each host, in the order of their first ones."""
        found: dict[str, list[int]] = {}
        for rank, (host, _) in enumerate(self.places or (("", ""),) * self.size):
            found.setdefault(host, []).append(rank)
        return list(found.values())

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Raise `Lost`, which says what was being done, when the others cannot be reached meanwhile."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not _is_loss(error):
                raise
            others = [f"{rank} ({place[1]})" for rank, place in enumerate(self.places) if rank != self.rank]
            shown = ", ".join(others[:8]) + (f" and {len(others) - 8} more" if len(others) > 8 else "")
            raise Lost(
                f"rank {self.rank} lost touch with the others at {what}: {_first_line(error)}; the others are rank "
                f"{shown}, the master is {_master()}"
            ) from None

    def group(self, members: list[list[int]]) -> Any:
        """Process groups of some ranks each; this one's, None when it is in none. All processes call it together."""
        limit, own = timedelta(seconds=self.patience), None
        for ranks in members:
            made = dist.new_group(ranks, timeout=limit)
            own = made if self.rank in ranks else own
        return own

    def worst(self, status: int) -> int:
        """The largest of all processes' numbers."""
        if self.size == 1:
            return status
        value = torch.tensor([int(status)], device=self.device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return int(value)

    def largest(self, value: Tensor) -> float:
        """The largest of all processes' numbers; not a number when one is not."""
        if self.size > 1:
            value = torch.stack([value.float(), torch.isfinite(value).logical_not().float()])
            dist.all_reduce(value, dist.ReduceOp.MAX)
            value = value[0] if not value[1] else value[1] * torch.nan
        return float(value)

    def total(self, values: Tensor) -> Tensor:
        """The sum of all processes' numbers, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in order of ranks (small, picklable)."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def write(self, path: Path, data: bytes) -> None:
        """A file on every machine, whole; nobody goes on before it is there. All processes call it."""
        if self.local_rank == 0:
            publish(LocalDraft(path), data)  # in one step, for the folder may be that of other machines, too
        self.gather(None)


@contextmanager
def joined(device: str | None, patience: float = PATIENCE) -> Iterator[World]:
    """The process group that torchrun's environment describes, with gloo on CPUs and NCCL on GPUs; its threads set.

    ``device``: cpu, cuda or None for the better one that is there. ``patience``: seconds that a process waits for
    another one. Raises `UserError` when the device is not there, or the others are not found.
    """
    rank, size, local, locals_ = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
    )
    kind = device_kind(device)
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
        torch.set_num_threads(max(1, int(wanted) if wanted.isdecimal() else processors() // locals_))
    world = World(rank, size, local, locals_, where, patience=patience)
    if size > 1:
        limit = timedelta(seconds=patience)
        # After a restart the store of an agent is the old one, with the addresses of processes that are no more.
        # Otherwise each start has a store of its own, and agents that came later have counted fewer restarts.
        shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if shared else "0"
        try:
            store, *_ = next(rendezvous("env://", timeout=limit))
            store = PrefixStore(f"crnn-shards/{attempt}", store)
            backend = "nccl" if kind == "cuda" else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=limit)
            world = replace(world, places=tuple(world.gather(_place())))
        except (RuntimeError, ValueError) as error:
            raise UserError(f"rank {rank} cannot join the others at {_master()}: {_first_line(error)}") from None
    yield world
    if size > 1:  # not after an error: the others may be gone, and would be waited for
        dist.destroy_process_group()


def leave(code: int) -> NoReturn:
    """End this process, whatever it has exchanged with others.

    Threads of gloo live on behind DistributedDataParallel, and free the last tensors some time after they have come.
    For that they take the lock of Python, which in an interpreter that is being torn down aborts the process: on a
    busy machine a run that was done ended so now and then. Hence no tearing down.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def device_kind(device: str | None) -> str:
    """cpu or cuda: the one asked for, else the better one that is there."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def _is_loss(error: RuntimeError) -> bool:
    return not isinstance(error, Lost) and ("gloo" in str(error) or isinstance(error, dist.DistError))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _master() -> str:
    return f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"


def _place() -> tuple[str, str]:
    """This host, as torchrun counts them or else by its name, and the address it has towards the master."""
    address = socket.gethostname()
    with suppress(OSError, ValueError):
        master = os.environ.get("MASTER_ADDR"), int(os.environ.get("MASTER_PORT", "1"))
        family, kind, *_, found = socket.getaddrinfo(*master, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(found)  # sends nothing
            address = f"{address}, {probe.getsockname()[0]}"
    return os.environ.get("GROUP_RANK", socket.gethostname()), address


def tell_once(text: str) -> None:
    """A line on stderr, by the first of a machine's processes that has it to tell; another line is told as well.

    They agree through the store of torchrun, which outlives them; started otherwise, or without an answer, each tells.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        key = f"told/{os.environ.get('GROUP_RANK')}/{hashlib.sha256(text.encode()).hexdigest()}"
        with suppress(RuntimeError, ValueError):
            store, *_ = next(rendezvous("env://", timeout=timedelta(seconds=ANSWER)))
            if store.add(key, 1) > 1:
                return
    say(text)
