"""Processes of torchrun that fail tell why, and each reason once."""

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
print(f"exit codes {codes}")
"""


def test_what_all_processes_say_is_said_once_and_nothing_is_lost(tmp_path: Path) -> None:
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *(str(script), str(tmp_path / "run")),
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["exit codes (2, 2)"] * 2
    lines = done.stderr.splitlines()
    assert lines.count("the same") == lines.count("of rank 0") == lines.count("of rank 1") == 1
    told = [line for line in lines if line.startswith("python -m train: ")]
    assert len(told) == 2
    assert "nowhere/manifest.json is not there" in told[0]
    assert "arguments are required: --data, --out; see python -m train --help" in told[1]
    assert "Traceback" not in done.stderr
