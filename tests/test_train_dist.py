"""Processes of torchrun that fail tell why, each reason once; those that end well do so.

python -m pytest tests/test_train_dist.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from small_set import ROOT

FAILING = """
import os, sys
from train.cli import main
from train.dist import tell_once

for line in ("the same", f"of rank {os.environ['RANK']}", "the same"):
    tell_once(line)
codes = main(["--data", "nowhere", "--out", sys.argv[1], "--device", "cpu"]), main(["--bogus"])
print(f"exit codes {codes}\\n", end="")  # in one write, also when it is not buffered
"""


LEAVING = """
import os, sys, time
import torch
from train.dist import joined, leave

with joined("cpu", 30) as world:
    kept = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))  # and with it the threads of the group
    numbers = torch.ones(3)
    if world.first:
        time.sleep(0.3)
        world.total(numbers)
    else:
        sys.setswitchinterval(1000)  # the thread that frees these numbers waits until the interpreter goes
        torch.distributed.all_reduce(numbers, async_op=True)
        del numbers
        begin = time.monotonic()
        while time.monotonic() < begin + 1:
            pass
    print(f"rank {world.rank} leaves\\n", end="")
    leave(0)
"""


def test_a_process_leaves_well_while_a_thread_still_frees_what_was_exchanged(tmp_path: Path) -> None:
    done = torchrun(tmp_path, LEAVING)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["rank 0 leaves", "rank 1 leaves"]


def test_what_all_processes_say_is_said_once_and_nothing_is_lost(tmp_path: Path) -> None:
    done = torchrun(tmp_path, FAILING, str(tmp_path / "run"))
    assert done.stdout.splitlines() == ["exit codes (2, 2)"] * 2
    lines = done.stderr.splitlines()
    assert lines.count("the same") == lines.count("of rank 0") == lines.count("of rank 1") == 1
    told = [line for line in lines if line.startswith("python -m train: ")]
    assert len(told) == 2, done.stderr
    assert "nowhere/manifest.json is not there" in told[0]
    assert "arguments are required: --data, --out; see python -m train --help" in told[1]
    assert "Traceback" not in done.stderr


def torchrun(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Two processes that run a script."""
    script = folder / "script.py"
    script.write_text(code)
    launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    return subprocess.run(
        [sys.executable, "-m", *launcher, str(script), *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
