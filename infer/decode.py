"""Frames to characters: greedy CTC decoding (Graves et al. 2006, section 3.2) that keeps chances and places.

python -m pytest tests/test_infer_decode.py
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infer.backend import Frames

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


def decode(frames: Frames, counts: NDArray[np.int64]) -> list[list[Found]]:
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
    bounds = np.append(np.flatnonzero(starts), len(own))
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist()):
        surest = start + int(top[start:end].argmax())
        middle = float((frame[start] + frame[end - 1] + 1) / 2)
        others = _others(frames.chances[own[surest]], int(best[surest]))
        result[int(line[start])].append(Found(int(best[surest]), float(top[surest]), middle, others))
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
