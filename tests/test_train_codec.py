"""Text to classes and back, and what CTC makes of frames."""

from __future__ import annotations

from itertools import groupby, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.charset import Charset
from gen.errors import UserError
from train.codec import BLANK, Codec, collapse, frames_needed

CHARS = "天地 人"  # a charset file may list the blank itself
labels = st.lists(st.integers(1, 4), max_size=6)


@given(st.text("天地人", max_size=12))
def test_text_comes_back(text: str) -> None:
    codec = Codec(Charset("天地人"))
    assert codec.decode(codec.encode(text)) == text
    assert all(1 <= number <= codec.classes for number in codec.encode(text))


def test_classes_follow_the_charset_and_the_space_comes_last() -> None:
    plain, spaced = Codec(Charset("天地人")), Codec(Charset("天地人"), space=True)
    assert plain.classes == 3
    assert spaced.classes == 4
    assert plain.encode("人 天") == [3, 1]
    assert spaced.encode("人 天") == [3, 4, 1]
    assert spaced.decode([3, 4, 1]) == "人 天"
    assert Codec(Charset(CHARS)).encode("人 天") == [4, 3, 1]  # the charset's own blank is a character like others


@pytest.mark.parametrize("space", [False, True])
def test_an_unknown_character_is_named(space: bool) -> None:
    with pytest.raises(UserError, match=r"'龘' \(U\+9F98\).*charset of 3 characters"):
        Codec(Charset("天地人"), space).encode("天 龘")


@pytest.mark.parametrize(
    ("frames", "read", "starts"),
    [
        ([], "", []),
        ([BLANK, BLANK], "", []),
        ([1, 1, 1], "天", [0]),
        ([0, 1, 1, 0, 1, 2, 2, 0], "天天地", [1, 4, 5]),
        ([3, 0, 3, 3, 1], "人人天", [0, 2, 4]),
    ],
)
def test_greedy_reading(frames: list[int], read: str, starts: list[int]) -> None:
    assert Codec(Charset("天地人")).read(frames) == read
    assert collapse(frames) == starts


@given(st.lists(st.integers(0, 3), max_size=20))
def test_greedy_reading_merges_runs_then_drops_blanks(frames: list[int]) -> None:
    expected = "".join("天地人"[best - 1] for best, _ in groupby(frames) if best)
    assert Codec(Charset("天地人")).read(frames) == expected


@given(labels)
def test_frames_needed_are_enough(label: list[int]) -> None:
    """The shortest writing: a blank only where two neighbours are equal."""
    written: list[int] = []
    for number in label:
        written += [BLANK] * (written[-1:] == [number]) + [number]
    assert len(written) == frames_needed(label)
    assert [written[k] for k in collapse(written)] == label


@pytest.mark.parametrize("label", [[1], [1, 1], [1, 2, 1], [1, 1, 1], [2, 2, 1, 1]])
def test_fewer_frames_are_too_few(label: list[int]) -> None:
    """Every sequence of frames that is one shorter reads something else."""
    frames = frames_needed(label) - 1
    assert all([each[k] for k in collapse(each)] != label for each in product(range(3), repeat=frames))


def test_frames_needed_of_text() -> None:
    assert [frames_needed(text) for text in ("", "天", "2000", "http", "……")] == [0, 1, 6, 5, 3]
