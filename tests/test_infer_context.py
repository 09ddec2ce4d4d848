"""Kinds of characters, and how often they are neighbours.

pytest tests/test_infer_context.py
"""

from __future__ import annotations

import numpy as np
import pytest

from gen.charset import load_charset
from gen.prose import Prose
from infer.context import END, KINDS, NEIGHBOURS, UNKNOWN, attraction, kind_of


@pytest.mark.parametrize(
    ("chars", "kind"),
    [
        ("一说㐀𠀀〇", "ideograph"), ("az", "small"), ("AZ", "capital"), ("09", "digit"), ("，。、？·", "mark"), ("—…", "dash"),
        ("（《“", "opening"), ("）》”", "closing"), (".,-(~", "ascii"), (" ", "blank"), ("°→Яあ㎆％", "other"),
    ],
)  # fmt: skip
def test_every_character_is_of_a_kind(chars: str, kind: str) -> None:
    assert {KINDS[kind_of(char)] for char in chars} == {kind}


def test_the_pairs_are_those_of_made_up_prose() -> None:
    charset = load_charset(None)
    prose = Prose(charset)
    kinds = np.array([kind_of(char) for char in [*charset.chars, " "]])
    counts = np.zeros((len(KINDS), len(KINDS)))
    for place in np.random.default_rng(1).random(4000):
        pieces = np.concatenate([[END], kinds[prose.piece(float(place), 30)], [END]])  # a blank is -1, the last kind
        np.add.at(counts, (pieces[:-1], pieces[1:]), 1)
    share, told = counts / counts.sum(), np.array(NEIGHBOURS) / 1e5
    assert abs(share - told).max() < 0.01
    assert (abs(share - told) < 0.2 * told + 5e-4).all()


def test_what_attracts() -> None:
    table = attraction()
    number = {kind: k for k, kind in enumerate(KINDS)}
    assert table.shape == (UNKNOWN + 1, UNKNOWN + 1)
    assert (table[UNKNOWN] == 1).all()
    assert (table[:, UNKNOWN] == 1).all()
    assert table.min() > 0
    assert table[number["small"], number["small"]] > 3 > table[number["small"], number["capital"]]
    assert table[number["ideograph"], number["ideograph"]] > 1 > table[number["ideograph"], number["capital"]]
    assert table[number["dash"], number["dash"]] > 3
