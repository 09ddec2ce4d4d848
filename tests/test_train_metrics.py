"""Metrics: examples worked by hand, and what must hold for any two texts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.charset import GROUPS, fold, group_of
from train.metrics import CONFUSIONS, Score, Tally, align

texts = st.text("ab一二，,Ａ㐀𠀋 ", max_size=8)


def distance(a: str, b: str) -> int:
    """The edit distance by its recurrence, row by row."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        last, row[0] = row[0], i
        for j, right in enumerate(b, start=1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (left != right))
    return row[-1]


def test_a_line_worked_by_hand() -> None:
    tally = Tally()
    assert tally.add("天地人", "天地人", font="song", size=20, direction="vertical") == 0
    assert tally.add("日本，a", "曰本,", font="song", size=9) == 3  # 日 misread, ， a look-alike, a missed
    found = tally.to_dict()
    assert found["lines"] == 2
    assert found["characters"] == 7
    assert found["line_accuracy"] == found["line_accuracy_folded"] == 0.5
    assert found["char_accuracy"] == pytest.approx(1 - 3 / 7)
    assert found["char_accuracy_folded"] == pytest.approx(1 - 2 / 7)
    assert found["spaces_count"] is False
    assert found["by_font"] == {"song": {**tally.total.to_dict()}}
    assert list(found["by_size"]) == ["9", "20"]
    assert found["by_size"]["20"]["char_accuracy"] == 1
    assert found["by_direction"]["vertical"] == found["by_size"]["20"]
    assert list(found["by_group"]) == ["ascii", "symbol", "gb2312-1"]
    assert found["by_group"]["symbol"] == {
        "lines": 1,
        "characters": 1,
        "line_accuracy": 0,
        "line_accuracy_folded": 1,
        "char_accuracy": 0,
        "char_accuracy_folded": 1,
    }
    assert found["by_group"]["gb2312-1"]["characters"] == 5
    assert found["by_group"]["gb2312-1"]["char_accuracy"] == pytest.approx(4 / 5)
    assert found["by_group"]["gb2312-1"]["lines"] == 2
    assert found["confusions"] == [
        {"truth": "a", "reading": "", "count": 1},
        {"truth": "日", "reading": "曰", "count": 1},
        {"truth": "，", "reading": ",", "count": 1},
    ]
    json.dumps(found, allow_nan=False)


def test_what_is_put_in_counts_against_the_line_but_no_group() -> None:
    tally = Tally()
    assert tally.add("一", "一二三四") == 3
    assert tally.total.char_accuracy == 0  # 1 - 3/1, and not less than nothing
    assert tally.by_group["gb2312-1"].char_accuracy == 1
    assert tally.confusions == {("", "二"): 1, ("", "三"): 1, ("", "四"): 1}


@pytest.mark.parametrize(("space", "errors", "characters"), [(False, 0, 2), (True, 1, 3)])
def test_spaces_count_only_when_asked_for(space: bool, errors: int, characters: int) -> None:
    tally = Tally(space)
    assert tally.add("a b", "ab") == errors
    assert tally.total.characters == characters
    assert tally.to_dict()["spaces_count"] is space


def test_an_unknown_font_and_size_have_no_row() -> None:
    tally = Tally()
    tally.add("a", "b")
    assert tally.to_dict()["by_font"] == tally.to_dict()["by_size"] == {}


def test_nothing_read_and_nothing_to_read_are_no_division_by_zero() -> None:
    assert Tally().to_dict()["line_accuracy"] == 0
    tally = Tally()
    tally.add(" ", "")
    assert tally.total == Score(lines=1, right=1, right_folded=1)


def test_the_commonest_confusions_come_first() -> None:
    tally = Tally()
    chars = [chr(0x4E00 + k) for k in range(CONFUSIONS + 5)]
    for char in chars:
        tally.add(char, "x")
    tally.add(chars[-1] * 2, "xx")
    common = tally.common_confusions()
    assert len(common) == CONFUSIONS
    assert common[0] == ((chars[-1], "x"), 3)
    assert [pair[0] for pair, _ in common[1:]] == chars[: CONFUSIONS - 1]


@given(texts, texts)
def test_alignment_is_as_short_as_the_edit_distance_and_gives_both_texts_back(truth: str, reading: str) -> None:
    pairs = list(align(truth, reading))
    assert "".join(pair[0] for pair in pairs) == truth
    assert "".join(pair[1] for pair in pairs) == reading
    assert sum(a != b for a, b in pairs) == distance(truth, reading)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(texts, texts, st.sampled_from(["", "hei", "song"]), st.sampled_from([0, 18, 30]))), st.booleans()
)
def test_sums_hold_for_any_lines(lines: list[tuple[str, str, str, int]], space: bool) -> None:
    tally = Tally(space)
    errors = [tally.add(*line) for line in lines]
    plain = [(a, b) if space else (a.replace(" ", ""), b.replace(" ", "")) for a, b, _, _ in lines]
    assert errors == [distance(a, b) for a, b in plain]
    total = tally.total
    assert total.lines == len(lines)
    assert total.errors == sum(errors) == tally.confusions.total()
    assert total.errors_folded == sum(distance(fold(a), fold(b)) for a, b in plain) <= total.errors
    assert total.right == sum(a == b for a, b in plain) <= total.right_folded
    assert total.characters == sum(len(a) for a, _ in plain) == sum(s.characters for s in tally.by_group.values())
    assert sum(score.lines for score in tally.by_font.values()) == sum(bool(line[2]) for line in lines)
    assert sum(score.errors for score in tally.by_size.values()) == sum(
        count for count, line in zip(errors, lines) if line[3]
    )
    put_in = sum(count for (truth, _), count in tally.confusions.items() if not truth)
    assert sum(score.errors for score in tally.by_group.values()) == total.errors - put_in
    for group in GROUPS:
        own = [(a, b) for a, b in plain if any(group_of(char) == group for char in a)]
        score = tally.by_group.get(group, Score())
        assert score.lines == len(own)
        assert score.right >= sum(a == b for a, b in own)
        assert score.right_folded >= score.right
        assert score.errors_folded <= score.errors
