"""Lines chosen from a source, some of them more than once: the short ones, or those with rare characters more often.

python -m train --data shards/real --set data.balance=0.5 --out runs/real
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gen.errors import UserError
from train.plan import LANES
from train.source import Ints, Item, Source

MOST = 16  # times that a pass may show a line
TOGETHER = 8  # neighbouring blocks whose repeats are spread over one another: more would be open at a time


class Chosen:
    """The lines ``ids`` of a source that has an end, as a source; its blocks are ``together`` of the other's.

    All ids of such a run of blocks stand side by side, the runs in order.
    """

    def __init__(self, source: Source, ids: Ints, together: int = 1) -> None:
        assert source.blocks is not None
        self.source, self.ids, self.together = source, ids, together
        self.name, self.direction, self.charset, self.identity = (
            source.name, source.direction, source.charset, source.identity
        )  # fmt: skip
        runs = _runs(source.blocks, together)
        self.blocks: Ints | None = np.bincount(runs[ids], minlength=-(-len(source.blocks) // together))

    def widths(self, ids: Ints) -> Ints:
        return self.source.widths(self.ids[ids])

    def lengths(self, ids: Ints) -> Ints:
        return self.source.lengths(self.ids[ids])

    def rarest(self, ids: Ints) -> Ints | None:
        return self.source.rarest(self.ids[ids])

    def read(self, ids: Sequence[int]) -> list[Item]:
        return self.source.read([int(self.ids[number]) for number in ids])

    def prefetch(self, blocks: Sequence[int]) -> None:
        assert self.source.blocks is not None
        runs = [range(run * self.together, (run + 1) * self.together) for run in blocks]
        self.source.prefetch([block for run in runs for block in run if self.source.blocks[block : block + 1].any()])


def _runs(blocks: Ints, together: int) -> Ints:
    """The number of each line's run of blocks."""
    return np.repeat(np.arange(len(blocks)) // together, blocks)


def short(source: Source, longest: int) -> Chosen:
    """A source without its longer lines. Raises `UserError` when no line is left."""
    assert source.blocks is not None
    ids = np.flatnonzero(source.lengths(np.arange(int(source.blocks.sum()))) <= longest)
    if not len(ids):
        raise UserError(f"{source.name} has no line of at most {longest} characters: drop the stage that wants them")
    return Chosen(source, ids)


def balance(sources: Sequence[Source], power: float) -> tuple[list[Source], list[str]]:
    """Sources whose passes show lines with rare characters more often, see `times`; what is to be told about it.

    Those without end stay as they are, and those that do not know which of their characters are rare.
    """
    result, notes = [*sources], []
    for k, source in enumerate(sources):
        if source.blocks is None:
            continue
        rarest = source.rarest(np.arange(int(source.blocks.sum())))
        if rarest is None:
            notes.append(
                f"{source.name} stays as it is in spite of data.balance: it does not say how rare its characters are, "
                "as sets of tools.index and tools.import_lines do"
            )
            continue
        often = times(rarest, power)
        result[k] = repeated(source, often)
        notes.append(
            f"{source.name}: a pass over its {len(often)} lines shows {often.sum()}, those with rare characters up to "
            f"{often.max()} times (data.balance)"
        )
    return result, notes


def repeated(source: Source, often: Ints) -> Chosen:
    """A source whose line k comes ``often`` [k] times in a pass.

    Repeats of a line are spread over a run of neighbouring blocks: the plan sorts some thousand lines by width, and
    would put those that stand side by side into one batch.
    """
    assert source.blocks is not None
    together = min(max(len(source.blocks) // LANES, 1), TOGETHER)
    first = np.cumsum(often) - often  # of each line's repeats, were they side by side
    runs = _runs(source.blocks, together)
    size = np.bincount(runs, often).astype(np.int64)
    place = (first - (np.cumsum(size) - size)[runs]) / size[runs]
    ids = np.repeat(np.arange(len(often)), often)
    turn = np.arange(len(ids)) - first[ids]
    order = np.lexsort(((place[ids] + turn / often[ids]) % 1, runs[ids]))
    return Chosen(source, ids[order], together)


def times(rarest: Ints, power: float) -> Ints:
    """How often a pass shows each line: (median of ``rarest`` / ``rarest``) ^ ``power`` times, from 1 to `MOST`.

    The repeat factor of Gupta et al. 2019 (LVIS), there with a power of 0.5. What is over a whole number adds up along
    the lines until it makes another time, so that any stretch of lines has as many repeats as it should.
    """
    wanted = np.clip((np.median(rarest) / np.maximum(rarest, 1)) ** power, 1, MOST)
    over = np.floor(np.cumsum(wanted % 1))
    return (np.floor(wanted) + np.diff(over, prepend=0)).astype(np.int64)
