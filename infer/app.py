"""The routes of the service: one image, several, how it is, what it counted, and the page.

curl -F file=@line.png http://127.0.0.1:5000/crnn
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import HTTPConnection

from gen.errors import UserError
from infer.forms import Given, Item, parse_many, parse_one
from infer.images import ImageError
from infer.limits import CLIENT_LEFT, RETRY, Intake
from infer.meter import Meter, Metered
from infer.readers import TOGETHER, Full, Outcome, Readers
from infer.reading import Reading
from infer.recognizer import Recognizer
from infer.schemas import MANY_BODY, ONE_BODY, LineAnswer, ManyAnswers, Problem

WEB = Path(__file__).with_name("web")
AT_ONCE = 20_000  # bytes; a larger body is taken apart in a thread, so that others need not wait
HELD = 16  # times the largest body: what all requests together may hold
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]
REFUSALS = {
    401: "The key is missing or wrong.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is of another type.",
    422: "What was sent is not what is wanted, or is no image.",
    429: "Too much is waiting: try again.",
    503: "The service is about to end.",
    504: "The image was not read in time.",
}


@dataclass(frozen=True)
class Settings:
    """Limits of the service. ``queue``: images that may wait; ``together``: of these, in one batch; ``body``: bytes of
    a request; ``seconds``: for the body to come, and again for the answer."""

    workers: int = 2
    queue: int = 256
    together: int = TOGETHER
    body: int = 10_000_000
    seconds: float = 30.0
    key: str | None = None


class Service:
    """What the routes share: the threads that read, what is counted, and whether the end has come."""

    def __init__(self, recognizer: Recognizer, settings: Settings) -> None:
        def read(given: Sequence[Given]) -> list[Outcome]:
            found: dict[int, Outcome] = {}
            for way in {each.direction for each in given}:
                numbers = [number for number, each in enumerate(given) if each.direction == way]
                readings = recognizer.read([given[number].image for number in numbers], way, errors="return")
                found.update(zip(numbers, readings))
            return [found[number] for number in range(len(given))]

        self.settings = settings
        self.readers = Readers(read, settings.workers, settings.queue, settings.together)
        self.meter = Meter(lambda: self.readers.waiting, lambda: self.active)
        self.intake = Intake(settings.body, HELD * settings.body, settings.seconds)
        self.active = 0
        self.draining = False

    def drain(self) -> None:
        """Take no more requests."""
        self.draining = True

    async def admit(self) -> AsyncIterator[None]:
        """Around each request for reading. Raises `HTTPException` when the end has come."""
        if self.draining:
            raise HTTPException(503, "the service is about to end", {**RETRY, "Connection": "close"})
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    async def read(self, request: Request, parse: Callable[[str, bytes], Sequence[Item]]) -> list[Outcome]:
        """The outcome for each image of a request. Raises `HTTPException`."""
        if request.url.query:
            raise HTTPException(422, f"query: nothing is read there; {request.url.query[:60]!r} belongs in the body")
        async with self.intake.receive(request) as body:
            kind = request.headers.get("content-type", "")
            items = await asyncio.to_thread(parse, kind, body) if len(body) > AT_ONCE else parse(kind, body)
            given = [item for item in items if isinstance(item, Given)]
            found = iter(await self._read(request, given) if given else ())
        outcomes = [next(found) if isinstance(item, Given) else item for item in items]
        refused = sum(isinstance(outcome, UserError) for outcome in outcomes)
        self.meter.images(len(outcomes) - refused, refused)
        return outcomes

    async def _read(self, request: Request, given: Sequence[Given]) -> list[Outcome]:
        work = asyncio.ensure_future(self.readers.read(given))
        left = asyncio.ensure_future(request.receive())  # all that can still come is word that the client has left
        try:
            await asyncio.wait({work, left}, timeout=self.settings.seconds, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if left.done():
                raise HTTPException(CLIENT_LEFT, "the client has left")
            raise HTTPException(504, f"it was not read within {self.settings.seconds:g} s")
        except Full:
            raise HTTPException(429, f"{self.readers.waiting} images are waiting: try again", RETRY) from None
        finally:
            work.cancel()
            left.cancel()


def build(service: Service) -> FastAPI:
    """The application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.readers.close)

    app = FastAPI(
        title="Chinese text lines", version=metadata.version("crnn-shards"), lifespan=lifespan,
        description="Reads images of single lines, horizontal and vertical.",
        docs_url=None, redoc_url=None,  # these pages load scripts from other hosts
    )  # fmt: skip
    guard = [Depends(service.admit)]
    if service.settings.key is not None:
        guard.insert(0, Depends(_Key(service.settings.key)))
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": text}
        for status, text in REFUSALS.items()
        if status != 401 or service.settings.key is not None
    }

    @app.post(
        "/crnn", dependencies=guard, openapi_extra={"requestBody": ONE_BODY}, summary="Read an image",
        responses={**refusals, 200: {"model": LineAnswer}},
    )  # fmt: skip
    async def read_one(request: Request) -> Response:
        outcome = (await service.read(request, lambda kind, body: [parse_one(kind, body)]))[0]
        if isinstance(outcome, UserError):
            raise HTTPException(422, _reason(outcome))
        return JSONResponse(outcome.to_dict())

    @app.post(
        "/crnn/batch", dependencies=guard, openapi_extra={"requestBody": MANY_BODY}, summary="Read several images",
        responses={**refusals, 200: {"model": ManyAnswers}},
    )  # fmt: skip
    async def read_many(request: Request) -> Response:
        outcomes = await service.read(request, lambda kind, body: parse_many(kind, body, service.settings.queue))
        return JSONResponse({"results": [_answer(outcome) for outcome in outcomes]})

    @app.get("/healthz", summary="Whether the process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="Whether requests are taken", responses={503: {"model": Problem}})
    async def readyz() -> dict[str, str]:
        if service.draining:
            raise HTTPException(503, "the service is about to end", RETRY)
        return {"status": "ready"}

    @app.get("/metrics", summary="What was counted, for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(service.meter.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(WEB / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/web", StaticFiles(directory=WEB))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "the service failed; its log says why"}, 500)

    paths = frozenset(("/", "/crnn", "/crnn/batch", "/healthz", "/readyz", "/metrics"))
    app.add_middleware(Metered, meter=service.meter, paths=paths)
    return app


def _answer(outcome: Outcome) -> dict[str, Any]:
    return outcome.to_dict() if isinstance(outcome, Reading) else {"detail": _reason(outcome)}


def _reason(error: UserError) -> str:
    return f"what was sent {error.reason}" if isinstance(error, ImageError) else str(error)


class _Key(HTTPBearer):
    """Asks for the key. It is compared in a time that does not tell how much of it is right."""

    def __init__(self, key: str) -> None:
        super().__init__(auto_error=False, scheme_name="key", description="the key that the service was started with")
        self._key = key.encode()

    async def __call__(self, request: HTTPConnection) -> HTTPAuthorizationCredentials:
        given = await super().__call__(request)
        # The server takes a head for Latin-1, whatever the client wrote it in.
        if given is None or not hmac.compare_digest(given.credentials.encode("latin-1"), self._key):
            raise HTTPException(401, "give the key: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
        return given
