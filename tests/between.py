"""A proxy between a client and a web server that spoils what it is told to, for tests of uploads."""

from __future__ import annotations

import http.client
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Between:
    """Forwards to ``port`` of this machine what ``fault`` does not spoil.

    ``fault`` receives the method, the path with its query, and how many equal requests came before; it returns

    * "": all is well
    * "500", "503": that status, and the server never hears of it; "silent": no answer, and it never does
    * "cut": the server gets half of the body, then the connection ends on both sides
    * "lost": the server does it, but the connection ends without an answer
    """

    def __init__(self, port: int, fault: Callable[[str, str, int], str]) -> None:
        self.port, self.fault = port, fault
        self.spoiled: Counter[str] = Counter()
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._seen: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Between:
        outer = self

        class Handler(_Handler):
            between = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def verdict(self, method: str, path: str) -> str:
        """What to do to a request."""
        with self._lock:
            before = self._seen[method, path]
            self._seen[method, path] += 1
            fault = self.fault(method, path, before)
            if fault:
                self.spoiled[fault] += 1
        return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    between: Between

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        with suppress(OSError):
            self._pass_on()

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.between.verdict(self.command, self.path)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        if fault.isdigit():
            self.send_response(int(fault))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif fault == "silent":
            self.between.closing.wait(60)
            self.close_connection = True
        elif fault == "cut":
            lines = [f"{self.command} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
            with socket.create_connection(("127.0.0.1", self.between.port)) as server:
                server.sendall("\r\n".join([*lines, "", ""]).encode() + body[: len(body) // 2])
            self.close_connection = True
        else:
            server = http.client.HTTPConnection("127.0.0.1", self.between.port)
            server.request(self.command, self.path, body, headers)
            answer = server.getresponse()
            data = answer.read()
            server.close()
            if fault == "lost":
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(data)))
            self.end_headers()
            self.wfile.write(data)
