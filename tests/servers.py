"""Web servers for tests, on the loopback: a real nginx, and one that goes wrong as told."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import SSLContext

import pytest

from gen.errors import UserError
from tools import nginx as tool


@contextmanager
def nginx(root: Path, folder: Path, extra: str = "") -> Iterator[str]:
    """As `tools.nginx.nginx`, with a log of what was asked for, ``access.log``, and answers that may be compressed."""
    find_nginx()
    with tool.nginx(root, folder, f"access_log {folder}/access.log; gzip on; gzip_types *; {extra}") as url:
        yield url


def find_nginx() -> None:
    """Where the program is missing the test is skipped, but fails in CI."""
    try:
        tool.find_nginx()
    except UserError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))


class Faulty:
    """A server of the files below ``root`` that does to each answer what ``fault`` says.

    ``fault`` receives the path and how many times this path and range were asked for before; it returns one of

    * "": all is well; "no range": the whole file, whatever was asked for
    * "cut": half the body, then the connection ends; "short": half the body, its length given as that
    * "stall": half the body, then silence; "silent": no answer; "drip": a byte at a time; "drip header"
    * "hang up": the connection ends without an answer
    * "flip": a wrong bit; "shifted": another range than asked for; "500", "404", …: that status
    """

    def __init__(
        self, root: Path, fault: Callable[[str, int], str] = lambda path, before: "", tls: SSLContext | None = None
    ) -> None:
        self.root, self.fault, self._tls = root, fault, tls
        self.requests: list[tuple[str, str]] = []  # path and Range header of each
        self.closing = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Faulty:
        outer = self

        class Handler(_Handler):
            faulty = outer

        self._server = _Server(("127.0.0.1", 0), Handler)
        if self._tls:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def count(self, ending: str) -> int:
        """How many requests were for paths with this ending."""
        return sum(path.endswith(ending) for path, _ in self.requests)

    def note(self, path: str, range: str) -> int:
        """Remember a request; how many equal ones came before."""
        with self._lock:
            before = self.requests.count((path, range))
            self.requests.append((path, range))
        return before


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Clients that give up are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    faulty: Faulty

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        asked = self.headers.get("Range", "")
        fault = self.faulty.fault(path, self.faulty.note(path, asked))
        if fault in ("silent", "hang up"):
            if fault == "silent":
                self.faulty.closing.wait(60)
            self.close_connection = True
            return
        try:
            data = (self.faulty.root / path.lstrip("/")).read_bytes()
        except OSError:
            fault = "404"
        if fault.isdigit():
            self.send_response(int(fault))
            self.send_header("Content-Length", "0")
            if fault == "503":
                self.send_header("Retry-After", "0")
            self.end_headers()
            return
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
        if match and fault != "no range":
            begin, last = int(match[1]), min(int(match[2] or len(data)), len(data) - 1)
            begin += 5 * (fault == "shifted")
            body = data[begin : last + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{last}/{len(data)}")
        else:
            body = data
            self.send_response(200)
        self._send(body, fault)

    def _send(self, body: bytes, fault: str) -> None:
        half = body[: (len(body) + 1) // 2]
        if fault == "flip":
            body = half[:-1] + bytes([half[-1] ^ 1]) + body[len(half) :]
        if fault == "drip header":
            self._drip(b"X: " + b"x" * 5000)
        self.send_header("Content-Length", str(len(half if fault == "short" else body)))
        self.end_headers()
        if fault == "drip":
            self._drip(body)
        elif fault in ("cut", "short", "stall"):
            self.wfile.write(half)
            if fault == "stall":
                self.faulty.closing.wait(60)
            self.close_connection = fault != "short"
        else:
            self.wfile.write(body)

    def _drip(self, data: bytes) -> None:
        self.flush_headers()
        for k in range(len(data)):
            self.wfile.write(data[k : k + 1])
            if self.faulty.closing.wait(0.02):
                break
