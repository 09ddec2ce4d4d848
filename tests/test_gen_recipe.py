"""What a recipe draws at all: glyphs that fit, lines that fit, and no vertical twins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gen.charset import Charset
from gen.config import load_recipe
from gen.errors import UserError
from gen.fonts import Font
from gen.sample import Recipe, RecipeSource, Stream, open_recipe, render


def opened(fonts: tuple[Font, ...], cache: Path, charset: str, *sets: str) -> Recipe:
    return open_recipe(RecipeSource(load_recipe(None, sets), Charset(charset), fonts, (), cache))


def drawn(recipe: Recipe, direction: str) -> str:
    """The characters that some font draws in a direction."""
    return "".join(recipe.charset.chars[k] for k in recipe.deck.pool(direction).chars)


def test_vertical_presentation_forms_stay_out_of_vertical_lines(pip_fonts: tuple[Font, ...], cache: Path) -> None:
    recipe = opened(pip_fonts, cache, "一二︵︶︙")
    assert drawn(recipe, "horizontal") == "一二︵︶︙"
    assert drawn(recipe, "vertical") == "一二"
    assert recipe.uncovered == ""


def test_glyphs_that_would_be_cut_are_left_out(pip_fonts: tuple[Font, ...], cache: Path) -> None:
    """〱 is two em tall: too tall for a row at 31 px, and in a column it would run into its neighbours."""
    recipe = opened(pip_fonts, cache, "一〱Ế", "layout.sizes=[31]")
    assert "〱" not in drawn(recipe, "horizontal") + drawn(recipe, "vertical")
    assert "〱" in recipe.uncovered
    assert "〱" in drawn(opened(pip_fonts, cache, "一〱Ế", "layout.sizes=[14]"), "horizontal")


@pytest.mark.parametrize("name", ["gen-default", "gen-classic"])
def test_no_glyph_is_cut(name: str, small: Callable[..., Recipe]) -> None:
    """Without effects the ink in each box is that of the whole glyph."""
    off = [f"effects.{effect}.p=0" for effect in load_recipe("gen-default").effects.__dataclass_fields__]
    recipe = small(name, off)
    for direction in ("horizontal", "vertical"):
        for index in range(300):
            sample = render(recipe, Stream(3, direction, "train"), index)
            glyphs = recipe.glyphs[[font.name for font in recipe.fonts].index(sample.font)]
            table = next(page for page in glyphs.pages if page.size == sample.size).table
            for place, (char, box) in enumerate(zip(sample.text, sample.boxes)):
                whole = table[recipe.charset.index[char], 1:3]
                assert box[2:].tolist() == (whole[::-1] if place in sample.turned else whole).tolist()


def test_lines_longer_than_any_image_are_refused(pip_fonts: tuple[Font, ...], cache: Path) -> None:
    sets = ["layout.sizes=[31]", "corpus.length.low=199", "corpus.length.below=[200]", "effects.tracking.range=[0,0.1]"]
    with pytest.raises(UserError, match="at most 8192"):
        opened(pip_fonts, cache, "一W", *sets, "effects.stretch.range=[1,1.2]")


def test_only_fonts_that_are_there_can_come_more_often(pip_fonts: tuple[Font, ...], cache: Path) -> None:
    name = pip_fonts[0].name
    recipe = opened(pip_fonts, cache, "一二", f"corpus.fonts.{name}=5")
    assert recipe.deck.pool("vertical").count.tolist() == [len(pip_fonts) + 4] * 2
    with pytest.raises(UserError, match=f"corpus.fonts names '{name}x', .*; did you mean {name}"):
        opened(pip_fonts, cache, "一二", f"corpus.fonts.{name}x=5")
    with pytest.raises(UserError, match=f"there are: {name}, "):
        opened(pip_fonts, cache, "一二", "corpus.fonts.zzzz=5")


def test_identity_names_all_that_decides(small: Callable[..., Recipe]) -> None:
    parts = small().identity_parts()
    assert set(parts) == {"config", "charset", "fonts", "corpus", "renderer"}
    assert set(parts["renderer"]) == {"version", "numpy", "opencv", "freetype", "jpeg", "zlib"}
    assert parts != small(None, ["seed=2"]).identity_parts()
    assert parts == small().identity_parts()
    assert np.all([font["sha256"] for font in parts["fonts"]])


@pytest.mark.parametrize("name", ["cover.npy", "advance.npy", "16.table.npy", "16.bitmaps.npy"])
@pytest.mark.parametrize("damage", ["cut", "gone", "empty"])
def test_a_damaged_atlas_is_drawn_again(name: str, damage: str, pip_fonts: tuple[Font, ...], tmp_path: Path) -> None:
    whole = opened(pip_fonts[:1], tmp_path, "一二三abc", "layout.sizes=[16]")
    stream = Stream(1, "horizontal", "train")
    pixels = render(whole, stream, 0).pixels
    path = next(tmp_path.glob(f"atlas/*/{name}"))
    content = path.read_bytes()
    path.unlink()  # written anew: the first recipe still maps the old file
    if damage != "gone":
        path.write_bytes(content[:100] if damage == "cut" else b"")
    again = opened(pip_fonts[:1], tmp_path, "一二三abc", "layout.sizes=[16]")
    assert np.array_equal(pixels, render(again, stream, 0).pixels)


def test_a_charset_for_rows_only(pip_fonts: tuple[Font, ...], cache: Path) -> None:
    recipe = opened(pip_fonts, cache, "︵︶")
    assert set(render(recipe, Stream(1, "horizontal", "train"), 0).text) <= set("︵︶")
    with pytest.raises(UserError, match="in vertical lines"):
        render(recipe, Stream(1, "vertical", "train"), 0)
