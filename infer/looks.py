"""Further looks at lines that are not sure: they are read again, moved by a pixel, and what was seen is averaged.

    python -m infer --looks 1 line.png    # every line once

A network with strides sees the same stroke differently when it lies a pixel further on, and what it is wrong about it
is seldom wrong about each time. Averaging over moved copies is an old means for images (Krizhevsky et al. 2012, at
test time); here only lines in which a character has less than `SURE` pay for it, which are hardly any in clear print.
Moves are less than half a frame, so that frames stay where they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from infer.backend import Frames
from infer.decode import Found

MOVES = ((1, -1), (-1, 1), (1, 1), (-1, -1))  # px along the line, px across it
LOOKS = (1, 3, 5)  # moves come in pairs, one to either side
SURE = 0.6


def unsure(found: Sequence[Sequence[Found]]) -> NDArray[np.int64]:
    """Which lines are worth another look, int64 [n]."""
    return np.array([k for k, chars in enumerate(found) if any(each.chance < SURE for each in chars)], np.int64)


def look_again(
    run: Callable[[NDArray[np.uint8]], Frames],
    images: NDArray[np.uint8],
    first: Frames,
    chosen: NDArray[np.int64],
    looks: int,
) -> Frames:
    """The frames of the lines ``chosen``, numbered anew, from ``looks`` looks at each. ``first``: what ``run`` saw in
    ``images``, uint8 [B, 1, height, W]."""
    own = np.isin(first.line, chosen)
    seen = [Frames(np.searchsorted(chosen, first.line[own]), first.frame[own], first.chances[own])]
    again = images[chosen]
    return merged([*seen, *(run(moved(again, *move)) for move in MOVES[: looks - 1])])


def moved(images: NDArray[np.uint8], along: int, across: int) -> NDArray[np.uint8]:
    """Images [B, 1, height, W] whose contents lie so many px further right and down; edges are repeated."""
    height, width = images.shape[2:]
    rows = np.clip(np.arange(height) - across, 0, height - 1)
    columns = np.clip(np.arange(width) - along, 0, width - 1)
    return images[:, :, rows[:, None], columns]


def merged(looks: Sequence[Frames]) -> Frames:
    """What was seen of the same lines: the frames of the first look, and of each the mean chances over those looks that
    do not call it blank. Looks that might add frames, or take some away, were tried: more narrow signs were lost."""
    first, *others = looks
    steps = 1 + max((int(each.frame.max()) for each in looks if len(each.frame)), default=0)
    kept = first.line * steps + first.frame
    chances, seen = first.chances.copy(), np.ones(len(kept), np.float32)
    for each in others:
        places = each.line * steps + each.frame
        known = np.isin(places, kept)
        at = np.searchsorted(kept, places[known])
        chances[at] += each.chances[known]
        seen[at] += 1
    chances /= seen[:, None]
    return Frames(first.line, first.frame, chances)
