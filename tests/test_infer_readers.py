"""The queue of the service: bounded, fair, in order, and rid of what nobody waits for any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from gen.errors import UserError
from infer.forms import Given
from infer.readers import Full, Readers
from infer.reading import Reading


class Slow:
    """Reads what it is let; remembers what it has begun."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.sizes: list[int] = []
        self._allowed = threading.Semaphore(0)

    def let(self, count: int) -> None:
        for _ in range(count):
            self._allowed.release()

    def __call__(self, batch: Sequence[Given]) -> list[Reading]:
        self.sizes.append(len(batch))
        return [self._one(given) for given in batch]

    def _one(self, given: Given) -> Reading:
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
        readers = Readers(slow, workers=1, most=100, together=2)
        large = asyncio.ensure_future(readers.read(images(*(f"large {k}" for k in range(9)))))
        await until(lambda: len(slow.begun) == 1)
        small = asyncio.ensure_future(readers.read(images("small")))
        await until(lambda: readers.waiting == 8)
        slow.let(10)
        await small
        await large
        assert slow.begun.index(b"small") <= 3
        readers.close()

    asyncio.run(body())


def test_what_waits_is_read_together() -> None:
    async def body() -> None:
        slow = Slow()
        readers = Readers(slow, workers=1, most=100, together=3)
        reads = [asyncio.ensure_future(readers.read(images(str(k)))) for k in range(8)]
        await until(lambda: readers.waiting == 7 and len(slow.begun) == 1)
        slow.let(8)
        assert [told(each) for each in await asyncio.gather(*reads)] == [[str(k)] for k in range(8)]
        assert slow.sizes == [1, 3, 3, 1]
        readers.close()

    asyncio.run(body())


def test_what_is_wrong_with_one_is_not_with_others_in_its_batch() -> None:
    async def body() -> None:
        slow = Slow()
        readers = Readers(slow, workers=1, most=100)
        names = ("first", "a", "bad", "worse", "b")
        reads = [asyncio.ensure_future(readers.read(images(name))) for name in names]
        await until(lambda: readers.waiting == 4)
        slow.let(100)
        found = await asyncio.gather(*reads, return_exceptions=True)
        assert isinstance(found[3], RuntimeError)
        assert [told(found[k]) for k in (0, 1, 2, 4)] == [["first"], ["a"], ["it is bad"], ["b"]]  # type: ignore[arg-type]
        assert slow.sizes[:2] == [1, 4]
        readers.close()

    asyncio.run(body())


def test_those_who_leave_take_only_their_own_images_along() -> None:
    async def body() -> None:
        slow = Slow()
        readers = Readers(slow, workers=1, most=100)
        first = asyncio.ensure_future(readers.read(images("a")))
        await until(lambda: len(slow.begun) == 1)
        pixels = [Given(np.zeros((32, 64), np.uint8), "auto") for _ in range(2)]
        leave = [asyncio.ensure_future(readers.read(pixels)) for _ in range(3)]
        stays = asyncio.ensure_future(readers.read(images("b", "c")))
        await until(lambda: readers.waiting == 8)
        for each in (leave[1], leave[0], leave[2]):
            each.cancel()
        await asyncio.wait(leave)
        assert readers.waiting == 2
        slow.let(3)
        assert [told(await first), told(await stays)] == [["a"], ["b", "c"]]
        readers.close()

    asyncio.run(body())


def test_what_nobody_waits_for_is_not_read() -> None:
    async def body() -> None:
        slow = Slow()
        readers = Readers(slow, workers=2, most=10, together=1)
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
