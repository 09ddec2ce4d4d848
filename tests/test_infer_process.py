"""The command as a process of its own: what it loads, streams and terminals, and how it ends when it is stopped."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from infer_command import ALL, ROOT, end, make_files, start, texts

from gen.sample import Recipe

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, small: Callable[..., Recipe]) -> Path:
    return make_files(tmp_path_factory.getbasetemp(), small)


def test_reading_with_onnx_needs_nothing_heavy(files: Path) -> None:
    """Neither torch nor what only generation and settings need: the start must be short."""
    code = (
        "import sys; from infer.cli import main; assert main(sys.argv[1:]) == 0\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "--weight-path",
        files / "w.onnx",
        files / ALL[0],
        "--direction",
        "horizontal",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    text, loaded = done.stdout.splitlines()
    assert text == f"image_path:{files / ALL[0]},label:{texts(files, ALL[0])[0]}"
    assert "onnxruntime" in loaded.split()
    heavy = {
        "torch",
        "onnx",
        "pydantic",
        "yaml",
        "numba",
        "freetype",
        "fontTools",
        "tqdm",
        "fastapi",
        "scipy",
        "rapidfuzz",
    }
    assert not heavy & set(loaded.split())


@pytest.mark.parametrize(
    ("weights", "module", "extra"), [("w.onnx", "onnxruntime", "infer"), ("w.pt", "torch", "train")]
)
def test_what_is_not_installed_is_named(files: Path, weights: str, module: str, extra: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; from infer.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--weight-path", files / weights, files / ALL[0]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"is read with {module}, which is missing: pip install '.[{extra}]'" in done.stderr


def test_an_image_from_stdin(files: Path) -> None:
    process = start("-", "--weight-path", files / "w.onnx", "--format", "jsonl")
    done = end(process, (files / ALL[0]).read_bytes())
    assert done.code == 0
    assert json.loads(done.out)["path"] == "-"
    assert json.loads(done.out)["text"] == texts(files, ALL[0])[0]
    done = end(start("-", "--weight-path", files / "w.onnx"), b"")
    assert (done.code, done.err[0]) == (1, "-: is empty, 0 bytes")
    for flags in (["-"], ["--list", "-"]):
        command = [
            "sh",
            "-c",
            'exec "$@" <&-',
            "sh",
            sys.executable,
            "-m",
            "infer",
            *flags,
            "--weight-path",
            files / "w.onnx",
        ]
        closed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert closed.returncode == 2
        assert closed.stderr == "python -m infer: stdin is closed: nothing can be read from it\n"


def test_a_list_from_a_pipe_is_whole_where_a_bar_is_shown(files: Path, tmp_path: Path) -> None:
    """To count its names for the bar would take them away."""
    pipe, out = tmp_path / "names", tmp_path / "out.txt"
    os.mkfifo(pipe)
    names = "".join(f"{files / name}\n" for name in ALL * 40)
    terminal, end_of_it = pty.openpty()
    flags = ("--weight-path", files / "w.onnx", "--list", pipe, "--output", out)
    process = start(*flags, stdin=subprocess.DEVNULL, stdout=end_of_it, stderr=end_of_it)
    os.close(end_of_it)
    pipe.write_text(names)  # waits for who reads
    with suppress(OSError):  # the end, on a terminal
        while os.read(terminal, 1 << 16):
            pass
    assert process.wait(120) == 0
    os.close(terminal)
    assert out.read_bytes().count(b"\n") == 40 * len(ALL)


def test_a_list_from_stdin_is_read_as_it_comes_until_it_is_stopped(files: Path, tmp_path: Path) -> None:
    """Each line is out before the next name is there; after Ctrl-C what was read is kept and can be gone on from."""
    out = tmp_path / "out.txt"
    process = start("--weight-path", files / "w.onnx", "--list", "-")
    assert process.stdin is not None
    assert process.stdout is not None
    expected = [f"image_path:{files / name},label:{text}\n" for name, text in zip(ALL, texts(files, *ALL))]
    for name, line in zip(ALL[:3], expected):
        process.stdin.write(os.fsencode(files / name) + b"\n")
        process.stdin.flush()
        assert process.stdout.readline().decode() == line
    process.send_signal(signal.SIGINT)
    done = end(process)
    assert (done.code, done.out) == (130, b"")
    assert re.match(r"read [23] images in", done.err[0])  # the last one is written first and counted then
    assert done.err[1:] == ["stopped"]

    part = tmp_path / "out.txt.part"
    flags = ["--weight-path", str(files / "w.onnx"), "--list", "-", "--null", "--output", str(out)]
    process = start(*flags)
    assert process.stdin is not None
    for name in ALL[:2]:
        process.stdin.write(os.fsencode(files / name) + b"\0")
    process.stdin.flush()
    while not (part.exists() and part.read_bytes().count(b"\n") == 2):
        assert process.poll() is None
        os.sched_yield()
    process.send_signal(signal.SIGTERM)
    done = end(process)
    assert done.code == 143
    assert done.err[1:] == [f"stopped; {part} keeps what was read; the same command with --resume goes on"]
    assert part.read_text(encoding="utf-8") == "".join(expected[:2])
    assert not out.exists()
    done = end(start(*flags, "--resume"), b"".join(os.fsencode(files / name) + b"\0" for name in ALL))
    assert done.code == 0
    assert "2 images were read before" in done.err[0]
    assert out.read_text(encoding="utf-8") == "".join(expected)
    assert not part.exists()


def test_a_reader_that_goes_away(files: Path) -> None:
    """As ``head`` does: no message, and the exit code that a shell knows."""
    process = start("--weight-path", files / "w.onnx", "--list", "-")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(os.fsencode(files / ALL[0]) + b"\n")
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    process.stdin.write(os.fsencode(files / ALL[1]) + b"\n")
    process.stdin.flush()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(60) == 141
    process.stdin.close()
    process.stderr.close()


def test_a_bar_where_there_is_a_terminal(files: Path, tmp_path: Path) -> None:
    """It knows how many images there are, and does not run into messages."""
    (tmp_path / "a.png").touch()
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))  # in no columns there is no room for it
    flags = ["--weight-path", files / "w.onnx", tmp_path / "a.png", files / "scans", "--output", tmp_path / "out.txt"]
    process = start(*flags, stderr=slave, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    os.close(slave)
    shown = b""
    while True:
        try:
            shown += os.read(master, 1 << 16)
        except OSError:  # nobody has the other end any more
            break
    os.close(master)
    assert process.wait(60) == 1
    lines = re.split(r"[\r\n]+", shown.decode())
    assert any("/11" in line and "img" in line for line in lines)
    assert any(line.endswith("a.png: is empty, 0 bytes") and line.startswith("python -m infer") for line in lines)
    assert "read 10 images in" in lines[-2]
    assert (tmp_path / "out.txt").read_bytes().count(b"\n") == 10
