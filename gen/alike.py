"""Lines in which characters stand beside those that are taken for them, to be told apart.

Which characters are taken for which is read from a table, a line of text for each: a character, then the others, the
nearest first. A trainer writes it from what its network has become (`train.hard`).

    python -m pytest tests/test_gen_alike.py
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gen.charset import Charset
from gen.pool import Lines
from gen.text import SPACE

NEAR = 6  # others of each character
SLOPE = 1.8  # of a draw from 0 to 1, to the power of it, the whole part of NEAR times is taken: the nearest in 37 %
Ints = npt.NDArray[np.int32]


def read_near(path: Path, charset: Charset) -> Ints:
    """The positions of the ``NEAR`` others of each character, int32 [characters, NEAR]; -1: no other."""
    near = np.full((len(charset), NEAR), -1, np.int32)
    for line in path.read_text(encoding="utf-8").splitlines():
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
        """Give every second character of the chosen lines a neighbour that is taken for it, where the font (``cover``:
        bool [fonts, characters]) has one, before or after it; in place."""
        line = np.repeat(np.arange(len(lines.font)), lines.length)
        odd = (np.arange(len(line)) - lines.start[line]) % 2 == 1
        at = np.flatnonzero(odd & (rng.random(len(lines.font)) < self.share)[line])
        which = (NEAR * rng.random(len(at)) ** SLOPE).astype(np.int64)
        swapped = rng.random(len(at)) < 0.5
        first, second = lines.chars[at - 1], lines.chars[at]
        other = self.near[first, which]
        fits = (other >= 0) & (first != SPACE) & (second != SPACE) & cover[lines.font[line[at]], other]
        at, first, other, swapped = at[fits], first[fits], other[fits], swapped[fits]
        lines.chars[at - 1] = np.where(swapped, other, first)
        lines.chars[at] = np.where(swapped, first, other)
