"""The queue of the service: bounded, fair, in order, and rid of what nobody waits for any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from gen.errors import UserError
from infer.forms import Given
from infer.readers import Full, Readers
from infer.reading import Reading


class Slow:
    """Reads what it is let; remembers what it has begun."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self._allowed = threading.Semaphore(0)

    def let(self, count: int) -> None:
        for _ in range(count):
            self._allowed.release()

    def __call__(self, given: Given) -> Reading:
        assert isinstance(given.image, bytes)
        self.begun.append(given.image)
        self._allowed.acquire()
        if given.image == b"bad":
            raise UserError("it is bad")
        if given.image == b"worse":
            raise RuntimeError("a bug")
        return Reading(given.image.decode(), "horizontal", ())


def images(*names: str) -> list[Given]:
    return [Given(name.encode(), "auto") for name in names]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def told(outcomes: list[Reading | UserError]) -> list[str]:
    return [outcome.text if isinstance(outcome, Reading) else str(outcome) for outcome in outcomes]


def test_outcomes_in_order() -> None:
    async def body() -> None:
        slow = Slow()
        readers = Readers(slow, workers=3, most=10)
        slow.let(100)
        assert told(await readers.read(images("a", "bad", "c", "d", "e"))) == ["a", "it is bad", "c", "d", "e"]
        with pytest.raises(RuntimeError, match="a bug"):
            await readers.read(images("a", "worse", "c"))
        assert told(await readers.read(images("a"))) == ["a"]
        assert readers.waiting == 0
        readers.close()

    asyncio.run(body())


def test_what_finds_no_room_is_refused_whole() -> None:
    async def body() -> None:
        slow = Slow()
        readers = Readers(slow, workers=1, most=3)
        first = asyncio.ensure_future(readers.read(images("a")))
        await until(lambda: slow.begun == [b"a"])
        assert readers.waiting == 0
        second = asyncio.ensure_future(readers.read(images("b", "c")))
        await until(lambda: readers.waiting == 2)
        with pytest.raises(Full):
            await readers.read(images("d", "e"))
        assert readers.waiting == 2
        third = asyncio.ensure_future(readers.read(images("f")))
        await until(lambda: readers.waiting == 3)
        with pytest.raises(Full):
            await readers.read(images("g"))
        slow.let(4)
        assert [told(each) for each in await asyncio.gather(first, second, third)] == [["a"], ["b", "c"], ["f"]]
        assert readers.waiting == 0
        assert sorted(slow.begun) == [b"a", b"b", b"c", b"f"]
        readers.close()

    asyncio.run(body())


def test_requests_take_turns() -> None:
    async def body() -> None:
        slow = Slow()
        readers = Readers(slow, workers=1, most=100)
        large = asyncio.ensure_future(readers.read(images(*(f"large {k}" for k in range(9)))))
        await until(lambda: len(slow.begun) == 1)
        small = asyncio.ensure_future(readers.read(images("small")))
        await until(lambda: readers.waiting == 9)
        slow.let(10)
        await small
        await large
        assert slow.begun.index(b"small") <= 2
        readers.close()

    asyncio.run(body())


def test_what_nobody_waits_for_is_not_read() -> None:
    async def body() -> None:
        slow = Slow()
        readers = Readers(slow, workers=2, most=10)
        left = asyncio.ensure_future(readers.read(images("a", "b", "c", "d")))
        await until(lambda: len(slow.begun) == 2)
        stays = asyncio.ensure_future(readers.read(images("e")))
        await until(lambda: readers.waiting == 3)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        assert readers.waiting == 1
        await asyncio.sleep(0)
        assert len(slow.begun) == 2  # both threads are still at it
        slow.let(3)
        assert told(await stays) == ["e"]
        assert sorted(slow.begun) == [b"a", b"b", b"e"]
        readers.close()

    asyncio.run(body())
