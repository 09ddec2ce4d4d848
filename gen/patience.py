"""How long to wait for another machine, and how often to ask again: nothing that talks to one may hang.

python -m pytest tests/test_gen_remote.py
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
_LONGEST_PAUSE = 15.0  # seconds


@dataclass(frozen=True)
class Persistence:
    """How long to wait for an answer, in seconds, and how often to ask."""

    answer: float = 120.0  # to a request without a body
    slowest: float = 100_000.0  # bytes a second that a body may take
    tries: int = 5
    pause: float = 0.5  # after the first failure; doubles with each

    def ask(self, call: Callable[[], T], size: int, final: Callable[[Exception], bool]) -> T:
        """The result of ``call``, which moves ``size`` bytes and may be done again; the last error when all fail.

        ``final`` says of an error that asking again is of no use.
        """
        for failures in range(1, self.tries):
            try:
                return within(self.answer + size / self.slowest, call)
            except Exception as error:  # each kind of server has errors of its own
                if final(error):
                    raise
            time.sleep(min(self.pause * 2 ** (failures - 1), _LONGEST_PAUSE))
        return within(self.answer + size / self.slowest, call)


def within(seconds: float, call: Callable[[], T]) -> T:
    """The result of ``call``, which runs in a thread of its own. Raises TimeoutError when it takes longer."""
    results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((call(), None))
        except BaseException as error:
            results.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = results.get(timeout=max(0.0, seconds))
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:.3g} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]
