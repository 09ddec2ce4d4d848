"""Which characters can be drawn in a direction, by which fonts, and how cards of them become lines.

python -m tools.report shards    # how often each character and each font was dealt
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gen.charset import Charset, group_of
from gen.stream import Stream
from gen.text import SPACE, tidy

Ints = npt.NDArray[np.int32]
COMMON = {  # shares of the groups in everyday text; inside a group all are equal
    "everyday": 1.2, "ascii": 1.2, "symbol": 0.15, "gb2312-1": 6.0, "gb2312-2": 0.8, "uro": 0.3, "ext-a": 0.02,
    "plane-2": 0.02,
}  # fmt: skip
EVERYDAY = "，。、：；！？“”‘’（）《》【】—…·％￥～「」『』〈〉①②③④⑤°±×÷√℃№→←↑↓★☆●○■□"


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
        place = np.repeat(self.start[order] - begin, length) + np.arange(length.sum())
        return Lines(self.font[order], length, self.chars[place])


class Pool:
    """The characters of one direction that can be drawn, and by which fonts. ``times``: see `gen.corpus.Deck`."""

    def __init__(self, charset: Charset, cover: npt.NDArray[np.bool_], times: Ints | None = None) -> None:
        self.cover = cover
        self._times = np.ones(len(cover), np.int32) if times is None else times
        self.count = (self._times @ cover).astype(np.int32)
        self.chars = np.flatnonzero(self.count).astype(np.int32)
        order = np.argwhere(cover.T)  # sorted by character: a character's fonts stand together
        self.fonts = self._often(order[:, 1].astype(np.int32))
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
        signs = np.isin(groups, ("everyday", "ascii", "symbol"))
        self.signs = np.flatnonzero((self.count > 0) & signs).astype(np.int32)
        index = charset.index
        kinds = ("0123456789", "0123456789.,-%", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        known = [[index[char] for char in kind if char in index] for kind in kinds]
        self.runs_of = [[kind for kind in known if kind and row[kind].all()] for row in cover]

    def _often(self, fonts: Ints) -> Ints:
        """Fonts, each as many times as it is to be taken."""
        return np.repeat(fonts, self._times[fonts])

    def balanced_cards(self, stream: Stream, begin: int, wanted: int) -> tuple[Ints, Ints]:
        """Cards ``begin`` to ``begin + wanted`` of the endless deck, with the font of each.

        The deck is one permutation of all characters after another; in each of them a character goes to the next of
        its fonts, so that after as many permutations as it has fonts it has been in each exactly once, or as many times
        as the font is to be taken.
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
        picked = np.searchsorted(self.common, rng.random(wanted) * self.common[-1], side="right")
        return np.asarray(picked, np.int32)

    def sign_cards(self, rng: np.random.Generator, wanted: int) -> Ints:
        """One half what is no ideograph, each equally likely, the other half as in `common_cards`; only the latter
        where there are no signs."""
        chars = self.common_cards(rng, wanted)
        if len(self.signs):
            signs = self.signs[rng.integers(len(self.signs), size=wanted)]
            chars = np.where(rng.random(wanted) < 0.5, signs, chars)
        return chars

    def any_font(self, rng: np.random.Generator, chars: Ints) -> Ints:
        """For each character one of the fonts that have it, all equally likely."""
        place = self.first[chars] + (rng.random(len(chars)) * self.count[chars]).astype(np.int64)
        return np.asarray(self.fonts[place])

    def uniform(self, rng: np.random.Generator, lengths: Ints) -> Lines:
        """Lines of a font, each equally likely, and of its characters, each equally likely."""
        usable = self._often(self.usable)
        font = usable[rng.integers(len(usable), size=len(lengths))]
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
        whole = self._often(np.flatnonzero(known.all(axis=1)).astype(np.int32))
        if len(whole):
            return int(whole[int(choice * len(whole))]), piece
        best = int(known.sum(axis=1).argmax())
        piece = tidy(piece[(piece == SPACE) | self.cover[best, np.maximum(piece, 0)]])
        return (best, piece) if len(piece) else None

    def filling(self, rng: np.random.Generator, font: int, wanted: int) -> Ints:
        """Characters of a font, those that few fonts have more often: over all fonts each comes equally often."""
        heights = self.heights[font]
        picked = np.searchsorted(heights, rng.random(wanted) * heights[-1], side="right")
        return np.asarray(self.drawn[font][np.minimum(picked, len(heights) - 1)])

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
