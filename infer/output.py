"""Where records go: to standard output, or to F.part, which is renamed to F when all is read.

    python -m infer scans/ --output scans.txt --resume

What an interrupted run left in F.part stays, and ``--resume`` goes on from there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gen.errors import UserError
from infer.formats import Format
from infer.images import ImageError
from infer.paths import Names


class Output:
    """Takes records. ``kept``: of how many images there were some before; ``failed``: of those, could not be read."""

    def __init__(self, file: BinaryIO, style: Format) -> None:
        self._file, self._style = file, style
        self._begun = False
        self._done: Counter[bytes] = Counter()
        self.kept = self.failed = 0

    def write(self, records: Iterable[bytes]) -> None:
        """Write what is not empty, and let it be seen at once."""
        data = b"".join(records)
        if data and not self._begun:
            data = self._style.header + data
        if data:
            self._begun = True
            self._file.write(data)
            self._file.flush()

    def finish(self) -> None:
        """An empty table has its header, too."""
        if not self._begun:
            self._file.write(self._style.header)
            self._file.flush()

    def take_up(self) -> None:
        """Go on behind the whole records that are there. Raises ValueError when they are of another format."""
        self._file.seek(0)
        end = 0
        for record in self._style.records(self._file):
            end += len(record)
            if not self._begun and self._style.header:
                if record != self._style.header:
                    raise ValueError
            else:
                self._done[self._style.key_of(record)] += 1
                self.failed += self._style.failed(record)
            self._begun = True
        self.kept = self._done.total()
        self._file.truncate(end)
        self._file.seek(end)

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
    copied = resume and not part.exists()
    with _open_part(target, part, resume) as file:
        try:
            output = Output(file, style)
            if resume:
                _take_up(output, target if copied else part)
            yield output
            output.finish()
            os.fsync(file.fileno())
            os.replace(part, target)
        except _Other:
            if copied:
                part.unlink()
            raise
        finally:
            if not os.fstat(file.fileno()).st_size:  # nothing to go on from
                with suppress(FileNotFoundError):
                    part.unlink()


def _open_part(target: Path, part: Path, resume: bool) -> BinaryIO:
    """The file that records go to, with a lock on it. Raises `UserError`."""
    if target.exists() and not target.is_file():
        raise UserError(f"--output {target} is no file: give the name of one, or leave it out to write to the terminal")
    try:
        if resume and not part.exists() and target.exists():
            shutil.copyfile(target, part)  # a run that was complete; there may be more images now
        file = part.open("r+b" if resume and part.exists() else "x+b")
    except FileExistsError:
        raise UserError(
            f"{part} is there: a run was interrupted. Add --resume to go on from it, or remove it to start anew"
        ) from None
    except OSError as error:
        raise UserError(f"--output {target} cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(f"another run writes to {part}: wait for it, or give another --output") from None
    except OSError:  # some network file systems have no locks
        pass
    return file


class _Other(UserError):
    """What is there is of another format."""


def _take_up(output: Output, path: Path) -> None:
    try:
        output.take_up()
    except ValueError:  # also what UnicodeDecodeError and JSONDecodeError are
        raise _Other(
            f"{path} is of another --format: give the one it was begun with, or remove it to start anew"
        ) from None
