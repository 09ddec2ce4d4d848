"""Glyphs: as FreeType draws them, from the right instance, refused when the file is broken; and the atlas of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import freetype
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from gen import atlas
from gen.charset import Charset
from gen.errors import UserError
from gen.fonts import Font
from gen.raster import Face
from gen.sample import Recipe
from tests.conftest import HAN, small_charset


def directly(font: Font, char: str, size: int) -> np.ndarray:
    """The glyph as FreeType itself scales and draws it, without hinting."""
    face = freetype.Face(str(font.path), font.face)
    face.set_pixel_sizes(0, size)
    face.load_char(char, freetype.FT_LOAD_NO_HINTING | freetype.FT_LOAD_NO_BITMAP | freetype.FT_LOAD_RENDER)
    bitmap = face.glyph.bitmap
    return np.array(bitmap.buffer, np.uint8).reshape(bitmap.rows, bitmap.pitch)[:, : bitmap.width]


@pytest.mark.parametrize("size", [16, 18, 20, 22, 25, 28, 31])
def test_every_size_is_as_sharp_as_freetype_at_that_size(pip_fonts: tuple[Font, ...], size: int) -> None:
    for font in pip_fonts:
        face = Face(font.path, font.face)
        for char in HAN[:40] + "agQ8，（":
            ours = face.bitmaps(face.glyph_id(ord(char)), [size])[0][0].astype(int)
            theirs = directly(font, char, size).astype(int)
            assert abs(ours.shape[0] - theirs.shape[0]) <= 1
            assert abs(ours.shape[1] - theirs.shape[1]) <= 1
            rows, columns = max(ours.shape[0], theirs.shape[0]), max(ours.shape[1], theirs.shape[1])
            padded = [np.pad(a, ((0, rows - a.shape[0]), (0, columns - a.shape[1]))) for a in (ours, theirs)]
            assert abs(padded[0] - padded[1]).mean() <= 4, (font.name, char)


def test_the_atlas_holds_what_the_face_draws(small: Callable[..., Recipe]) -> None:
    recipe = small()
    for font, glyphs in zip(recipe.fonts, recipe.glyphs):
        face = Face(font.path, font.face)
        for page in glyphs.pages:
            for position in np.flatnonzero(glyphs.cover)[::7]:
                offset, width, height, left, top = page.table[position].tolist()
                ink, face_left, face_top = face.bitmaps(
                    face.glyph_id(ord(recipe.charset.chars[position])), [page.size]
                )[0]
                assert (left, top) == (face_left, face_top)
                assert np.array_equal(page.bitmaps[offset : offset + width * height].reshape(height, width), ink)


def test_the_em_box_is_centred_on_ideographs(small: Callable[..., Recipe]) -> None:
    for glyphs in small().glyphs:
        for page in glyphs.pages:
            rows = page.table[page.ideographs]
            rows = rows[rows[:, atlas.WIDTH] > 0]
            middle = np.median(page.rise - rows[:, atlas.TOP] + rows[:, atlas.HEIGHT] / 2)
            assert abs(middle - page.size / 2) <= 1


def test_a_second_run_draws_nothing(pip_fonts: tuple[Font, ...], tmp_path: Path) -> None:
    charset = Charset("一二三abc")
    home = atlas.folder(pip_fonts[0], charset, tmp_path)
    assert atlas.build_font(pip_fonts[0], charset.chars, home, [20]) == 6
    stamps = {path.name: path.stat().st_mtime_ns for path in home.glob("20.*")}
    assert atlas.build_font(pip_fonts[0], charset.chars, home, [20]) == 0
    assert atlas.build_font(pip_fonts[0], charset.chars, home, [20, 25]) == 6
    assert stamps == {path.name: path.stat().st_mtime_ns for path in home.glob("20.*")}


def make_font(path: Path, glyphs: dict[int, str], box: bool = True) -> Path:
    """A font in which each code point has the named glyph: ``square``, ``empty`` or ``.notdef``."""
    builder = FontBuilder(1000, isTTF=True)
    names = [".notdef", "square", "empty"]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(glyphs)
    drawn = {}
    for name, side in ((".notdef", 300 if box else 0), ("square", 800), ("empty", 0)):
        pen = TTGlyphPen(None)
        if side:
            pen.moveTo((0, 0))
            for point in ((0, side), (side, side), (side, 0)):
                pen.lineTo(point)
            pen.closePath()
        drawn[name] = pen.glyph()
    builder.setupGlyf(drawn)
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Test", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


def test_only_real_outlines_count_as_covered(tmp_path: Path) -> None:
    path = make_font(tmp_path / "a.ttf", {0x4E00: "square", 0x4E8C: "empty", 0x4E09: ".notdef"})
    assert Face(path).covered("一二三四") == [True, False, False, False]


def test_a_font_that_covers_nothing_is_refused(tmp_path: Path) -> None:
    path = make_font(tmp_path / "a.ttf", {0x41: "square"})
    font = Font(name="a", path=path, face=0, axes=(), style="", excluded="", sha256="0")
    with pytest.raises(UserError, match="has none of the"):
        atlas.build_font(font, small_charset().chars[94:], tmp_path / "home", [20])


def test_broken_files_are_named(tmp_path: Path, pip_fonts: tuple[Font, ...]) -> None:
    with pytest.raises(UserError, match="does not exist"):
        Face(tmp_path / "none.ttf")
    (tmp_path / "empty.ttf").touch()
    with pytest.raises(UserError, match="is empty"):
        Face(tmp_path / "empty.ttf")
    (tmp_path / "text.ttf").write_text("this is no font")
    with pytest.raises(UserError, match="cannot be opened"):
        Face(tmp_path / "text.ttf")
    whole = pip_fonts[0].path.read_bytes()
    (tmp_path / "cut.otf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"damaged|cannot be opened"):
        Face(tmp_path / "cut.otf").covered(HAN)
    with pytest.raises(UserError, match="no variation axis 'wght'"):
        Face(pip_fonts[0].path, 0, {"wght": 400})


def test_an_unwritable_cache_is_named(pip_fonts: tuple[Font, ...], tmp_path: Path) -> None:
    (tmp_path / "atlas").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="CRNN_SHARDS_CACHE"):
        atlas.build(pip_fonts, Charset("一二三"), [20], tmp_path, 1)
