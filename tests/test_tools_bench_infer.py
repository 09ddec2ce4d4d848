"""The benchmark of reading runs, end to end and small; the peer's worker is run by a stand-in for its package.

pytest tests/test_tools_bench_infer.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import small_set

from gen.charset import Charset
from gen.errors import UserError
from gen.fonts import fonts_from
from infer.export import export
from infer.recognizer import Recognizer
from tests.infer_weights import make_weights
from tests.peers import stand_in
from tools import bench_infer, bench_infer_lines, bench_infer_peers, bench_infer_run
from tools.pen import Line, Pen


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.onnx"
    export(make_weights(path.with_suffix(".pt"), charset=Charset(small_set.CHARS)), path)
    return path


@pytest.fixture(scope="module")
def pen() -> Pen:
    return Pen("eval-default", Charset(small_set.CHARS), fonts_from(small_set.font_files()), 1)


def unheard(text: str) -> None:
    pass


def test_every_part_is_measured(
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bench_infer_peers, "command", stand_in)
    flags = ["--quick", "--peers", "--weight-path", str(weights), "--fonts", *small_set.font_files()]
    assert bench_infer.main([*flags, "--json", str(tmp_path / "b.json")]) == 0
    found = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    for width in ("320", "512"):
        part = found["lines"][width]
        assert list(part) == list(bench_infer.NAMES)
        assert all(figures["ms"] > 0 and figures["wall_ms"] > 0 for figures in part.values())
        assert part["int8"]["ratio"] == 1
        assert part["crnn"]["ratio"] > 1
    assert found["start"]["torch"] is False
    assert found["start"]["modules"] > 100
    assert 0 < found["start"]["first_text_s"] <= found["start"]["whole_s"]
    assert found["folder"]["images"] == 4
    for memory in (found["start"]["memory"], found["folder"]["one"]["memory"], found["folder"]["all"]["memory"]):
        assert 30e6 < memory < 1e9
    assert list(found["rest"]) == ["1", "8", "64"]
    assert all(load["rate"] > 0 for load in found["rest"].values())
    out = capsys.readouterr().out
    tables = [block.splitlines() for block in out.split("\n\n")[1:]]
    assert len(tables) == len(bench_infer.PARTS)
    for table in tables:
        assert len({line.count("|") for line in table}) == 1
    assert f"{found['lines']['320']['torch']['ms']:.2f}" in out


def test_lines_are_as_wide_as_said(pen: Pen) -> None:
    for width in (320, 512):
        for line in pen.wide(width, 3):
            assert line.pixels.shape == (32, width)
            assert len(line.text) > 5
    assert [line.text for line in pen.wide(320, 3)[:2]] == [line.text for line in pen.wide(320, 2)]


def test_parts_of_a_reader_add_up(weights: Path, pen: Pen) -> None:
    one = Recognizer.load(horizontal=weights)
    lines = {320: pen.wide(320, 2)}
    ours = dict.fromkeys(bench_infer_lines.OURS, one)
    readers = {name: bench_infer_lines.reader(each) for name, each in ours.items()}
    found = bench_infer_lines.speed(readers, ours, lines, 1, unheard)["320"]
    for figures in found.values():
        if "rest" in figures:
            assert figures["backbone"] + figures["matrix"] + figures["rest"] == pytest.approx(figures["ms"], rel=0.01)


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"python -m infer ended with 2: .*does not exist"):
        bench_infer_run.ran(str(tmp_path / "a.png"), "--weight-path", str(tmp_path / "none.onnx"))
    bench_infer_run.save([Line(np.full((32, 64), 255, np.uint8), "")], tmp_path / "lines")
    with pytest.raises(UserError, match="ended with 2"):
        bench_infer_run.folder(tmp_path / "none.onnx", [], 1, unheard)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--rounds", "0"], "--rounds 0: give at least 1"),
        (["--lines", "many"], "--lines many"),
        (["--weight-path", "no/such.onnx"], "no/such.onnx does not exist"),
        (["--weight-path", __file__], "onnx"),
        (["--fonts", "nowhere.ttf"], "nowhere.ttf"),
        (["--json", "no/such/b.json"], "no/such does not exist"),
    ],
)
def test_mistakes_are_told_in_a_line(
    weights: Path, flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench_infer.main(["--weight-path", str(weights), *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m tools.bench_infer: ")
    assert error.count("\n") == 1
    assert re.search(words, error)
