"""Lines with look-alikes side by side: which characters are put where, and that nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gen.alike import NEAR, Alike, read_near
from gen.charset import Charset
from gen.config import Corpus
from gen.corpus import GROUP, Deal, Deck
from gen.stream import Stream
from gen.text import read_text

LETTERS = Charset("".join(chr(0x4E00 + k) for k in range(300)))
TRAIN = Stream(1, "horizontal", "train")
PLAIN = Corpus(balanced=1.0, common=0.0, repeats=0.0, runs=0.0)
COVER = np.random.default_rng(0).random((4, 300)) < 0.5
COVER[0] = True
NEXT = (np.arange(300)[:, None] + np.arange(1, NEAR + 1)).astype(np.int32) % 300  # the six after each


def deck(config: Corpus = PLAIN, corpus: tuple[Path, ...] = ()) -> Deck:
    text = read_text(corpus, LETTERS) if corpus else None
    return Deck(config, LETTERS, {"horizontal": COVER, "vertical": COVER}, text)


def pairs(deal: Deal) -> list[tuple[int, int]]:
    """The characters of all lines, two and two."""
    rows = [deal.chars[deal.start[k] : deal.start[k + 1]].tolist() for k in range(GROUP)]
    return [(row[k], row[k + 1]) for row in rows for k in range(0, len(row) - 1, 2)]


def is_near(pair: tuple[int, int]) -> bool:
    return 0 < (pair[0] - pair[1]) % 300 <= NEAR or 0 < (pair[1] - pair[0]) % 300 <= NEAR


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_share_of_the_lines_has_look_alikes(share: float) -> None:
    before, after = deck().deal(TRAIN, 5), deck().with_alike(Alike(NEXT, share)).deal(TRAIN, 5)
    assert np.array_equal(before.start, after.start)
    assert np.array_equal(before.font, after.font)
    assert np.array_equal(before.columns, after.columns)
    changed = sum(
        not np.array_equal(before.chars[a:b], after.chars[a:b])
        for a, b in zip(before.start[:-1], before.start[1:])
        if b - a >= 4
    )
    assert changed / int((np.diff(before.start) >= 4).sum()) == pytest.approx(share, abs=0.04)
    for font, (a, b) in zip(after.font, zip(after.start[:-1], after.start[1:])):
        assert COVER[font, after.chars[a:b]].all()


def test_the_nearest_come_most_often_and_on_either_side() -> None:
    found = [pair for pair in pairs(deck().with_alike(Alike(NEXT, 1.0)).deal(TRAIN, 0)) if is_near(pair)]
    steps = np.array([(second - first + 150) % 300 - 150 for first, second in found])
    counts = np.bincount(np.abs(steps), minlength=NEAR + 1)[1:]
    assert (np.diff(counts) < 0).all()
    assert (steps > 0).mean() == pytest.approx(0.5, abs=0.03)


def test_what_has_no_look_alike_stays() -> None:
    none = np.full_like(NEXT, -1)
    assert np.array_equal(deck().with_alike(Alike(none, 1.0)).deal(TRAIN, 0).chars, deck().deal(TRAIN, 0).chars)


def test_text_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text((LETTERS.chars[:40] + "\n") * 30, encoding="utf-8")
    config = Corpus(balanced=0.0, common=0.0, text=1.0, repeats=0.0)
    plain, hard = deck(config, (path,)), deck(config, (path,)).with_alike(Alike(NEXT, 1.0))
    assert np.array_equal(hard.deal(TRAIN, 0).chars, plain.deal(TRAIN, 0).chars)


def test_a_deck_and_its_hard_one_do_not_mix() -> None:
    plain = deck()
    first = plain.deal(TRAIN, 0).chars.copy()
    hard = plain.with_alike(Alike(NEXT, 1.0))
    assert not np.array_equal(hard.deal(TRAIN, 0).chars, first)
    assert np.array_equal(plain.deal(TRAIN, 0).chars, first)
    assert np.array_equal(hard.deal(TRAIN, 0).chars, plain.with_alike(Alike(NEXT, 1.0)).deal(TRAIN, 0).chars)


def test_a_table_is_read_by_characters(tmp_path: Path) -> None:
    path = tmp_path / "alike.txt"
    path.write_text("天夫大\n人入\n口\n未末\n", encoding="utf-8")
    near = read_near(path, Charset("人天大入口夫"))  # in another order, and without 未 and 末
    assert near.shape == (6, NEAR)
    assert near[:, :2].tolist() == [[3, -1], [5, 2], [-1, -1], [-1, -1], [-1, -1], [-1, -1]]
    assert (near[:, 2:] == -1).all()


def test_characters_that_end_lines_elsewhere_are_characters(tmp_path: Path) -> None:
    charset, path = Charset("一\u2028\x85二\r三"), tmp_path / "alike.txt"
    path.write_bytes("一\u2028二\n\u2028一\n\x85\r\n\r三\x85\n".encode())
    near = read_near(path, charset)
    assert near[:, :2].tolist() == [[1, 3], [0, -1], [4, -1], [-1, -1], [5, 2], [-1, -1]]
