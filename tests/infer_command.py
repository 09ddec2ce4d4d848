"""``python -m infer`` for tests: lines as files, weights that read nonsense but always the same, and the command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from infer_weights import make_weights
from PIL import Image

from gen.sample import Recipe, Stream, render
from infer import Recognizer, cli
from infer.export import export

ROOT = Path(__file__).parent.parent
COUNT = 5  # lines of each direction


@dataclass(frozen=True)
class Done:
    """What a command came to: exit code, standard output, and the lines on stderr without the program's name."""

    code: int
    out: bytes
    err: list[str]


def names_in(way: str) -> list[str]:
    """The lines of a direction, in the folder of the files."""
    return [f"scans/{way}/{number}.png" for number in range(1, COUNT + 1)]


ALL = [*names_in("horizontal"), *names_in("vertical")]


@cache
def make_files(base: Path, small: Callable[..., Recipe]) -> Path:
    """A folder with weights w.onnx and h.pt, and lines in scans/horizontal and scans/vertical; made once for all tests
    with this base. ``small``: the fixture."""
    folder = base / "files"
    folder.mkdir()
    export(make_weights(folder / "w.pt", trim=True), folder / "w.onnx")
    make_weights(folder / "h.pt", directions=("horizontal",))
    _save_lines(small(), folder / "scans")
    return folder


def texts(files: Path, *names: str, direction: str = "auto") -> list[str]:
    """What the library reads in images of that folder."""
    readings = Recognizer.load(files / "w.onnx").read([files / name for name in names], direction)  # type: ignore[arg-type]
    return [reading.text for reading in readings]


def inside(capture: Any) -> Callable[..., Done]:
    """Runs the command in this process; ``capture``: pytest's fixture capsysbinary."""

    def run(*arguments: str | os.PathLike[str]) -> Done:
        capture.readouterr()
        code = cli.main([os.fspath(argument) for argument in arguments])
        out, err = capture.readouterr()
        return Done(code, out, _lines(err))

    return run


def start(*arguments: str | os.PathLike[str], **options: Any) -> subprocess.Popen[bytes]:
    """The command as a process of its own, its streams being pipes."""
    command = [sys.executable, "-m", "infer", *(os.fspath(argument) for argument in arguments)]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, cwd=ROOT, **{**streams, **options})


def end(process: subprocess.Popen[bytes], given: bytes | None = None) -> Done:
    """Wait for it; ``given``: the rest of its input."""
    out, err = process.communicate(given, timeout=120)
    return Done(process.returncode, out or b"", _lines(err or b""))


def _save_lines(recipe: Recipe, folder: Path) -> None:
    """Files 1.png, 2.png, … of either direction, in folders of that name."""
    for way in ("horizontal", "vertical"):
        (folder / way).mkdir(parents=True)
        stream = Stream(1, way, "train")
        samples = (render(recipe, stream, number) for number in range(10 * COUNT))
        long = (sample for sample in samples if len(sample.text) > 4)  # the direction is plain to see
        for number, sample in zip(range(1, COUNT + 1), long):
            Image.fromarray(sample.pixels).save(folder / way / f"{number}.png")


def _lines(err: bytes) -> list[str]:
    lines = err.decode().splitlines()
    assert all(line.startswith("python -m infer: ") for line in lines), lines
    return [line.removeprefix("python -m infer: ") for line in lines]
