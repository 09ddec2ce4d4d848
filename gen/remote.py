"""Where a run puts its files when that is no local directory: object storage, and what else fsspec can write to.

    python -m gen --out s3://bucket/prefix --n 10M

A draft is a file without a name on this machine's disk, so that a killed worker leaves nothing behind. It is published
by one request of the kind that shows an object whole or not at all (a PUT; beyond 100 MB the parts of a multipart
upload, shown when it is completed). Where a file is seen while it grows (sftp, HDFS, …) it grows under a hidden name
and is renamed. Requests are repeated when they fail or get no answer: all of them may be done twice.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from gen.errors import UserError
from gen.patience import Persistence

T = TypeVar("T")
# Protocols whose uploads appear whole: the name of an object is given when its last byte is there.
_WHOLE = frozenset(("abfs", "abfss", "az", "gcs", "gs", "oci", "oss", "s3", "s3a", "tos"))
_READ_ONLY = frozenset(("data", "http", "https"))
_EXTRAS = {"s3": "s3", "s3a": "s3"}
_TEMP = re.compile(r"\.(?P<name>.+)\.[0-9a-f]+\.tmp")


@dataclass(frozen=True)
class RemoteStore:
    """Files below a URL. Keys and addresses of servers come from the environment, as its library wants them."""

    url: str  # without a slash at its end
    patience: Persistence = field(default_factory=Persistence)
    guarded: ClassVar[bool] = False
    readers: ClassVar[int] = 16

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # without a password

    @property
    def whole(self) -> bool:
        """Whether an upload is seen only when it is complete."""
        return self.url.partition("://")[0] in _WHOLE

    def ask(self, name: str, call: Callable[[Any, str], T], size: int = 0) -> T:
        """What ``call`` makes of the file system and the path of a file. Raises OSError, one line."""

        def request() -> T:
            files, root = file_system(self.url)
            files.invalidate_cache()  # others write too
            return call(files, f"{root.rstrip('/')}/{name}".rstrip("/"))

        try:
            return self.patience.ask(request, size, _final)
        except (UserError, FileNotFoundError):
            raise
        except Exception as error:
            told = " ".join(f"{error}".split()) or "it failed"
            kind = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
            raise OSError(f"{self}/{name}: {kind}{told}") from error

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, None if there is none."""
        with suppress(FileNotFoundError):
            data: bytes = self.ask(name, lambda files, path: files.cat_file(path))
            return data
        return None

    def part(self, name: str, offset: int, size: int) -> bytes:
        """``size`` bytes of a file from ``offset`` on, fewer where it ends. Raises FileNotFoundError."""
        return self.ask(name, lambda files, path: bytes(files.cat_file(path, start=offset, end=offset + size)), size)

    def size(self, name: str) -> int | None:
        """Bytes of a file, None if there is none."""
        with suppress(FileNotFoundError):
            found = self.ask(name, lambda files, path: files.info(path))
            return int(found["size"]) if found["type"] == "file" else None
        return None

    def sizes(self, folder: str) -> dict[str, int]:
        """Files of a folder with their bytes, by name, without hidden ones; none when the folder is missing."""
        return {name: size for name, size in self._list(folder) if name[0] != "."}

    def names(self, folder: str) -> list[str]:
        """Files of a folder, sorted, without hidden ones."""
        return sorted(self.sizes(folder))

    def _list(self, folder: str) -> list[tuple[str, int]]:
        try:
            found = self.ask(folder, lambda files, path: (path, files.ls(path, detail=True)))
        except FileNotFoundError:
            return []
        path, entries = found
        inside = [entry for entry in entries if entry["type"] == "file" and len(entry["name"]) > len(path)]
        return [(name, int(entry["size"])) for entry in inside if (name := entry["name"].rsplit("/", 1)[-1])]

    def create(self, name: str) -> RemoteDraft:
        """A new file, not yet visible under its name."""
        return RemoteDraft(self, name)

    def remove(self, name: str) -> None:
        """Delete a file if it is there."""
        with suppress(FileNotFoundError):
            self.ask(name, lambda files, path: files.rm_file(path))

    def sweep(self, names: set[str]) -> None:
        """Delete drafts of these files that killed processes left behind: where uploads are whole there are none."""
        for folder in () if self.whole else {name.rpartition("/")[0] for name in names}:
            for found, _ in self._list(folder):
                match = _TEMP.fullmatch(found)
                if match and f"{folder}/{match['name']}".lstrip("/") in names:
                    self.remove(f"{folder}/{found}".lstrip("/"))

    def prune(self, folder: str) -> None:
        """Remove a folder if it is there and empty; object storage has none."""
        if not self.whole and not self._list(folder):
            with suppress(OSError):
                self.ask(folder, lambda files, path: files.rmdir(path))

    @contextmanager
    def lock(self, name: str, wait: float = 0) -> Iterator[None]:
        """Nothing: what runs at the same time writes the same bytes."""
        yield

    def locked(self) -> list[str]:
        """Locks that are held: none is ever known of."""
        return []

    def free(self) -> int | None:
        """Not limited, or not known."""
        return None


