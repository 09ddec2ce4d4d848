"""What the lines say: deals of a few thousand lines at once, each a pure function of its number.

    python -m tools.report shards    # character frequencies, fonts and lengths of what was dealt

Lines are dealt in groups. A group's cards are characters; each card is given to a font that has the character, and a
font's cards are cut into lines of the wanted lengths. So the rarest character comes as often as the commonest, every
font that can draw it gets its turn, and no line is thrown away or shortened because one glyph is missing.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gen.alike import Alike
from gen.charset import Charset
from gen.config import EFFECTS, SOURCES, Corpus, Length
from gen.errors import UserError
from gen.pool import Lines, Pool
from gen.prose import Prose
from gen.stream import Stream
from gen.text import SPACE, TextCorpus

GROUP = 4096  # lines dealt together; part of what the shards depend on
BASE_COLUMNS = 16
EFFECT_COLUMNS = 6
COLUMNS = BASE_COLUMNS + EFFECT_COLUMNS * len(EFFECTS)
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Deal:
    """``GROUP`` lines: font int32 [G], start int32 [G + 1] into chars and chance, chars int32 [symbols], chance float64
    [symbols] (a number per symbol for the layout), columns float64 [G, COLUMNS] (the numbers that all else is drawn
    from; everything random in a line is here)."""

    font: Ints
    start: Ints
    chars: Ints
    chance: Floats
    columns: Floats


class Deck:
    """The cards of a charset and a set of fonts, and how they are dealt.

    ``cover``: for each direction bool [fonts, characters], what each font can draw. ``kept``: how many deals stay in
    memory (4 MB each), for those who read lines in another order. ``times``: int [fonts], how many times as often as
    otherwise a font is taken; None: once.
    """

    def __init__(
        self, config: Corpus, charset: Charset, cover: Mapping[str, Flags], text: TextCorpus | None,
        times: Ints | None = None,
    ) -> None:  # fmt: skip
        self.config = config
        self._written: dict[str, TextCorpus | Prose] = {"text": text} if text else {}
        weights: dict[str, float] = {name: getattr(config, name) for name in SOURCES}
        weights["text"] = config.text if text else 0.0
        if not sum(weights.values()):
            raise UserError("the recipe takes all lines from text files and none was given: add --corpus FILE")
        self.share = {name: weight / sum(weights.values()) for name, weight in weights.items() if weight}
        if "prose" in self.share:
            self._written["prose"] = prose = Prose(charset)
            if prose.poor:
                raise UserError(
                    f"prose cannot be written with the {len(charset)} characters of the charset: "
                    "it wants ideographs, or letters and digits; set corpus.prose to 0 or give another --charset"
                )
        self._charset, self._cover, self._times = charset, cover, times
        self._pools: dict[str, Pool] = {}
        self.kept = 4
        self._deals: OrderedDict[tuple[Stream, int], Deal] = OrderedDict()
        self._alike: Alike | None = None

    def with_alike(self, alike: Alike) -> Deck:
        """The same cards, but of the lines that are no text a share with look-alikes side by side."""
        result = copy.copy(self)
        result._alike, result._deals = alike, OrderedDict()
        return result

    def pool(self, direction: str) -> Pool:
        """The characters of a direction. Raises `UserError` when there is none."""
        if direction not in self._pools:
            if not self._cover[direction].any():
                raise UserError(
                    f"the fonts draw no character of the charset in {direction} lines: "
                    "give other fonts, another charset or the other --direction"
                )
            self._pools[direction] = Pool(self._charset, self._cover[direction], self._times)
        return self._pools[direction]

    def deal(self, stream: Stream, group: int) -> Deal:
        """The lines ``group * GROUP`` and after; the last ``kept`` deals are kept."""
        key = stream, group
        found = self._deals.get(key)
        if found is None:  # another thread may drop it again at once
            self._deals[key] = found = self._make(stream, group)
            if len(self._deals) > self.kept:
                self._deals.popitem(last=False)
        return found

    def _make(self, stream: Stream, group: int) -> Deal:
        rng, pool = stream.generator(0, group), self.pool(stream.direction)
        hard = stream.generator(3, group)
        parts = []
        bounds = np.rint(np.cumsum([0.0, *self.share.values()]) * GROUP).astype(int)
        for name, count in zip(self.share, np.diff(bounds)):
            if not count:
                continue
            lengths = draw_lengths(rng, self.config.length, int(count))
            if name == "balanced":
                wanted = max(1, round(int(count) * mean_length(self.config.length)))
                parts.append(pool.cut(rng, *pool.balanced_cards(stream, group * wanted, wanted), lengths))
            elif name == "common":
                chars = pool.common_cards(rng, int(lengths.sum()))
                parts.append(self._with_runs(rng, pool, pool.cut(rng, chars, pool.any_font(rng, chars), lengths)))
            elif name == "uniform":
                parts.append(pool.uniform(rng, lengths))
            elif name == "signs":
                chars = pool.sign_cards(rng, int(lengths.sum()))
                parts.append(pool.cut(rng, chars, pool.any_font(rng, chars), lengths))
            else:
                parts.append(_pieces(rng, pool, self._written[name], lengths))
            if self._alike is not None and name not in self._written:
                self._alike.put(hard, pool.cover, parts[-1])
        lines = Lines(*(np.concatenate(column) for column in zip(*parts))).take(rng.permutation(GROUP))
        self._repeat(rng, lines)
        chance, columns = rng.random(len(lines.chars)), rng.random((GROUP, COLUMNS))
        return Deal(lines.font, lines.start, lines.chars, chance, columns)

    def _repeat(self, rng: np.random.Generator, lines: Lines) -> None:
        """Say one character twice in some lines, in place: CTC merges repeats that it never saw."""
        chosen = (rng.random(GROUP) < self.config.repeats) & (lines.length > 1)
        place = (lines.start[:-1] + rng.random(GROUP) * (lines.length - 1)).astype(np.int64)[chosen]
        place = place[(lines.chars[place] != SPACE) & (lines.chars[place + 1] != SPACE)]
        lines.chars[place + 1] = lines.chars[place]

    def _with_runs(self, rng: np.random.Generator, pool: Pool, lines: Lines) -> Lines:
        """Put a number or a word of Latin letters into some lines, in place, as everyday text has them."""
        chosen = (rng.random(len(lines.font)) < self.config.runs) & (lines.length > 1)
        draws = rng.random((int(chosen.sum()), 11)).tolist()
        for line, (which, extent, place, *letters) in zip(np.flatnonzero(chosen), draws):
            kinds = pool.runs_of[lines.font[line]]
            if kinds:
                kind, length = kinds[int(which * len(kinds))], int(lines.length[line])
                count = min(length, 2 + int(extent * extent * 7))
                begin = int(lines.start[line]) + int(place * (length - count + 1))
                lines.chars[begin : begin + count] = [kind[int(letter * len(kind))] for letter in letters[:count]]
        return lines


def _pieces(rng: np.random.Generator, pool: Pool, written: TextCorpus | Prose, lengths: Ints) -> Lines:
    """Pieces of text, each in a font that has all of it; if no font does, in the best one without what it lacks."""
    fonts, pieces = [], []
    for length in lengths:
        found = None
        for place, choice in rng.random((20, 2)):  # a few tries: there may be stretches that no font can draw
            found = pool.font_for(written.piece(float(place), int(length)), float(choice))
            if found:
                break
        font, piece = found or (int(pool.usable[0]), pool.drawn[int(pool.usable[0])][:1])
        fonts.append(font)
        pieces.append(piece)
    return Lines(np.array(fonts, np.int32), np.array([len(p) for p in pieces], np.int32), np.concatenate(pieces))


def draw_lengths(rng: np.random.Generator, length: Length, count: int) -> Ints:
    """Lengths of lines, int32 [count]."""
    below = np.array(length.below)[rng.integers(len(length.below), size=count)]
    return np.asarray(length.low + rng.random(count) * (below - length.low), np.int32)


def mean_length(length: Length) -> float:
    """The mean of `draw_lengths`: the whole part of a uniform draw from low to m lies half a character below."""
    return float(np.mean([(length.low + below - 1) / 2 for below in length.below]))
