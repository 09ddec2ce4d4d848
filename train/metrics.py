"""How well lines were read: accuracy of lines and of characters, raw and folded, and what is taken for what.

The edit distance is Levenshtein's (1966), the least number of characters to replace, insert or leave out.

    python -m pytest tests/test_train_metrics.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import Any

from rapidfuzz.distance import Levenshtein

from gen.charset import GROUPS, fold, group_of

CONFUSIONS = 50  # the commonest ones are told

_group = lru_cache(maxsize=None)(group_of)


def align(truth: str, reading: str) -> Iterator[tuple[str, str]]:
    """Characters of a label against what was read: (truth, reading), with "" for one that was missed or put in.

    As many pairs differ as the edit distance says; where several alignments do, it is one of them, always the same.
    """
    for step in Levenshtein.opcodes(truth, reading):
        there, read = truth[step.src_start : step.src_end], reading[step.dest_start : step.dest_end]
        yield from zip_longest(there, read, fillvalue="")  # equally many, or none on one side


@dataclass
class Score:
    """Counts over lines; errors are edits, those of ``folded`` are left when look-alikes are taken as equal."""

    lines: int = 0
    right: int = 0
    right_folded: int = 0
    characters: int = 0
    errors: int = 0
    errors_folded: int = 0

    def add(self, characters: int, errors: int, errors_folded: int) -> None:
        """Take in a line."""
        self.lines += 1
        self.right += errors == 0
        self.right_folded += errors_folded == 0
        self.characters += characters
        self.errors += errors
        self.errors_folded += errors_folded

    @property
    def line_accuracy(self) -> float:
        """The share of lines read without an error, 0 to 1."""
        return self.right / max(1, self.lines)

    @property
    def line_accuracy_folded(self) -> float:
        return self.right_folded / max(1, self.lines)

    @property
    def char_accuracy(self) -> float:
        """1 - CER, the character error rate being edits by characters over all lines; not below 0."""
        return max(0.0, 1 - self.errors / max(1, self.characters))

    @property
    def char_accuracy_folded(self) -> float:
        return max(0.0, 1 - self.errors_folded / max(1, self.characters))

    def to_dict(self) -> dict[str, Any]:
        """The counts that matter and the four accuracies."""
        return {
            "lines": self.lines,
            "characters": self.characters,
            "line_accuracy": self.line_accuracy,
            "line_accuracy_folded": self.line_accuracy_folded,
            "char_accuracy": self.char_accuracy,
            "char_accuracy_folded": self.char_accuracy_folded,
        }


class Tally:
    """Lines read so far, counted. ``space``: spaces are characters like others; False: they are left out of both sides.

    A group of characters has the lines it occurs in, and as errors its own characters that were misread or missed:
    what was put in where nothing is belongs to no group, so there the accuracy of characters is the share read right.
    """

    def __init__(self, space: bool = False) -> None:
        self.space = space
        self.total = Score()
        self.by_direction: dict[str, Score] = {}
        self.by_font: dict[str, Score] = {}
        self.by_size: dict[str, Score] = {}
        self.by_group: dict[str, Score] = {}
        self.confusions: Counter[tuple[str, str]] = Counter()

    def add(self, truth: str, reading: str, font: str = "", size: int = 0, direction: str = "") -> int:
        """Take in a line; the errors in it. Font "", size 0 and direction "" are not known."""
        if not self.space:
            truth, reading = truth.replace(" ", ""), reading.replace(" ", "")
        pairs = list(align(truth, reading))
        wrong = [pair for pair in pairs if pair[0] != pair[1]]
        folded = Levenshtein.distance(fold(truth), fold(reading)) if wrong else 0
        self.total.add(len(truth), len(wrong), folded)
        for name, scores in ((direction, self.by_direction), (font, self.by_font), (str(size or ""), self.by_size)):
            if name:
                scores.setdefault(name, Score()).add(len(truth), len(wrong), folded)
        misread = Counter(_group(char) for char, _ in wrong if char)
        misread_folded = Counter(_group(char) for char, read in wrong if char and fold(char) != fold(read))
        for group, characters in Counter(map(_group, truth)).items():
            score = self.by_group.setdefault(group, Score())
            score.add(characters, misread[group], misread_folded[group])
        self.confusions.update(wrong)
        return len(wrong)

    def tables(self) -> dict[str, dict[str, Score]]:
        """The scores by direction, by group (in the order of `GROUPS`), by font, and by size (px, smallest first)."""
        return {
            "by_direction": dict(sorted(self.by_direction.items())),
            "by_group": {group: self.by_group[group] for group in GROUPS if group in self.by_group},
            "by_font": dict(sorted(self.by_font.items())),
            "by_size": dict(sorted(self.by_size.items(), key=lambda entry: int(entry[0]))),
        }

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-able: the totals, the same for each row of the tables, and the confusions."""
        confusions = [
            {"truth": truth, "reading": reading, "count": count} for (truth, reading), count in self.common_confusions()
        ]
        tables = {
            table: {name: score.to_dict() for name, score in rows.items()} for table, rows in self.tables().items()
        }
        return {**self.total.to_dict(), "spaces_count": self.space, **tables, "confusions": confusions}

    def common_confusions(self) -> list[tuple[tuple[str, str], int]]:
        """(truth, reading) and how often, the commonest first; equally common ones in the order of their characters."""
        return sorted(self.confusions.items(), key=lambda entry: (-entry[1], entry[0]))[:CONFUSIONS]
