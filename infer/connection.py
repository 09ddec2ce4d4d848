"""Connections that are cut when they take too long or are too many; a server that answers all before it ends.

python -m pytest tests/test_infer_server_abuse.py
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol


def connection_class(head: float, exchange: float, crowd: int) -> type[H11Protocol]:
    """uvicorn's protocol with limits in seconds. ``head``: from the start of a connection, or the last answer on it, to
    the end of a request's head. ``exchange``: from there to the last byte of the answer; the application bounds its own
    time, this also binds clients that do not take what they are sent.

    Beyond ``crowd`` connections each new one costs the place of the one that has been without a request for longest.
    """
    idle: dict[Connection, None] = {}  # in the order in which they became so

    class Connection(H11Protocol):
        _clock: asyncio.TimerHandle | None = None
        _phase: tuple[Any, bool] | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()
            if len(self.connections) > crowd:
                oldest = next(iter(idle))
                del idle[oldest]
                oldest.transport.abort()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            idle.pop(self, None)
            if self._clock:
                self._clock.cancel()

        def _watch(self) -> None:
            """Start the clock anew when a request or the wait for one has begun; bytes alone do not wind it up."""
            busy = self.cycle is not None and not self.cycle.response_complete
            if self._phase == (phase := (self.cycle, busy)):
                return
            self._phase = phase
            idle.pop(self, None)
            if not busy:
                idle[self] = None
            if self._clock:
                self._clock.cancel()
            self._clock = self.loop.call_later(exchange if busy else head, self.transport.abort)

    return Connection


class Server(uvicorn.Server):
    """Asked to end, it calls ``drain`` and goes on until ``idle()``; asked twice, it ends at once. ``ready`` is
    called when requests can come."""

    def __init__(
        self, config: uvicorn.Config, drain: Callable[[], None], idle: Callable[[], bool], ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._drain, self._idle, self._ready = drain, idle, ready
        self._asked = False

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._asked:  # threads that read cannot be stopped otherwise
            with suppress(OSError):
                os.write(2, b"python -m infer.server: stopped\n")
            os._exit(128 + sig)
        self._asked = True
        self._drain()

    async def on_tick(self, counter: int) -> bool:
        if self._asked and self._idle():
            self.should_exit = True
        return await super().on_tick(counter)
