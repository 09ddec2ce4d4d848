"""What a run tells on stderr: a bar on a terminal, a line for each image that cannot be read, and a summary.

python -m infer scans/ --output scans.txt
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from gen.command import say
from infer.images import ImageError
from infer.reading import Reading


class Progress:
    """A context manager around the run. ``read``: images that gave a text, even an empty one; ``failed``: those that
    gave none; ``nothing``: what was named and holds no image at all, which is told at the end."""

    def __init__(self, program: str, bar: bool, total: int | None, kept: int, others: Iterable[str]) -> None:
        """``bar``: whether to show one; ``total``: of images, where it is known; ``kept``: those read by an earlier
        run; ``others``: directions whose lines are read by weights that the user did not name."""
        self._program, self._show, self._total, self._kept = program, bar, total, kept
        self._others = dict.fromkeys(others, 0)
        self.read = self.failed = 0
        self.nothing: list[ImageError] = []
        self._stack = ExitStack()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self._show:
            from tqdm import tqdm  # only now: it takes as long as reading a dozen lines

            bar = tqdm(total=self._total, initial=self._kept, unit="img", unit_scale=True, smoothing=0.1, leave=False)
            self._bar = self._stack.enter_context(bar)
        self._begin = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, name: str, result: Reading | ImageError, tried: bool) -> None:
        """Count an image; ``tried``: whether it was one at all."""
        if isinstance(result, Reading):
            self.read += 1
            if result.direction in self._others:
                self._others[result.direction] += 1
        elif tried:
            self.failed += 1
            self.tell(f"{self._program}: {shown(name)}: {result.reason}")
        else:
            self.nothing.append(result)
            return
        if self._bar is not None:
            self._bar.update()

    def missing(self) -> list[str]:
        """A line for each name that held nothing."""
        return [f"{shown(error.name)} {error.reason}" for error in self.nothing]

    def summary(self) -> str:
        """The last line."""
        seconds = time.perf_counter() - self._begin
        rate = self.read / max(seconds, 1e-9)
        parts = [f"{_images(self.read)} in {seconds:.1f} s, {rate:,.0f} images/s"]
        if self._kept:
            parts.append(f"{_images(self._kept)} {'were' if self._kept != 1 else 'was'} read before")
        if self.failed or self.nothing:
            parts.append(f"{self.failed + len(self.nothing):,} failed")
        for way, count in self._others.items():
            if count:
                parts.append(f"{_images(count)} with {way} text read with the packaged weights")
        return f"{self._program}: read {'; '.join(parts)}"

    def tell(self, text: str) -> None:
        """Show a line, above the bar if there is one."""
        if self._bar is None:
            say(text)
        else:
            with self._bar.external_write_mode():
                say(text)


def shown(name: str) -> str:
    """A name on one line."""
    return name if name.isprintable() else repr(name)[1:-1]


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
