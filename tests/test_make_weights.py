"""`make weights` from beginning to end, with a network that learns nothing, and once more: nothing is done twice.

python -m pytest -m long tests/test_make_weights.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_set import ROOT

from infer import Recognizer

CONFIG = """
model: {widths: [8, 8, 16, 16], depths: [0, 1, 0, 1], dim: 16}
data: {workers: 0, val: 24, window: 16}
keep: {every: 2, validate: 6}
learning: {negatives: 30, start: random}
stages:
  - {name: full, lines: 72, batch: 12, warmup: 2}
"""


@pytest.mark.long
def test_weights_are_made(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "out").mkdir()
    values = {"CONFIG": tmp_path / "small.yaml", "STATE": tmp_path / "state", "WEIGHTS": tmp_path / "out", "LINES": 20}
    marks = [Path(sys.prefix, "bin", name) for name in (".installed", ".torch")]
    command = ["make", "weights", *(f"{name}={value}" for name, value in values.items()), f"VENV={sys.prefix}"]
    command += [word for mark in marks for word in ("-o", str(mark))]  # this environment is installed already
    environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    for told in ("done after 6 steps", "nothing to do"):
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert told in done.stderr
        names = {path.name for path in (tmp_path / "out").iterdir()}
        assert names == {"lines.onnx", "lines-int8.onnx", "loss.svg", "matrix.md"}
        assert "eval-uniform vertical" in (tmp_path / "out" / "matrix.md").read_text(encoding="utf-8")
    Recognizer.load(tmp_path / "out" / "lines-int8.onnx").read([ROOT / "infer/samples/horizontal-0.png"])
