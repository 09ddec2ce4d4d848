"""Where records go: to standard output, or to F.part, which is renamed to F when all is read.

    python -m infer scans/ --output scans.txt --resume

What an interrupted run left in F.part stays, and ``--resume`` goes on from there; what failed is tried again.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gen.errors import UserError
from infer.formats import Format
from infer.images import ImageError
from infer.paths import Names


class Output:
    """Takes records. ``kept``: of how many images there were some before."""

    def __init__(self, file: BinaryIO, style: Format) -> None:
        self.file, self._style = file, style
        self._begun = False
        self._done: Counter[bytes] = Counter()
        self.kept = 0

    def write(self, records: Iterable[bytes]) -> None:
        """Write what is not empty, and let it be seen at once."""
        data = b"".join(records)
        if data and not self._begun:
            data = self._style.header + data
        if data:
            self._begun = True
            self.file.write(data)
            self.file.flush()

    def finish(self) -> None:
        """An empty table has its header, too."""
        if not self._begun:
            self.file.write(self._style.header)
            self.file.flush()

    def take_up(self, before: BinaryIO) -> None:
        """Begin with the whole records of an earlier file, without those of failures. Raises ValueError when they are
        of another format."""
        records = self._style.records(before)
        if self._style.header and next(records, self._style.header) != self._style.header:
            raise ValueError
        for record in records:
            key = self._style.key_of(record)
            if not self._style.failed(record):
                self._done[key] += 1
                self.write([record])
        self.kept = self._done.total()

    def left(self, names: Names) -> Iterator[str | ImageError]:
        """The names of which there are no records yet; one that is named twice needs two."""
        for name in names:
            key = self._style.key(name) if self._done and isinstance(name, str) else b""
            if isinstance(name, str) and self._done[key] > 0:
                self._done[key] -= 1
            else:
                yield name


@contextmanager
def opened(path: str | None, style: Format, resume: bool) -> Iterator[Output]:
    """An output to a file, or to standard output (None). Raises `UserError`; what is written by then is kept."""
    if path is None:
        output = Output(sys.stdout.buffer, style)
        yield output
        output.finish()
        return
    target = Path(path)
    part = target.with_name(f"{target.name}.part")
    if target.exists() and not target.is_file():
        raise UserError(f"--output {target} is no file: give the name of one, or leave it out to write to the terminal")
    before = next((each for each in (part, target) if resume and each.exists()), None)
    with ExitStack() as stack:
        try:
            if before is None:
                file = stack.enter_context(_locked(part, "x+b"))
                output = Output(file, style)
            else:  # which is complete, perhaps, but there may be more images now
                old = stack.enter_context(_locked(before, "rb"))
                draft = part.with_name(f"{part.name}.new")
                file = stack.enter_context(_locked(draft, "w+b"))
                stack.callback(draft.unlink, missing_ok=True)  # unless it becomes F.part
                output = Output(file, style)
                _take_up(output, old, before)
                os.replace(draft, part)
        except FileExistsError:
            raise UserError(
                f"{part} is there: a run was interrupted. Add --resume to go on from it, or remove it to start anew"
            ) from None
        except OSError as error:
            raise UserError(f"--output {target} cannot be written: {error.strerror}") from None
        try:
            yield output
            output.finish()
            os.fsync(file.fileno())
            os.replace(part, target)
        finally:
            if not os.fstat(file.fileno()).st_size:  # nothing to go on from
                with suppress(FileNotFoundError):
                    part.unlink()


def _locked(path: Path, mode: str) -> BinaryIO:
    """An open file with a lock on it. Raises OSError, and `UserError` when another run holds it."""
    file: BinaryIO = path.open(mode)  # type: ignore[assignment]
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(f"another run writes to {path}: wait for it, or give another --output") from None
    except OSError:  # some network file systems have no locks
        pass
    return file


def _take_up(output: Output, old: BinaryIO, before: Path) -> None:
    try:
        output.take_up(old)
    except ValueError:  # also what UnicodeDecodeError and JSONDecodeError are
        raise UserError(
            f"{before} is of another --format: give the one it was begun with, or remove it to start anew"
        ) from None
    os.fsync(output.file.fileno())
