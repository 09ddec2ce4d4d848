"""The service as a process of its own for tests, and requests to it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import requests
import urllib3
from infer_weights import make_weights
from numpy.typing import NDArray
from PIL import Image

from infer.export import export

ROOT = Path(__file__).parent.parent
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return str(self.json["text"])


@dataclass(frozen=True)
class Service:
    """A service that runs."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    pool: urllib3.PoolManager

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, **options: Any) -> Answer:
        answer = self.pool.request(method, self.url + path, retries=False, timeout=60, **options)
        return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)

    def get(self, path: str, **options: Any) -> Answer:
        return self.ask("GET", path, **options)

    def post(self, path: str = "/crnn", **options: Any) -> Answer:
        return self.ask("POST", path, **options)

    def upload(self, *images: bytes, path: str = "/crnn", **fields: str) -> Answer:
        """Files as a browser sends them."""
        parts: list[tuple[str, Any]] = [("file", (f"{k}.png", data)) for k, data in enumerate(images)]
        return self.post(path, fields=[*fields.items(), *parts])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 60)

    def metric(self, name: str) -> float:
        """A figure of /metrics, by its name with labels; 0 when it is not there yet."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics").body.decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@contextmanager
def service(
    folder: Path, *flags: str, program: Sequence[str] = ("-m", "infer.server"), code: int = 0, **environment: str
) -> Iterator[Service]:
    """A service on a free port, its log in ``folder``. It must end with ``code`` when it is told to, and never have
    failed."""
    log = folder / "service.log"
    command = [sys.executable, *program, "--port", "0", *flags]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, env={**os.environ, **environment})
    try:
        while not (found := re.search(r" at http://\S+:(\d+) ", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        with urllib3.PoolManager(maxsize=8) as pool:
            yield Service(process, int(found[1]), log, pool)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == code, log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.kill()
        process.wait()


@cache
def model(folder: Path) -> Path:
    """A small model that reads at random, but the same always; made once for all tests with this folder."""
    path = folder / "small.onnx"
    export(make_weights(folder / "small.pt"), path)
    return path


def picture(seed: int, height: int = 32, width: int = 160) -> NDArray[np.uint8]:
    """Something like strokes, grey [H, W]; each seed's is read differently."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, (-(-height // 4), -(-width // 4)), np.uint8)
    return np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC))


def encode(pixels: NDArray[np.uint8] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """An image file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def b64(data: bytes | NDArray[np.uint8]) -> str:
    return base64.b64encode(data if isinstance(data, bytes) else data.tobytes()).decode()


LINE, COLUMN = picture(1, 32, 200), picture(2, 200, 32)
PNG = encode(LINE)


def raw_request(body: bytes, kind: str, path: str = "/crnn", *, close: bool = True, extra: Sequence[str] = ()) -> bytes:
    """A request as it goes over the wire."""
    head = [f"POST {path} HTTP/1.1", "Host: test", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *extra]
    return "\r\n".join([*head, *(["Connection: close"] if close else []), "", ""]).encode() + body


def receive(connection: socket.socket) -> bytes:
    """All that comes until the other side ends the connection, also by resetting it."""
    parts = []
    while True:
        try:
            part = connection.recv(1 << 16)
        except ConnectionResetError:
            part = b""
        if not part:
            return b"".join(parts)
        parts.append(part)


def send_json(served: Service, value: object, path: str = "/crnn") -> Answer:
    return served.post(path, body=json.dumps(value), headers={"Content-Type": "application/json; charset=utf-8"})


def send_form(served: Service, body: str) -> Answer:
    return served.post(body=body, headers={"Content-Type": FORM})


def grey_form(pixels: NDArray[np.uint8], **more: str) -> str:
    """As a known client of the older service sends it: base64 with line breaks, the shape as a repeated field."""
    text = base64.encodebytes(pixels.tobytes())
    return urlencode([("img", text), *(("shape", size) for size in pixels.shape), *more.items()])


def by_requests(served: Service, **options: Any) -> Answer:
    answer = requests.post(f"{served.url}/crnn", timeout=60, **options)
    return Answer(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, answer.content)
