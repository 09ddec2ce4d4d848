"""Shards on a server, a block at a time through files that all processes of a machine share.

    python -m pytest tests/test_train_fetch.py -k cache

A file of the cache is named by a hash of its URL and what it must hold, is verified before it gets that name, and is
verified again by each process that opens it. A block is fetched once: whoever needs it holds a lock meanwhile. When all
together pass the limit, those used longest ago are deleted, but none that was used within the last minute.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from gen import paths
from gen.contract import Block, ShardEntry
from gen.errors import UserError
from train.fetch import NoRanges, Server, open_server
from train.patience import Patience
from train.place import OpenBlock, Unusable, Wrong, verified

T = TypeVar("T")
_FETCHES = 3  # of something whose bytes are wrong each time
_WHOLE = 16  # times a block's patience for a whole tar that another process is fetching
_THREADS = 4  # that prefetch
_LOCKS = 256  # lock files; two blocks that share one are fetched one after the other
_YOUNG = 60.0  # seconds in which a file is not deleted: what was just fetched is about to be used
_STALE = 3600.0  # seconds after which a temporary file is one of a killed process


def remote_place(url: str, folder: Path | None, limit: int, patience: Patience | None = None) -> RemotePlace:
    """Shards at a URL, cached in ``folder`` (default: below the program's cache directory) up to ``limit`` bytes."""
    server = open_server(url, patience or Patience())
    return RemotePlace(server, BlockCache(folder or paths.cache_dir() / "shards", limit))


@dataclass
class BlockCache:
    """Files by key in a directory, the least recently used ones deleted beyond ``limit`` bytes."""

    folder: Path
    limit: int
    young: float = _YOUNG
    _added: int | None = None  # bytes by this process since it last looked at them all; None: never looked

    def path(self, key: str) -> Path:
        """Where the file of a key is, or would be."""
        return self.folder / key[:2] / key

    def has(self, key: str) -> bool:
        """Whether the file is there. It counts as used now."""
        with suppress(OSError):
            os.utime(self.path(key))
            return True
        return False

    @contextmanager
    def lock(self, key: str, seconds: float) -> Iterator[None]:
        """Held by one thread of all processes at a time. Raises `Unusable` after that many seconds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / f".{int(key[:8], 16) % _LOCKS:03}.lock", timeout=seconds, poll_interval=0.02)
        try:
            lock.acquire()
        except Timeout:
            raise Unusable(f"another process has been fetching it for {seconds:.3g} s") from None
        try:
            yield
        finally:
            lock.release()

    def store(self, key: str, pieces: Iterable[bytes], check: Callable[[Path], T]) -> T:
        """Write a file, give it its name if ``check`` does not raise, and make room; what ``check`` returned.

        Raises `UserError` when the file alone is larger than the cache.
        """
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = path.with_name(f".{key}.{os.getpid()}.{threading.get_ident()}.tmp")
        size = 0
        try:
            with temp.open("wb") as file:
                for piece in pieces:
                    size += len(piece)
                    if size > self.limit:
                        raise UserError(
                            f"one file is larger than the whole cache {self.folder}, which may take {self.limit:,} "
                            "bytes: raise data.cache_gb"
                        )
                    file.write(piece)
            result = check(temp)
            os.replace(temp, path)
        finally:
            temp.unlink(missing_ok=True)
            if isinstance(pieces, Generator):
                pieces.close()  # now, with its connection, and not when the error is forgotten
        if self._added is None or self._added + size > self.limit // 32:
            self._make_room()
            self._added = 0
        else:
            self._added += size
        return result

    def _make_room(self) -> None:
        """Delete what was used longest ago, and what killed processes left, until 1/16 of the limit is free."""
        files, now = [], time.time()
        for path in self.folder.glob("??/*"):
            with suppress(FileNotFoundError):  # another process makes room too
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for used, size, path in sorted(files):
            young, crowded = self.young, total > self.limit * 15 // 16
            if path.name.startswith("."):
                young, crowded = _STALE, True
            if crowded and now - used > young:
                path.unlink(missing_ok=True)
                total -= size


@dataclass
class RemotePlace:
    """A `train.place.Place` on a server."""

    server: Server
    cache: BlockCache
    _whole: bool = False  # the server sends whole files only
    _queue: Prefetcher | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_queue": None}

    def __str__(self) -> str:
        return self.server.url()

    def inside(self, folder: str) -> RemotePlace:
        """A directory in this one."""
        return RemotePlace(self.server.inside(folder), self.cache)

    def check(self, entry: ShardEntry) -> None:
        """Nothing can be said before fetching."""

    def file(self, name: str, sha256: str = "") -> bytes:
        """The bytes of a small file, cached if its sha256 is known."""
        if not sha256:
            return b"".join(self.server.file(name))

        def use(path: Path) -> bytes:
            data = path.read_bytes()
            return verified(data, len(data), sha256)

        return self._use(name, sha256, lambda: self.server.file(name), use)

    def open(self, shard: str, block: Block, verify: bool = True) -> OpenBlock:
        """A block, from the cache or from the server; always verified, for it may have been fetched anew."""
        name = f"{shard}.tar"

        def use(path: Path, offset: int = 0) -> OpenBlock:
            found = OpenBlock(path, offset)
            verified(found.read(0, block.bytes), block.bytes, block.sha256)
            return found

        if not self._whole:
            try:
                return self._use(name, _part(block), lambda: [self.server.range(name, block.offset, block.bytes)], use)
            except NoRanges:
                self._whole = True
        return self._use(name, "", lambda: self.server.file(name), lambda path: use(path, block.offset), _WHOLE)

    def _use(
        self, name: str, part: str, fetch: Callable[[], Iterable[bytes]], use: Callable[[Path], T], share: int = 1
    ) -> T:
        """What ``use`` makes of a file of the cache, which is fetched if it is not there or is wrong.

        ``use`` raises `Wrong` for wrong bytes. ``share``: how much longer than a block it may take another process.
        """
        key = self._key(name, part)
        path = self.cache.path(key)
        patience = self.server.patience
        reason: Wrong | None = None
        try:
            for attempt in range(_FETCHES):
                try:
                    if self.cache.has(key):
                        return use(path)
                except FileNotFoundError:
                    pass  # another process made room
                except Wrong as error:
                    reason = error
                    path.unlink(missing_ok=True)
                try:
                    with self.cache.lock(key, patience.total * 2 * share):
                        if not self.cache.has(key):
                            return self.cache.store(key, fetch(), use)
                except Wrong as error:
                    reason = error
                    time.sleep(patience.pause * attempt)
        except OSError as error:
            raise UserError(
                f"cache {self.cache.folder}: {error.strerror or error}; make room there, or lower data.cache_gb"
            ) from None
        if reason is None:
            raise UserError(
                f"cache {self.cache.folder}: what is fetched is deleted before it can be read, {self.server.url(name)} "
                f"{_FETCHES} times: raise data.cache_gb, and free as much of the disk"
            )
        raise Unusable(f"{self.server.url(name)}: {reason}, {_FETCHES} times")

    def _key(self, name: str, part: str) -> str:
        return hashlib.sha256(f"{self.server.url(name)}\n{part}".encode()).hexdigest()

    def prefetch(self, wanted: Sequence[tuple[str, Block]]) -> None:
        """Fetch blocks in the background, as many as fit half the cache."""
        if self._queue is None:
            self._queue = Prefetcher(self.open)
        part = (lambda block: "") if self._whole else _part
        new = [each for each in wanted if not self.cache.has(self._key(f"{each[0]}.tar", part(each[1])))]
        self._queue.want(new, self.cache.limit // 2)


def _part(block: Block) -> str:
    """Names a block of a file, by what it must hold: a new set under an old URL is another block."""
    return f"{block.offset}+{block.bytes} {block.sha256}"


class Prefetcher:
    """A few threads that go through a queue, and end when it is empty."""

    def __init__(self, fetch: Callable[[str, Block], object]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._queue: deque[tuple[str, Block]] = deque()
        self._pending: set[tuple[str, Block]] = set()  # in the queue or on their way
        self._threads = 0

    def want(self, items: Iterable[tuple[str, Block]], limit: int) -> None:
        """Queue what is not yet pending, as long as all that is has no more than ``limit`` bytes."""
        with self._lock:
            size = sum(block.bytes for _, block in self._pending)
            for item in items:
                size += item[1].bytes if item not in self._pending else 0
                if size > limit:
                    break
                if item not in self._pending:
                    self._pending.add(item)
                    self._queue.append(item)
            new = min(_THREADS - self._threads, len(self._queue))
            self._threads += new
        for _ in range(new):
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._threads -= 1
                    return
                item = self._queue.popleft()
            with suppress(Exception):  # whoever reads the block will fail in the same way, and say so
                self._fetch(*item)
            with self._lock:
                self._pending.discard(item)
