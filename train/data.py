"""From planned samples to batches of tensors, in this process or in workers.

    python -m tools.bench_loader --data shards/horizontal

`loader` is what training uses. `samples` gives the same lines in the same order to a pipeline of the user's own:

    pipeline = wds.DataPipeline(partial(samples, sources, plan, 0, 1, 0, 1000), wds.map(augment), wds.batched(96))
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import forkserver, resource_tracker
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from gen.errors import UserError
from gen.process import as_worker
from train.codec import Codec
from train.image import GPU_STEP, STEP, ImageSpec, pad_batch, prepare
from train.plan import Plan
from train.source import Ints, Item, Source

AHEAD = 4  # batches that each worker has ready


@dataclass(frozen=True)
class Batch:
    """Lines as a network takes them.

    ``images``: uint8 [B, 1, height, W]; ``widths``: int64 [B], without the padding to the right. ``labels``: int64
    [sum of lengths], classes from 1, one line after another; ``lengths``: int64 [B]. ``centres``: float32 [sum of
    lengths], middle of each labelled character along the width, px; -1 where it is not known. ``texts`` are the labels
    as stored; ``ids``: int64 [B, 2], number of the source and of the sample in it.
    """

    images: Tensor
    widths: Tensor
    labels: Tensor
    lengths: Tensor
    centres: Tensor
    texts: tuple[str, ...]
    ids: Ints

    def to(self, device: torch.device | str) -> Batch:
        """The batch on a device; copied in the background when it is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory; DataLoader calls it by this name."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tensors: dict[str, Any] = {name: change(value) for name, value in vars(self).items() if torch.is_tensor(value)}
        return replace(self, **tensors)


def collate(
    items: Sequence[Item], directions: Sequence[str], codec: Codec, spec: ImageSpec, ids: Ints, step: int = STEP
) -> Batch:
    """One batch of lines and their directions, padded to a multiple of ``step`` px. Raises `UserError` for a label
    that the codec cannot write."""
    lines = [prepare(item.pixels, direction, spec) for item, direction in zip(items, directions)]
    images, widths = pad_batch(lines, spec.room, step)
    labels, centres = [], []
    for item, direction, width in zip(items, directions, widths):
        try:
            label = codec.encode(item.text)
        except UserError as error:
            raise UserError(f"sample {item.key}: {error}") from None
        centre = _centres(item, direction, int(width))
        if len(label) < len(centre):  # the codec leaves spaces out
            centre = centre[[char != " " for char in item.text]]
        labels.append(label)
        centres.append(centre)
    return Batch(
        torch.from_numpy(images),
        torch.from_numpy(widths),
        torch.tensor([number for label in labels for number in label], dtype=torch.int64),
        torch.tensor([len(label) for label in labels], dtype=torch.int64),
        torch.from_numpy(np.concatenate(centres)),
        tuple(item.text for item in items),
        ids,
    )


def _centres(item: Item, direction: str, width: int) -> NDArray[np.float32]:
    """The middle of each code point of a label on a line prepared to ``width``, float32 [n]; -1 without boxes."""
    if item.boxes is None:
        return np.full(len(item.text), -1, np.float32)
    axis = int(direction == "vertical")  # a column is turned so that its top comes to the left
    middles = item.boxes[:, axis] + item.boxes[:, axis + 2] / 2
    return np.asarray(middles * (width / item.pixels.shape[1 - axis]), np.float32)


class Lines(Dataset[Batch]):
    """Batches by their samples: ``lines[ids]`` for int64 [B, 2]. Raises what sources and `collate` raise."""

    def __init__(self, sources: Sequence[Source], codec: Codec, spec: ImageSpec, step: int = STEP) -> None:
        self._sources, self._codec, self._spec, self._step = tuple(sources), codec, spec, step

    def __getitem__(self, ids: Ints) -> Batch:
        directions = [self._sources[number].direction for number in ids[:, 0]]
        return collate(read(self._sources, ids), directions, self._codec, self._spec, ids, self._step)


def read(sources: Sequence[Source], ids: Ints) -> list[Item]:
    """The samples of ids int64 [n, 2] in their order, each source asked once."""
    items: dict[int, Item] = {}
    for number in np.unique(ids[:, 0]):
        places = np.flatnonzero(ids[:, 0] == number)
        items.update(zip(places.tolist(), sources[number].read(ids[places, 1].tolist())))
    return [items[place] for place in range(len(ids))]


