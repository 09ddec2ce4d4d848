"""Other readers beside ours: installed from PyPI into a venv of their own, a process each that reads what it is given.

python -m tools.bench_peers
python -m tools.bench_infer --only lines --peers
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from gen.errors import UserError
from gen.paths import cache_dir
from tools.peer_venv import install, last_line, make

WORKER = Path(__file__).with_name("bench_infer_peer.py")
RAPIDOCR = "rapidocr==3.10.*", "onnxruntime"  # its wheel brings the models of PP-OCRv6, small
DDDDOCR = ("ddddocr==1.6.1",)
NAMES = {
    "rapidocr": "RapidOCR 3.10 (PP-OCRv6 small)",
    "ddddocr": "ddddocr 1.6.1",
    "ddddocr-beta": "ddddocr 1.6.1, its `beta` model",
}
NEEDS = {"rapidocr": RAPIDOCR, "ddddocr": DDDDOCR, "ddddocr-beta": DDDDOCR}


def command(name: str) -> list[str]:
    """What starts the worker of a peer of `NAMES`, once all is installed that it needs. Raises `UserError` when that
    cannot be had."""
    folder, needs = cache_dir() / "readers-venv", NEEDS[name]
    python = make(folder)
    if problem := install(python, name, needs):
        raise UserError(f"cannot install {' '.join(needs)} into {folder}: {problem}; is there a network?")
    return [str(python), str(WORKER), name]


class Peer:
    """A worker that stays; call it with images. ``start_s``: from its start to its first text.

    Raises `UserError` when it ends early.
    """

    def __init__(self, name: str, command: Sequence[str], first: np.ndarray[Any, Any]) -> None:
        self._name = name
        self._folder = tempfile.TemporaryDirectory(prefix="bench-peers-")
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (closed at the end)
        begin = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )
        try:
            self([first])
        except UserError:
            self.close()
            raise
        self.start_s = time.perf_counter() - begin

    def __call__(self, images: Sequence[np.ndarray[Any, Any]]) -> dict[str, Any]:
        """What `tools.bench_infer_peer.timed` gives."""
        file = Path(self._folder.name, "lines.npz")
        np.savez(file, *images)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it ended; why is told below
            self._process.stdin.write(f"{file}\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            self._errors.seek(0)
            raise UserError(f"{NAMES[self._name]} does not run: {last_line(self._errors.read())}")
        try:
            found: dict[str, Any] = json.loads(answer)
        except ValueError:
            raise UserError(f"{NAMES[self._name]} says {answer[:100].strip()!r} instead of an answer") from None
        return found

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):  # it ended before
                stream.close()
        self._process.wait()
        self._errors.close()
        self._folder.cleanup()


def started(name: str) -> Peer:
    """The worker of a peer of `NAMES`, after a first line without text. Raises `UserError`."""
    return Peer(name, command(name), np.full((32, 320), 255, np.uint8))
