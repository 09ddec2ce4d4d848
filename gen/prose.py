"""Lines put together as prose is: words of ideographs, marks between them, numbers with units, Latin words in blanks.

    python -m tools.preview --config gen-prose -o sheet.png

They mean nothing, but a network that learns from them sees what random characters never show it: where blanks stand,
that 。 follows an ideograph and . a letter, brackets in pairs, whole words and numbers of narrow letters.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gen.charset import Charset, group_of, is_frequent_big5, is_ideograph
from gen.text import SPACE, tidy

T = TypeVar("T")
MARKS = "，，，，，，，。。。。、、、：；？！…"
ENDS = "，。。？！…"  # of what is said, before the quotation mark that closes it
NARROW = str.maketrans({"，": ", ", "。": ". ", "、": ", ", "：": ": ", "；": "; ", "？": "? ", "！": "! "})
PAIRS = (
    "“”", "“”", "“”", "（）", "（）", "（）", "《》", "《》", "「」", "「」",
    "‘’", "【】", "『』", "〈〉", "()", "()", '""', "[]",
)  # fmt: skip
QUOTES = ("“”", "「」", "‘’", "『』")
BETWEEN = ("——", "……", "～", "·", "→", "×", "+", " = ", " + ", " / ", " - ", " & ", " | ", " > ", "@", "#", "*", "№")
LETTERS = "eeeeeetttttaaaaaooooiiiinnnnsssshhhrrrrddlllluuccmmwfggyppbbvkxjqz"  # about as often as in English
JOINTS = (".", ".", "-", "_", "/", "@", " ", " ", " ", "'", "::", "=")
ENDINGS = (".com", ".org", ".cn", ".net", ".md", ".py", ".txt", ".pdf", ".zip", "()", "+", "/", ",", ".", ":", "!", "?")
BEFORE = ("¥", "￥", "$", "€", "£", "+", "-", "±", "≥", "<", "~", "No.", "v", "#")
UNITS = (
    "%", "%", "％", "‰", "℃", "°", " kg", " km", " MB", " GB", "cm", "mm", "m", "s", "Hz", "k", "x", "万", "年", "月",
)  # fmt: skip
RANGES = ("-", "—", "～", "~", "/", ":", "：", "×", ".", "+", " = ", "、")
SPARE = 8  # characters that are written beyond a line, which may begin among the first of them


class Prose:
    """Made up prose, of the characters of a charset alone."""

    def __init__(self, charset: Charset) -> None:
        self._charset = charset
        self._index = {**charset.index, " ": SPACE}

    @cached_property
    def _scripts(self) -> tuple[str, ...]:
        """The everyday ideographs of simplified and of traditional writing; where there are none, any ideographs."""
        simplified = "".join(char for char in self._charset.chars if group_of(char) == "gb2312-1")
        traditional = "".join(filter(is_frequent_big5, self._charset.chars))
        rest = "".join(char for char in self._charset.chars if is_ideograph(char))
        return tuple(filter(None, (simplified, simplified, traditional) if simplified or traditional else (rest,)))

    @property
    def poor(self) -> bool:
        """Whether the charset leaves next to nothing of prose."""
        return sum(len(self.piece((k + 0.5) / 32, 12)) for k in range(32)) < 32 * 6

    def piece(self, place: float, length: int) -> npt.NDArray[np.int32]:
        """``length`` symbols, at times one or two fewer, from ``place`` (0 to 1) of all prose; always the same there.

        Neither end is a blank. It is empty where the charset has nothing of it.
        """
        chance = random.Random(int(place * 2**53)).random
        text = _Writer(chance, self._scripts).write(length + SPARE)
        begin = int(max(0.0, 2 * chance() - 1) * SPARE)
        known = [self._index[char] for char in text if char in self._index]
        while begin < len(known) - 1 and known[begin] == SPACE:
            begin += 1
        return tidy(np.array(known[begin : begin + length], np.int32))


class _Writer:
    """Writes one line; ``chance`` draws from 0 to 1, ``scripts`` are the ideographs to choose from."""

    def __init__(self, chance: Callable[[], float], scripts: Sequence[str]) -> None:
        self._chance = chance
        self._script = self._pick(scripts) if scripts else ""
        self._blank = " " if chance() < 0.6 else ""  # between ideographs and letters or numbers
        self._narrow = chance() < 0.1  # marks as in Latin text

    def _pick(self, items: Sequence[T]) -> T:
        return items[int(self._chance() * len(items))]

    def write(self, length: int) -> str:
        """At least ``length`` characters, among them the blanks."""
        text = ""
        while len(text) < length:
            phrase = self._phrase()
            if self._chance() < 0.1:
                pair = self._pick(PAIRS)
                end = self._pick(ENDS) if pair in QUOTES and self._chance() < 0.5 else ""
                phrase = pair[0] + phrase.strip() + end + pair[1]
            text += phrase.lstrip() if text[-1:] in MARKS + " " else phrase
            if self._chance() < 0.35:
                mark = self._pick(MARKS)
                text = text.rstrip() + (mark.translate(NARROW) if self._narrow else mark)
        return text

    def _phrase(self) -> str:
        which = self._chance()
        if which < 0.72:
            return self._words()
        if which < 0.84:
            return self._blank + self._number() + self._blank
        if which < 0.96:
            return self._blank + self._latin().rstrip() + self._blank
        return self._pick(BETWEEN)

    def _words(self) -> str:
        return "".join(self._pick(self._script) for _ in range(1 + int(6 * self._chance()))) if self._script else ""

    def _digits(self, most: int) -> str:
        return "".join(self._pick("0123456789") for _ in range(1 + int(most * self._chance())))

    def _number(self) -> str:
        which, number = self._chance(), self._digits(4)
        if which < 0.2:
            number += "." + self._digits(2)
        elif which < 0.3:
            number += "," + "".join(self._pick("0123456789") for _ in range(3))
        elif which < 0.5:
            number += self._pick(RANGES) + self._digits(4)
        if self._chance() < 0.2:
            number = self._pick(BEFORE) + number
        return number + (self._pick(UNITS) if self._chance() < 0.4 else "")

    def _latin(self) -> str:
        text = self._word()
        while self._chance() < 0.35:
            text += self._pick(JOINTS) + (self._word() if self._chance() < 0.8 else self._digits(3))
        return text + (self._pick(ENDINGS) if self._chance() < 0.25 else "")

    def _word(self) -> str:
        letters = "".join(self._pick(LETTERS) for _ in range(1 + int(9 * self._chance() ** 1.5)))
        which = self._chance()
        if which < 0.15:
            return letters[:5].upper()
        if which < 0.4:
            return letters.capitalize()
        if which < 0.45:
            return letters[:1] + letters[1:].capitalize()
        return letters
