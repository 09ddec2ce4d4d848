"""The contact sheet: every font and effect has its row, and what is pasted is what the recipe draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gen.charset import Charset
from gen.config import EFFECTS, load_recipe
from gen.fonts import Font
from gen.sample import RecipeSource, Stream, open_recipe, render
from tools import preview
from tools.preview_sheet import BOXES, GROUND, Row, Style, Writer, block, compose, picture

TEXT = "一二三四五六七八九十国语永龜鬱好的是在，。（）「」—…ー0123456789abcXYZ"


@pytest.fixture(scope="module")
def charset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("charset") / "chars.txt"
    path.write_text("\n".join(TEXT) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def source(pip_fonts: tuple[Font, ...], cache: Path) -> RecipeSource:
    return RecipeSource(load_recipe(), Charset(TEXT), pip_fonts[:1], (), cache)


@pytest.fixture
def given(charset: Path, pip_fonts: tuple[Font, ...], cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments that make the command use the same."""
    monkeypatch.setenv("CRNN_SHARDS_CACHE", str(cache))
    return ["--fonts", str(pip_fonts[0].path), "--charset", str(charset)]


def rows_of(source: RecipeSource, *arguments: str) -> list[Row]:
    options = preview.parser().parse_args(arguments)
    preview.check(options, source)
    return list(preview.make_rows(options, source, ("horizontal", "vertical")))


def test_every_effect_has_a_row_that_differs_from_the_plain_one(source: RecipeSource) -> None:
    rows = rows_of(source, "--rows", "effect", "--count", "4", "--length", "5")
    assert [row.name for row in rows] == ["none", *EFFECTS]
    plain = rows[0]
    assert all(not sample.effects for sample in (*plain.horizontal, *plain.vertical))
    for row in rows[1:]:
        for lines, without in ((row.horizontal, plain.horizontal), (row.vertical, plain.vertical)):
            assert [sample.text for sample in lines] == [sample.text for sample in without]
            assert all(row.name in sample.effects for sample in lines)
            changed = [not np.array_equal(a.pixels, b.pixels) for a, b in zip(lines, without)]
            assert sum(changed) >= 3, row.name


def test_a_row_for_each_font_without_effects(source: RecipeSource) -> None:
    (row,) = rows_of(source, "--rows", "font", "--count", "2")
    assert row.name.startswith("noto-sans-sc")
    assert {sample.font for sample in (*row.horizontal, *row.vertical)} == {"noto-sans-sc"}
    assert not any(sample.effects for sample in (*row.horizontal, *row.vertical))
    assert all(len(sample.text) <= preview.SHORT for sample in row.horizontal)


def test_mixed_rows_are_the_recipe_as_it_is(source: RecipeSource) -> None:
    rows = rows_of(source, "--count", "14", "--seed", "7", "--set", "effects.salt.p=1")
    assert [len(row.horizontal) for row in rows] == [12, 2]
    config = load_recipe(None, ["seed=7", "effects.salt.p=1"])
    recipe = open_recipe(RecipeSource(config, source.charset, source.fonts, (), source.cache))
    again = render(recipe, Stream(7, "vertical", "train"), 13)
    assert np.array_equal(rows[1].vertical[1].pixels, again.pixels)
    assert rows[1].vertical[1].text == again.text


def test_pixels_are_shown_as_squares_and_boxes_on_top(source: RecipeSource) -> None:
    sample = rows_of(source, "--rows", "font", "--count", "1")[0].horizontal[0]
    shown = np.asarray(picture(sample, Style(scale=3)))
    assert shown.shape == (sample.pixels.shape[0] * 3, sample.pixels.shape[1] * 3, 3)
    assert np.array_equal(shown[1::3, 1::3, 0], sample.pixels)
    marked = np.asarray(picture(sample, Style(scale=3, boxes=True)))
    for number, (x, y, width, height) in enumerate(sample.boxes.tolist()):
        assert tuple(marked[y * 3, x * 3]) == BOXES[number % 2]
        assert tuple(marked[(y + height) * 3 - 1, (x + width) * 3 - 1]) == BOXES[number % 2]


def test_a_block_holds_every_sample_of_its_row(source: RecipeSource) -> None:
    row = rows_of(source, "--rows", "font", "--count", "3")[0]
    sheet = np.asarray(block(row, Style(labels=True), Writer(source.fonts)))
    for sample in (*row.horizontal, *row.vertical):
        height, width = sample.pixels.shape
        windows = np.lib.stride_tricks.sliding_window_view(sheet[:, :, 0], (height, width))
        assert (windows == sample.pixels).all(axis=(2, 3)).any()


def test_columns_keep_the_blocks_whole() -> None:
    blocks = [Image.new("RGB", (100, 40), (k, k, k)) for k in range(1, 13)]
    sheet = np.asarray(compose(blocks))
    assert 0.3 < sheet.shape[0] / sheet.shape[1] < 3
    assert [int((sheet == k).all(axis=2).sum()) for k in range(1, 13)] == [4000] * 12
    assert tuple(np.asarray(compose([Image.new("RGB", (9, 9), GROUND)]))[0, 0]) == GROUND


def test_the_command_writes_a_png(given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "sheet.png"
    arguments = ["--rows", "effect", "--only", "none", "rotation", "--count", "2", "--boxes", "-o", str(output)]
    assert preview.main([*arguments, *given]) == 0
    with Image.open(output) as image:
        assert f"{output}: {image.width} x {image.height} px" in capsys.readouterr().out
        assert image.mode == "RGB"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rows", "effect", "--only", "rotatoin"], "--only rotatoin: choose from none, tracking"),
        (["--rows", "font", "--only", "arial"], "--only arial: choose from noto-sans-sc"),
        (["--only", "rotation"], "it goes with --rows font or --rows effect"),
        (["--count", "0"], "--count 0: give at least 1"),
        (["--count", "2001"], "at most 2000 samples"),
        (["--scale", "9"], "--scale 9: give 1 to 8"),
        (["--length", "-1"], "--length -1: give at least 1"),
        (["-o", "sheet.jpg"], "the sheet is a PNG file"),
        (["--set", "effects.rotatoin.p=1"], "did you mean"),
        (["--config", "nothing"], "config nothing does not exist"),
    ],
)
def test_mistakes_are_one_line_with_exit_code_2(
    arguments: list[str], words: str, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert preview.main([*arguments, *given]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_an_unwritable_place_is_named(given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    output = tmp_path / "file" / "sheet.png"
    assert preview.main(["--count", "1", "-o", str(output), *given]) == 2
    assert f"cannot be written to {output}" in capsys.readouterr().err
