"""The image normalisation: which way a column is turned, how lines are scaled and padded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gen.stream import DIRECTIONS
from train.image import ROOM, STEP, ImageSpec, normalise, pad_batch, prepare, to_height, upright

Bytes = NDArray[np.uint8]


def noise(height: int, width: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


lines = st.builds(noise, st.just(32), st.integers(1, 100), st.integers(0, 9))


def test_a_column_is_turned_counter_clockwise() -> None:
    """The top comes to the left, and what was at the right edge lies on top."""
    column = np.array([[1, 2], [3, 4], [5, 6]], np.uint8)
    assert upright(column, "vertical").tolist() == [[2, 4, 6], [1, 3, 5]]
    assert upright(column, "vertical").flags.c_contiguous
    assert upright(column, "horizontal") is column


def test_a_word_on_its_side_stands_upright_again() -> None:
    """Latin words lie in a column with their heads to the right, turned clockwise: the turn undoes it."""
    word = noise(16, 40)
    assert np.array_equal(upright(np.rot90(word, -1), "vertical"), word)


@pytest.mark.parametrize(
    ("shape", "expected"), [((16, 50), 100), ((64, 51), 25), ((33, 100), 96), ((300, 1), 1), ((32, 7), 7)]
)
def test_height_is_reached_and_the_width_rounded_down(shape: tuple[int, int], expected: int) -> None:
    for direction in DIRECTIONS:
        pixels = noise(*shape) if direction == "horizontal" else noise(*shape[::-1])
        assert prepare(pixels, direction, ImageSpec()).shape == (32, expected)
    assert to_height(noise(*shape), replace(ImageSpec(), height=48)).shape[0] == 48


def test_scaling_keeps_grey_levels() -> None:
    for height in (16, 100):
        pixels = np.repeat(np.array([[20, 200]], np.uint8), 30, 1).repeat(height, 0)
        found = prepare(pixels, "horizontal", ImageSpec())
        assert found.dtype == np.uint8
        assert found[:, : found.shape[1] // 3].mean() == 20
        assert found[:, -found.shape[1] // 3 :].mean() == 200


def test_a_line_of_the_right_height_is_left_alone() -> None:
    pixels = noise(32, 77)
    assert prepare(pixels, "horizontal", ImageSpec()) is pixels
    assert prepare(pixels, "horizontal", replace(ImageSpec(), height=16)).shape == (16, 38)


@given(st.lists(lines, min_size=1, max_size=5), st.sampled_from([0, ROOM]), st.sampled_from([1, 8, STEP]))
@settings(max_examples=60)
def test_padding(batch: list[Bytes], room: int, step: int) -> None:
    images, widths = pad_batch(batch, room, step)
    assert widths.tolist() == [line.shape[1] for line in batch]
    assert images.dtype == np.uint8
    assert images.shape[:3] == (len(batch), 1, 32)
    assert images.shape[3] % step == 0
    assert room <= images.shape[3] - widths.max() < room + step
    for image, line in zip(images[:, 0], batch):
        assert np.array_equal(image[:, : line.shape[1]], line)
        added = image[:, line.shape[1] :]
        if added.size:
            assert added.min() == added.max()
            grey = int(added[0, 0])
            assert (line <= grey).sum() * 2 >= line.size  # a median
            assert (line >= grey).sum() * 2 >= line.size


def test_padding_is_paper() -> None:
    line = np.full((32, 20), 230, np.uint8)
    line[8:24, 3:15] = 10  # ink on less than half of it
    images, _ = pad_batch([line, noise(32, 64)])
    assert (images[0, 0, :, 20:] == 230).all()


def test_normalising() -> None:
    """(x / 255 - 0.5) / 0.5, the same for arrays and tensors."""
    grey = np.arange(256, dtype=np.float32)
    expected = (grey / 255 - 0.5) / 0.5
    np.testing.assert_allclose(normalise(grey), expected, atol=1e-6)
    np.testing.assert_allclose(normalise(torch.from_numpy(grey)).numpy(), expected, atol=1e-6)
    assert normalise(grey)[[0, 255]].tolist() == [-1, 1]