class RemoteDraft:
    """A file without a name in the folder for temporary files, then an upload."""

    def __init__(self, store: RemoteStore, name: str) -> None:
        self._store, self._name = store, name
        self._lock = threading.Lock()
        self._file = tempfile.TemporaryFile(prefix="crnn-shards-")  # noqa: SIM115 (closed by __exit__)

    def write(self, data: bytes, /) -> object:
        """Append ``data``."""
        try:
            return self._file.write(data)
        except OSError as error:
            raise _no_room(error) from None

    def seal(self) -> None:
        """Bring every byte to the file."""
        try:
            self._file.flush()
        except OSError as error:
            raise _no_room(error) from None

    def publish(self) -> None:
        """Upload it in place of an older one, and see that all of it is there."""
        self.seal()
        size = self._file.tell()
        try:
            self._store.ask(self._name, self._put, size)
        except FileNotFoundError as error:  # no bucket of that name
            raise OSError(f"{self._store}/{self._name}: {error}") from None
        if (there := self._store.size(self._name)) != size:
            raise OSError(f"{self._store}/{self._name}: it has {there} bytes after an upload of {size}")

    def _put(self, files: Any, path: str) -> None:
        with self._lock:  # a request that was given up must not find another file under this number
            handle = os.dup(self._file.fileno())
        try:
            if self._store.whole:
                files.put_file(f"/dev/fd/{handle}", path)
            else:
                _put_aside(files, f"/dev/fd/{handle}", path)
        finally:
            os.close(handle)

    def __enter__(self) -> RemoteDraft:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        with self._lock, suppress(OSError):
            self._file.close()


def _put_aside(files: Any, ours: str, path: str) -> None:
    """Upload under a hidden name, then rename."""
    folder, _, name = path.rpartition("/")
    temp = f"{folder}/.{name}.{os.urandom(8).hex()}.tmp"
    try:
        files.put_file(ours, temp)
        try:
            files.mv(temp, path)
        except OSError:  # some do not rename onto a file
            files.rm_file(path)
            files.mv(temp, path)
    except BaseException:
        with suppress(Exception):
            files.rm_file(temp)
        raise


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it. Raises `UserError` when nothing here can write there."""
    protocol = url.partition("://")[0]
    if protocol in _READ_ONLY or "::" in url:
        raise UserError(f"--out {url}: nothing can be written there; give a directory, s3://BUCKET/PREFIX or the like")
    try:
        from fsspec.core import url_to_fs

        files, path = url_to_fs(url)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        advice = f"pip install 'crnn-shards[{extra}]'" if extra else f"{error}"
        raise UserError(f"--out {url} needs a library that is not installed: {advice}") from None
    except ValueError as error:
        raise UserError(f"--out {url}: {error}; give a directory, s3://BUCKET/PREFIX or the like") from None
    return files, path


def _final(error: Exception) -> bool:
    """Whether asking again is of no use."""
    return isinstance(error, (UserError, FileNotFoundError, PermissionError, NotImplementedError)) or any(
        word in type(error).__name__ for word in ("Credential", "Profile", "ParamValidation")
    )


def _no_room(error: OSError) -> OSError:
    """An error of the disk that drafts are on, told as such."""
    told = f"{error.strerror or error} in {tempfile.gettempdir()}, where shards wait for their upload; set TMPDIR"
    return OSError(error.errno, told)
