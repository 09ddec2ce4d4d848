"""Bytes from servers: ``http(s)://`` through urllib3, any other URL (``s3://`` …) through fsspec.

    python -m pytest tests/test_train_fetch.py

Servers fail in many ways: they refuse, stall, answer 500, cut bodies, ignore Range. Whatever they do, a call here ends
before its deadline, with exactly the bytes asked for or with `Unusable` naming the URL. Whether the bytes are the right
ones is for the caller to verify.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    SSLError,
)

from gen.errors import UserError
from train.patience import Attempts, Patience, within
from train.place import Missing, Unusable

_CHUNK = 1 << 16
_RANGE = re.compile(r"bytes (\d+)-")
_CONNECTIONS = 8  # to one host
_REDIRECTS = urllib3.Retry(connect=False, read=False, redirect=5, status=0, other=0, respect_retry_after_header=False)
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


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
        try:
            parts = urlsplit(url)
            named = parts.hostname and parts.port != 0  # reading a port that cannot be one raises ValueError
        except ValueError:
            named = False
        if not named:
            raise UserError(f"{url} names no host: write it as http://HOST/DIRECTORY or http://HOST:PORT/DIRECTORY")
        return HttpServer(url, patience)
    return FsspecServer(url, patience)


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
        """Bytes from ``start`` to ``stop`` (None: the end), going on where an answer broke off."""
        attempts = Attempts(self.url(name), self.patience, (stop or start) - start)
        position = start
        while stop is None or position < stop:
            response: urllib3.BaseHTTPResponse | None = None
            pause = None
            try:
                response = self._request(name, position, stop, attempts)
                begin = _begin(response, attempts.url)
                if response.status == 200 and start > 0:
                    raise NoRanges  # to read from the start of a large file is not what was asked for
                if stop is None:
                    attempts.expect(response.length_remaining or 0)
                if response.status in _TRANSIENT:
                    reason, pause = _status(response), urllib3.Retry().get_retry_after(response)
                elif begin > position or (begin < position and response.status == 206):
                    reason = f"the server sends bytes from {begin} on, and not from {position}"
                else:
                    for piece in _body(response, position - begin, attempts):
                        piece = piece if stop is None else piece[: stop - position]
                        position += len(piece)
                        attempts.progress()
                        yield piece
                        if position == stop:
                            return
                    if stop is None:
                        return
                    reason = f"the answer ended {stop - position} bytes early"
            except (HTTPError, OSError) as error:  # OSError: also what `within` raises
                reason = self._reason(error, attempts.url)
            finally:
                if response is not None:
                    response.close()
            attempts.failed(reason, pause)

    def _request(self, name: str, position: int, stop: int | None, attempts: Attempts) -> urllib3.BaseHTTPResponse:
        """The start of an answer, its body still to come."""
        headers = {"Accept-Encoding": "identity"}
        if position or stop is not None:
            headers["Range"] = f"bytes={position}-{'' if stop is None else stop - 1}"
        if login := urlsplit(self.place).netloc.rpartition("@")[0]:
            headers.update(urllib3.make_headers(basic_auth=unquote(login)))
        connect, silence = self.patience.connect, self.patience.silence
        timeout = urllib3.Timeout(connect=connect, read=silence)
        address = self._address(name)
        response = within(
            min(attempts.left(), connect + silence),
            lambda: self._pool().request(
                "GET", address, headers=headers, timeout=timeout, retries=_REDIRECTS, preload_content=False
            ),
        )
        self._met = True
        return response

    def _pool(self) -> urllib3.PoolManager:
        if os.getpid() not in self._pools:
            self._pools[os.getpid()] = urllib3.PoolManager(maxsize=_CONNECTIONS)
        return self._pools[os.getpid()]

    def _reason(self, error: Exception, url: str) -> str:
        """Words for a failure. Raises `Unusable` when another attempt is of no use."""
        if isinstance(error, MaxRetryError) and error.reason is not None:
            error = error.reason
        if isinstance(error, ProtocolError) and isinstance(error.args[-1], Exception):
            error = error.args[-1]
        if error.args and isinstance(error.args[0], ssl.SSLCertVerificationError):
            raise Unusable(
                f"{url}: the certificate is refused, {error.args[0].verify_message}; if it is the right server, name "
                "the file with its certificate, or with its authority's, in SSL_CERT_FILE"
            ) from None
        words = str(error).partition("): ")[2] or str(error)
        if not self._met and isinstance(error, (NewConnectionError, ConnectTimeoutError, SSLError)):
            raise Unusable(f"{url}: no connection: {words}; check the address") from None
        return words


def _status(response: urllib3.BaseHTTPResponse) -> str:
    return f"the server answers {response.status} {response.reason or ''}".rstrip()


def _begin(response: urllib3.BaseHTTPResponse, url: str) -> int:
    """Where in the file a body begins. Raises `Unusable`, or `Missing`, when there is none and will not be."""
    if response.status in (404, 410):
        raise Missing(f"{url}: {_status(response)}")
    if response.status == 206:
        match = _RANGE.match(response.headers.get("Content-Range", ""))
        if match is None:
            raise Unusable(f"{url}: a partial answer that does not say which part it is")
        return int(match[1])
    if response.status != 200 and response.status not in _TRANSIENT:
        raise Unusable(f"{url}: {_status(response)}")
    return 0


def _body(response: urllib3.BaseHTTPResponse, skip: int, attempts: Attempts) -> Iterator[bytes]:
    """What comes of a body, as it comes, without its first ``skip`` bytes."""
    while piece := response.read1(_CHUNK):
        attempts.left()
        if len(piece) > skip:
            yield piece[skip:]
        skip = max(0, skip - len(piece))


@dataclass
class FsspecServer:
    """Files below a URL of any kind that fsspec knows; whatever it does is given up at the deadline."""

    place: str
    patience: Patience
    _opened: dict[int, tuple[Any, str]] = field(default_factory=dict)  # file system and path, by process

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}

    def inside(self, folder: str) -> FsspecServer:
        """A directory in this one."""
        return FsspecServer(f"{self.place.rstrip('/')}/{folder}", self.patience)

    def url(self, name: str = "") -> str:
        """The address of a file, for people."""
        scheme, found, rest = self.place.rpartition("://")
        host, slash, path = rest.partition("/")
        place = f"{scheme}{found}{host.rpartition('@')[2]}{slash}{path}"
        return f"{place.rstrip('/')}/{name}" if name else place

    def file(self, name: str) -> Iterator[bytes]:
        """The bytes of a whole file."""
        yield self._call(name, lambda files, path: files.cat_file(path))

    def range(self, name: str, offset: int, size: int) -> bytes:
        """``size`` bytes of a file from ``offset`` on; fewer where it ends."""
        return self._call(name, lambda files, path: files.cat_file(path, start=offset, end=offset + size))

    def _call(self, name: str, read: Callable[[Any, str], bytes]) -> bytes:
        files, root = self._file_system()
        attempts = Attempts(self.url(name), self.patience)
        path = f"{root.rstrip('/')}/{name}"
        while True:
            try:
                return within(attempts.left(), lambda: read(files, path))
            except FileNotFoundError:
                raise Missing(f"{attempts.url}: there is no such file") from None
            except PermissionError as error:
                raise Unusable(f"{attempts.url}: {error}") from None
            except Exception as error:  # each file system has errors of its own
                attempts.failed(f"{type(error).__name__}: {error}")

    def _file_system(self) -> tuple[Any, str]:
        if os.getpid() not in self._opened:
            try:
                from fsspec.core import url_to_fs

                self._opened[os.getpid()] = url_to_fs(self.place)
            except ImportError as error:
                raise UserError(f"{self.url()}: {error}; for s3, pip install 'crnn-shards[s3]'") from None
            except ValueError as error:
                raise UserError(f"{self.url()}: {error}; give a directory, http(s)://… or s3://…") from None
        return self._opened[os.getpid()]
