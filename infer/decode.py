"""Frames to characters: greedy CTC decoding (Graves et al. 2006, section 3.2) that keeps chances and places.

With a prior, characters that it changes are decoded as if the network had said so: neighbours that it makes alike are
one.

python -m pytest tests/test_infer_decode.py
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from infer.backend import Frames
from infer.prior import Prior

ALTERNATIVES = 4
LIKELY = 0.002  # chance that an alternative has at least


@dataclass(frozen=True)
class Found:
    """A character: its class from 0, its chance, the middle of its frames (from 0, in frames), and what else it may
    be, as classes with chances, the likeliest first."""

    number: int
    chance: float
    middle: float
    others: tuple[tuple[int, float], ...]


def decode(frames: Frames, counts: NDArray[np.int64], prior: Prior | None = None) -> list[list[Found]]:
    """The characters of each line of a batch; ``counts``: how many of a line's frames are its own, int64 [B], since
    those of the padding behind it say nothing.

    Neighbouring frames with the same best character are one, and the surest of them speaks for it.
    """
    result: list[list[Found]] = [[] for _ in counts]
    own = np.flatnonzero(frames.frame < counts[frames.line])
    if not len(own):
        return result
    line, frame = frames.line[own], frames.frame[own]
    best = frames.chances[own].argmax(axis=1) if len(own) < len(frames.line) else frames.chances.argmax(axis=1)
    top = frames.chances[own, best]
    starts = np.ones(len(own), bool)
    starts[1:] = (np.diff(line) != 0) | (np.diff(frame) != 1) | (np.diff(best) != 0)
    first = np.flatnonzero(starts)
    last = np.append(first[1:], len(own)) - 1
    surest = np.array([start + int(top[start : end + 1].argmax()) for start, end in zip(first, last)])
    touching = np.append(False, (np.diff(line[first]) == 0) & (frame[first[1:]] == frame[last[:-1]] + 1))
    changed = prior.again(frames.chances, own[surest], best[surest], line[first], touching) if prior else {}
    before: tuple[int, int, int] | None = None  # line, first frame, last frame
    for number, (start, end, at) in enumerate(zip(first.tolist(), last.tolist(), surest.tolist())):
        row = changed.get(number, frames.chances[own[at]])
        which = int(row.argmax()) if number in changed else int(best[at])
        place = int(line[start]), int(frame[start]), int(frame[end])
        there = result[place[0]]
        found = Found(which, float(row[which]), (place[1] + place[2] + 1) / 2, _others(row, which))
        if before and before[0] == place[0] and before[2] + 1 == place[1] and there[-1].number == which:
            place = place[0], before[1], place[2]
            surer = max(there.pop(), found, key=lambda each: each.chance)
            found = replace(surer, middle=(place[1] + place[2] + 1) / 2)
        there.append(found)
        before = place
    return result


def _others(chances: NDArray[np.float32], best: int) -> tuple[tuple[int, float], ...]:
    """The likeliest ones beside ``best``, one after the other: that is faster than to look at each."""
    left = 1 - float(chances[best])  # what all that follow have together at most
    if left <= LIKELY:
        return ()
    row = chances.copy()
    row[best] = 0
    found: list[tuple[int, float]] = []
    while len(found) < ALTERNATIVES and left > LIKELY:
        number = int(row.argmax())
        chance = float(row[number])
        if chance <= LIKELY:
            break
        found.append((number, chance))
        left -= chance
        row[number] = 0
    return tuple(found)
