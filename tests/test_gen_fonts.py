"""Fonts: the catalogue, what users name with --fonts, and files that are no fonts. Small fonts are made on the spot."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pickle
import sys
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTCollection, TTFont

from gen import fonts as module
from gen.charset import is_gb2312_hanzi, load_charset
from gen.errors import UserError
from gen.fontfile import faces_in, instance
from gen.fonts import Font, catalogue, covered_by, find_catalogue_fonts, fonts_from


def square(size: int) -> object:
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    pen.lineTo((100, size))
    pen.lineTo((100 + size, size))
    pen.lineTo((100 + size, 0))
    pen.closePath()
    return pen.glyph()


def make_font(path: Path, chars: str = "一二三", weights: tuple[int, int, int] | None = None) -> Path:
    """Write a font that draws each character as a square of its own size; `weights` makes it variable."""
    builder = FontBuilder(1000, isTTF=True)
    names = [f"u{ord(char):X}" for char in chars]
    builder.setupGlyphOrder([".notdef", *names])
    builder.setupCharacterMap({ord(char): name for char, name in zip(chars, names)})
    shapes = {name: square(500 + 10 * number) for number, name in enumerate(names)}
    builder.setupGlyf({".notdef": square(333), **shapes})
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", *names], (1000, 100)))
    builder.setupHorizontalHeader(ascent=880, descent=-120)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    if weights:
        builder.setupFvar([("wght", *weights, "Weight")], [])
        builder.setupGvar({name: [] for name in [".notdef", *names]})
    builder.save(path)
    return path


@pytest.fixture
def font_file(tmp_path: Path) -> Path:
    return make_font(tmp_path / "small.ttf")


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    result = TTCollection()
    result.fonts = [
        TTFont(make_font(tmp_path / f"part{number}.ttf", chars)) for number, chars in enumerate(("一", "二"))
    ]
    path = tmp_path / "both.ttc"
    result.save(path)
    for number in range(2):
        (tmp_path / f"part{number}.ttf").unlink()
    return path


def message(arg: object) -> str:
    with pytest.raises(UserError) as caught:
        fonts_from([str(arg)])
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_the_catalogue() -> None:
    entries = catalogue()
    assert len(entries) == len({entry.name for entry in entries}) == 25
    assert {entry.manager for entry in entries} == {"pip", "apt", "npm"}
    assert all(len(entry.sha256) == 64 and int(entry.sha256, 16) for entry in entries)
    assert all(len(set(entry.exclude)) == len(entry.exclude) for entry in entries)
    chars = set(load_charset(None).chars)
    assert all(set(entry.exclude) <= chars for entry in entries)


def test_fandol_draws_only_the_hanzi_of_gb2312() -> None:
    fandol = [entry for entry in catalogue() if entry.name.startswith("fandol")]
    assert len(fandol) == 4
    for entry in fandol:
        assert "龍" in entry.excluded
        assert "乾" not in entry.excluded  # in GB2312
        assert not any(map(is_gb2312_hanzi, set(entry.excluded) - set(entry.exclude)))
        assert not set("a。ㄅ") & set(entry.excluded)


def test_the_pip_fonts_are_found_without_importing_them() -> None:
    pip = [entry for entry in catalogue() if entry.manager == "pip"]
    found, missing, warnings = find_catalogue_fonts(strict=True, entries=pip)
    assert [font.name for font in found] == ["noto-sans-sc", "noto-serif-sc"]
    assert (missing, warnings) == ([], [])
    assert "pylopdf_fonts_zh_cn" not in sys.modules
    assert pickle.loads(pickle.dumps(found)) == found
    covered = {char for font in found for char in covered_by(font, load_charset(None).chars)}
    assert len(covered) == module.PIP_ONLY_COVERS


def test_what_is_missing_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found, missing, _ = find_catalogue_fonts(folder=tmp_path)
    assert not found
    reasons = {font.name: font.reason for font in missing}
    assert len(reasons) == 25
    assert "pip install pylopdf-fonts-zh-cn==0.1.1" in reasons["noto-sans-sc"]
    assert "python -m tools.fetch_fonts" in reasons["unifont"]


def test_another_version_is_a_warning_or_strictly_missing(tmp_path: Path) -> None:
    entry = next(entry for entry in catalogue() if entry.name == "unifont")
    (tmp_path / "unifont").mkdir()
    make_font(tmp_path / "unifont" / entry.basename)
    found, missing, warnings = find_catalogue_fonts(entries=[entry], folder=tmp_path)
    assert [font.name for font in found] == ["unifont"]
    assert not missing
    assert "not version 1:15.0.01-2" in warnings[0]
    assert found[0].sha256 != entry.sha256
    assert found[0].excluded == entry.excluded
    found, missing, _ = find_catalogue_fonts(strict=True, entries=[entry], folder=tmp_path)
    assert not found
    assert "not version" in missing[0].reason
    (tmp_path / "unifont" / entry.basename).write_bytes(b"")
    with pytest.raises(UserError, match="is empty"):
        find_catalogue_fonts(entries=[entry], folder=tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("fonts: [", "not as its head describes"),
        ("font: []", "'fonts'"),
        ("fonts: [{name: a, colour: red}]", "entry 0"),
    ],
)
def test_a_broken_catalogue_is_a_user_error(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "fonts.yaml"
    with pytest.raises(UserError, match=r"fonts\.yaml"):
        catalogue(path)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=problem):
        catalogue(path)


def test_a_file_and_a_folder(tmp_path: Path, font_file: Path, collection: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    make_font(tmp_path / "deep" / "er" / "OTHER.TTF", "四")
    (tmp_path / "readme.txt").write_text("no font")
    assert [font.name for font in fonts_from([str(font_file)])] == ["small"]
    assert [font.name for font in fonts_from([str(tmp_path)])] == ["both", "both#1", "OTHER", "small"]
    assert len(fonts_from([str(tmp_path), str(font_file), str(tmp_path)])) == 4  # each once
    font = fonts_from([str(font_file)])[0]
    assert font == Font("small", font_file, 0, (), "user", "", hashlib.sha256(font_file.read_bytes()).hexdigest())


def test_faces_of_a_collection(collection: Path) -> None:
    assert faces_in(collection) == 2
    assert [font.face for font in fonts_from([str(collection)])] == [0, 1]
    only = fonts_from([f"{collection}#1"])
    assert [(font.name, font.face) for font in only] == [("both#1", 1)]
    assert covered_by(only[0], "一二三") == "二"
    assert "faces 0 to 1" in message(f"{collection}#2")
    assert "not the number of a face" in message(f"{collection}#two")


def test_a_variable_font_opens_at_regular_or_at_the_chosen_instance(tmp_path: Path, font_file: Path) -> None:
    thin = make_font(tmp_path / "thin.ttf", weights=(100, 100, 900))
    bold = make_font(tmp_path / "bold.ttf", "四五", weights=(600, 700, 900))
    assert [font.axes for font in fonts_from([str(thin), str(bold)])] == [(("wght", 400.0),), ()]
    chosen = fonts_from([f"{thin}@wght=700", f"{thin}#0@wght=250", f"{thin}@wght=700#0", str(thin)])
    assert [font.name for font in chosen] == ["thin@wght=700", "thin@wght=250", "thin"]
    assert [font.axes for font in chosen] == [(("wght", 700.0),), (("wght", 250.0),), (("wght", 400.0),)]
    assert len({json.dumps(font.identity()) for font in chosen}) == 3
    assert instance(thin, 0, (("wdth", 90.0),)) == (("wdth", 90.0), ("wght", 400.0))
    assert "goes from 100 to 900" in message(f"{thin}@wght=1000")
    assert "no variation axis" in message(f"{thin}@wdth=90")
    assert "no variation axis" in message(f"{font_file}@wght=400")
    assert "not a list of axes" in message(f"{thin}@wght=bold")


def test_names_with_the_notation_s_characters(tmp_path: Path) -> None:
    odd = make_font(tmp_path / "a#1@x=2.ttf")
    assert fonts_from([str(odd)])[0].path == odd
    assert fonts_from([f"{odd}#0"])[0].face == 0


def test_files_of_one_name_get_names_of_their_own(tmp_path: Path, font_file: Path) -> None:
    (tmp_path / "b").mkdir()
    other = make_font(tmp_path / "b" / "small.ttf", "四")
    assert [font.name for font in fonts_from([str(font_file), str(other)])] == ["small", "small-2"]


def test_catalogue_files_are_known_by_content(tmp_path: Path) -> None:
    entry = next(entry for entry in catalogue() if entry.name == "noto-sans-sc")
    path = entry.path()
    assert path is not None
    (tmp_path / "renamed.otf").symlink_to(path)
    font = fonts_from([str(tmp_path / "renamed.otf")])[0]
    assert (font.name, font.style, font.excluded) == (entry.name, entry.style, entry.excluded)
    assert font.excluded
    assert font.identity() == find_catalogue_fonts(entries=[entry])[0][0].identity()
    assert not set(font.excluded) & set(covered_by(font, "一" + font.excluded))


def test_identity_is_json_and_ignores_the_path(font_file: Path, tmp_path: Path) -> None:
    here = fonts_from([str(font_file)])[0]
    (tmp_path / "b").mkdir()
    moved = tmp_path / "b" / "small.ttf"
    font_file.rename(moved)
    assert fonts_from([str(moved)])[0].identity() == here.identity()
    assert json.loads(json.dumps(here.identity())) == here.identity()


def test_bad_files_are_named(tmp_path: Path, font_file: Path, collection: Path) -> None:
    good = font_file.read_bytes()
    (tmp_path / "empty.ttf").write_bytes(b"")
    (tmp_path / "page.ttf").write_bytes(b"<html>not found</html>")
    (tmp_path / "void").mkdir()
    assert "does not exist" in message(tmp_path / "absent.ttf")
    assert "does not exist" in message(f"{tmp_path / 'absent.ttf'}#1")
    assert "is empty" in message(tmp_path / "empty.ttf")
    assert "not a TTF, OTF or TTC font" in message(tmp_path / "page.ttf")
    assert "holds no file" in message(tmp_path / "void")
    assert "is a folder" in message(f"{tmp_path}#1")
    for size in (4, 11, 40, len(good) // 2, len(good) - 40):
        (tmp_path / "cut.ttf").write_bytes(good[:size])
        text = message(tmp_path / "cut.ttf")
        assert "is cut short" in text
        assert "cut.ttf" in text
    both = collection.read_bytes()
    for size in (8, 14, 60, len(both) - 40):
        (tmp_path / "cut.ttc").write_bytes(both[:size])
        assert "is cut short" in message(tmp_path / "cut.ttc")


def test_a_font_that_covers_nothing(font_file: Path) -> None:
    font = fonts_from([str(font_file)])[0]
    assert covered_by(font, "零一二三四") == "一二三"
    with pytest.raises(UserError, match="covers none of the 2 characters") as caught:
        covered_by(font, "四五")
    assert str(font_file) in str(caught.value)
