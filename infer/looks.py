"""Further looks at lines that are not sure: they are read again, moved by half a frame, and what was seen is averaged.

    python -m infer --looks 1 line.png    # every line once

A network with strides sees the same stroke differently when it lies a pixel further on, and what it is wrong about it
is seldom wrong about each time. Averaging over moved copies is an old means for images (Krizhevsky et al. 2012, at test
time); here only lines in which a character has less than `SURE` pay for it: a quarter of those of text, a fifth to a
third of those of random characters. Of a line moved by half a frame each frame lies between two of the first look and
counts for both, so that these are seen once more from either side at the cost of one look; where one of the two is what
it holds, for that one alone, or narrow signs that touch would become one. Smaller moves leave frames where they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from infer.backend import Frames
from infer.decode import Found

HALF = 0.5
MOVES = ((HALF, 1), (HALF, -1), (0.25, -1), (-0.25, 1))  # frames along the line, px across it
LOOKS, PRESET = (1, 3, 5), 3  # moves come in pairs, one to either side across the line
SURE = 0.6


def unsure(found: Sequence[Sequence[Found]]) -> NDArray[np.int64]:
    """Which lines are worth another look, int64 [n]."""
    return np.array([k for k, chars in enumerate(found) if any(each.chance < SURE for each in chars)], np.int64)


def of_lines(frames: Frames, chosen: NDArray[np.int64]) -> Frames:
    """A copy of the frames of the lines ``chosen``, which are numbered anew."""
    own = np.isin(frames.line, chosen)
    return Frames(np.searchsorted(chosen, frames.line[own]), frames.frame[own], frames.chances[own])


def look_again(
    run: Callable[[NDArray[np.uint8]], Frames], images: NDArray[np.uint8], first: Frames, looks: int, stride: int
) -> Frames:
    """The frames of lines, uint8 [B, 1, height, W], from ``looks`` looks, of which ``first`` is what the first one saw;
    its chances are written over. ``stride``: px of a frame."""
    mean = Mean(first)
    for along, across in MOVES[: looks - 1]:
        mean.add(run(moved(images, round(along * stride), across)), between=along == HALF)
    return mean.frames()


def moved(images: NDArray[np.uint8], along: int, across: int) -> NDArray[np.uint8]:
    """Images [B, 1, height, W] whose contents lie so many px further right and down; edges are repeated."""
    height, width = images.shape[2:]
    rows = np.clip(np.arange(height) - across, 0, height - 1)
    columns = np.clip(np.arange(width) - along, 0, width - 1)
    return np.ascontiguousarray(images[:, :, rows[:, None], columns])


class Mean:
    """What was seen of the same lines: the frames of the first look, and of each the mean chances over itself and the
    frames of other looks that count for it; blank ones do not. Looks that might add frames, or take some away, were
    tried: more narrow signs were lost.

    The chances of ``first`` are written over: of a look they take 120 KB a frame, so that there are never more of them
    than these and those of the look that is added.
    """

    def __init__(self, first: Frames) -> None:
        self._first, self._best = first, first.chances.argmax(axis=1)
        self._number = {place: k for k, place in enumerate(zip(first.line.tolist(), first.frame.tolist()))}
        self._seen = np.ones((len(first.line), 1), np.float32)

    def add(self, look: Frames, between: bool = False) -> None:
        """Take in another look at the lines; ``between``: its frames lie half a frame before those of the first."""
        best = look.chances.argmax(axis=1)
        for line, frame, which, chances in zip(look.line.tolist(), look.frame.tolist(), best, look.chances):
            places = [(line, frame - 1), (line, frame)] if between else [(line, frame)]
            there = [self._number[place] for place in places if place in self._number]
            for number in [number for number in there if self._best[number] == which] or there:
                self._first.chances[number] += chances
                self._seen[number] += 1

    def frames(self) -> Frames:
        """The mean; nothing is to be added any more."""
        np.divide(self._first.chances, self._seen, out=self._first.chances)
        return self._first
