"""A small set of shards for tests of what reads from servers; its fixtures are in ``conftest.py``."""

from __future__ import annotations

from pathlib import Path

from train.patience import Patience
from train.shards import ShardSource, open_source

QUICK = Patience(connect=5, silence=5, total=20, tries=3, pause=0.01)
N = 70  # training samples


def read(url: str, cache: Path, limit: int = 1 << 30) -> tuple[ShardSource, list[bytes]]:
    """The training samples at a URL, and all their records."""
    source = open_source(url, "train", cache, limit)
    return source, source.records(range(N))
