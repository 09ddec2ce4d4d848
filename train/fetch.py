"""Bytes from servers: ``http(s)://`` through urllib3, any other URL (``s3://`` …) through fsspec.

    python -m pytest tests/test_train_fetch.py

Servers fail in many ways: they refuse, stall, answer 500, cut bodies, ignore Range. Whatever they do, a call here ends
before its deadline, with exactly the bytes asked for or with `Unusable` naming the URL. Whether the bytes are the right
ones is for the caller to verify.
"""

from __future__ import annotations

import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, SSLError

from gen.errors import UserError
from train.place import Missing, Unusable

T = TypeVar("T")
_CHUNK = 1 << 16
_PIECE = 4 << 20  # bytes that one deadline is for; larger files have as many as they need
_LONGEST_PAUSE = 10.0  # seconds
_RANGE = re.compile(r"bytes (\d+)-")
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds, and how often to try again."""

    connect: float = 10.0
    silence: float = 30.0  # between two bytes
    total: float = 300.0  # for 4 MiB
    tries: int = 6  # in a row that bring no byte
    pause: float = 0.5  # after the first failure; doubles with each


class NoRanges(Exception):
    """The server sends whole files only."""


class Server(Protocol):
    """Picklable, and used by several threads. Raises `Unusable`, or `Missing` for a file that is not there."""

    patience: Patience

    def inside(self, folder: str) -> Server: ...
    def file(self, name: str) -> Iterator[bytes]: ...  # its bytes in pieces
    def range(self, name: str, offset: int, size: int) -> bytes: ...  # may raise NoRanges
    def url(self, name: str = "") -> str: ...  # without passwords and signatures


def open_server(url: str, patience: Patience) -> Server:
    """The server for a URL. Raises `UserError` when nothing here can read it."""
    if url.startswith(("http://", "https://")):
        if not urlsplit(url).hostname:
            raise UserError(f"{url} names no host: write it as http://HOST/DIRECTORY")
        return HttpServer(url, patience)
    return FsspecServer(url, patience)


def within(seconds: float, call: Callable[[], T]) -> T:
    """The result of ``call``, which runs in a thread of its own. Raises TimeoutError when it takes longer."""
    results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((call(), None))
        except BaseException as error:
            results.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = results.get(timeout=max(0.0, seconds))
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:.3g} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


class Attempts:
    """Counts failures of one request and waits between them, until its deadline."""

    def __init__(self, url: str, patience: Patience) -> None:
        self.url, self._patience = url, patience
        self._failures = 0
        self._total = patience.total
        self._begin = time.monotonic()

    def expect(self, size: int) -> None:
        """Allow as long as ``size`` bytes may take."""
        self._total = self._patience.total * max(1, -(-size // _PIECE))

    def left(self) -> float:
        """Seconds until the deadline. Raises `Unusable` when it has passed."""
        left = self._begin + self._total - time.monotonic()
        if left <= 0:
            raise Unusable(f"{self.url}: not complete after {self._total:.3g} s")
        return left

    def progress(self) -> None:
        """Bytes came: the failures before do not count any more."""
        self._failures = 0

    def failed(self, reason: str, pause: float | None = None) -> None:
        """Wait before the next attempt. Raises `Unusable` when there is none."""
        self._failures += 1
        if self._failures >= self._patience.tries:
            raise Unusable(f"{self.url}: {reason}, {self._failures} times in a row")
        if pause is None:
            pause = min(self._patience.pause * 2 ** (self._failures - 1), _LONGEST_PAUSE)
        if pause >= self.left():
            raise Unusable(f"{self.url}: {reason}, and no time is left to try again")
        time.sleep(pause)


@dataclass
class HttpServer:
    """Files below a URL. What follows a ``?`` in it (a signature) is sent with every request."""

    place: str
    patience: Patience
    _met: bool = False  # it has answered before, so a refusal is an outage and not a typing error
    _pools: dict[int, urllib3.PoolManager] = field(default_factory=dict)  # by process: sockets cannot be shared

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pools": {}}

    def inside(self, folder: str) -> HttpServer:
        """A directory in this one."""
        return HttpServer(self._address(folder), self.patience, self._met)

    def url(self, name: str = "") -> str:
        """The address of a file, for people."""
        parts = urlsplit(self._address(name))
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()

    def _address(self, name: str) -> str:
        parts = urlsplit(self.place)
        return parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}" if name else parts.path).geturl()

    def file(self, name: str) -> Iterator[bytes]:
        """The bytes of a whole file, in pieces."""
        return self._pieces(name, 0, None)

    def range(self, name: str, offset: int, size: int) -> bytes:
        """``size`` bytes of a file from ``offset`` on. Raises `NoRanges`."""
        return b"".join(self._pieces(name, offset, offset + size))

    def _pieces(self, name: str, start: int, stop: int | None) -> Iterator[bytes]:
        """Bytes from ``start`` to ``stop`` (None: the end), going on where a body was cut."""
        attempts = Attempts(self.url(name), self.patience)
        position = start
        while stop is None or position < stop:
            response: Any = None
            try:
                response = self._request(name, position, stop, attempts)
                at = self._offset(response, position, attempts.url)
                if at > position or (at < position and start > 0):
                    raise NoRanges  # reading everything before would cost more than the caller can know
                if stop is None:
                    attempts.expect(position + (response.length_remaining or 0))
                while (stop is None or position < stop) and (piece := response.read1(_CHUNK)):
                    attempts.left()
                    piece = piece[max(0, position - at) :] if at < position else piece
                    at = max(at, position) if piece else at + _CHUNK
                    ...
            finally:
                if response is not None:
                    response.close()
