"""Greedy decoding against a decoder that follows the definition frame by frame."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from infer.backend import Frames
from infer.decode import ALTERNATIVES, LIKELY, Found, decode

Floats = NDArray[np.float32]


def frames_of(dense: Floats) -> Frames:
    """What a backend hands over of float32 [B, T, 1 + classes]: the frames whose best class is not the blank, 0."""
    line, frame = (dense.argmax(axis=2) > 0).nonzero()
    return Frames(line, frame, dense[line, frame, 1:])


def naive(dense: Floats, count: int) -> list[tuple[int, float, float]]:
    """One line, float32 [T, 1 + classes]: class from 0, chance and middle of each character."""
    groups: list[list[int]] = []
    for frame in range(count):
        best = int(dense[frame].argmax())
        if best == 0:
            continue
        if frame > 0 and best == int(dense[frame - 1].argmax()):
            groups[-1].append(frame)
        else:
            groups.append([frame])
    found = []
    for group in groups:
        best = int(dense[group[0]].argmax())
        found.append((best - 1, max(float(dense[frame, best]) for frame in group), (group[0] + group[-1] + 1) / 2))
    return found


@st.composite
def batches(draw: st.DrawFn) -> tuple[Floats, NDArray[np.int64]]:
    """Probabilities of few classes, so that neighbours are often equal, and how many frames each line has."""
    lines, length, classes = draw(st.integers(1, 4)), draw(st.integers(1, 12)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    steepness = draw(st.sampled_from([0.5, 3.0, 20.0]))
    scores = np.exp(steepness * rng.random((lines, length, 1 + classes)))
    dense = (scores / scores.sum(axis=2, keepdims=True)).astype(np.float32)
    return dense, rng.integers(0, length + 1, lines)


@settings(max_examples=300)
@given(batches())
def test_like_the_definition(batch: tuple[Floats, NDArray[np.int64]]) -> None:
    dense, counts = batch
    found = decode(frames_of(dense), counts)
    assert [[(each.number, each.chance, each.middle) for each in line] for line in found] == [
        naive(line, int(count)) for line, count in zip(dense, counts)
    ]


def likely(chances: Floats, best: int) -> tuple[tuple[int, float], ...]:
    ranked = sorted((-float(chance), k) for k, chance in enumerate(chances) if k != best)
    return tuple((k, -chance) for chance, k in ranked if -chance > LIKELY)[:ALTERNATIVES]


@settings(max_examples=200)
@given(batches())
def test_alternatives(batch: tuple[Floats, NDArray[np.int64]]) -> None:
    """They are of the frame that spoke for the character: likeliest first, itself left out, the unlikely left out."""
    dense, counts = batch
    for line, row, count in zip(decode(frames_of(dense), counts), dense, counts):
        for each in line:
            spoke = [
                row[frame, 1:] for frame in range(int(count))
                if row[frame].argmax() == each.number + 1 and float(row[frame].max()) == each.chance
            ]  # fmt: skip
            assert each.others in [likely(chances, each.number) for chances in spoke]
            assert all(a[1] >= b[1] for a, b in pairwise(((each.number, each.chance), *each.others)))


@settings(max_examples=100)
@given(batches())
def test_frames_of_the_padding_say_nothing(batch: tuple[Floats, NDArray[np.int64]]) -> None:
    dense, counts = batch
    changed = dense.copy()
    for line, count in enumerate(counts):
        changed[line, count:] = changed[line, count:, ::-1]
    assert decode(frames_of(changed), counts) == decode(frames_of(dense), counts)


def read(*best: int, classes: int = 3) -> list[Found]:
    """One line whose frames have these best classes, for sure."""
    dense = np.zeros((1, len(best), 1 + classes), np.float32)
    dense[0, range(len(best)), best] = 1
    return decode(frames_of(dense), np.array([len(best)]))[0]


def test_repeats() -> None:
    assert [each.number for each in read(1, 1, 2, 2, 2, 1)] == [0, 1, 0]
    assert [each.number for each in read(1, 0, 1)] == [0, 0]
    assert [(each.number, each.middle) for each in read(0, 3, 3, 0, 0, 1)] == [(2, 2.0), (0, 5.5)]
    assert read(0, 0, 0) == []


def test_the_end_of_a_line_and_the_start_of_the_next_are_apart() -> None:
    """Also where the first line's last frame and the next one's first have the numbers of neighbours."""
    frames = Frames(np.array([0, 1, 2]), np.array([0, 1, 2]), np.ones((3, 1), np.float32))
    assert [len(line) for line in decode(frames, np.array([3, 3, 3, 3]))] == [1, 1, 1, 0]


def test_nothing_at_all() -> None:
    empty = Frames(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 5), np.float32))
    assert decode(empty, np.array([4, 0])) == [[], []]
    assert decode(empty, np.zeros(0, np.int64)) == []


def test_the_surest_frame_speaks() -> None:
    dense = np.array([[[0.1, 0.6, 0.3, 0], [0.1, 0.8, 0, 0.1], [0.1, 0.5, 0.2, 0.2]]], np.float32)
    (found,) = decode(frames_of(dense), np.array([3]))[0]
    assert (found.number, found.middle) == (0, 1.5)
    assert np.isclose(found.chance, 0.8)
    assert [number for number, _ in found.others] == [2]
