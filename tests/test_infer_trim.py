"""Wide blank margins go, and never a stroke with them: rendered lines, whose ink is known, on blank pages."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gen.sample import Recipe, Sample, Stream, render
from gen.stream import DIRECTIONS
from infer.trim import ROOM, VOID, ZOOM, Crop, find_crop
from train.image import upright

Bytes = NDArray[np.uint8]
Boxes = NDArray[np.int64]
Lines = Callable[[str, str, int], "Line"]


SEEN = 24  # grey levels that ink differs from its paper by; a box begins where a blurred stroke can no longer be seen


@dataclass(frozen=True)
class Line:
    """An upright line and the boxes of its ink: x, y, width, height, int64 [n, 4]."""

    pixels: Bytes
    boxes: Boxes

    @property
    def paper(self) -> int:
        return int(np.median(self.pixels))

    def placed(self, top: int, bottom: int, left: int, right: int) -> Line:
        """On a page of the line's own paper."""
        page = np.pad(self.pixels, ((top, bottom), (left, right)), constant_values=self.paper)
        return Line(page, self.boxes + np.array([left, top, 0, 0]))

    def scaled(self, scale: float) -> Line:
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        pixels = cv2.resize(self.pixels, None, fx=scale, fy=scale, interpolation=how)
        ends = np.ceil((self.boxes[:, :2] + self.boxes[:, 2:]) * scale).clip(max=pixels.shape[::-1])
        starts = np.floor(self.boxes[:, :2] * scale)
        return Line(np.asarray(pixels, np.uint8), np.concatenate([starts, ends - starts], axis=1).astype(np.int64))

    def lit(self, across: int, along: int, sigma: float, seed: int) -> Line:
        """In uneven light and with noise, without a grey level beyond black or white."""
        height, width = self.pixels.shape
        light = np.linspace(-across, across, height)[:, None] + np.linspace(-along, along, width)
        noise = np.random.default_rng(seed).normal(0, sigma, self.pixels.shape)
        return Line((self.pixels * 0.6 + 51 + light + noise).clip(0, 255).astype(np.uint8), self.boxes)

    def uncut(self, crop: Crop) -> bool:
        """No box is outside of the crop, not even in part."""
        starts, ends = self.boxes[:, :2], self.boxes[:, :2] + self.boxes[:, 2:]
        return bool((starts >= (crop.left, crop.top)).all() and (ends <= (crop.right, crop.bottom)).all())


def stood_up(sample: Sample) -> Line:
    boxes = sample.boxes[sample.boxes[:, 2] > 0].astype(np.int64)
    if sample.direction == "vertical":
        x, y, width, height = boxes.T
        boxes = np.stack([y, sample.pixels.shape[1] - x - width, height, width], axis=1)
    pixels = upright(sample.pixels, sample.direction)
    seen = np.abs(pixels.astype(int) - int(np.median(pixels))) >= SEEN
    found = []
    for x, y, width, height in boxes:
        rows, columns = seen[y : y + height, x : x + width].nonzero()
        if len(rows):
            found.append((x + columns.min(), y + rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1))
    return Line(pixels, np.array(found, np.int64).reshape(-1, 4))


@pytest.fixture(scope="module")
def lines(small: Callable[..., Recipe]) -> Lines:
    """Lines as they are generated: recipe, direction, number."""
    recipes = {name: small(name) for name in ("gen-default", "gen-classic", "eval-uniform")}

    @cache
    def line(name: str, direction: str, number: int) -> Line:
        return stood_up(render(recipes[name], Stream(1, direction, "train"), number))

    return line


def whole(pixels: Bytes) -> Crop:
    return Crop(0, pixels.shape[0], 0, pixels.shape[1])


numbers = st.integers(0, 400)
ways = st.sampled_from(DIRECTIONS)
recipes = st.sampled_from(["gen-default", "gen-default", "gen-classic", "eval-uniform"])
margins = st.tuples(*[st.one_of(st.just(0), st.integers(0, 60), st.integers(100, 400))] * 4)


@settings(max_examples=150)
@given(
    name=recipes, way=ways, number=numbers, margin=margins, scale=st.sampled_from([0.7, 1.0, 1.0, 2.3, 4.0]),
    light=st.tuples(st.integers(-25, 25), st.integers(-25, 25)), sigma=st.sampled_from([0.0, 0.0, 1.0, 3.0, 8.0, 20.0]),
)  # fmt: skip
def test_no_ink_is_cut(
    name: str, way: str, number: int, margin: tuple[int, int, int, int], scale: float, light: tuple[int, int],
    sigma: float, lines: Lines,
) -> None:  # fmt: skip
    page = lines(name, way, number).placed(*margin).scaled(scale)
    for found in (page, page.lit(*light, sigma, number)):
        crop = find_crop(found.pixels)
        assert found.uncut(crop)
        assert 0 <= crop.top < crop.bottom <= found.pixels.shape[0]
        assert 0 <= crop.left < crop.right <= found.pixels.shape[1]
        assert np.array_equal(crop.of(found.pixels), found.pixels[crop.top : crop.bottom, crop.left : crop.right])


