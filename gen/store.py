"""Where a run puts its files: a small interface, and its form for a local directory (`gen.remote` has the other).

A store names files by paths such as ``horizontal/train-000000.tar``. A file appears under its name complete or not
at all, and nothing is half written under a final name at any moment. Shards and plans know only `Store`.

    python -c "from gen.store import LocalStore; print(LocalStore('shards').names('horizontal'))"
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ClassVar, Protocol, runtime_checkable

from filelock import FileLock, Timeout

from gen.errors import UserError
from gen.remote import RemoteStore, file_system

_TEMP = re.compile(r"\.(?P<name>.+)\.[0-9a-f-]+\.tmp")


class Draft(Protocol):
    """A file on its way: write, `seal` (all that can run out of space has happened), then `publish`.

    As a context manager it takes itself away at the end unless it was published.
    """

    def write(self, data: bytes, /) -> object: ...
    def seal(self) -> None: ...
    def publish(self) -> None: ...
    def __enter__(self) -> Draft: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


@runtime_checkable
class Store(Protocol):
    """Picklable: workers on this machine or another open the same place. Failures raise OSError."""

    @property
    def guarded(self) -> bool: ...  # whether its locks keep others out
    @property
    def readers(self) -> int: ...  # how many may read at a time, to be faster than one

    def read(self, name: str) -> bytes | None: ...  # None: there is no such file
    def part(self, name: str, offset: int, size: int) -> bytes: ...  # fewer bytes only where the file ends
    def size(self, name: str) -> int | None: ...
    def sizes(self, folder: str) -> dict[str, int]: ...  # the same files as `names`, with their bytes
    def names(self, folder: str) -> list[str]: ...  # plain file names, sorted, drafts left out
    def create(self, name: str) -> Draft: ...
    def remove(self, name: str) -> None: ...  # no error when it is not there
    def sweep(self, names: set[str]) -> None: ...  # take away the drafts of these files that dead processes left
    def prune(self, folder: str) -> None: ...  # remove the folder if nothing is in it
    def lock(self, name: str, wait: float = 0) -> Lock: ...
    def locked(self) -> list[str]: ...  # names of the locks that processes hold
    def free(self) -> int | None: ...  # bytes; None: not known or not limited
    def __str__(self) -> str: ...  # as the user writes it


class Lock(Protocol):
    """Held by one process at a time; raises `Busy` on entering when another has it."""

    def __enter__(self) -> object: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None: ...


class Busy(Exception):
    """Another process holds the lock."""


class LocalDraft:
    """A temporary file beside the final one, so that `os.replace` can publish it in one step."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temp = path.with_name(f".{path.name}.{os.getpid():x}-{os.urandom(4).hex()}.tmp")  # unlike other machines'
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = self._temp.open("wb")

    def write(self, data: bytes, /) -> object:
        """Append ``data``."""
        return self._file.write(data)

    def seal(self) -> None:
        """Bring every byte to the disk."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def publish(self) -> None:
        """Give the sealed file its name, in place of an older one."""
        self.seal()
        os.replace(self._temp, self._path)
        _sync_directory(self._path.parent)

    def __enter__(self) -> LocalDraft:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        try:
            self._file.close()  # may fail again, to write what is left on a full disk
        except OSError:
            pass
        finally:
            self._temp.unlink(missing_ok=True)


def publish(draft: Draft, data: bytes) -> None:
    """A file under its name once all of ``data`` is there. What fails leaves an older one as it was."""
    with draft:
        draft.write(data)
        draft.publish()


@dataclass(frozen=True)
class LocalStore:
    """A directory of this machine, or one mounted on it."""

    root: str
    guarded: ClassVar[bool] = True
    readers: ClassVar[int] = 1

    def __str__(self) -> str:
        return self.root

    def _path(self, name: str) -> Path:
        return Path(self.root, name)

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, None if there is none."""
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None

    def part(self, name: str, offset: int, size: int) -> bytes:
        """``size`` bytes of a file from ``offset`` on, fewer where it ends."""
        with self._path(name).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def size(self, name: str) -> int | None:
        """Bytes of a file, None if there is none."""
        try:
            return self._path(name).stat().st_size
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        """Files of a folder, sorted, without hidden ones; none when the folder is missing."""
        try:
            with os.scandir(self._path(folder)) as entries:
                return sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_file())
        except FileNotFoundError:
            return []

    def sizes(self, folder: str) -> dict[str, int]:
        """The same files with their bytes, by name."""
        found = {name: self.size(f"{folder}/{name}") for name in self.names(folder)}
        return {name: size for name, size in found.items() if size is not None}

    def create(self, name: str) -> LocalDraft:
        """A new file, not yet visible under its name."""
        return LocalDraft(self._path(name))

    def remove(self, name: str) -> None:
        """Delete a file if it is there."""
        self._path(name).unlink(missing_ok=True)

    def sweep(self, names: set[str]) -> None:
        """Delete drafts of these files that killed processes left behind."""
        for folder in {self._path(name).parent for name in names}:
            for path in folder.glob(".*.tmp"):
                match = _TEMP.fullmatch(path.name)
                if match and path.with_name(match["name"]).relative_to(self.root).as_posix() in names:
                    path.unlink(missing_ok=True)

    def prune(self, folder: str) -> None:
        """Remove a folder if it is there and empty."""
        with suppress(OSError):
            self._path(folder).rmdir()

    @contextmanager
    def lock(self, name: str, wait: float = 0) -> Iterator[None]:
        """Hold ``.name.lock`` in the directory; raises `Busy` when another process has it for ``wait`` seconds."""
        Path(self.root).mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._path(f".{name}.lock"), timeout=wait)
        try:
            lock.acquire()
        except Timeout:
            raise Busy(name) from None
        try:
            yield
        finally:
            lock.release()

    def locked(self) -> list[str]:
        """Names of the locks that are held, by this process too."""
        held = []
        for path in sorted(Path(self.root).glob(".*.lock")):
            lock = FileLock(path, timeout=0)
            try:
                lock.acquire()
                lock.release()
            except Timeout:
                held.append(path.name[1 : -len(".lock")])
        return held

    def free(self) -> int | None:
        """Free bytes of the disk that the directory is or would be on."""
        path = Path(self.root).absolute()
        while not path.exists():
            path = path.parent
        return shutil.disk_usage(path).free


def open_store(place: str) -> Store:
    """The store for what the user gave as ``--out``. Raises `UserError` for a place that cannot be one."""
    if not place:
        raise UserError("--out is empty: give the directory for the shards, such as --out shards")
    place = place.removeprefix("file://")
    if "://" in place:
        url = place.rstrip("/")
        if "://" not in url:
            raise UserError(f"--out {place} names no place: write it as s3://BUCKET/PREFIX")
        file_system(url)  # refuses what cannot be
        return RemoteStore(url)
    store = LocalStore(place)
    if Path(place).exists() and not Path(place).is_dir():
        raise UserError(f"--out {place} is a file: give a directory")
    return store


def _sync_directory(path: Path) -> None:
    """Make a rename last: without it a power cut may bring the old name back."""
    if os.name != "posix":
        return  # directories cannot be opened elsewhere
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
