"""Where glyphs go: cells of the older project, type in rows and columns, vertical forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gen import layout
from gen.sample import Recipe
from gen.vertical import CENTRED, CORNER, DIGIT, LETTER, MARK, SMALL, TURNED, UPRIGHT, stances

SIZE = 25


def set_vertical(recipe: Recipe, text: str, chance: float = 0.0, middle: bool = False):  # type: ignore[no-untyped-def]
    """Boxes and turned flags of a text set down a column of 25 px, and where the pen ends."""
    glyphs = recipe.glyphs[0]
    page = next(page for page in glyphs.pages if page.size == SIZE)
    chars = np.array([recipe.charset.index.get(char, -1) for char in text], np.int32)
    boxes, turned = np.empty((len(text), 4), np.int32), np.zeros(len(text), np.uint8)
    end = layout.vertical(
        chars, np.full(len(text), chance), page.table, glyphs.advance, recipe.stance, page.rise, SIZE, 0.0, 0.0,
        0.5, 0.8, middle, boxes, turned,
    )  # fmt: skip
    return boxes, turned.tolist(), end


@pytest.fixture(scope="module")
def recipe(small: Callable[..., Recipe]) -> Recipe:
    return small()


def test_stances_follow_the_standard() -> None:
    wanted = {"中": UPRIGHT, "Ａ": UPRIGHT, "①": UPRIGHT, "→": UPRIGHT, "（": TURNED, "「": TURNED, "—": TURNED,
              "…": TURNED, "ー": TURNED, "～": TURNED, "(": TURNED, "，": CORNER, "。": CORNER, "っ": SMALL,
              "！": CENTRED, "7": DIGIT, "x": LETTER, "+": MARK}  # fmt: skip
    assert dict(zip(wanted, stances("".join(wanted)).tolist())) == wanted


def test_ideographs_stand_one_em_apart_in_the_column(recipe: Recipe) -> None:
    boxes, turned, end = set_vertical(recipe, "国国国")
    assert turned == [0, 0, 0]
    assert end == 3 * SIZE
    assert np.diff(boxes[:, 1]).tolist() == [SIZE, SIZE]
    assert (boxes[:, 0] >= 0).all()
    assert (boxes[:, 0] + boxes[:, 2] <= SIZE).all()


def test_brackets_and_dashes_lie_on_their_side(recipe: Recipe) -> None:
    page = next(page for page in recipe.glyphs[0].pages if page.size == SIZE)
    for char in "（》「—…ー～":
        boxes, turned, _ = set_vertical(recipe, char)
        width, height = page.table[recipe.charset.index[char], 1:3]
        assert turned == [1]
        assert boxes[0, 2:].tolist() == [height, width]
        assert abs(2 * boxes[0, 0] + boxes[0, 2] - SIZE) <= 1  # on the middle of the column


def test_stops_move_to_the_upper_right(recipe: Recipe) -> None:
    for char in "，。、":
        boxes, turned, _ = set_vertical(recipe, char)
        assert turned == [0]
        assert boxes[0, 0] + boxes[0, 2] > 0.8 * SIZE
        assert boxes[0, 1] < 0.2 * SIZE


def set_horizontal(recipe: Recipe, text: str, middle: bool) -> np.ndarray:
    """Boxes of a text set in a row of 25 px."""
    glyphs = recipe.glyphs[0]
    page = next(page for page in glyphs.pages if page.size == SIZE)
    chars = np.array([recipe.charset.index[char] for char in text], np.int32)
    boxes = np.empty((len(text), 4), np.int32)
    layout.horizontal(
        chars, np.zeros(len(text)), page.table, glyphs.advance, recipe.stance, page.rise, SIZE, 0.0, 0.0, middle, boxes
    )
    return boxes


def test_marks_may_stand_in_the_middle(recipe: Recipe) -> None:
    text = "国，。、！.国"
    low, middle = (set_horizontal(recipe, text, middle) for middle in (False, True))
    for k in (1, 2, 3):
        assert low[k, 1] > SIZE / 2
        for boxes in (middle[k] - [k * SIZE, 0, 0, 0], set_vertical(recipe, text[k], middle=True)[0][0]):
            assert (abs(2 * boxes[:2] + boxes[2:] - SIZE) <= 1).all()
    assert abs(2 * middle[4, 0] + middle[4, 2] - 9 * SIZE) <= 1
    assert middle[4, 1] == low[4, 1]
    assert (middle[[0, 5, 6]] == low[[0, 5, 6]]).all()
    assert (middle[:, 2:] == low[:, 2:]).all()


def test_small_kana_move_up_and_right(recipe: Recipe) -> None:
    page = next(page for page in recipe.glyphs[0].pages if page.size == SIZE)
    _, width, _, left, top = page.table[recipe.charset.index["っ"]].tolist()
    box = set_vertical(recipe, "っ")[0][0]
    assert box[0] > left
    assert box[1] < page.rise - top
    assert box[0] + width <= SIZE


def test_words_lie_on_their_side_or_stand_letter_by_letter(recipe: Recipe) -> None:
    lying, turned, end = set_vertical(recipe, "中http国", chance=0.1)
    assert turned == [0, 1, 1, 1, 1, 0]
    assert end < 5 * SIZE
    assert (np.diff(lying[1:5, 1]) > 0).all()
    _, turned, end = set_vertical(recipe, "中http国", chance=0.9)
    assert turned == [0] * 6
    assert end == 6 * SIZE


def test_two_digits_may_share_a_cell(recipe: Recipe) -> None:
    boxes, turned, end = set_vertical(recipe, "年12日", chance=0.1)
    assert turned == [0, 0, 0, 0]
    assert end == 3 * SIZE
    assert boxes[1, 1] == pytest.approx(boxes[2, 1], abs=1)
    assert boxes[1, 0] + boxes[1, 2] <= boxes[2, 0] + 1
    assert set_vertical(recipe, "年123日", chance=0.1)[1] == [0, 1, 1, 1, 0]


def test_one_letter_stands_in_the_middle(recipe: Recipe) -> None:
    boxes, turned, _ = set_vertical(recipe, "中A国", chance=0.1)
    assert turned == [0, 0, 0]
    assert abs(2 * boxes[1, 0] + boxes[1, 2] - SIZE) <= 1


@pytest.mark.parametrize("vertical", [False, True])
def test_classic_lines_keep_their_cells(recipe: Recipe, vertical: bool) -> None:
    glyphs = recipe.glyphs[0]
    page = next(page for page in glyphs.pages if page.size == SIZE)
    text = "国中一，"
    chars = np.array([recipe.charset.index[char] for char in text], np.int32)
    boxes = np.empty((4, 4), np.int32)

    def drawn(count: int, canvas: int, start: float = 0.0, shift: float = 0.0) -> int:
        return layout.classic(
            chars[:count], np.full(count, shift), page.table, glyphs.advance, page.rise, SIZE, 32, canvas, vertical,
            start, boxes,
        )  # fmt: skip

    ascent = page.rise  # any line will do; a font's own ascender is the recipe's affair
    lowest = max(ascent - page.table[char, 4] + page.table[char, 2] for char in chars)
    pitch = lowest if vertical else SIZE
    assert drawn(4, 512) == 4
    origin = [box[1] - (page.rise - page.table[char, 4]) if vertical else box[0] - page.table[char, 3]
              for box, char in zip(boxes, chars)]  # fmt: skip
    assert origin == [0, pitch, 2 * pitch, 3 * pitch]
    assert drawn(4, 512, start=0.999) == 4  # the last cell ends within the canvas
    assert drawn(4, 3 * pitch) == 3
    assert drawn(4, 1) == 1  # the first is always drawn
    room = 32 - (SIZE if vertical else lowest)
    drawn(4, 512, shift=0.999)
    moved = boxes[0, int(not vertical)]
    drawn(4, 512, shift=0.0)
    assert moved - boxes[0, int(not vertical)] == room - 1
