"""Prose that is made up: what it is made of, how it is put together, and that a place says which."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.charset import Charset, group_of, load_charset
from gen.config import Corpus
from gen.corpus import Deck
from gen.errors import UserError
from gen.prose import PAIRS, Prose
from gen.text import SPACE

CHARSET = load_charset(None)
PROSE = Prose(CHARSET)
WIDE = "，。、：；？！…"


def written(prose: Prose, charset: Charset, place: float, length: int) -> str:
    return "".join(" " if symbol == SPACE else charset.chars[symbol] for symbol in prose.piece(place, length))


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return [written(PROSE, CHARSET, place, 30) for place in np.random.default_rng(0).random(2000)]


@given(place=st.floats(0, 1, exclude_max=True), length=st.integers(1, 200))
def test_a_place_says_which_line(place: float, length: int) -> None:
    line = written(PROSE, CHARSET, place, length)
    assert line == written(Prose(CHARSET), CHARSET, place, length)
    assert line == " ".join(line.split())
    assert max(1, length - 3) <= len(line) <= length


def test_places_differ(lines: list[str]) -> None:
    assert len(set(lines)) == len(lines)


def test_what_is_written(lines: list[str]) -> None:
    """Mostly everyday ideographs; marks, digits, letters and blanks as much as texts have of them, or more."""
    kinds = Counter(
        "blank" if char == " " else "digit" if char.isdigit() else "letter" if char.isascii() and char.isalpha()
        else "mark" if char in WIDE else "han" if group_of(char) not in ("ascii", "symbol") else "sign"
        for char in "".join(lines)
    )  # fmt: skip
    share = {kind: count / kinds.total() for kind, count in kinds.items()}
    assert 0.4 < share["han"] < 0.7
    for kind in ("blank", "digit", "letter", "mark", "sign"):
        assert 0.03 < share[kind] < 0.2, kind


def test_a_line_is_simplified_or_traditional(lines: list[str]) -> None:
    ways: Counter[str] = Counter()
    for line in lines:
        simplified = any(group_of(char) == "gb2312-1" and not _in(char, "big5") for char in line)
        traditional = any(_in(char, "big5") and not _in(char, "gb2312") for char in line if char >= "\u4e00")
        assert not (simplified and traditional), line
        ways["simplified"] += simplified
        ways["traditional"] += traditional
    assert ways["simplified"] > ways["traditional"] > 0.2 * len(lines)


def _in(char: str, encoding: str) -> bool:
    try:
        return bool(char.encode(encoding))
    except UnicodeEncodeError:
        return False


def test_marks_and_blanks_stand_as_in_a_text(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert len(re.findall(f" [{WIDE[:-1]}]|[{WIDE[:-1]}] ", text)) < 0.01 * len(lines)
    opened = [pair for pair in set(PAIRS) if pair[0] != pair[1]]
    closing = sum(text.count(pair[1]) for pair in opened)
    assert 0.8 * closing < sum(text.count(pair[0]) for pair in opened) < 1.25 * closing
    assert sum(bool(re.search("[\u4e00-\u9fff][,.!?:;] [\u4e00-\u9fff]", line)) for line in lines) > 20


def test_nothing_but_the_charset() -> None:
    few = Charset("的一是不了0123abc，。")
    for place in np.random.default_rng(1).random(100):
        assert Prose(few).piece(float(place), 20).max(initial=0) < len(few)
    rare = Prose(Charset("㐀㐁㐂𠀋"))
    assert {*np.concatenate([rare.piece(k / 50, 20) for k in range(50)]).tolist()} == {SPACE, 0, 1, 2, 3}


@pytest.mark.parametrize(
    ("chars", "poor"),
    [
        ("あいうえお", True),
        ("￥€→№", True),
        ("𠀋", False),
        ("0123456789abcdefghijklmnopqrstuvwxyz", False),
        ("的一。", False),
    ],
)
def test_charsets_that_leave_nothing_of_it(chars: str, poor: bool) -> None:
    assert Prose(Charset(chars)).poor == poor
    cover = {way: np.ones((1, len(chars)), bool) for way in ("horizontal", "vertical")}
    with pytest.raises(UserError, match=f"the {len(chars)} characters of the charset") if poor else nullcontext():
        Deck(Corpus(prose=1), Charset(chars), cover, None)
