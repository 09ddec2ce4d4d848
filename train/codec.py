"""Text to CTC classes and back: class 0 is the blank, class k the k-th character, a space optionally the last.

python -m pytest tests/test_train_codec.py
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from gen.charset import Charset

BLANK = 0


@dataclass(frozen=True)
class Codec:
    """A charset as the classes of a network. ``space``: one more class after the last character."""

    charset: Charset
    space: bool = False

    @property
    def classes(self) -> int:
        """How many there are beside the blank."""
        return len(self.charset) + self.space

    @cached_property
    def characters(self) -> str:
        """The character of class k is ``characters[k - 1]``."""
        return self.charset.chars + " " * self.space

    @cached_property
    def _class_of(self) -> dict[str, int]:
        return {char: number for number, char in enumerate(self.characters, start=1)}

    def encode(self, text: str) -> list[int]:
        """Classes of a label; without the space class its blanks go. Raises `UserError` for an unknown character."""
        if " " not in self._class_of:
            text = text.replace(" ", "")
        try:
            return [self._class_of[char] for char in text]
        except KeyError:
            return self.charset.encode(text.replace(" ", ""))  # which raises, with the words for it

    def decode(self, classes: Iterable[int]) -> str:
        """The characters of classes from 1 on."""
        return "".join(self.characters[number - 1] for number in classes)

    def read(self, frames: Sequence[int]) -> str:
        """Greedy CTC decoding of the best class of each frame: repeats are one, then blanks go."""
        return self.decode(frames[k] for k in collapse(frames))


def collapse(frames: Sequence[int]) -> list[int]:
    """Positions of the frames that start a character under greedy CTC decoding (Graves et al. 2006, section 3.2)."""
    return [k for k, best in enumerate(frames) if best != BLANK and (k == 0 or frames[k - 1] != best)]


def frames_needed(label: Sequence[int] | str) -> int:
    """The fewest frames that CTC can write a label in: one per character, and a blank between equal neighbours."""
    return len(label) + sum(a == b for a, b in pairwise(label))
