"""Images decoded by a thread while others are read: a bounded number of them and of their pixels.

python -m infer scans/

What is ready is handed over together, so that the first image does not wait for a hundred others, and a fast reader
gets large batches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infer.images import ImageError
from infer.paths import Names

MOST_PIXELS = 1 << 26  # decoded at a time; one image may have more


@dataclass(frozen=True)
class Loaded:
    """An image, uint8 [H, W], or why there is none; ``tried``: whether there was a file to decode."""

    name: str
    image: NDArray[np.uint8] | ImageError
    tried: bool = True


class Ahead:
    """Iterate over lists of images in the order of their names; as a context manager it ends its thread."""

    def __init__(self, names: Names, load: Callable[[str], NDArray[np.uint8]], most: int) -> None:
        """``load``: decodes a name; raises `ImageError`. ``most``: images at a time."""
        self._names, self._load, self._most = names, load, most
        self._ready: list[Loaded] = []
        self._pixels = 0
        self._error: BaseException | None = None
        self._ended = False
        self._change = threading.Condition()
        # A daemon: it may wait for a pipe that never ends, and Ctrl-C must not wait for that.
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)

    def __enter__(self) -> Ahead:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._change:
            self._ended = True
            self._change.notify_all()
        self._thread.join(0.5)  # seconds for the image that it may be in the middle of

    def __iter__(self) -> Iterator[list[Loaded]]:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._ready or self._ended)
                ready, self._ready, self._pixels = self._ready, [], 0
                self._change.notify_all()
            if ready:
                yield ready
            elif self._error is not None:
                raise self._error
            else:
                return

    def _run(self) -> None:
        try:
            for name in self._names:
                if not self._hand_over(self._decoded(name)):
                    return
        except BaseException as error:  # the reader raises it
            self._error = error
        finally:
            with self._change:
                self._ended = True
                self._change.notify_all()

    def _decoded(self, name: str | ImageError) -> Loaded:
        if isinstance(name, ImageError):
            return Loaded(name.name, name, tried=False)
        try:
            return Loaded(name, self._load(name))
        except ImageError as error:
            return Loaded(name, error)

    def _hand_over(self, loaded: Loaded) -> bool:
        """Add to what is ready once there is room; False when nobody wants it any more."""
        size = 0 if isinstance(loaded.image, ImageError) else loaded.image.size

        def room() -> bool:
            fits = len(self._ready) < self._most and self._pixels + size <= MOST_PIXELS
            return self._ended or not self._ready or fits

        with self._change:
            self._change.wait_for(room)
            if self._ended:
                return False
            self._ready.append(loaded)
            self._pixels += size
            self._change.notify_all()
            return True
