"""What a run tells, on a disk that takes it and on one that does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_set import ROOT

from gen.errors import UserError
from train.board import Board, sheet
from train.record import Record


def step(number: int) -> dict[str, object]:
    return {"step": number, "stage": "a", "loss": 1.5, "lines_per_s": 9.0, "wait": 0.1}


def numbers(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_steps_after_the_checkpoint_come_again(tmp_path: Path) -> None:
    with Record(tmp_path, 0, 9) as record:
        for number in range(1, 6):
            record.step(step(number))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # killed
    with Record(tmp_path, 3, 9) as record:
        assert numbers(tmp_path) == [1, 2, 3]
        record.step(step(4))
    assert numbers(tmp_path) == [1, 2, 3, 4]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_metrics_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with Record(tmp_path / "new", 0, 9) as record:
        record._file.close()
        record._file = open("/dev/full", "a", encoding="utf-8")  # noqa: SIM115 (the record closes it)
        with pytest.raises(
            UserError, match=r"new/metrics\.jsonl cannot be written: No space left on device; make room"
        ):
            record.step(step(1))


DRAWING = """
import resource, sys
from pathlib import Path
from train.board import Board
board = Board(Path(sys.argv[1]), 0, print)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
for step in range(300):
    board.curves("train", {"step": step, "loss": 1.0}, ["loss"])
board.close()
"""


def test_a_full_disk_costs_the_curves_only(tmp_path: Path) -> None:
    """Although they are written by a thread, which fails in a way of its own."""
    command = [sys.executable, "-W", "ignore", "-c", DRAWING, str(tmp_path / "board")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == f"{tmp_path / 'board'} cannot be written: File too large; no more curves are drawn there\n"
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_file_in_the_way_of_the_curves(tmp_path: Path) -> None:
    (tmp_path / "board").write_text("mine")
    told: list[str] = []
    board = Board(tmp_path / "board", 0, told.append)
    for number in range(2):
        board.curves("train", {"step": number, "loss": 1.0}, ["loss"])
    board.close()
    assert len(told) == 1
    assert "board cannot be written" in told[0]


def test_lines_are_shown_with_truth_and_reading() -> None:
    lines = [(np.full((32, width), 9, np.uint8), "truth", "truth" if width == 40 else "wrong") for width in (40, 300)]
    picture = sheet(lines)
    assert picture.shape == (176, 316)
    assert (picture[8:40, 8:48] == 9).all()
    assert (picture[92:124, 8:308] == 9).all()
    assert picture[64:84].min() == 0  # what is right is black
    assert picture[150:].min() > 100
