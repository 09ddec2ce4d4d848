"""How every command starts and ends: a mistake is one line and exit code 2, Ctrl-C one line and 130, no traceback.

    python -m gen --n 10X

Imports the standard library only, so that `quiet` can be called before imports that take seconds.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, TextIO

from gen.errors import UserError

STOPPING = (signal.SIGINT, signal.SIGTERM)
EXTRAS = {  # packages that not every installation has, and what brings them
    **dict.fromkeys(("torch", "rapidfuzz", "tensorboard", "urllib3", "onnx", "onnxscript"), "train"),
    "onnxruntime": "infer",
}


class Parser(argparse.ArgumentParser):
    """Raises `UserError` for arguments that do not fit; ``prog`` is as the user types it."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


class Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def quiet(program: str, terminated: int = 128 + signal.SIGTERM) -> None:
    """Let SIGINT and SIGTERM end this process with one line until `run` takes over, since nothing was begun; and the
    import of a package of `EXTRAS` that is not there.

    Only for the main module of a program. A handler that raised would do so in the middle of somebody's import.
    """

    def end(number: int, frame: FrameType | None) -> None:
        with suppress(OSError):
            os.write(2, f"{program}: stopped\n".encode())
        os._exit(terminated if number == signal.SIGTERM else 128 + number)

    def lacking(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        extra = EXTRAS.get(error.name or "") if isinstance(error, ModuleNotFoundError) else None
        if extra is None:
            sys.__excepthook__(kind, error, trace)
            return
        say(f"{program} needs {error.name}, which is not installed: pip install '.[{extra}]'")  # type: ignore[attr-defined]
        os._exit(2)

    sys.excepthook = lacking
    for number in STOPPING:
        signal.signal(number, end)


def say(text: str, stream: TextIO | None = None) -> None:
    """A line on a stream (None: stderr); nothing when nobody reads there any more."""
    try:
        # In one write, buffered or not: other processes write there too.
        print(f"{text}\n", end="", file=stream or sys.stderr, flush=True)
    except BrokenPipeError:
        mute()


def check_output(path: Path | None, flag: str) -> None:
    """Raise `UserError` before the work, not after it, when an output file is a folder."""
    if path is not None and path.is_dir():
        raise UserError(f"{flag} {path} cannot be written: it is a folder; give a file")


def run(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    body: Callable[[argparse.Namespace], int | None],
    *,
    stopped: Callable[[argparse.Namespace], str] = lambda args: "",
    advice: Callable[[argparse.Namespace, OSError], str] = lambda args, error: "",
    tell: Callable[[str], None] = say,
    terminated: int = 128 + signal.SIGTERM,
) -> int:
    """Run a command; the exit code: what ``body`` returns (None: 0), 2 for what the user can mend, 130 when stopped.

    ``stopped`` and ``advice`` give words on what is left behind and on a failure of the operating system; ``tell``
    shows the line; ``terminated`` is the exit code after SIGTERM. It is 141 when nobody reads what is printed.
    """
    mend_streams()
    args = None
    with handled(_stop):
        try:
            args = parser.parse_args(argv)
            return body(args) or 0
        except UserError as error:
            code, words = 2, [str(error)]
        except KeyboardInterrupt as error:
            number = error.number if isinstance(error, Stopped) else signal.SIGINT
            code = terminated if number == signal.SIGTERM else 128 + number
            words = ["stopped", stopped(args) if args else ""]
        except OSError as error:
            if isinstance(error, BrokenPipeError) and mute():
                return 128 + signal.SIGPIPE
            place = f"{error.filename}: " if error.filename else ""
            code, words = 2, [f"{place}{error.strerror or error}", advice(args, error) if args else ""]
        _ignore()
        tell(f"{parser.prog}: {' '.join('; '.join(filter(None, words)).split())}")
        return code


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have a handler of SIGINT and SIGTERM meanwhile."""
    before = {number: signal.signal(number, handler) for number in STOPPING}
    try:
        yield
    finally:
        for number, other in before.items():
            signal.signal(number, other)


def _stop(number: int, frame: FrameType | None) -> None:
    _ignore()
    raise Stopped(number)


def _ignore() -> None:
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)  # cleaning up and last words take a moment and must not be cut short


def mend_streams() -> None:
    """A closed stderr, or a terminal that cannot write Chinese, must not cost a run its exit code."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (for the rest of the process)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def mute() -> bool:
    """Drop what is printed from now on to a stream that nobody reads any more; whether there is one."""
    found = False
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # it is no file
            probe = select.poll()
            probe.register(stream.fileno(), 0)  # errors are told without asking
            if probe.poll(0):
                found = True
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
    return found
