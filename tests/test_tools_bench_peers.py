"""The comparison with other readers runs, end to end and small; stand-ins answer for the peers' packages.

pytest tests/test_tools_bench_peers.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import small_set

from gen.charset import Charset
from gen.errors import UserError
from gen.fonts import fonts_from
from infer.export import export
from tests.infer_weights import make_weights
from tests.peers import stand_in
from tools import bench_infer_peers, bench_peers
from tools.bench_infer_peers import Peer
from tools.bench_peers import Line, Pen, score, turned


@pytest.fixture(scope="module")
def pen() -> Pen:
    return Pen("eval-classic", Charset(small_set.CHARS), fonts_from(small_set.font_files()), 1)


def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directions: tuple[str, ...]) -> dict[str, dict[str, dict]]:
    """The cells that the command writes for weights of random numbers."""
    monkeypatch.setattr(bench_infer_peers, "command", stand_in)
    weights, file = tmp_path / "w.onnx", tmp_path / "p.json"
    export(make_weights(weights.with_suffix(".pt"), directions=directions, charset=Charset(small_set.CHARS)), weights)
    flags = ["--quick", "--weight-path", str(weights), "--fonts", *small_set.font_files(), "--json", str(file)]
    assert bench_peers.main(flags) == 0
    cells: dict[str, dict[str, dict]] = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return cells


def test_every_reader_reads_every_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = measure(tmp_path, monkeypatch, ("horizontal", "vertical"))
    assert len(cells) == 8
    for name, found in cells.items():
        assert list(found) == ["given", *bench_infer_peers.NAMES]
        assert all(each["lines"] == 4 and each["characters"] > 4 and each["ms"] > 0 for each in found.values())
        assert ("turn" in found["rapidocr"]) == name.endswith("vertical")
    tables = [block.splitlines() for block in capsys.readouterr().out.split("\n\n")[1:]]
    assert [len(table) for table in tables] == [10, 10]
    assert all(len({line.count("|") for line in table}) == 1 for table in tables)


def test_weights_of_one_direction_are_judged_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = measure(tmp_path, monkeypatch, ("vertical",))
    assert [name.split(", ")[-1] for name in cells] == ["vertical"] * 4


def test_lines_of_gb2312_hold_nothing_else(pen: Pen) -> None:
    for direction in ("horizontal", "vertical"):
        lines = pen.gb2312(20, direction)
        assert {char for line in lines for char in line.text} <= set(small_set.CHARS[:28])
        assert {line.pixels.shape for line in lines} == {(32, 512) if direction == "horizontal" else (512, 32)}


def test_what_is_read_right_counts() -> None:
    lines = [Line(np.zeros((32, 64), np.uint8), text) for text in ("大小", "天地", "人 1")]
    assert score(lines, ["大小", "天地", "人1"])["line_accuracy_folded"] == 1
    assert score(lines, ["", "地", "1"])["char_accuracy"] == pytest.approx(2 / 6)


def test_columns_are_turned_as_suits_a_reader_best() -> None:
    column = np.full((96, 32), 255, np.uint8)
    column[:8] = 0  # where the text begins

    def read(images: list[np.ndarray]) -> dict[str, list]:
        texts = ["大小" if image.shape[0] < image.shape[1] and not image[:, :8].any() else "" for image in images]
        return {"texts": texts, "cpu": [0.5 for _ in images]}

    found = turned(read, [Line(column, "大小")] * 3)  # type: ignore[arg-type]
    assert (found["turn"], found["char_accuracy"], found["ms"]) == ("to the left", 1, 500)


@pytest.mark.parametrize(("name", "mark"), [("rapidocr", ""), ("ddddocr", ""), ("ddddocr-beta", "b")])
def test_the_worker_answers_for_each_image(name: str, mark: str) -> None:
    images = [np.arange(n, dtype=np.uint8).repeat(32).reshape(-1, 32) for n in range(2, 14)]
    with Peer(name, stand_in(name), images[0]) as peer:
        assert peer.start_s > 0
        found = peer([*images, np.zeros((32, 40), np.uint8)])
    nothing = "" if name == "rapidocr" else f"{mark}1"
    assert found["texts"] == [*(f"{mark}{n}" for n in range(2, 14)), nothing]
    assert len(found["cpu"]) == len(found["wall"]) == 13


def test_a_worker_that_ends_is_told() -> None:
    command = [sys.executable, "-c", "raise ImportError('no such thing')"]
    with pytest.raises(UserError, match=r"ddddocr 1.6.1 does not run: ImportError: no such thing"):
        Peer("ddddocr", command, np.zeros((32, 40), np.uint8))


def test_weights_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_peers.main(["--quick", "--weight-path", str(tmp_path / "none.onnx")]) == 2
    assert "none.onnx does not exist" in capsys.readouterr().err
