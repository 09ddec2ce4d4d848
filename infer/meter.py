"""What the service tells Prometheus: requests by status, how long they took, images by outcome, the queue.

curl http://127.0.0.1:5000/metrics
"""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
IMAGES = (1, 2, 5, 10, 20, 50, 100)


class Meter:
    """Counters of one service, in a registry of their own."""

    def __init__(self, waiting: Callable[[], float], active: Callable[[], float]) -> None:
        """``waiting``: is asked for the length of the queue; ``active``: for how many requests are being answered."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "crnn_requests", "Requests that were answered.", ["path", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "crnn_request_seconds", "From the head of a request to the end of its answer.", ["path"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._images = Counter("crnn_images", "Images that were read, or refused.", ["outcome"], registry=self.registry)
        self._each = Histogram("crnn_request_images", "Images in a request.", buckets=IMAGES, registry=self.registry)
        queue = Gauge("crnn_images_waiting", "Images in the queue.", registry=self.registry)
        queue.set_function(waiting)
        requests = Gauge("crnn_requests_active", "Requests for reading, not yet answered.", registry=self.registry)
        requests.set_function(active)

    def images(self, read: int, refused: int) -> None:
        """Note the outcome of a request's images."""
        self._images.labels("read").inc(read)
        self._images.labels("refused").inc(refused)
        self._each.observe(read + refused)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Note a request that was answered."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)


class Metered:
    """ASGI middleware that tells a `Meter` of each request. Paths that are no route are one, or they would grow."""

    def __init__(self, app: ASGIApp, meter: Meter, paths: frozenset[str]) -> None:
        self._app, self._meter, self._paths = app, meter, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 500, time.monotonic()

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._meter.request(path, status, time.monotonic() - started)
