"""Where the class matrix starts: rows from glyphs, whatever the charset, and rows for characters that come later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gen.charset import Charset, group_of
from gen.config import load_recipe
from gen.fonts import Font
from gen.sample import Recipe, RecipeSource, open_recipe
from train.classes import SMALL, Floats, first_rows, glyph_images, rows_like

SOME = "王玉龘己已末未大太一口i，m。2"
NOWHERE = "\ue000"  # for private use: no font draws it
DIM = 64
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def recipe(pip_fonts: tuple[Font, ...], cache: Path, full_charset: Charset) -> Recipe:
    """Some six hundred characters at two sizes."""
    common = [char for char in full_charset.chars if group_of(char) == "gb2312-1"][::6]
    charset = Charset("".join(dict.fromkeys(SOME + NOWHERE + "".join(common))))
    config = load_recipe(None, ["layout.sizes=[16,28]"])
    return open_recipe(RecipeSource(config, charset, pip_fonts, (), cache))


@pytest.fixture(scope="module")
def glyphs(recipe: Recipe) -> tuple[Floats, NDArray[np.bool_]]:
    return glyph_images(recipe)


@pytest.fixture(scope="module")
def rows(recipe: Recipe, glyphs: tuple[Floats, NDArray[np.bool_]]) -> Floats:
    return first_rows(*glyphs, len(recipe.charset) + 1, DIM, 1)


def at(recipe: Recipe, glyphs: tuple[Floats, NDArray[np.bool_]], char: str) -> Floats:
    return glyphs[0][recipe.charset.index[char]].reshape(SMALL, SMALL)


def test_glyphs_stand_where_they_are_set(recipe: Recipe, glyphs: tuple[Floats, NDArray[np.bool_]]) -> None:
    def middle(char: str, axis: int) -> float:
        ink = at(recipe, glyphs, char).sum(axis=1 - axis)
        return float((ink * (np.arange(SMALL) + 0.5)).sum() / ink.sum() / SMALL)

    assert glyphs[0].dtype == np.float32
    assert glyphs[0].max() <= 255
    for char in "一口大王":
        assert middle(char, 0) == pytest.approx(0.5, abs=0.08)
        assert middle(char, 1) == pytest.approx(0.5, abs=0.05)
    for char in "im2":
        assert middle(char, 1) == pytest.approx(0.5, abs=0.06)  # half-width ones too
    assert middle("，", 0) > 0.65
    assert middle("，", 1) < 0.4


def test_images_are_means_over_the_fonts(
    recipe: Recipe, glyphs: tuple[Floats, NDArray[np.bool_]], pip_fonts: tuple[Font, ...], cache: Path
) -> None:
    alone = [
        glyph_images(open_recipe(RecipeSource(recipe.config, recipe.charset, (font,), (), cache))) for font in pip_fonts
    ]
    both = alone[0][1] & alone[1][1]
    assert both.sum() > 500
    np.testing.assert_allclose(glyphs[0][both], (alone[0][0] + alone[1][0])[both] / 2, atol=1e-2)
    assert not np.allclose(alone[0][0], alone[1][0], atol=20)


def test_a_glyph_of_no_font(recipe: Recipe, glyphs: tuple[Floats, NDArray[np.bool_]]) -> None:
    images, drawn = glyphs
    assert drawn.sum() == len(recipe.charset) - 1
    assert not drawn[recipe.charset.index[NOWHERE]]
    assert not images[~drawn].any()


def test_rows_have_unit_length(recipe: Recipe, rows: Floats) -> None:
    assert rows.shape == (len(recipe.charset) + 1, DIM)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("pair", ["王玉", "己已", "末未", "大太"])
def test_look_alikes_are_near(recipe: Recipe, rows: Floats, pair: str) -> None:
    """Nearest of all, or all but; and far nearer than characters that look like nothing of the kind."""
    similar = rows[: len(recipe.charset)] @ rows[recipe.charset.index[pair[0]]]
    twin, other = similar[recipe.charset.index[pair[1]]], similar[recipe.charset.index["龘"]]
    assert twin > 0.6
    assert other < 0.2
    assert (similar > twin).sum() <= 3  # itself among them


def test_characters_are_told_apart(recipe: Recipe, rows: Floats) -> None:
    """The strong components, not held down, would give each four near ones rather than one."""
    similar = rows @ rows.T - np.eye(len(rows))
    assert similar.max() < 0.98
    assert (similar > 0.5).sum(axis=1).mean() < 2


def test_only_what_has_no_glyph_is_random(
    recipe: Recipe, glyphs: tuple[Floats, NDArray[np.bool_]], rows: Floats
) -> None:
    again, other = (first_rows(*glyphs, len(recipe.charset) + 1, DIM, seed) for seed in (1, 2))
    drawn = np.append(glyphs[1], False)  # the space has none
    assert np.array_equal(rows, again)
    np.testing.assert_allclose(other[drawn], rows[drawn], atol=1e-5)
    assert (np.abs(other - rows)[~drawn].max(axis=1) > 0.05).all()


def test_threads_change_no_bit(recipe: Recipe, glyphs: tuple[Floats, NDArray[np.bool_]], rows: Floats) -> None:
    """A run starts the same alone, under torchrun, and on another machine."""
    torch.set_num_threads(2)
    try:
        assert np.array_equal(first_rows(*glyphs, len(recipe.charset) + 1, DIM, 1), rows)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@given(st.integers(0, 8), st.integers(0, 3), st.sampled_from([8, 16]), st.booleans(), st.integers(0, 3))
@settings(max_examples=60)
def test_any_charset_has_rows(known: int, unknown: int, dim: int, alike: bool, seed: int) -> None:
    """Fewer characters than components, none at all, glyphs that are the same."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 255, (known + unknown, 36)).astype(np.float32)
    if alike and known:
        images[:] = images[0]
    drawn = np.arange(known + unknown) < known
    rows = first_rows(images, drawn, known + unknown + 1, dim, 5)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    similar = rows @ rows.T - np.eye(len(rows))
    assert similar.max() < 1 - 1e-4


def test_later_characters_get_the_rows_they_would_have_had(
    recipe: Recipe, glyphs: tuple[Floats, NDArray[np.bool_]], rows: Floats
) -> None:
    count = len(recipe.charset)
    known = glyphs[1].copy()
    later = np.random.default_rng(0).choice(np.flatnonzero(known), 50, replace=False)
    known[later] = False
    lacking = rows[:count].copy()
    lacking[~known] = 0
    found = rows_like(lacking, glyphs[0], known)
    assert np.array_equal(found[known], rows[:count][known])
    np.testing.assert_allclose(np.linalg.norm(found[later], axis=1), 1, atol=1e-5)
    similar = found[later] @ rows[:count].T
    assert similar[np.arange(50), later].mean() > 0.9
    assert (similar.argmax(axis=1) == later).mean() > 0.8  # by chance: one in six hundred


def test_rows_that_glyphs_do_not_explain(recipe: Recipe, glyphs: tuple[Floats, NDArray[np.bool_]]) -> None:
    """Random rows have nothing to say about others; nothing breaks."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((len(recipe.charset), 16), np.float32)
    found = rows_like(rows, glyphs[0], glyphs[1])
    assert np.isfinite(found).all()
    two = np.arange(len(rows)) < 2
    assert np.isfinite(rows_like(rows, glyphs[0], two)).all()
    same = np.repeat(glyphs[0][:1], len(rows), axis=0)
    assert np.isfinite(rows_like(rows, same, two)).all()
