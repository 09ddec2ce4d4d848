"""Training runs small enough for tests: 43 characters, two fonts, a network of a few thousand numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from small_set import CHARS, ROOT, font_files

CONFIG = """
model: {widths: [8, 8, 16, 16], depths: [0, 1, 0, 1], dim: 16}
data: {workers: 0, val: 24, window: 16}
keep: {every: 2, validate: 6}
learning: {negatives: 30}
stages:
  - {name: glyphs, lines: 72, batch: 12, loss: frames, lr: 4.0e-3, warmup: 2}
  - {name: full, lines: 72, batch: 12, warmup: 2}
"""
STEPS = 12


def flags(folder: Path, out: str = "run", data: str = "gen:gen-default", config: str = CONFIG) -> list[str]:
    """The small run as arguments of ``python -m train``, its files in ``folder``."""
    charset, settings = folder / "charset.txt", folder / "train.yaml"
    charset.write_text("\n".join(CHARS) + "\n", encoding="utf-8")
    settings.write_text(config, encoding="utf-8")
    return [
        *("--config", str(settings), "--data", data, "--out", str(folder / out), "--device", "cpu"),
        *("--charset", str(charset), "--fonts", *font_files()),
    ]


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def start(arguments: list[str], *launcher: str, largest: int | None = None) -> subprocess.Popen[str]:
    """A run as a process of its own; ``launcher``: arguments of torchrun, if it is to start several; ``largest``: the
    system refuses to write more bytes into a file, as it does on a full disk."""
    command = ["torch.distributed.run", *launcher, "-m", "train"] if launcher else ["train"]
    limit = ["-c", LIMITED, str(largest)] if largest else []
    return subprocess.Popen(
        [sys.executable, *limit, "-m", *command, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        start_new_session=True,
    )


def steps(folder: Path) -> list[dict[str, Any]]:
    """The steps that ``metrics.jsonl`` of a run tells of."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return [line for line in lines if "loss" in line]


def state(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint under a dotted name."""

    def walk(value: Any, name: str) -> dict[str, torch.Tensor]:
        if isinstance(value, torch.Tensor):
            return {name: value}
        pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return {key: tensor for k, inner in pairs for key, tensor in walk(inner, f"{name}.{k}").items()}

    return walk(torch.load(path, weights_only=True), "")


def assert_equal(left: Path, right: Path) -> None:
    """Two checkpoints hold the same numbers, to the bit."""
    a, b = state(left), state(right)
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different, different
