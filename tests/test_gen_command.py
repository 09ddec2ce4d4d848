"""Commands end in one line: by a mistake, by a failing disk, by a signal, when nobody reads, at whatever moment."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_set import ROOT

from gen.command import Parser, Stopped, run
from gen.errors import UserError


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def body(args: argparse.Namespace) -> int:
        raise error

    return body


def parser() -> Parser:
    result = Parser(prog="python -m some", description="A command.")
    result.add_argument("--number", type=int, default=3)
    return result


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("a.yaml: no\n  number: 3"), 2, "a.yaml: no number: 3"),
        (FileNotFoundError(2, "No such file or directory", "a.txt"), 2, "a.txt: No such file or directory; look at 3"),
        (OSError("odd"), 2, "odd; look at 3"),
        (BrokenPipeError(32, "Broken pipe"), 2, "Broken pipe; look at 3"),  # not that of a standard stream
        (KeyboardInterrupt(), 130, "stopped; 3 are kept"),
        (Stopped(signal.SIGINT), 130, "stopped; 3 are kept"),
        (Stopped(signal.SIGTERM), 143, "stopped; 3 are kept"),
    ],
)
def test_every_end_is_one_line(error: Exception, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    found = run(
        parser(), [], raising(error),
        stopped=lambda args: f"{args.number} are kept", advice=lambda args, error: f"look at {args.number}",
    )  # fmt: skip
    assert found == code
    assert capsys.readouterr().err == f"python -m some: {line}\n"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_the_body_returns_is_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    assert run(parser(), ["--number", "7"], lambda args: args.number) == 7
    assert run(parser(), [], lambda args: None) == 0
    assert run(parser(), ["--number", "x"], lambda args: 0, tell=told.append) == 2
    assert told == ["python -m some: argument --number: invalid int value: 'x'; see python -m some --help"]
    assert run(parser(), [], raising(Stopped(signal.SIGTERM)), tell=told.append, terminated=0) == 0
    with pytest.raises(ZeroDivisionError):  # a fault of the program is shown as it is
        run(parser(), [], raising(ZeroDivisionError()))
    assert capsys.readouterr().err == ""


def test_a_signal_is_an_exception_and_the_next_ones_wait_for_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    done = []

    def body(args: argparse.Namespace) -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)
            done.append("cleaned up")
        return 0

    assert run(parser(), [], body) == 143
    assert done == ["cleaned up"]
    assert capsys.readouterr().err == "python -m some: stopped\n"


PRINTING = """
import sys
from gen.command import Parser, run, say

def body(args):
    sys.stdin.read()  # until the reader is gone
    say("dropped", sys.stdout) if args.say else print("lost", flush=True)
    print("more", flush=True)

parser = Parser(prog="p")
parser.add_argument("--say", action="store_true")
sys.exit(run(parser, sys.argv[1:], body))
"""


@pytest.mark.parametrize(("flags", "code"), [([], 141), (["--say"], 0)])
def test_nobody_reads(flags: list[str], code: int) -> None:
    command = [sys.executable, "-c", PRINTING, *flags]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == code


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(fields["SigCgt"], 16) >> number - 1 & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("module", "library", "terminated"),
    [("gen", "", 143), ("train", "", 0), ("train", "libtorch_cpu", 0), ("train.evaluate", "", 143)],
)
def test_stopped_in_the_middle_of_the_imports(
    module: str, library: str, terminated: int, number: signal.Signals, tmp_path: Path
) -> None:
    """As soon as the first handlers are there, or when torch's library has been loaded and its modules follow."""
    arguments = ["--out", str(tmp_path / "out"), "--data", "gen:gen-default"] if module == "train" else []
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    end = time.monotonic() + 60
    while not catches(process.pid, signal.SIGTERM) or library not in Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None
        assert time.monotonic() < end
    process.send_signal(number)
    text, _ = process.communicate(timeout=60)
    assert text.startswith(f"python -m {module}: stopped")
    assert text.count("\n") == 1, text
    assert process.returncode == (130 if number == signal.SIGINT else terminated)
