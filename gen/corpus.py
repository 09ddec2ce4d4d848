"""What the lines say: deals of a few thousand lines at once, each a pure function of its number.

    python -m tools.report shards    # character frequencies, fonts and lengths of what was dealt

Lines are dealt in groups. A group's cards are characters; each card is given to a font that has the character, and a
font's cards are cut into lines of the wanted lengths. So the rarest character comes as often as the commonest, every
font that can draw it gets its turn, and no line is thrown away or shortened because one glyph is missing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gen.charset import Charset, group_of
from gen.config import EFFECTS, Corpus, Length
from gen.errors import UserError
from gen.text import SPACE, TextCorpus

GROUP = 4096  # lines dealt together; part of what the shards depend on
BASE_COLUMNS = 16
EFFECT_COLUMNS = 6
COLUMNS = BASE_COLUMNS + EFFECT_COLUMNS * len(EFFECTS)
SPLITS = ("train", "val")
DIRECTIONS = ("horizontal", "vertical")
COMMON = {  # shares of the groups in everyday text; inside a group all are equal
    "everyday": 1.2, "ascii": 1.2, "symbol": 0.15, "gb2312-1": 6.0, "gb2312-2": 0.8, "uro": 0.3, "ext-a": 0.02,
    "plane-2": 0.02,
}  # fmt: skip
EVERYDAY = "，。、：；！？“”‘’（）《》【】—…·％￥～「」『』〈〉①②③④⑤°±×÷√℃№→←↑↓★☆●○■□"
VERTICAL_FORMS = range(0xFE30, 0xFE50)

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Stream:
    """One endless sequence of samples: its seed, the direction of its lines, and the split it belongs to."""

    seed: int
    direction: str
    split: str

    def generator(self, purpose: int, number: int) -> np.random.Generator:
        """An independent generator for each purpose and number (Philox is counter-based: no state to carry)."""
        which = purpose << 2 | DIRECTIONS.index(self.direction) << 1 | SPLITS.index(self.split)
        return np.random.Generator(np.random.Philox(key=np.array([self.seed, number << 8 | which], np.uint64)))


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

    ``cover``: bool [fonts, characters], what each font can draw.
    """

    def __init__(self, config: Corpus, charset: Charset, cover: npt.NDArray[np.bool_], text: TextCorpus | None) -> None:
        self.config, self.text = config, text
        weights = {"balanced": config.balanced, "uniform": config.uniform, "common": config.common}
        weights["text"] = config.text if text else 0.0
        if not sum(weights.values()):
            raise UserError("the recipe takes all lines from text files and none was given: add --corpus FILE")
        self.share = {name: weight / sum(weights.values()) for name, weight in weights.items() if weight}
        self.pools = {
            "horizontal": Pool(charset, cover),
            "vertical": Pool(charset, cover & ~np.array([ord(char) in VERTICAL_FORMS for char in charset.chars])),
        }
        self._deals: OrderedDict[tuple[Stream, int], Deal] = OrderedDict()

    def deal(self, stream: Stream, group: int) -> Deal:
        """The lines ``group * GROUP`` and after; the last few deals are kept."""
        key = stream, group
        if key not in self._deals:
            self._deals[key] = self._make(stream, group)
            if len(self._deals) > 4:
                self._deals.popitem(last=False)
        return self._deals[key]

    def _make(self, stream: Stream, group: int) -> Deal:
        rng, pool = stream.generator(0, group), self.pools[stream.direction]
        parts = []
        bounds = np.rint(np.cumsum([0.0, *self.share.values()]) * GROUP).astype(int)
        for name, count in zip(self.share, np.diff(bounds)):
            lengths = draw_lengths(rng, self.config.length, int(count))
            if name == "balanced":
                wanted = max(1, round(int(count) * mean_length(self.config.length)))
                parts.append(pool.cut(rng, *pool.balanced_cards(stream, group * wanted, wanted), lengths))
            elif name == "common":
                chars = pool.common_cards(rng, int(lengths.sum()))
                parts.append(self._with_runs(rng, pool, pool.cut(rng, chars, pool.any_font(rng, chars), lengths)))
            elif name == "uniform":
                parts.append(pool.uniform(rng, lengths))
            else:
                parts.append(self._from_text(rng, pool, lengths))
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

    def _from_text(self, rng: np.random.Generator, pool: Pool, lengths: Ints) -> Lines:
        """Pieces of text, each in a font that has all of it; if no font does, in the best one without what it lacks."""
        assert self.text is not None
        fonts, pieces = [], []
        for length in lengths:
            found = None
            for place, choice in rng.random((20, 2)):  # a few tries: a file may hold stretches that no font can draw
                found = pool.font_for(self.text.piece(float(place), int(length)), float(choice))
                if found:
                    break
            font, piece = found or (int(pool.usable[0]), pool.drawn[int(pool.usable[0])][:1])
            fonts.append(font)
            pieces.append(piece)
        return Lines(np.array(fonts, np.int32), np.array([len(p) for p in pieces], np.int32), np.concatenate(pieces))


