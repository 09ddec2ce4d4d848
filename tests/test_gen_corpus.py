"""What is dealt: balance, fonts, lengths, text, and that a deal depends on its number alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.charset import Charset, load_charset
from gen.config import Corpus, Length
from gen.corpus import GROUP, Deal, Deck, draw_lengths, mean_length
from gen.errors import UserError
from gen.stream import Stream
from gen.text import SPACE, read_text

TRAIN = Stream(1, "horizontal", "train")
BALANCED = {"balanced": 1.0, "uniform": 0.0, "common": 0.0, "text": 0.0, "repeats": 0.0, "runs": 0.0}
LETTERS = Charset("".join(chr(0x4E00 + k) for k in range(300)))


def cover_of(fonts: int, chars: int, seed: int = 0) -> np.ndarray:
    """A font has a character by chance; each character is in at least one font."""
    cover = np.random.default_rng(seed).random((fonts, chars)) < 0.4
    cover[0] |= ~cover.any(axis=0)
    return cover


def both(cover: np.ndarray) -> dict[str, np.ndarray]:
    return {"horizontal": cover, "vertical": cover}


def lines(deal: Deal) -> list[tuple[int, tuple[int, ...]]]:
    return [(int(deal.font[k]), tuple(deal.chars[deal.start[k] : deal.start[k + 1]].tolist())) for k in range(GROUP)]


@settings(max_examples=15)
@given(
    fonts=st.integers(1, 6), chars=st.integers(2, 300), low=st.integers(1, 6), more=st.integers(1, 20),
    seed=st.integers(0, 2**62), group=st.integers(0, 10**9),
)  # fmt: skip
def test_a_balanced_deal_has_every_character_equally_often(
    fonts: int, chars: int, low: int, more: int, seed: int, group: int
) -> None:
    charset = Charset(LETTERS.chars[:chars])
    deck = Deck(
        Corpus(**BALANCED, length=Length(low, (low + more,))), charset, both(cover_of(fonts, chars, seed % 97)), None
    )
    deal = deck.deal(Stream(seed, "vertical", "val"), group)
    counts = np.bincount(deal.chars, minlength=chars)
    even = len(deal.chars) / chars
    assert (
        abs(counts - even).max() <= 0.06 * even + 6 * np.sqrt(0.04 * even) + 3
    )  # fonts' last lines are filled by chance
    for font, line in lines(deal):
        assert deck.pool("vertical").cover[font, list(line)].all()


def test_each_character_visits_all_its_fonts_equally() -> None:
    cover = cover_of(5, 300)
    pool = Deck(Corpus(**BALANCED), LETTERS, both(cover), None).pool("horizontal")
    chars, fonts = pool.balanced_cards(TRAIN, 0, 300 * 60)  # 60: a multiple of 1 to 5
    visits = np.zeros((5, 300), int)
    np.add.at(visits, (fonts, chars), 1)
    expected = np.where(cover, 60 // cover.sum(axis=0), 0)
    assert (visits == expected).all()


def test_cards_do_not_depend_on_how_they_are_dealt() -> None:
    pool = Deck(Corpus(**BALANCED), LETTERS, both(cover_of(4, 300)), None).pool("horizontal")
    whole = pool.balanced_cards(TRAIN, 1000, 5000)
    parts = [pool.balanced_cards(TRAIN, begin, 500) for begin in range(1000, 6000, 500)]
    for k in (0, 1):
        assert np.array_equal(whole[k], np.concatenate([part[k] for part in parts]))


def test_a_deal_depends_on_nothing_but_its_number() -> None:
    def deck() -> Deck:
        return Deck(Corpus(), LETTERS, both(cover_of(4, 300)), None)

    first = deck().deal(TRAIN, 7)
    busy = deck()
    for group in (3, 9, 7):
        again = busy.deal(TRAIN, group)
    assert lines(first) == lines(again)
    assert np.array_equal(first.columns, again.columns)
    others = [Stream(2, "horizontal", "train"), Stream(1, "vertical", "train"), Stream(1, "horizontal", "val")]
    for other in others:
        assert lines(deck().deal(other, 7)) != lines(first)


@pytest.mark.parametrize("part", ["balanced", "uniform", "common"])
def test_lengths_are_those_of_the_recipe(part: str) -> None:
    length = Length(5, (16, 19, 24, 26))
    config = Corpus(**{**BALANCED, "balanced": 0.0, part: 1.0}, length=length)
    deal = Deck(config, LETTERS, both(cover_of(4, 300)), None).deal(TRAIN, 0)
    sizes = np.diff(deal.start)
    assert sizes.min() == 5
    assert sizes.max() <= 25
    wanted = draw_lengths(np.random.default_rng(0), length, 200_000)
    assert abs(sizes.mean() - wanted.mean()) < 0.35
    assert abs(wanted.mean() - mean_length(length)) < 0.05


def test_uniform_takes_every_font_and_every_character_of_it_equally() -> None:
    cover = cover_of(3, 300)
    config = Corpus(**{**BALANCED, "balanced": 0.0, "uniform": 1.0})
    deck = Deck(config, LETTERS, both(cover), None)
    fonts: Counter[int] = Counter()
    seen = np.zeros((3, 300), int)
    for group in range(6):
        for font, line in lines(deck.deal(TRAIN, group)):
            fonts[font] += 1
            np.add.at(seen[font], list(line), 1)
    assert min(fonts.values()) > 0.95 * 6 * GROUP / 3
    for font in range(3):
        drawn = seen[font][cover[font]]
        assert seen[font][~cover[font]].sum() == 0
        assert drawn.std() < 1.3 * np.sqrt(drawn.mean())  # as a Poisson count


def test_common_lines_are_mostly_everyday_text() -> None:
    charset = load_charset(None)
    cover = np.ones((1, len(charset)), np.bool_)
    config = Corpus(**{**BALANCED, "balanced": 0.0, "common": 1.0, "runs": 0.5})
    chars = "".join(charset.chars[k] for k in Deck(config, charset, both(cover), None).deal(TRAIN, 0).chars)
    level1 = sum(
        0xB0 <= char.encode("gb2312", "ignore")[0] <= 0xD7 for char in chars if char.encode("gb2312", "ignore")
    )
    assert level1 / len(chars) > 0.45
    assert 0.1 < sum(char.isascii() for char in chars) / len(chars) < 0.4


def test_repeats_occur_in_every_part() -> None:
    for part in ("balanced", "uniform", "common"):
        config = Corpus(**{**BALANCED, "balanced": 0.0, part: 1.0, "repeats": 0.5})
        deal = Deck(config, LETTERS, both(cover_of(2, 300)), None).deal(TRAIN, 0)
        doubled = [any(a == b for a, b in zip(line, line[1:])) for _, line in lines(deal) if len(line) > 1]
        assert sum(doubled) / len(doubled) > 0.45


def test_text_comes_from_the_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\ufeff一二  三四五\r\n六七X八九\n\n \n十", encoding="utf-8")
    charset = Charset("一二三四五六七八九十")
    text = read_text([path], charset)
    assert text.dropped == {"X": 1}
    cover = np.ones((1, 10), np.bool_)
    deck = Deck(Corpus(**{**BALANCED, "balanced": 0.0, "text": 1.0}), charset, both(cover), text)
    seen = {"".join(charset.chars[c] if c != SPACE else " " for c in line) for _, line in lines(deck.deal(TRAIN, 0))}
    assert "一二 三四五" in seen
    assert all(piece in "一二 三四五|六七|八九|十" for piece in seen)
    assert all(piece == piece.strip() for piece in seen)


def test_text_that_no_font_draws_whole_loses_only_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("一二 三四", encoding="utf-8")
    charset = Charset("一二三四五")
    cover = np.array([[1, 1, 0, 1, 1], [1, 0, 0, 0, 1]], np.bool_)
    config = Corpus(**{**BALANCED, "balanced": 0.0, "text": 1.0}, length=Length(5, (6,)))
    deck = Deck(config, charset, both(cover), read_text([path], charset))
    assert {line for _, line in lines(deck.deal(TRAIN, 0))} == {(0, 1, SPACE, 3)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"XYZ", "no character of the charset"),
        (b"", "no character"),
    ],
)
def test_unusable_text_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_text([path], LETTERS)


def test_prose_is_in_a_font_that_has_all_of_it() -> None:
    charset = load_charset(None)
    cover = np.zeros((3, len(charset)), bool)
    cover[0] = True
    cover[1] = [char.isascii() for char in charset.chars]
    config = Corpus(**{**BALANCED, "balanced": 0.0, "prose": 1.0}, length=Length(2, (30,)))
    deck = Deck(config, charset, both(cover), None)
    dealt = lines(deck.deal(TRAIN, 0))
    assert dealt == lines(Deck(config, charset, both(cover), None).deal(TRAIN, 0))
    fonts = Counter(font for font, _ in dealt)
    assert fonts[0] > fonts[1] > 0
    assert not fonts[2]
    for font, line in dealt:
        assert cover[font, [char for char in line if char != SPACE]].all()
    assert sum(SPACE in line for _, line in dealt) > 0.3 * GROUP


def test_every_sign_comes_equally_often_beside_common_characters() -> None:
    charset = Charset("χЖёぬ" + LETTERS.chars)
    cover = np.ones((2, len(charset)), bool)
    cover[1, 2:20] = False
    config = Corpus(**{**BALANCED, "balanced": 0.0, "signs": 1.0})
    deck = Deck(config, charset, both(cover), None)
    dealt = lines(deck.deal(TRAIN, 0))
    assert dealt == lines(Deck(config, charset, both(cover), None).deal(TRAIN, 0))
    assert all(cover[font, list(line)].all() for font, line in dealt)
    counts = np.bincount([char for _, line in dealt for char in line], minlength=len(charset))
    assert 0.48 < counts[:4].sum() / counts.sum() < 0.54  # the common ones have few of them, too
    assert counts[:4].max() < 1.1 * counts[:4].min()
    assert counts[4:].max() < 0.1 * counts[0]
    none = Deck(config, LETTERS, both(cover_of(2, 300)), None)
    assert len(lines(none.deal(TRAIN, 0))) == GROUP


@pytest.mark.parametrize("source", ["balanced", "uniform", "common", "signs", "text"])
def test_some_fonts_come_more_often(source: str, tmp_path: Path) -> None:
    charset = Charset("χЖёぬ" + LETTERS.chars)
    (tmp_path / "text").write_text(charset.chars, encoding="utf-8")
    text = read_text([tmp_path / "text"], charset)
    config = Corpus(**{**BALANCED, "balanced": 0.0, source: 1.0}, length=Length(5, (6,)))
    cover = both(np.ones((3, len(charset)), bool))
    assert lines(Deck(config, charset, cover, text, np.ones(3, np.int32)).deal(TRAIN, 0)) == lines(
        Deck(config, charset, cover, text).deal(TRAIN, 0)
    )
    dealt = lines(Deck(config, charset, cover, text, np.array([1, 1, 4], np.int32)).deal(TRAIN, 0))
    often = Counter(font for font, _ in dealt)
    assert often[2] == pytest.approx(GROUP * 4 / 6, rel=0.06)
    assert often[0] == pytest.approx(GROUP / 6, rel=0.15)


def test_a_weight_too_small_for_a_line_is_no_line() -> None:
    for weights in ({"balanced": 1e-6, "common": 1.0}, {"balanced": 1.0, "common": 1e-6, "uniform": 1e-6}):
        deck = Deck(Corpus(**{**BALANCED, **weights}), LETTERS, both(cover_of(2, 300)), None)
        assert len(lines(deck.deal(TRAIN, 0))) == GROUP


def test_a_recipe_of_text_only_needs_a_file() -> None:
    config = Corpus(**{**BALANCED, "balanced": 0.0, "text": 1.0})
    with pytest.raises(UserError, match="--corpus"):
        Deck(config, LETTERS, both(cover_of(1, 300)), None)
