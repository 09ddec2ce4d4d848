"""Lines in which characters stand beside those that are taken for them, to be told apart.

Which characters are taken for which is read from a table, a line of text for each: a character, then the others, the
nearest first. A trainer writes it from what its network has become (`train.alike`).

    python -m pytest tests/test_gen_alike.py
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gen.charset import Charset
from gen.pool import Lines

NEAR = 6  # others of each character
SLOPE = 1.8  # of a draw from 0 to 1, to the power of it, the whole part of NEAR times is taken: the nearest in 37 %
Ints = npt.NDArray[np.int32]


def read_near(path: Path, charset: Charset) -> Ints:
    """The positions of the ``NEAR`` others of each character, int32 [characters, NEAR]; -1: no other."""
    near = np.full((len(charset), NEAR), -1, np.int32)
    for line in filter(None, path.read_bytes().decode().split("\n")):  # U+0085 or U+2028 may be a character
        first, *others = (charset.index.get(char, -1) for char in line)
        if first >= 0:
            known = [other for other in others if other >= 0][:NEAR]
            near[first, : len(known)] = known
    return near


@dataclass(frozen=True)
class Alike:
    """``near``: as of `read_near`. ``share``: of the lines."""

    near: Ints
    share: float

    def put(self, rng: np.random.Generator, cover: npt.NDArray[np.bool_], lines: Lines) -> None:
        """Put one that is taken for it beside every second character of the chosen lines, before or after it, instead
        of the next character; in place. Where the font (``cover``: bool [fonts, characters]) lacks it both stay."""
        line = np.repeat(np.arange(len(lines.font)), lines.length)
        odd = (np.arange(len(line)) - lines.start[line]) % 2 == 1
        at = np.flatnonzero(odd & (rng.random(len(lines.font)) < self.share)[line])
        which = (NEAR * rng.random(len(at)) ** SLOPE).astype(np.int64)
        swapped = rng.random(len(at)) < 0.5
        first = lines.chars[at - 1]
        other = self.near[first, which]
        fits = (other >= 0) & cover[lines.font[line[at]], other]
        at, first, other, swapped = at[fits], first[fits], other[fits], swapped[fits]
        lines.chars[at - 1] = np.where(swapped, other, first)
        lines.chars[at] = np.where(swapped, first, other)
