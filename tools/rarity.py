"""How rare the characters of labels are: what a training run needs that is to see rare ones more often.

python -m pytest tests/test_tools_index.py -k rarest
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_LARGEST = (1 << 32) - 1  # what a sidecar can hold


def rarest(counts: Counter[str], labels: Iterable[str]) -> list[int]:
    """How often the rarest character of each label occurs by ``counts``, spaces aside, which may have no class."""
    return [min(_LARGEST, *(counts[char] for char in label if char != " ")) for label in labels]
