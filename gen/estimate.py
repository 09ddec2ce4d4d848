"""How many bytes and seconds a run will take, from a few images made on the spot: ``python -m gen … --dry-run``."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gen.plan import ShardTask
from gen.sample import Recipe
from gen.shard import build

_SECONDS = 0.2  # of measuring, for each direction
_BATCH = 64
_SHARD_BYTES = 16 * 1024  # of a tar's end and a sidecar, whatever their samples
_SAMPLE_BYTES = 10  # of a sidecar, for each sample


@dataclass(frozen=True)
class Estimate:
    """What some tasks will take."""

    images: int
    bytes: int
    seconds: float
    images_per_second: float  # of all workers together


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Rates:
    """What one image of each direction takes, on one processor: direction -> (bytes, seconds)."""

    images: Mapping[str, tuple[float, float]]

    def estimate(self, tasks: Sequence[ShardTask], workers: int) -> Estimate:
        """What ``tasks`` will take with ``workers`` processes on this machine."""
        size, seconds = 0.0, 0.0
        for task in tasks:
            each_bytes, each_seconds = self.images[task.direction]
            size += task.count * (each_bytes + _SAMPLE_BYTES) + _SHARD_BYTES
            seconds += task.count * each_seconds
        total = sum(task.count for task in tasks)
        seconds /= max(1, min(workers, processors(), len(tasks)))
        return Estimate(total, round(size), seconds, total / seconds if seconds else 0.0)


def measure(recipe: Recipe, directions: Sequence[str]) -> Rates:
    """Make a few images of each direction. Writes nothing."""
    return Rates({direction: _measure(recipe, direction) for direction in directions})


def _measure(recipe: Recipe, direction: str) -> tuple[float, float]:
    """Bytes in the tar and seconds for one image, on average."""
    made, size, spent = 0, 0, 0.0
    while spent < _SECONDS:
        batch = ShardTask(direction, "train", 0, made, _BATCH, "")
        begin = time.perf_counter()
        sidecar = build(recipe, batch, _nowhere, _unheard)
        if made:  # the first batch also pays for what is built once
            spent += time.perf_counter() - begin
        size += sum(block.bytes for block in sidecar.blocks)
        made += _BATCH
    return size / made, spent / (made - _BATCH)


def _nowhere(data: bytes) -> None:
    pass


def _unheard(count: int) -> None:
    pass
