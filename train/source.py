"""What lines come from: numbered samples that the plan can order and the loader can read.

Two kinds follow this protocol: `train.shards.ShardSource` (tar shards on a disk or a server) and
`train.rendered.RenderedSource` (drawn on the fly, without end).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gen.charset import Charset

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Item:
    """One line as it is stored: ``pixels`` grey uint8 [H, W]; ``boxes`` int32 [n, 4] (x, y, w, h of each code point,
    pixels), None where they are not known; ``font`` and ``size`` (px) likewise, "" and 0 when not known."""

    key: str
    pixels: NDArray[np.uint8]
    text: str
    boxes: NDArray[np.int32] | None = None
    font: str = ""
    size: int = 0


class Source(Protocol):
    """Samples 0, 1, …; picklable, since loader workers read from it. Reading raises `UserError`, naming the shard."""

    @property
    def name(self) -> str: ...  # as the user wrote it
    @property
    def direction(self) -> str: ...  # horizontal or vertical
    @property
    def charset(self) -> Charset: ...
    @property
    def identity(self) -> str: ...  # of the recipe
    @property
    def blocks(self) -> Ints | None:
        """Samples of each block [blocks], in order: block b has the numbers sum(blocks[:b]) and after. None: no end."""
        ...

    def widths(self, ids: Ints) -> Ints:
        """Extent of samples along the reading direction once they are 32 px thick, px; rendered ones are estimates."""
        ...

    def lengths(self, ids: Ints) -> Ints:
        """Code points of the samples' labels."""
        ...

    def rarest(self, ids: Ints) -> Ints | None:
        """How often the rarest character of each sample's label occurs in the whole set; None where nobody counted."""
        ...

    def read(self, ids: Sequence[int]) -> list[Item]:
        """The samples themselves, in the order asked for."""
        ...

    def prefetch(self, blocks: Sequence[int]) -> None:
        """Bring blocks near, soonest first; nothing to do for what is on a disk or drawn. Never raises."""
        ...


def evenly(source: Source, count: int) -> Ints:
    """Which ``count`` samples, int64: the first ones of an endless source, else evenly spread, or all there are."""
    if source.blocks is None:
        return np.arange(count)
    total = int(source.blocks.sum())
    return np.unique(np.linspace(0, total - 1, min(total, count)).astype(np.int64))
