"""Which sequence of samples: a seed, a direction and a split; and the random numbers of its parts.

python -m gen --out shards --n 500 --seed 7
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "val")
DIRECTIONS = ("horizontal", "vertical")


@dataclass(frozen=True)
class Stream:
    """One endless sequence of samples: its seed, the direction of its lines, and the split it belongs to."""

    seed: int
    direction: str
    split: str

    def generator(self, purpose: int, number: int) -> np.random.Generator:
        """An independent generator for each purpose and number (Philox is counter-based: no state to carry)."""
        which = purpose << 2 | DIRECTIONS.index(self.direction) << 1 | SPLITS.index(self.split)
        return np.random.Generator(np.random.Philox(key=np.array([self.seed, number << 8 | which], np.uint64)))
