"""The trainer of `tools.gpu_leg`: a process in a session of its own, which goes on between two calls to the machine.

    python -m pytest tests/test_tools_gpu_trainer.py

All that is known of it lies in files, as the call that asks is not the one that started it. Before the archive of the
GPU recipe is unpacked only the standard library is there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_SCRIPT = """
"$@" &
echo $$ $! >"$0/ids.part"; mv "$0/ids.part" "$0/ids"
wait $!
echo $? >"$0/code.part"; mv "$0/code.part" "$0/code"
"""
KILLED = 128 + signal.SIGKILL
STOPPED = 128 + signal.SIGTERM  # before it could catch a signal


class Trainer:
    """The last process that was started for a folder, in any call; its output is in ``log``."""

    def __init__(self, home: Path) -> None:
        self.home, self.log = home, home / "train.log"
        self._ids, self._code, self._since = home / "ids", home / "code", home / "since"

    @property
    def known(self) -> bool:
        """Whether one was started whose end has not been told yet."""
        return self._ids.exists()

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs, or its shell has not noted the code yet."""
        runs = _runs(self._processes()[0])  # asked first: it may note the code meanwhile
        return int(self._code.read_text()) if self._code.exists() else None if runs else KILLED

    def start(self, command: Sequence[str]) -> None:
        """Start it, once the one before is over."""
        self.home.mkdir(parents=True, exist_ok=True)
        self._code.unlink(missing_ok=True)
        with self.log.open("ab") as words:
            self._since.write_text(str(words.tell()))
            shell = subprocess.Popen(
                ["sh", "-c", _SCRIPT, str(self.home), *command],
                stdin=subprocess.DEVNULL, stdout=words, stderr=words, start_new_session=True,
            )  # fmt: skip
        while not self.known and shell.poll() is None:
            time.sleep(0.01)

    def stop(self, patience: float) -> bool:
        """Let it save and end; False when it did not within ``patience`` s and was killed."""
        shell, process = self._processes()
        if self.code is None:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        end = time.monotonic() + patience
        while self.code is None:
            if time.monotonic() > end:
                with suppress(ProcessLookupError):
                    os.killpg(shell, signal.SIGKILL)
            time.sleep(0.05)
        return self.code != KILLED

    def end(self) -> tuple[int, str]:
        """Exit code and words of one that is over, which is then forgotten."""
        code = self.code
        assert code is not None
        self._ids.unlink()
        with self.log.open("rb") as file:
            file.seek(int(self._since.read_text()))
            return 0 if code == STOPPED else code, file.read().decode("utf-8", "replace")

    def _processes(self) -> tuple[int, int]:
        """The shell that waits for the trainer, first of its session, and the trainer."""
        shell, process = map(int, self._ids.read_text().split())
        return shell, process


def _runs(process: int) -> bool:
    """Whether a process is there; one that is over and that nobody has asked for does not count."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
