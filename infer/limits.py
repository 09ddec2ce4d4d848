"""What a client may take of the service: bytes, memory, time, connections.

python -m pytest tests/test_infer_server_abuse.py
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

RETRY = {"Retry-After": "1"}
CLIENT_LEFT = 499  # the status that nginx notes for a client that left; nobody receives it
SPARE_FILES = 128  # for everything but connections
CONNECTIONS = 4096
ACCEPTED = 16  # connections in one turn of the loop; those of several turns have files before one is asked to go
SMALL = 32_000  # bytes; a body up to this, as most lines are, is taken even while large ones fill the memory
DISCARDED = 8  # times the allowed size: so much of a body that is too large is received and forgotten


class Intake:
    """Receives bodies of at most ``most`` bytes, within ``seconds`` each; at most ``together`` bytes of all requests
    are in memory at a time, small ones apart."""

    def __init__(self, most: int, together: int, seconds: float) -> None:
        self.most, self.together, self.seconds = most, together, seconds
        self.held = 0

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request; it counts as held inside the block. Raises `HTTPException`: 408, 413, 415 or 429."""
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise HTTPException(415, "content-encoding: send the body as it is, not compressed")
        body = bytearray()
        try:
            await self._wait(request, body)
            yield bytes(body)
        finally:
            self.held -= len(body)

    async def _wait(self, request: Request, body: bytearray) -> None:
        try:
            if int(request.headers.get("content-length", 0)) > self.most:
                await self._refuse(request)
            await asyncio.wait_for(self._collect(request, body), self.seconds)
        except asyncio.TimeoutError:
            raise HTTPException(408, f"the body did not come within {self.seconds:g} s") from None
        except ClientDisconnect:
            raise HTTPException(CLIENT_LEFT, "the client has left") from None

    async def _collect(self, request: Request, body: bytearray) -> None:
        async for chunk in request.stream():
            if len(body) + len(chunk) > self.most:
                await self._refuse(request)
            if self.held + len(chunk) > self.together and len(body) + len(chunk) > SMALL:
                self.held -= len(body)  # at once, or all that receive at this moment would be refused
                body.clear()
                raise HTTPException(429, "too many large requests at a time: try again", RETRY)
            body += chunk
            self.held += len(chunk)

    async def _refuse(self, request: Request) -> None:
        """Say that a body is too large, once the client has sent it: most clients send first and listen later."""
        if "expect" not in request.headers:  # such a client waits for the word before it sends
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._discard(request), self.seconds)
        raise HTTPException(413, f"the body is larger than the {self.most:,} bytes allowed")

    async def _discard(self, request: Request) -> None:
        left = DISCARDED * self.most
        while left > 0:
            message = await request.receive()
            left -= len(message.get("body", b""))
            if not message.get("more_body"):
                return


def most_connections() -> int:
    """How many connections there may be; the process's limit on open files is raised as far as needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(CONNECTIONS, soft - SPARE_FILES))
