"""Labels are true: what stands at a recorded box is the recorded character, as plain Pillow draws it.

pytest tests/test_gen_truth.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageFont

from gen.charset import Charset, fold, load_charset
from gen.config import EFFECTS, load_recipe
from gen.fonts import Font, find_catalogue_fonts
from gen.sample import Recipe, RecipeSource, Sample, Stream, open_recipe, render

SIDE = 16
GEOMETRY = ("tracking", "drift", "jitter", "rotation", "shear", "perspective", "stretch")
CLEAN = [f"effects.{name}.p=0" for name in EFFECTS]
CLEAN += ["tone.contrast=[200,255]", "tone.invert=0", "layout.tight=0", "corpus.common=0", "corpus.repeats=0"]
CLEAN += ["layout.sizes=[25]", "corpus.length.low=4", "corpus.length.below=[9]"]
Floats = npt.NDArray[np.float64]
Shape = tuple[Floats, int, int]


def normalise(ink: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Ink of any size as a vector of zero mean and unit length."""
    even = cv2.resize(cv2.GaussianBlur(ink, (3, 3), 0.7), (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_LINEAR)
    square = cv2.resize(even, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    square -= square.mean()
    return square / (np.linalg.norm(square) + 1e-9)


class Templates:
    """Characters of one font as Pillow draws them at 25 px: upright or turned, and leaning like the line."""

    def __init__(self, font: Font, vertical: bool) -> None:
        self.vertical = vertical
        self.font = ImageFont.truetype(str(font.path), 25, index=font.face, layout_engine=ImageFont.Layout.BASIC)
        self.known: dict[tuple[str, bool, float, float], Shape] = {}

    def get(self, char: str, turned: bool, lean: float, slope: float) -> Shape:
        """``lean``: hundredths of a pixel along the line for each pixel across it; ``slope``: the other way round."""
        key = char, turned, lean, slope
        if key not in self.known:
            image = Image.new("L", (120, 120))
            ImageDraw.Draw(image).text((40, 40), char, fill=255, font=self.font)
            left, top, right, bottom = image.getbbox() or (0, 0, 1, 1)
            ink = np.asarray(image, np.uint8)[top:bottom, left:right]
            if turned:
                ink = np.ascontiguousarray(np.rot90(ink, -1))
            if self.vertical:  # as the generator does: bend it along x, then lay it back
                ink = np.ascontiguousarray(ink.T)
            rows, columns = ink.shape  # the box leans, and what is compared is the upright box around it
            lean, slope = lean / 100, slope / 100
            move = [[1, -lean, max(0, lean) * (rows - 1)], [slope, 1, max(0, -slope) * (columns - 1)]]
            area = columns + round(abs(lean) * (rows - 1)), rows + round(abs(slope) * (columns - 1))
            ink = np.asarray(cv2.warpAffine(ink, np.array(move), area), np.uint8)
            if self.vertical:
                ink = np.ascontiguousarray(ink.T)
            self.known[key] = normalise(ink), ink.shape[1], ink.shape[0]
        return self.known[key]


def crops(recipe: Recipe, stream: Stream, wanted: int) -> Iterator[tuple[int, Sample, npt.NDArray[np.uint8]]]:
    """Places in a line, the line, and the pixels in the box there, ink bright."""
    found = index = 0
    while found < wanted:
        sample = render(recipe, stream, index)
        index += 1
        pixels = 255 - sample.pixels
        pixels -= pixels.min()
        for position, (x, y, w, h) in enumerate(sample.boxes):
            yield position, sample, pixels[y : y + h, x : x + w]
            found += 1


def fit(shape: Floats, area: Floats, crop: npt.NDArray[np.uint8], inset: int) -> Floats:
    """How well a crop fits each of some shapes [n, SIDE * SIDE] of an ``area`` [n, 2]; less where the size differs.

    Boxes are outward rounded: ``inset`` 1 leaves out the pixel that may be empty on each side.
    """
    rows, columns = crop.shape
    if inset and min(rows, columns) > 6:
        crop = crop[1:-1, 1:-1]
    return shape @ normalise(crop) - 0.02 * np.abs(area - (columns, rows)).sum(axis=1)


def share_first(recipe: Recipe, direction: str, wanted: int) -> tuple[float, list[str]]:
    """Of the crops of a font, how many fit their own character better than 99 others; and those that do not.

    A crop fits by the correlation of shapes, less by how much its size differs.
    """
    templates = Templates(recipe.fonts[0], direction == "vertical")
    covered = [char for char, ok in zip(recipe.charset.chars, recipe.glyphs[0].cover) if ok]
    rng, count, wrong = np.random.default_rng(7), 0, []
    for position, sample, crop in crops(recipe, Stream(5, direction, "val"), wanted):
        char, turned = sample.text[position], position in sample.turned
        slope = sample.effects.get("rotation", 0.0) * np.pi / 180
        lean = sample.effects.get("shear", 0.0) + slope
        size = np.full(2, sample.effects.get("fit", 1.0))
        size[int(templates.vertical)] *= sample.effects.get("stretch", 1.0)
        others = [covered[k] for k in rng.integers(len(covered), size=99)]
        names = [char, *(other for other in others if fold(other) != fold(char))]
        shapes = [templates.get(name, turned, round(100 * lean), round(100 * slope)) for name in names]
        shape, area = np.stack([shape for shape, _, _ in shapes]), np.array([shape[1:] for shape in shapes]) * size
        score = np.max([fit(shape, area, crop, inset) for inset in (0, 1)], axis=0)
        count += 1
        if score.argmax() != 0:
            wrong.append(f"{char}<{names[int(score.argmax())]}")
    return 1 - len(wrong) / count, wrong


@pytest.fixture(scope="module")
def charset() -> Charset:
    """ASCII, everyday symbols, and a thousand ideographs from all over the charset."""
    chars = load_charset(None).chars
    rng = np.random.default_rng(0)
    han = [char for char in chars if (ord(char) >= 0x3400 and ord(char) < 0xF000) or ord(char) > 0xFFFF]
    common = [chr(code) for code in range(0x4E00, 0x9FA6) if len(chr(code).encode("gb2312", "ignore")) == 2]
    picked = {str(char) for char in rng.choice(han, 500)} | {str(char) for char in rng.choice(common, 500)}
    return Charset("".join(sorted(picked | set("，。（）《》「」：；！？…—") | {chr(c) for c in range(0x30, 0x7B)})))


FONTS = find_catalogue_fonts()[0]


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
@pytest.mark.parametrize("font", range(len(FONTS)), ids=[font.name for font in FONTS])
def test_boxes_hold_their_characters(font: int, direction: str, charset: Charset, cache: Path) -> None:
    for effect in ("none", *GEOMETRY):
        sets = CLEAN + ([f"effects.{effect}.p=1"] if effect != "none" else [])
        recipe = open_recipe(RecipeSource(load_recipe(None, sets), charset, (FONTS[font],), (), cache))
        share, wrong = share_first(recipe, direction, 100)
        assert share >= 0.98, f"{effect}: {share:.3f} {' '.join(wrong)}"
