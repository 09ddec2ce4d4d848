"""The trainer's process on a lent machine: it outlives the call that started it, and tells of its end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from small_set import ROOT

from tools.gpu_trainer import KILLED, Trainer

PYTHON = """
import signal, sys, time
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "saves" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("saved")))
print("begun", flush=True)
time.sleep(float(sys.argv[1]))
sys.exit(3)
"""


def _trainer(home: Path, *words: str) -> Trainer:
    """One that another process has started, and that has begun."""
    code = "import sys; from tools.gpu_trainer import Trainer; from pathlib import Path; Trainer(Path(sys.argv[1])).start(sys.argv[2:])"
    before = home.joinpath("train.log").read_text() if home.exists() else ""
    given = [sys.executable, "-c", code, str(home), sys.executable, "-c", PYTHON, *words]
    subprocess.run(given, cwd=ROOT, check=True, timeout=30)
    trainer = Trainer(home)
    while trainer.log.read_text() == before:
        time.sleep(0.01)
    return trainer


def test_a_trainer_outlives_the_call_that_started_it(tmp_path: Path) -> None:
    home = tmp_path / "a home"
    trainer = _trainer(home, "60", "saves")
    assert trainer.known
    assert trainer.code is None
    assert trainer.stop(30)
    assert trainer.end() == (0, "begun\nsaved\n")
    assert not trainer.known
    trainer = _trainer(home, "60")
    assert trainer.stop(30)
    code, words = trainer.end()  # stopped before it could catch a signal
    assert code == 0
    assert words.startswith("begun\n")
    trainer = _trainer(home, "0.1")
    while trainer.code is None:
        time.sleep(0.01)
    assert trainer.end() == (3, "begun\n")


def test_a_trainer_that_does_not_save_is_killed(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path / "home", "60", "deaf")
    assert not trainer.stop(0.1)
    while trainer.code is None:
        time.sleep(0.01)
    assert trainer.end() == (KILLED, "begun\n")
