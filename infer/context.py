"""Which kinds of characters stand beside which in text: an ideograph beside another, small letters in a row, — twice.

    python -m pytest tests/test_infer_context.py

Kinds are the classes of a bigram model (Brown et al. 1992), and what is said of two neighbours is how much oftener they
are neighbours than by chance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gen.charset import is_ideograph

KINDS = (
    "end", "ideograph", "small", "capital", "digit", "mark", "dash", "opening", "closing", "ascii", "blank", "other",
)  # fmt: skip
END = 0  # of a line, either one
UNKNOWN = len(KINDS)  # beside which all kinds are as often as anywhere
_SIGNS = {
    "mark": "，。、：；？！·",
    "dash": "—…",
    "opening": "“‘（《「『【〈",
    "closing": "”’）》」』】〉",
    "blank": " ",
}
_NAMES = {char: name for name, chars in _SIGNS.items() for char in chars}
# Of about 100,000 pairs of neighbours in the made-up prose of `gen.prose` how many are of which kinds, by the first's.
NEIGHBOURS = (
    (0, 2023, 272, 127, 302, 93, 17, 165, 21, 172, 0, 40),  # end
    (1747, 42_056, 224, 155, 295, 4150, 325, 656, 833, 1010, 1191, 101),  # ideograph
    (457, 286, 8277, 154, 67, 531, 38, 37, 100, 1180, 825, 8),  # small
    (104, 67, 843, 1218, 10, 125, 9, 7, 24, 315, 200, 2),  # capital
    (336, 375, 305, 64, 5220, 502, 71, 25, 81, 1219, 733, 269),  # digit
    (218, 3728, 376, 254, 558, 28, 24, 453, 311, 310, 5, 100),  # mark
    (20, 264, 27, 18, 76, 30, 95, 31, 64, 28, 3, 6),  # dash
    (55, 1170, 118, 76, 151, 4, 6, 0, 0, 56, 0, 26),  # opening
    (59, 609, 27, 17, 35, 435, 29, 74, 0, 74, 134, 8),  # closing
    (212, 641, 736, 300, 1423, 360, 29, 37, 47, 210, 955, 13),  # ascii
    (0, 1430, 751, 536, 771, 5, 9, 168, 0, 366, 0, 87),  # blank
    (24, 94, 4, 5, 292, 103, 9, 10, 19, 24, 76, 2),  # other
)
TRUST = 0.8  # the rest of 1 is for all pairs alike, since real prose is not quite as this one


def kind_of(char: str) -> int:
    """The place of a character's kind in `KINDS`."""
    if is_ideograph(char) or char == "〇":
        return KINDS.index("ideograph")
    name = _NAMES.get(char, "other")
    if char.isascii() and char != " ":
        name = "small" if char.islower() else "capital" if char.isupper() else "digit" if char.isdigit() else "ascii"
    return KINDS.index(name)


def attraction() -> NDArray[np.float32]:
    """How much oftener a kind is followed by another one than if neighbours knew nothing of one another, float32
    [kinds + 1, kinds + 1], the last of them `UNKNOWN`."""
    pairs = np.array(NEIGHBOURS, np.float64)
    alone = np.outer(pairs.sum(axis=1), pairs.sum(axis=0)) / pairs.sum()
    return np.pad((TRUST * pairs / alone + 1 - TRUST).astype(np.float32), (0, 1), constant_values=1)
