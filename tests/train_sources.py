"""A source in memory, for tests of everything that reads from sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from gen.charset import Charset
from gen.errors import UserError
from train.source import Ints, Item

CHARS = "一二三四五六七八九十百千万上中下天地人口"


@dataclass
class MemorySource:
    """Lines of grey noise whose labels, sizes and boxes are functions of their number.

    Labels have 1 to 24 characters of 16 to 31 px, as in gen-default, and a space now and then.
    """

    blocks: Ints | None = None
    name: str = "memory"
    direction: str = "horizontal"
    charset: Charset = field(default_factory=lambda: Charset(CHARS))
    identity: str = "0" * 64
    seed: int = 1
    spaces: bool = False
    bad: int = -1  # reading this sample raises
    rarities: Ints | None = None  # of each sample
    asked: list[int] = field(default_factory=list)  # blocks of prefetch

    def _draw(self, ids: Ints) -> tuple[Ints, Ints]:
        """Label lengths and font sizes: the same for a number wherever it is asked for."""
        table = np.random.Generator(np.random.Philox(self.seed)).integers((1, 16), (25, 32), (4099, 2))
        return table[ids % 4099, 0], table[ids % 4099, 1]

    def widths(self, ids: Ints) -> Ints:
        lengths, sizes = self._draw(np.asarray(ids))
        return lengths * sizes + 8

    def lengths(self, ids: Ints) -> Ints:
        return self._draw(np.asarray(ids))[0]

    def rarest(self, ids: Ints) -> Ints | None:
        return None if self.rarities is None else self.rarities[ids]

    def item(self, number: int) -> Item:
        length, size = (int(values[0]) for values in self._draw(np.array([number])))
        rng = np.random.Generator(np.random.Philox(number))
        pixels = cv2.resize(rng.integers(0, 256, (4, length + 1), np.uint8), (length * size + 8, 32))
        text = "".join(CHARS[k] for k in rng.integers(0, len(CHARS), length))
        if self.spaces and length > 2:
            text = text[0] + " " + text[2:]
        boxes = np.array([[4 + k * size, 3, size, size] for k in range(length)], np.int32)
        if self.direction == "vertical":
            pixels, boxes = np.ascontiguousarray(pixels.T), boxes[:, [1, 0, 3, 2]]
        return Item(f"{self.name}{number:06d}", pixels, text, boxes, "some font", size)

    def read(self, ids: Sequence[int]) -> list[Item]:
        if self.bad in ids:
            raise UserError(f"{self.name}: sample {self.bad} cannot be read")
        return [self.item(number) for number in ids]

    def prefetch(self, blocks: Sequence[int]) -> None:
        self.asked += blocks


def memory(samples: int, block: int = 50, **rest: object) -> MemorySource:
    """A source of that many samples in blocks of ``block``, the last one smaller."""
    blocks = np.diff([*range(0, samples, block), samples])
    return MemorySource(blocks.astype(np.int64), **rest)  # type: ignore[arg-type]
