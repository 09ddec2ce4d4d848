"""Images that wait to be read, in a bounded queue, and the threads that read them, each one image at a time.

Reading the images of several requests in one batch, of up to 32, was measured (`python -m tools.bench_rest`): with 64
clients it answered 0.98 to 1.19 times as many requests a second, with 8 clients fewer. It is left out.

    python -m pytest tests/test_infer_readers.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

from gen.errors import UserError
from infer.forms import Given
from infer.reading import Reading

Outcome: TypeAlias = Reading | UserError


class Full(Exception):
    """There is no room for that many images."""


class Readers:
    """``workers`` threads that call ``read``; ``most`` images may wait for them. For use in one event loop."""

    def __init__(self, read: Callable[[Given], Reading], workers: int, most: int) -> None:
        self._read, self._most = read, most
        self._pool = ThreadPoolExecutor(workers, "reader")
        self._free = asyncio.Semaphore(workers)
        self.waiting = 0

    async def read(self, images: Sequence[Given]) -> list[Outcome]:
        """What each image says, or why it cannot be read. Cancelled, it reads no more of them.

        Raises `Full` when not all of them find room; then none is read.
        """
        if self.waiting + len(images) > self._most:
            raise Full
        waiting = len(images)
        self.waiting += waiting
        futures: list[asyncio.Future[Outcome]] = []
        try:
            for image in images:  # one after the other, so that requests take turns however many images they have
                await self._free.acquire()
                self.waiting -= 1
                waiting -= 1
                futures.append(asyncio.wrap_future(self._start(image)))
            return [await future for future in futures]
        finally:
            self.waiting -= waiting
            for future in futures:
                future.cancel()

    def _start(self, image: Given) -> Future[Outcome]:
        loop = asyncio.get_running_loop()
        future = self._pool.submit(self._outcome, image)
        # A thread cannot be stopped: it is free when it has read, even if nobody wants to know any more.
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._free.release))
        return future

    def _outcome(self, image: Given) -> Outcome:
        try:
            return self._read(image)
        except UserError as error:
            return error

    def close(self) -> None:
        """Wait for what is being read, and end the threads."""
        self._pool.shutdown()
