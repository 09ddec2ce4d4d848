"""Samples to shards: `run_task` makes one tar and its sidecar, complete or not at all.

Engines only decide where and when `run_task` runs. A shard's bytes follow from the recipe and the task alone.

    python -m pytest tests/test_gen_shard.py
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Union

from gen import tar
from gen.contract import BLOCK_BYTES, Block, Sidecar, pack_columns, sample_key
from gen.image import encode_image
from gen.plan import ShardTask
from gen.sample import Recipe, RecipeSource, Stream, open_recipe, render
from gen.store import Store

Data = Union[bytes, "memoryview[Any]"]  # what a member of a tar is made from
CHUNK_BYTES = 1 << 17  # written and hashed together: small enough to stay in a processor's own cache
REPORT_EVERY = 32  # samples between two calls of ``progress``


@dataclass(frozen=True)
class ShardRecord:
    """What is left of a finished task: small enough to send from anywhere."""

    direction: str
    split: str
    name: str
    count: int
    bytes: int  # of the tar and the sidecar
    seconds: float


class ShardBuilder:
    """Turns samples into the bytes of a tar and notes what the sidecar needs.

    ``write`` receives the bytes in order, some samples at a time. A block ends with the sample that fills it to
    ``block_bytes`` or more.
    """

    def __init__(self, write: Callable[[bytes], object], suffixes: tuple[str, ...], block_bytes: int = BLOCK_BYTES):
        self._write = write
        self._suffixes = tuple(suffix.encode() for suffix in suffixes)
        self._limit = block_bytes
        self._digest = hashlib.sha256()
        self._block_digest = hashlib.sha256()
        self._blocks: list[Block] = []
        self._columns: tuple[list[int], ...] = ([], [], [], [], [])
        self._pieces: list[Data] = []
        self._waiting = 0  # bytes in _pieces
        self._offset = 0  # bytes written
        self._begin = 0  # offset of the open block
        self._first = 0  # its first sample
        self.count = 0

    def add(self, key: bytes, members: tuple[Data, ...], width: int, height: int, label: int) -> None:
        """Append a sample: its key, the contents of its members (image first), the image's size, the text's length."""
        pieces = self._pieces
        record = 0
        for suffix, data in zip(self._suffixes, members, strict=True):
            size = len(data)
            pieces += (tar.header(key + suffix, size), data, tar.padding(size))
            record += tar.padded(size)
        for column, value in zip(self._columns, (record, len(members[0]), width, height, label), strict=True):
            column.append(value)
        self.count += 1
        self._waiting += record
        if self._offset + self._waiting - self._begin >= self._limit:
            self._end_block()
        elif self._waiting >= CHUNK_BYTES:
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._write(data)
        self._digest.update(data)
        self._block_digest.update(data)
        self._offset += len(data)
        self._waiting = 0

    def _end_block(self) -> None:
        if self.count == self._first:
            return
        self._flush()
        size, digest = self._offset - self._begin, self._block_digest.hexdigest()
        self._blocks.append(Block(self._begin, size, self._first, self.count - self._first, digest))
        self._begin, self._first, self._block_digest = self._offset, self.count, hashlib.sha256()

    def finish(self, task: ShardTask, image: str) -> Sidecar:
        """Write what is left and the end of the archive; the sidecar of it all."""
        self._end_block()
        closing = tar.end(self._offset)
        self._write(closing)
        self._digest.update(closing)
        return Sidecar(
            name=task.name,
            direction=task.direction,
            split=task.split,
            start=task.start,
            count=self.count,
            bytes=self._offset + len(closing),
            sha256=self._digest.hexdigest(),
            identity=task.identity,
            image=image,
            blocks=tuple(self._blocks),
            samples=pack_columns(self._columns),
        )


def build(
    recipe: Recipe, task: ShardTask, write: Callable[[bytes], object], progress: Callable[[int], None]
) -> Sidecar:
    """Render the task's samples in order into ``write``; ``progress`` hears how many are made."""
    config = recipe.config
    image, quality = config.image.format, config.image.quality
    full = config.meta == "full"
    builder = ShardBuilder(write, (f".{image}", ".txt", ".json") if full else (f".{image}", ".txt"))
    stream = Stream(config.seed, task.direction, task.split)
    for index in range(task.start, task.start + task.count):
        sample = render(recipe, stream, index)
        pixels = sample.pixels
        data = encode_image(pixels, image, quality)
        text = sample.text
        members = (data, text.encode(), sample.meta_json()) if full else (data, text.encode())
        key = sample_key(task.direction, task.split, index).encode()
        builder.add(key, members, pixels.shape[1], pixels.shape[0], len(text))
        if builder.count % REPORT_EVERY == 0:
            progress(builder.count)
    return builder.finish(task, image)


_open: tuple[RecipeSource, Recipe] | None = None


def opened(source: RecipeSource, workers: int = 1) -> Recipe:
    """The recipe of ``source``, opened once in each process; ``workers`` draw the glyphs that are missing."""
    global _open
    if _open is None or _open[0] != source:
        _open = (source, open_recipe(source, workers))
    return _open[1]


def run_task(
    source: RecipeSource, task: ShardTask, store: Store, progress: Callable[[int], None] = lambda count: None
) -> ShardRecord:
    """Make one shard in ``store`` and commit it; ``progress`` hears the number of samples made so far.

    Nothing is visible before everything is on disk. The old sidecar goes before the new tar comes, and the new
    sidecar comes last: a sidecar always tells the truth about its tar. The same one stays if it is there already, for
    another machine may have made the shard meanwhile, and the manifest too. Raises OSError when the store fails.
    """
    begin = time.perf_counter()
    recipe = opened(source)
    with store.create(task.tar) as shard, store.create(task.sidecar) as note:
        sidecar = build(recipe, task, shard.write, progress)
        text = sidecar.to_json()
        note.write(text)
        shard.seal()
        note.seal()  # whatever can run out of space has happened now
        if store.read(task.sidecar) != text:
            store.remove(task.sidecar)
        shard.publish()
        note.publish()
    seconds = time.perf_counter() - begin
    return ShardRecord(task.direction, task.split, task.name, task.count, sidecar.bytes + len(text), seconds)