@dataclass(frozen=True)
class Lines:
    """Lines one after another: font int32 [lines], length int32 [lines], chars int32 [symbols]."""

    font: Ints
    length: Ints
    chars: Ints

    def __iter__(self) -> Iterator[Ints]:
        return iter((self.font, self.length, self.chars))

    @cached_property
    def start(self) -> Ints:
        """Where each line begins in ``chars``, and the end: int32 [lines + 1]."""
        return np.concatenate([[0], np.cumsum(self.length)]).astype(np.int32)

    def take(self, order: npt.NDArray[np.int64]) -> Lines:
        """The same lines in another order."""
        length = self.length[order]
        begin = np.concatenate([[0], np.cumsum(length)])[:-1]
        return Lines(self.font[order], length, self.chars[np.repeat(self.start[order] - begin, length) + np.arange(length.sum())])


class Pool:
    """The characters of one direction that can be drawn, and by which fonts."""

    def __init__(self, charset: Charset, cover: npt.NDArray[np.bool_]) -> None:
        self.cover = cover
        self.count = cover.sum(axis=0).astype(np.int32)
        self.chars = np.flatnonzero(self.count).astype(np.int32)
        if not len(self.chars):
            raise UserError("the fonts have no character of the charset: give other fonts or another charset")
        order = np.argwhere(cover.T)  # sorted by character: a character's fonts stand together
        self.fonts = order[:, 1].astype(np.int32)
        self.first = np.concatenate([[0], np.cumsum(self.count)]).astype(np.int64)
        self.drawn = [np.flatnonzero(row).astype(np.int32) for row in cover]
        self.usable = np.array([font for font, drawn in enumerate(self.drawn) if len(drawn)], np.int32)
        rarity = 1.0 / np.maximum(self.count, 1)
        self.heights = [np.cumsum(rarity[drawn]) for drawn in self.drawn]
        groups = np.array(["everyday" if char in EVERYDAY else group_of(char) for char in charset.chars])
        weight = np.zeros(len(charset))
        for group, share in COMMON.items():
            inside = (groups == group) & (self.count > 0)
            weight[inside] = share / max(1, int(inside.sum()))
        self.common = np.cumsum(weight)
        index = charset.index
        kinds = ("0123456789", "0123456789.,-%", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        known = [[index[char] for char in kind if char in index] for kind in kinds]
        self.runs_of = [[kind for kind in known if kind and row[kind].all()] for row in cover]

    def balanced_cards(self, stream: Stream, begin: int, wanted: int) -> tuple[Ints, Ints]:
        """Cards ``begin`` to ``begin + wanted`` of the endless deck, with the font of each.

        The deck is one permutation of all characters after another; in each of them a character goes to the next of
        its fonts, so that after as many permutations as it has fonts it has been in each exactly once.
        """
        size, chars, fonts = len(self.chars), [], []
        turn = stream.generator(1, 0).integers(0, 1 << 30, size)
        for number in range(begin // size, (begin + wanted - 1) // size + 1):
            low, high = max(begin - number * size, 0), min(begin + wanted - number * size, size)
            picked = stream.generator(2, number).permutation(size)[low:high]
            cards = self.chars[picked]
            chars.append(cards)
            fonts.append(self.fonts[self.first[cards] + (turn[picked] + number) % self.count[cards]])
        return np.concatenate(chars), np.concatenate(fonts)

    def common_cards(self, rng: np.random.Generator, wanted: int) -> Ints:
        """Characters drawn by how often people write them."""
        return np.searchsorted(self.common, rng.random(wanted) * self.common[-1], side="right").astype(np.int32)

    def any_font(self, rng: np.random.Generator, chars: Ints) -> Ints:
        """For each character one of the fonts that have it, all equally likely."""
        return self.fonts[self.first[chars] + (rng.random(len(chars)) * self.count[chars]).astype(np.int64)]

    def uniform(self, rng: np.random.Generator, lengths: Ints) -> Lines:
        """Lines of a font, each equally likely, and of its characters, each equally likely."""
        font = self.usable[rng.integers(len(self.usable), size=len(lengths))]
        each = np.repeat(font, lengths)
        size = np.array([len(drawn) for drawn in self.drawn])
        place = (np.cumsum(size) - size)[each] + (rng.random(len(each)) * size[each]).astype(np.int64)
        return Lines(font, lengths, np.concatenate(self.drawn)[place])

    def font_for(self, piece: Ints, choice: float) -> tuple[int, Ints] | None:
        """A font that has the whole piece; else the one that has most of it, and the piece without the rest."""
        inked = piece[piece != SPACE]
        if not len(inked):
            return None
        known = self.cover[:, inked]
        whole = np.flatnonzero(known.all(axis=1))
        if len(whole):
            return int(whole[int(choice * len(whole))]), piece
        best = int(known.sum(axis=1).argmax())
        piece = tidy(piece[(piece == SPACE) | self.cover[best, np.maximum(piece, 0)]])
        return (best, piece) if len(piece) else None

    def filling(self, rng: np.random.Generator, font: int, wanted: int) -> Ints:
        """Characters of a font, those that few fonts have more often: over all fonts each comes equally often."""
        heights = self.heights[font]
        picked = np.searchsorted(heights, rng.random(wanted) * heights[-1], side="right")
        return self.drawn[font][np.minimum(picked, len(heights) - 1)]

    def cut(self, rng: np.random.Generator, chars: Ints, fonts: Ints, lengths: Ints) -> Lines:
        """One line for each of ``lengths``, from the cards of one font each.

        A font's last line is filled up with other characters of it. When the lengths are used up, the cards left over
        are those of the fonts that a random order put last; when the cards are, the fonts go on by their shares.
        """
        rank = rng.permutation(len(self.cover))
        order = np.argsort(rank[fonts], kind="stable")
        chars, ends, done, used = chars[order], np.cumsum(lengths), 0, 0
        share = np.bincount(fonts, minlength=len(self.cover))
        font_of, parts, begin = [], [], 0
        for font in np.argsort(rank):
            count = int(share[font])
            cards, begin = chars[begin : begin + count], begin + count
            if not count or done == len(lengths):
                continue
            last = min(int(np.searchsorted(ends, used + count)) + 1, len(lengths))
            wanted = int(ends[last - 1]) - used
            parts += [cards[:wanted], self.filling(rng, int(font), max(wanted - count, 0))]
            font_of.append(np.full(last - done, font))
            done, used = last, used + wanted
        for font in rng.choice(len(share), len(lengths) - done, p=share / share.sum()):
            parts.append(self.filling(rng, int(font), int(lengths[done])))
            font_of.append(np.full(1, font))
            done += 1
        return Lines(np.concatenate(font_of).astype(np.int32), lengths, np.concatenate(parts))


def draw_lengths(rng: np.random.Generator, length: Length, count: int) -> Ints:
    """Lengths of lines, int32 [count]."""
    below = np.array(length.below)[rng.integers(len(length.below), size=count)]
    return (length.low + rng.random(count) * (below - length.low)).astype(np.int32)


def mean_length(length: Length) -> float:
    """The mean of `draw_lengths`: the whole part of a uniform draw from low to m lies half a character below."""
    return float(np.mean([(length.low + below - 1) / 2 for below in length.below]))


def tidy(piece: Ints) -> Ints:
    """Without blanks at the ends, and never two in a row."""
    double = np.concatenate([[True], piece[:-1] == SPACE]) & (piece == SPACE)
    piece = piece[~double]
    return piece[:-1] if len(piece) and piece[-1] == SPACE else piece
