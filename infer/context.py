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
SIGNS = {"，。、：；？！": "mark", "—…": "dash", "“‘（《「『【〈": "opening", "”’）》」』】〉": "closing", " ": "blank"}
# Of 100,000 pairs of neighbours in the made-up prose of `gen.prose`: how many are of which kinds, by that of the first.
PAIRS = (
    (0, 2027, 272, 127, 301, 84, 20, 163, 21, 171, 0, 45),  # end
    (1756, 42_193, 228, 156, 297, 3719, 502, 655, 1114, 995, 1189, 118),  # ideograph
    (462, 286, 8340, 154, 68, 483, 60, 37, 136, 1180, 827, 10),  # small
    (105, 67, 849, 1225, 10, 114, 14, 7, 33, 315, 200, 2),  # capital
    (340, 375, 304, 65, 5246, 460, 88, 25, 109, 1224, 740, 267),  # digit
    (194, 3548, 361, 248, 539, 0, 21, 428, 0, 293, 0, 107),  # mark
    (30, 472, 49, 33, 105, 26, 98, 57, 6, 46, 0, 14),  # dash
    (54, 1170, 119, 78, 150, 0, 7, 0, 0, 54, 0, 31),  # opening
    (58, 605, 26, 17, 35, 420, 56, 76, 0, 77, 129, 12),  # closing
    (208, 639, 739, 305, 1427, 328, 46, 37, 63, 207, 939, 14),  # ascii
    (0, 1424, 753, 530, 769, 0, 9, 165, 0, 364, 0, 91),  # blank
    (23, 114, 5, 5, 293, 105, 16, 14, 29, 26, 81, 3),  # other
)
SURE = 0.8  # the rest of 1 is for all pairs alike, since real prose is not quite as this one


def kind_of(char: str) -> int:
    """The place of a character's kind in `KINDS`."""
    name = next((name for chars, name in SIGNS.items() if char in chars), "other")
    if is_ideograph(char):
        name = "ideograph"
    elif char.isascii() and char != " ":
        name = "small" if char.islower() else "capital" if char.isupper() else "digit" if char.isdigit() else "ascii"
    return KINDS.index(name)


def attraction() -> NDArray[np.float32]:
    """How much oftener a kind is followed by another one than if neighbours knew nothing of one another, float32
    [kinds + 1, kinds + 1], the last of them `UNKNOWN`."""
    pairs = np.array(PAIRS, np.float64)
    alone = np.outer(pairs.sum(axis=1), pairs.sum(axis=0)) / pairs.sum()
    return np.pad((SURE * pairs / alone + 1 - SURE).astype(np.float32), (0, 1), constant_values=1)