def loader(
    sources: Sequence[Source],
    plan: Plan,
    rank: int,
    world: int,
    first: int,
    last: int,
    codec: Codec,
    spec: ImageSpec,
    workers: int,
    cuda: bool = False,
) -> Iterator[Batch]:
    """This rank's part of the batches of steps ``first`` to ``last`` - 1, in order, whatever the number of workers.

    Without workers they are made here when asked for. Blocks are fetched ahead from this process. What goes wrong in
    a worker is raised here: `UserError` for what a user can mend, a bad shard among it, or a worker that was killed.
    ``cuda``: the batches are for a GPU.
    """
    lines = Lines(sources, codec, spec, GPU_STEP if cuda else STEP)
    batches: DataLoader[Any] = DataLoader(
        _Reported(lines) if workers else lines,
        batch_size=None,
        sampler=_Steps(sources, plan, rank, world, first, last),
        num_workers=workers,
        collate_fn=_unchanged,
        pin_memory=cuda,
        worker_init_fn=_start_worker,
        multiprocessing_context=_context(sources) if workers else None,
        prefetch_factor=AHEAD if workers else None,
    )
    found = iter(batches)
    try:
        while (batch := next(found, None)) is not None:
            if isinstance(batch, UserError):
                raise batch
            yield batch
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise UserError(
            f"{' '.join(str(error).split())} Most often memory ran out: take fewer workers or a smaller batch, or "
            "give the machine (in a container: /dev/shm) more"
        ) from None
    finally:
        del found  # ends the workers now, whatever still holds on to this frame


def samples(
    sources: Sequence[Source], plan: Plan, rank: int, world: int, first: int, last: int
) -> Iterator[dict[str, Any]]:
    """This rank's lines of steps ``first`` to ``last`` - 1 one by one, as webdataset's samples.

    Each has ``__key__``, ``image`` (grey uint8 [H, W] as stored) and ``txt``. In the workers of a DataLoader, worker k
    of n gives the steps from ``first`` + k on in strides of n.
    """
    worker = get_worker_info()
    offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
    for step in range(first + offset, last, stride):
        for item in read(sources, plan.local(step, rank, world)):
            yield {"__key__": item.key, "image": item.pixels, "txt": item.text}


class _Steps(Sampler[Ints]):
    """What a rank reads in each step; on the way, blocks of this window and the next are asked for, and the next one
    is planned by a thread, for 50,000 lines take 0.2 s in which no batch would be dealt to a worker."""

    def __init__(self, sources: Sequence[Source], plan: Plan, rank: int, world: int, first: int, last: int) -> None:
        self._sources, self._plan, self._rank, self._world = sources, plan, rank, world
        self._steps = range(first, last)
        plan.check(world)

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[Ints]:
        with ThreadPoolExecutor(1) as thread:
            coming = None
            for step in self._steps:
                if step == self._steps.start:
                    self._prefetch(step)
                if step == self._steps.start or step % self._plan.steps == 0:
                    if coming is not None:
                        coming.result()
                    coming = thread.submit(self._prefetch, step - step % self._plan.steps + self._plan.steps)
                yield self._plan.local(step, self._rank, self._world)

    def _prefetch(self, step: int) -> None:
        if step in self._steps:
            blocks = self._plan.blocks(step, self._rank, self._world)
            for number in sorted({number for number, _ in blocks}):
                self._sources[number].prefetch([block for source, block in blocks if source == number])


class _Reported(Dataset["Batch | UserError"]):
    """Gives a `UserError` back instead of raising it: DataLoader would wrap a traceback of the worker around it."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __getitem__(self, ids: Ints) -> Batch | UserError:
        try:
            return self._lines[ids]
        except UserError as error:
            return error


def _unchanged(batch: Any) -> Any:
    return batch


def _start_worker(number: int) -> None:
    threading.Thread(target=_end_when_told, daemon=True).start()
    as_worker()
    cv2.setNumThreads(1)  # torch's threads are one already, by DataLoader


def _end_when_told() -> None:
    """Obey a SIGTERM (`_context` blocks it) of the parent only, which decides what one of a scheduler means."""
    parent = multiprocessing.parent_process()
    while parent is not None:
        if signal.sigwaitinfo({signal.SIGTERM}).si_pid == parent.pid:
            os._exit(1)


def _context(sources: Sequence[Source]) -> Any:
    """The forkserver, running: workers start without the parent's threads and with the imports done.

    Signals are blocked in it and so in what it starts: a Ctrl-C or the SIGTERM of a scheduler reaches all processes
    of a group, also workers that have not come to `_start_worker` yet.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *sorted({type(source).__module__ for source in sources})])
    resource_tracker.ensure_running()  # else the next one starts it, and that lifts the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context
