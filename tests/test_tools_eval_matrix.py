"""The matrix of figures runs, end to end and small, and is checked against readings of the same lines."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_set

from gen.charset import Charset
from infer.export import export
from infer.recognizer import Recognizer
from tests.infer_weights import make_weights
from tools import eval_matrix
from tools.eval_matrix_page import page
from train import evaluate
from train.metrics import Tally
from train.rendered import Ingredients, RenderedSource

FONTS = small_set.font_files()
FEW = ["--lines", "6", "--per-font", "0", "--fonts", *FONTS]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.onnx"
    export(make_weights(path.with_suffix(".pt"), charset=Charset(small_set.CHARS), trim=True), path)
    return path


def source(recipe: str, direction: str) -> RenderedSource:
    ingredients = Ingredients(Charset(small_set.CHARS), tuple(FONTS))
    return RenderedSource.from_spec(f"gen:{recipe}", direction, "val", ingredients)


def cells(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())["cells"]
    return found


def test_all_recipes_in_both_directions(weights: Path, tmp_path: Path) -> None:
    files = ["--json", str(tmp_path / "m.json"), "--markdown", str(tmp_path / "m.md")]
    flags = ["--weight-path", str(weights), "--fonts", *FONTS]
    assert eval_matrix.main([*flags, "--lines", "12", "--per-font", "5", *files]) == 0
    found = cells(tmp_path / "m.json")
    assert list(found) == [f"{recipe} {way}" for recipe in eval_matrix.RECIPES for way in ("horizontal", "vertical")]
    for cell in found.values():
        assert cell["lines"] == 12
        assert {name: score["lines"] for name, score in cell["by_font_alone"].items()} == {
            "noto-sans-sc": 5,
            "noto-serif-sc": 5,
        }
    text = (tmp_path / "m.md").read_text(encoding="utf-8")
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 7  # totals, groups, sizes, fonts twice, confusions twice
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    for name, cell in found.items():
        assert f"| {name} | 12 |" in text
        assert evaluate.percent(cell["char_accuracy"]) in text


def test_the_figures_are_those_of_train_evaluate(tmp_path: Path) -> None:
    """From ONNX and from torch. Three characters: what nobody trained is right now and then."""
    torch = tmp_path / "w.pt"
    export(make_weights(torch, charset=Charset("一二三"), trim=True), tmp_path / "w.onnx")
    data = ["--data", "gen:eval-default", "--direction", "vertical", "--num", "60", "--fonts", *FONTS]
    assert evaluate.main(["--weight-path", str(torch), *data, "--json", str(tmp_path / "a.json")]) == 0
    expected = json.loads((tmp_path / "a.json").read_bytes())
    assert 0.1 < expected["by_group"]["gb2312-1"]["char_accuracy"] < 0.9
    some = ["--recipes", "eval-default", "--direction", "vertical", "--lines", "60", "--per-font", "0", "--looks", "1"]
    for path in (tmp_path / "w.onnx", torch):
        file = tmp_path / f"m{path.suffix}.json"
        assert eval_matrix.main(["--weight-path", str(path), "--fonts", *FONTS, *some, "--json", str(file)]) == 0
        cell = cells(file)["eval-default vertical"]
        assert (cell["lines"], cell["characters"]) == (60, expected["characters"])
        for table in ("by_group", "by_size", "by_font"):
            assert list(cell[table]) == list(expected[table])
            for name, score in cell[table].items():  # sums in another order may turn what is nearly a tie
                assert score == pytest.approx(expected[table][name], abs=0.05)


def test_margins_are_cut_off_when_asked_for(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some = ["--weight-path", str(weights), "--recipes", "eval-classic", "--direction", "horizontal", "--fonts", *FONTS]
    some += ["--lines", "60", "--per-font", "0", "--looks", "1"]
    assert eval_matrix.main([*some, "--trim", "--json", str(tmp_path / "m.json")]) == 0
    items = source("eval-classic", "horizontal").read(range(60))
    tally = Tally()
    readings = Recognizer.load(weights, looks=1).read([item.pixels for item in items], "horizontal")
    for item, reading in zip(items, readings):
        tally.add(item.text, reading.text)
    cell = cells(tmp_path / "m.json")["eval-classic horizontal"]
    assert cell["char_accuracy"] == tally.total.char_accuracy
    assert cell["confusions"] == tally.to_dict()["confusions"]
    assert "were cut off first" in capsys.readouterr().out
    assert eval_matrix.main([*some, "--json", str(tmp_path / "m.json")]) == 0  # measured anew
    assert cells(tmp_path / "m.json")["eval-classic horizontal"]["confusions"] != cell["confusions"]
    out = capsys.readouterr().out
    assert "no margin was cut off" in out
    assert "Each was looked at once." in out
    assert eval_matrix.main([*some, "--looks", "3", "--json", str(tmp_path / "m.json")]) == 0  # and anew
    assert "Those that were not sure were looked at thrice" in capsys.readouterr().out


def test_it_goes_on_from_the_cells_that_are_there(weights: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.json"
    flags = ["--weight-path", str(weights), *FEW, "--direction", "horizontal", "--json", str(file)]
    assert eval_matrix.main([*flags, "--recipes", "eval-classic"]) == 0
    values = json.loads(file.read_bytes())
    values["cells"]["eval-classic horizontal"]["lines_per_s"] = 123456  # to know it again
    file.write_text(json.dumps(values), encoding="utf-8")
    assert eval_matrix.main([*flags, "--recipes", "eval-classic", "eval-uniform"]) == 0
    found = cells(file)
    assert list(found) == ["eval-classic horizontal", "eval-uniform horizontal"]
    assert found["eval-classic horizontal"]["lines_per_s"] == 123456
    assert eval_matrix.main([*flags, "--recipes", "eval-classic", "--per-font", "2"]) == 0
    assert cells(file)["eval-classic horizontal"]["lines_per_s"] == 123456
    assert cells(file)["eval-classic horizontal"]["by_font_alone"]
    assert eval_matrix.main([*flags, "--recipes", "eval-classic", "--lines", "7"]) == 0
    assert cells(file)["eval-classic horizontal"]["lines"] == 7
    assert cells(file)["eval-uniform horizontal"] == found["eval-uniform horizontal"]


def test_lines_of_a_font_are_the_first_ones_in_it() -> None:
    drawn = source("eval-default", "horizontal")
    found = eval_matrix.first_of_fonts(drawn, 4)
    fonts = np.array([item.font for item in drawn.read(range(max(map(max, found.values())) + 1))])
    for name, ids in found.items():
        assert ids.tolist() == np.flatnonzero(fonts == name)[:4].tolist()
    assert len(found) == 2


def test_confusions_of_look_alikes_stand_apart() -> None:
    tally = Tally()
    for _ in range(3):
        tally.add("，|", ",<", "song", 20)
    values = {**tally.to_dict(), "trim": False, "looks": 1}
    text = page({"file": "w.onnx", "bytes": 1, "sha256": "ab"}, {"eval-classic horizontal": values})
    alike, others = text.split("| Others |")
    assert "， → , 3" in alike
    assert "， → , 3" not in others
    assert r"\| → \< 3" in others
    assert r"\| → \< 3" not in alike


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--lines", "0"], "--lines 0"),
        (["--per-font", "many"], "--per-font many"),
        (["--weight-path", "no/such.onnx"], "no/such.onnx does not exist"),
        (["--weight-path", "FOLDER"], "is a folder: give a file of weights"),
        (["--markdown", "FOLDER"], "it is a folder"),
        (["--recipes", "eval-classic", "--fonts", "nowhere.ttf"], "nowhere.ttf"),
        (["--json", "FOLDER/other.json"], "holds figures of other weights"),
        (["--json", "FOLDER/not.json"], "is no file of this command"),
        (["--json", "FOLDER"], "cannot be read"),
    ],
)
def test_mistakes_are_told_in_a_line(
    weights: Path, tmp_path: Path, flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.json").write_text('{"weights": {"sha256": "00"}, "cells": {}}', encoding="utf-8")
    (tmp_path / "not.json").write_text("[]", encoding="utf-8")
    flags = [flag.replace("FOLDER", str(tmp_path)) for flag in flags]
    assert eval_matrix.main(["--weight-path", str(weights), *FEW, *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m tools.eval_matrix: ")
    assert error.count("\n") == 1
    assert words in error
