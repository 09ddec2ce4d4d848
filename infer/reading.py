"""What was read in an image: the text, and how sure each character is and where it stands.

python -c "from infer import Recognizer; print(Recognizer.load().read(['line.png'])[0])"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Char:
    """One character. ``score``: its probability, 0 to 1, the mean of all looks, with the prior where that had a say.
    ``at``: where its middle is along the reading direction, px of the image as given (from the left of a horizontal
    line, from the top of a vertical one). ``alternatives``: other characters with their probabilities, the likeliest
    first."""

    text: str
    score: float
    at: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Reading:
    """A line. ``direction``: as which it was read; ``chars``: its characters in reading order."""

    text: str
    direction: str
    chars: tuple[Char, ...]

    @property
    def score(self) -> float:
        """The mean of the characters' scores; 0 where nothing was read."""
        return sum(char.score for char in self.chars) / len(self.chars) if self.chars else 0.0

    @property
    def lowest(self) -> float:
        """The smallest of the characters' scores; 0 where nothing was read."""
        return min((char.score for char in self.chars), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, ``text`` first; scores rounded to 4 digits, places to a tenth of a pixel."""
        return {
            "text": self.text,
            "direction": self.direction,
            "score": round(self.score, 4),
            "min_score": round(self.lowest, 4),
            "chars": [
                {
                    "text": char.text,
                    "score": round(char.score, 4),
                    "at": round(char.at, 1),
                    "alternatives": [[text, round(score, 4)] for text, score in char.alternatives],
                }
                for char in self.chars
            ],
        }
