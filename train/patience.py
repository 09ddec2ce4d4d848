"""How long to wait for a server, and how often to ask again: nothing that talks to one may hang.

python -m pytest tests/test_train_fetch.py -k patience
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from gen.patience import within as within
from train.place import Unusable

_PIECE = 4 << 20  # bytes that one deadline is for; larger files have as many as they need
_LONGEST_PAUSE = 10.0  # seconds


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds, and how often to try again."""

    connect: float = 10.0
    silence: float = 30.0  # between two bytes
    total: float = 300.0  # for 4 MiB
    tries: int = 6  # in a row that bring no byte
    pause: float = 0.5  # after the first failure; doubles with each


class Attempts:
    """Counts failures of one request and waits between them, until its deadline."""

    def __init__(self, url: str, patience: Patience, size: int = 0) -> None:
        self.url, self._patience = url, patience
        self._failures = 0
        self._reason = "not complete"
        self._total = patience.total
        self._begin = time.monotonic()
        self.expect(size)

    def expect(self, size: int) -> None:
        """Allow as long as ``size`` bytes may take."""
        self._total = max(self._total, self._patience.total * -(-size // _PIECE))

    def left(self) -> float:
        """Seconds until the deadline. Raises `Unusable` when it has passed."""
        left = self._begin + self._total - time.monotonic()
        if left <= 0:
            raise Unusable(f"{self.url}: {self._reason} after {self._total:.3g} s")
        return left

    def progress(self) -> None:
        """Bytes came: the failures before do not count any more."""
        self._failures = 0

    def failed(self, reason: str, pause: float | None = None) -> None:
        """Wait before the next attempt. Raises `Unusable` when there is none."""
        self._failures += 1
        self._reason = f"{reason}, and not complete"
        if self._failures >= self._patience.tries:
            raise Unusable(f"{self.url}: {reason}, {self._failures} times in a row")
        if pause is None:
            pause = min(self._patience.pause * 2 ** (self._failures - 1), _LONGEST_PAUSE)
        time.sleep(min(pause, self.left()))
