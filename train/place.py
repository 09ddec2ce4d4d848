"""Where shards lie: a directory that is read in place, or a server whose blocks come through a cache on disk.

`LocalPlace` is the first; the second is `train.cache.RemotePlace`. Both hand out blocks whose bytes are verified.

    python -m pytest tests/test_train_shards.py
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gen.contract import Block, ShardEntry
from gen.errors import UserError


class Unusable(Exception):
    """A file or a block cannot be had, or has the wrong bytes; the message says what is wrong, without the shard."""


class Missing(Unusable):
    """There is no such file."""


class Wrong(Unusable):
    """The bytes are not those that they should be."""


class OpenBlock:
    """A block's bytes in an open file. The file stays readable when another process deletes it."""

    def __init__(self, path: str | Path, offset: int = 0) -> None:
        self._file = -1
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._offset = offset

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset`` within the block on; fewer only where the file ends."""
        data = os.pread(self._file, size, self._offset + offset)
        while 0 < len(data) < size:  # a read of some GB, or interrupted
            more = os.pread(self._file, size - len(data), self._offset + offset + len(data))
            if not more:
                break
            data += more
        return data

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)


class Place(Protocol):
    """Picklable. What fails raises `Unusable`."""

    def inside(self, folder: str) -> Place: ...
    def file(self, name: str, sha256: str = "") -> bytes: ...  # a small file whole, verified if its sha256 is known
    def check(self, entry: ShardEntry) -> None: ...  # what can be said of a shard without reading it
    def open(self, shard: str, block: Block, verify: bool) -> OpenBlock: ...
    def prefetch(self, wanted: Sequence[tuple[str, Block]]) -> None: ...  # soonest first; never raises
    def __str__(self) -> str: ...  # as the user wrote it


def verified(data: bytes, size: int, sha256: str) -> bytes:
    """``data`` itself. Raises `Wrong` unless it has that size and sha256."""
    if len(data) != size:
        raise Wrong(f"{len(data)} bytes are there instead of {size}")
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise Wrong(f"the bytes have the sha256 {found[:16]}… instead of {sha256[:16]}…")
    return data


@dataclass(frozen=True)
class LocalPlace:
    """A directory of this machine, or one mounted on it."""

    root: str

    def __str__(self) -> str:
        return self.root

    def inside(self, folder: str) -> LocalPlace:
        """A directory in this one."""
        return LocalPlace(f"{self.root.rstrip('/')}/{folder}")

    def file(self, name: str, sha256: str = "") -> bytes:
        """The bytes of a file."""
        path = Path(self.root, name)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise Missing(f"{path} is not there") from None
        except OSError as error:
            raise Unusable(f"{path} cannot be read: {error.strerror}") from None
        return verified(data, len(data), sha256) if sha256 else data

    def check(self, entry: ShardEntry) -> None:
        """Whether a shard's tar is there and has its size."""
        try:
            size = Path(self.root, f"{entry.name}.tar").stat().st_size
        except OSError as error:
            raise Unusable(f"the tar cannot be read: {error.strerror}") from None
        if size != entry.bytes:
            raise Unusable(f"the tar has {size} bytes instead of {entry.bytes}")

    def open(self, shard: str, block: Block, verify: bool) -> OpenBlock:
        """A block where it lies. Raises `Unusable`, and `UserError` when this process may open no more files."""
        try:
            found = OpenBlock(Path(self.root, f"{shard}.tar"), block.offset)
            if verify:
                verified(found.read(0, block.bytes), block.bytes, block.sha256)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise UserError(f"{error.strerror}: allow this process more, ulimit -n 4096") from None
            raise Unusable(f"the tar cannot be read: {error.strerror}") from None
        return found

    def prefetch(self, wanted: Sequence[tuple[str, Block]]) -> None:
        """Nothing to do."""
