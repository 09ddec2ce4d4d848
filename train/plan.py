"""Which samples are in which global batch: a pure function of sources, weights, seed and sizes.

The batches have no end and no epochs; the state to resume from is the number of the next one. In each pass over a
source its blocks are permuted, their samples laid end to end, and the row is cut into lanes of equal length. A lane
takes from the sources by weight, a window of samples at a time; within its window the samples are sorted by width and
cut into portions, and portion k of all lanes together is a batch. Ranks own whole neighbouring lanes, so a batch is
the same for every number of ranks, every rank has as many steps, and a rank touches only the blocks of its lanes.

    python -m pytest tests/test_train_plan.py
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from gen.errors import UserError
from train.source import Ints, Source

LANES = 12  # ranks may be as many as any divisor of it
WINDOW = 1024  # samples of a lane
JITTER = 0.05  # widths are sorted as if up to this share larger or smaller; twice as much pads by 15 %
_ORDER, _JITTER, _BATCHES = range(3)  # purposes of random numbers
_KEPT = 4  # windows in memory


class Plan:
    """Global batches 0, 1, … over weighted sources; raises `UserError` for numbers that do not go together.

    ``batch``: samples of a global batch, a multiple of ``lanes``. ``window``: samples of a lane that are sorted by
    width together, rounded up to whole batches. Weights need not add up to 1.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        weights: Sequence[float],
        *,
        seed: int,
        batch: int,
        lanes: int = LANES,
        window: int = WINDOW,
    ) -> None:
        self._sources, self._seed, self._batch, self._lanes = tuple(sources), seed, batch, lanes
        check_sizes(batch, lanes)
        self._share = batch // lanes  # of a lane in a batch
        self.steps = max(1, -(-window // self._share))
        """Steps of a window: these are planned, and their blocks needed, together."""
        self._weights = _shares(sources, weights)
        self._decks = [
            None if source.blocks is None else _Deck(source, k, seed, lanes) for k, source in enumerate(sources)
        ]
        self._windows: dict[int, Ints] = {}

    def check(self, world: int) -> None:
        """Raise `UserError` when ``world`` ranks cannot share the lanes evenly."""
        check_sizes(self._batch, self._lanes, world)

    def batch(self, step: int) -> Ints:
        """The samples of a global batch, int64 [batch, 2]: number of the source, number in it; lane by lane."""
        number, slot = divmod(step, self.steps)
        rows: Ints = self._window(number)[slot]
        return rows

    def local(self, step: int, rank: int, world: int) -> Ints:
        """The rows of the batch that are ``rank``'s, int64 [batch / world, 2]; in order of ranks they are the batch."""
        return self.batch(step)[self._rows(rank, world)]

    def blocks(self, step: int, rank: int, world: int) -> list[tuple[int, int]]:
        """Source and block of all that ``rank`` reads in the window holding ``step``, in order of first need."""
        rows = self._window(step // self.steps)[:, self._rows(rank, world)].reshape(-1, 2)
        needed: list[tuple[int, int, int]] = []
        for number, deck in enumerate(self._decks):
            if deck is not None:
                places = np.flatnonzero(rows[:, 0] == number)
                blocks, first = np.unique(deck.block_of(rows[places, 1]), return_index=True)
                needed += zip(places[first].tolist(), [number] * len(first), blocks.tolist())
        return [(number, block) for _, number, block in sorted(needed)]

    def passes(self, step: int) -> dict[str, float]:
        """How often each source that has an end has been gone through before ``step``, by its name, to 0.001."""
        each = zip(self._sources, self._decks, self._taken(step * self._share))
        return {source.name: round(count / deck.length, 3) for source, deck, count in each if deck is not None}

    def _rows(self, rank: int, world: int) -> slice:
        self.check(world)
        share = self._batch // world
        return slice(rank * share, (rank + 1) * share)

    def _taken(self, count: int) -> list[int]:
        """How many of a lane's first ``count`` samples are from each source.

        Each source in turn takes its share, rounded down, of what those before it left. So no number ever shrinks
        when ``count`` grows, and none is off by as much as there are sources.
        """
        taken, left, weight = [], count, Fraction(1)
        for share in self._weights:
            taken.append(math.floor(left * share / weight))
            left, weight = left - taken[-1], weight - share
        return taken

    def _window(self, number: int) -> Ints:
        """The batches of a window, int64 [steps, batch, 2]; the latest few are kept."""
        if number not in self._windows:
            found = self._plan_window(number)
            while len(self._windows) >= _KEPT:
                del self._windows[next(iter(self._windows))]
            self._windows[number] = found
        return self._windows[number]

    def _plan_window(self, number: int) -> Ints:
        size = self.steps * self._share
        rows = np.empty((self._lanes, size, 2), np.int64)
        widths = np.empty((self._lanes, size))
        start = 0
        for k, (first, last) in enumerate(zip(self._taken(number * size), self._taken((number + 1) * size))):
            part = slice(start, start := start + last - first)
            deck, source = self._decks[k], self._sources[k]
            rows[:, part, 0] = k
            rows[:, part, 1] = ids = _endless(first, last, self._lanes) if deck is None else deck.deal(first, last)
            widths[:, part] = source.widths(ids.ravel()).reshape(ids.shape)
        widths *= _generator(self._seed, _JITTER, number).uniform(1 - JITTER, 1 + JITTER, widths.shape)
        order = np.argsort(widths, axis=1, kind="stable")
        portions = np.take_along_axis(rows, order[:, :, None], axis=1).reshape(self._lanes, self.steps, self._share, 2)
        batches: Ints = portions.swapaxes(0, 1).reshape(self.steps, self._batch, 2)
        _generator(self._seed, _BATCHES, number).shuffle(batches)
        return batches


def check_sizes(batch: int, lanes: int, world: int = 1) -> None:
    """Raise `UserError` unless a batch can be dealt to lanes, and these to processes, evenly."""
    if batch < 1 or batch % lanes:
        near = batch // lanes * lanes
        some = f"{near} or {near + lanes}" if near > 0 else f"{lanes}"
        raise UserError(f"a batch of {batch} cannot be dealt to {lanes} lanes evenly: take {some}")
    if world < 1 or lanes % world:
        fit = ", ".join(str(count) for count in range(1, lanes + 1) if lanes % count == 0)
        raise UserError(f"{world} processes cannot share the plan's {lanes} lanes evenly: run {fit}")


class _Deck:
    """The passes over one finite source, dealt to lanes."""

    def __init__(self, source: Source, number: int, seed: int, lanes: int) -> None:
        assert source.blocks is not None
        self._seed, self._number, self._lanes = seed, number, lanes
        self._counts = source.blocks
        self._starts = np.cumsum(source.blocks) - source.blocks  # the first sample of each block
        self.length = int(source.blocks.sum()) // lanes  # of a lane in one pass
        if not self.length:
            raise UserError(
                f"{source.name} has {int(source.blocks.sum())} samples, too few to train on: give at least {lanes}"
            )
        self._pass = -1
        self._order = self._ends = np.empty(0, np.int64)

    def block_of(self, ids: Ints) -> Ints:
        """The block of each sample."""
        return np.searchsorted(self._starts, ids, side="right") - 1

    def deal(self, first: int, last: int) -> Ints:
        """Samples ``first`` to ``last`` - 1 of every lane, counted through all passes: int64 [lanes, last - first]."""
        dealt = [np.empty((self._lanes, 0), np.int64)]
        while first < last:
            number, offset = divmod(first, self.length)
            count = min(last - first, self.length - offset)
            self._shuffle(number)
            place = np.arange(offset, offset + count) + np.arange(self._lanes)[:, None] * self.length
            turn = np.searchsorted(self._ends, place, side="right")
            block = self._order[turn]
            dealt.append(self._starts[block] + place - self._ends[turn] + self._counts[block])
            first += count
        return np.concatenate(dealt, axis=1)

    def _shuffle(self, number: int) -> None:
        """Lay out a pass: ``_order``, its blocks in order, and ``_ends``, the place after the last sample of each."""
        if number != self._pass:
            self._order = _generator(self._seed, _ORDER, number, self._number).permutation(len(self._counts))
            self._ends = np.cumsum(self._counts[self._order])
            self._pass = number


def _endless(first: int, last: int, lanes: int) -> Ints:
    """Samples ``first`` to ``last`` - 1 of every lane of a source without end: int64 [lanes, last - first]."""
    return np.arange(first, last) * lanes + np.arange(lanes)[:, None]


def _generator(seed: int, purpose: int, number: int, source: int = 0) -> np.random.Generator:
    """An independent generator for each purpose, number and source; Philox is counter-based, so there is no state."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, number << 16 | source << 2 | purpose], np.uint64)))


def _shares(sources: Sequence[Source], weights: Sequence[float]) -> list[Fraction]:
    """The weights as exact shares of 1, so that counts do not hang on rounding. Raises `UserError`."""
    if not sources:
        raise UserError("nothing to train on: give --data at least once")
    for source, weight in zip(sources, weights, strict=True):
        if not (math.isfinite(weight) and weight > 0):
            raise UserError(f"{source.name}: the weight {weight} is not a number above 0; write it as --data PLACE=0.8")
    exact = [Fraction(str(float(weight))) for weight in weights]
    return [weight / sum(exact) for weight in exact]
