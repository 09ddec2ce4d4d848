"""What every worker process must do first: ``ProcessPoolExecutor(2, initializer=as_worker)``.

A worker must outlive a Ctrl-C (the parent decides what happens then) and must not outlive its parent, which may be
killed without a chance to say so; the workers of a standard pool would wait for ever.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing import connection


def as_worker() -> None:
    """Ignore SIGINT, and end this process as soon as its parent is gone, in the middle of whatever it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