def test_wide_margins_go(lines: Lines) -> None:
    """A page ten times as high as its line is cut to less than two heights, and as much is left at each end."""
    for way in DIRECTIONS:
        for number in range(100):
            line = lines("gen-default", way, number)
            page = line.placed(130, 170, 300, 500)
            crop = find_crop(page.pixels)
            if not len(page.boxes) or np.ptp([page.boxes[:, 1], page.boxes[:, 1] + page.boxes[:, 3]]) < 12:
                continue  # a dash, or a dot
            assert crop.bottom - crop.top < 64
            assert crop.left > 300 - 100
            assert crop.right < page.pixels.shape[1] - 500 + 100


def test_lines_without_wide_margins_keep_them(lines: Lines) -> None:
    """Only of small type something is cut off across the line, so that it is enlarged, and little."""
    cut = 0
    for name in ("gen-default", "eval-uniform"):
        for way in DIRECTIONS:
            for number in range(150):
                line = lines(name, way, number)
                crop = find_crop(line.pixels)
                assert line.uncut(crop)
                assert crop.right - crop.left > line.pixels.shape[1] - 50, (name, way, number)
                assert crop.bottom - crop.top >= 15
                if crop != whole(line.pixels):
                    cut += 1
                    assert np.ptp([line.boxes[:, 1], line.boxes[:, 1] + line.boxes[:, 3]]) < 26
    assert 60 < cut < 400


def test_the_older_lines_lose_only_blank_ends(lines: Lines) -> None:
    """They are 512 px long whatever their text."""
    cut = 0
    for way in DIRECTIONS:
        for number in range(150):
            line = lines("gen-classic", way, number)
            crop = find_crop(line.pixels)
            assert line.uncut(crop)
            cut += crop.right - crop.left < 512
    assert cut > 150


@pytest.mark.parametrize("shape", [(4, 4), (4, 900), (32, 320), (700, 900)])
def test_images_that_show_nothing_are_left_alone(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    light = (
        np.broadcast_to(np.linspace(20, 230, shape[1]).astype(np.uint8), shape)
        if shape[1] > 300
        else np.full(shape, 9, np.uint8)
    )
    for pixels in (
        np.full(shape, 255, np.uint8), np.zeros(shape, np.uint8), light.copy(), rng.integers(0, 256, shape, np.uint8),
        *(rng.normal(128, sigma, shape).clip(0, 255).astype(np.uint8) for sigma in (1, 3, 10, 40)),
    ):  # fmt: skip
        assert find_crop(pixels) == whole(pixels)


def bar(height: int, width: int, *bars: tuple[int, int, int, int, int]) -> Bytes:
    """White paper with rectangles: top, bottom, left, right, grey."""
    pixels = np.full((height, width), 255, np.uint8)
    for top, bottom, left, right, value in bars:
        pixels[top:bottom, left:right] = value
    return pixels


def test_where_the_cut_is_made() -> None:
    """A little of the ink's height is left across the line, half of what is left then at each end."""
    assert find_crop(bar(300, 900, (100, 140, 300, 600, 0))) == Crop(94, 146, 274, 626)
    assert find_crop(bar(300, 900, (100, 140, 60, 600, 0))) == Crop(94, 146, 0, 626)  # 60 px are no wide margin
    assert find_crop(bar(300, 900, (0, 40, 300, 880, 0))) == Crop(0, 46, 277, 900)
    assert find_crop(bar(60, 900, (25, 49, 400, 600, 0))) == Crop(16, 59, 378, 622)  # in no void: enlarged 1.4 times
    assert find_crop(bar(60, 900, (30, 40, 400, 600, 0))) == Crop(28, 42, 393, 607)
    assert find_crop(bar(60, 900, (8, 53, 400, 600, 0))) == Crop(0, 60, 370, 630)  # full enough across the line


@given(st.data())
def test_what_stands_in_no_void_is_enlarged_little(data: st.DataObject) -> None:
    height = data.draw(st.integers(16, 200))
    ink = data.draw(st.integers(max(10, math.ceil(min(VOID * height, height - ROOM)) + 2), height))
    top = data.draw(st.integers(0, height - ink))
    crop = find_crop(bar(height, 3 * height, (top, top + ink, 20, 2 * height, 0)))
    assert crop.top <= top < top + ink <= crop.bottom
    assert height / (crop.bottom - crop.top) <= ZOOM  # a product would round: 1.4 times 85 is less than 119


def test_a_stroke_of_one_pixel_counts() -> None:
    pixels = bar(300, 900, (100, 140, 300, 600, 0), (100, 140, 820, 821, 120))
    assert find_crop(pixels).right > 821


def test_faint_ink_beside_black_ink_counts() -> None:
    for value in (235, 200, 120):
        assert find_crop(bar(300, 900, (100, 140, 300, 400, 0), (100, 140, 600, 640, value))).right >= 640
        assert find_crop(bar(300, 900, (100, 140, 300, 400, 0), (200, 240, 300, 340, value))).bottom >= 240


def test_a_speck_in_the_margin_is_kept() -> None:
    crop = find_crop(bar(300, 900, (100, 140, 300, 600, 0), (20, 22, 870, 872, 100)))
    assert crop.top <= 20
    assert crop.right >= 872


def test_dashes_and_dots_are_not_enlarged() -> None:
    """What fills little of a line's height may be a dash, whose height says nothing about the line's."""
    for pixels in (
        bar(32, 32, (15, 17, 4, 28, 0)),
        bar(64, 64, (30, 34, 8, 56, 0)),
        bar(32, 40, (22, 28, 4, 9, 0)),
        bar(200, 60, (99, 103, 5, 50, 0)),
    ):
        assert find_crop(pixels) == whole(pixels)
