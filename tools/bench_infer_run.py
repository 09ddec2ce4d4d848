"""The command line of the reader as its users start it: a folder of images, one image, time and memory; part of
``python -m tools.bench_infer``.

Linux only: peak memory is ``VmHWM`` of ``/proc``. What the operating system says of a process that has ended is no use
here, since it counts what this process had when it started that one.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen.errors import UserError
from gen.image import encode_image
from tools.bench_gen_run import median
from tools.peer_venv import last_line
from tools.pen import Line

ROOT = Path(__file__).parent.parent
SECONDS = 0.005  # between two looks at the memory
Step = Callable[[str], None]


@dataclass(frozen=True)
class Ran:
    """A command that went well: seconds until its first line of output and until its end, its largest resident memory
    in bytes, what it printed."""

    first: float
    wall: float
    memory: int
    out: str
    err: str


def ran(*arguments: str, python: Sequence[str] = ()) -> Ran:
    """``python -m infer`` with arguments; ``python``: flags of the interpreter. Raises `UserError` when it fails."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        begin = time.perf_counter()
        command = [sys.executable, *python, "-m", "infer", *arguments]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8") as process:
            assert process.stdout is not None
            ended = threading.Event()
            peak = [0]

            def watch() -> None:
                status = Path("/proc", str(process.pid), "status")
                while not ended.wait(SECONDS):
                    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8"))
                    peak[0] = max(peak[0], int(found[1]) * 1024 if found else 0)

            thread = threading.Thread(target=watch)
            thread.start()
            try:
                head = process.stdout.readline()
                first = time.perf_counter() - begin
                out = head + process.stdout.read()
            finally:
                ended.set()  # before the process is waited for: until then its number is its own
                thread.join()
            process.wait()
            wall = time.perf_counter() - begin
        errors.seek(0)
        err = errors.read()
    if process.returncode:
        raise UserError(f"python -m infer ended with {process.returncode}: {last_line(err)}")
    return Ran(first, wall, peak[0], out, err)


def save(lines: Sequence[Line], folder: Path) -> None:
    """Lines as JPEG files, as they come from a scanner."""
    folder.mkdir()
    for number, line in enumerate(lines):
        (folder / f"{number:06}.jpg").write_bytes(bytes(encode_image(line.pixels, "jpg", 90)))


def start(weights: Path, line: Line, rounds: int, step: Step) -> dict[str, Any]:
    """From the start of Python to the text of one image; what the process holds; whether it imported torch."""
    with tempfile.TemporaryDirectory(prefix="bench-infer-") as name:
        folder = Path(name, "one")
        save([line], folder)
        arguments = str(folder / "000000.jpg"), "--weight-path", str(weights)
        step("start, what it imports")
        modules = re.findall(r"^import time:.*\|\s+(\S+)$", ran(*arguments, python=("-X", "importtime")).err, re.M)
        found = []
        for number in range(rounds):
            step(f"start, round {number + 1}")
            found.append(ran(*arguments))
    return {
        "first_text_s": median([each.first for each in found]),
        "whole_s": median([each.wall for each in found]),
        "memory": max(each.memory for each in found),
        "modules": len(modules),
        "torch": "torch" in modules,
    }


def folder(weights: Path, lines: Sequence[Line], rounds: int, step: Step) -> dict[str, Any]:
    """A folder of images through ``--image-dir``, with one thread and with one for each processor: images a second of
    the whole command, its start included, and memory."""
    result: dict[str, Any] = {"images": len(lines)}
    with tempfile.TemporaryDirectory(prefix="bench-infer-") as name:
        place = Path(name, "lines")
        save(lines, place)
        arguments = "--image-dir", str(place), "--weight-path", str(weights)
        found: dict[str, list[Ran]] = {"one": [], "all": []}
        for number in range(rounds):
            for which, more in (("one", ("--workers", "1")), ("all", ())):
                step(f"folder, round {number + 1}, workers: {which}")
                done = ran(*arguments, *more)
                if (count := done.out.count("label:")) != len(lines):
                    raise UserError(f"python -m infer printed {count} labels for {len(lines)} images")
                found[which].append(done)
    for which, runs in found.items():
        result[which] = {
            "rate": median([len(lines) / each.wall for each in runs]),
            "wall_s": median([each.wall for each in runs]),
            "memory": max(each.memory for each in runs),
        }
    return result
