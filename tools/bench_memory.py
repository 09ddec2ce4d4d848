"""The private memory of this process's children, sampled while they work: part of ``python -m tools.bench_gen``.

Linux only: it reads ``/proc``. Private is what would come free if the process ended (Private_Clean + Private_Dirty).
Pages of the glyph atlas are told apart: they are a file that every worker maps, the kernel counts them as private
while only one process has touched them, and takes them back whenever memory is short.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

PROC = Path("/proc")
SECONDS = 0.1


@dataclass(frozen=True)
class Footprint:
    """Bytes: ``private`` in all, of them ``atlas`` (mapped file pages), the rest ``own``. Each is its own maximum."""

    images: int = 0
    private: int = 0
    atlas: int = 0
    own: int = 0

    def largest(self, other: Footprint) -> Footprint:
        """The maximum of each figure."""
        return replace(
            self,
            private=max(self.private, other.private),
            atlas=max(self.atlas, other.atlas),
            own=max(self.own, other.own),
        )


def children() -> list[int]:
    """Processes that this one started and that are still there."""
    found = []
    for path in (PROC / "self" / "task").glob("*/children"):
        try:
            found += [int(word) for word in path.read_text(encoding="ascii").split()]
        except OSError:
            continue  # the thread has ended
    return found


def footprint(process: int, atlas: Path) -> Footprint | None:
    """The private memory of a process now; None when it has ended. Files under ``atlas`` are counted apart."""
    try:
        lines = (PROC / str(process) / "smaps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    private = mapped = 0
    inside = False
    for line in lines:
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):  # the head of a mapping: addresses, rights, offset, device, inode, path
            inside = str(atlas) in rest
        elif name in ("Private_Clean:", "Private_Dirty:"):
            size = int(rest.split()[0]) * 1024
            private += size
            mapped += size * inside
    return Footprint(0, private, mapped, private - mapped)


class Sampler:
    """While it is open, keeps the largest memory of any child: ``with Sampler(cache) as s: …; s.peak``."""

    def __init__(self, atlas: Path) -> None:
        self.peak = Footprint()
        self._atlas = atlas.resolve()
        self._before: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(SECONDS):
            for process in set(children()) - self._before:
                found = footprint(process, self._atlas)
                if found:
                    self.peak = self.peak.largest(found)

    def __enter__(self) -> Sampler:
        self._before = set(children())  # helpers of multiprocessing that are there already
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
