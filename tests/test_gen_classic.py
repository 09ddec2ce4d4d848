"""`gen-classic` against the older project's rules, stated here once more and independently, in distribution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from gen.sample import Recipe, Sample, Stream, render

N = 3000


@pytest.fixture(scope="module")
def lines(small: Callable[..., Recipe]) -> dict[str, list[Sample]]:
    recipe = small("gen-classic")
    return {d: [render(recipe, Stream(9, d, "train"), k) for k in range(N)] for d in ("horizontal", "vertical")}


def test_canvas(lines: dict[str, list[Sample]]) -> None:
    assert {sample.pixels.shape for sample in lines["horizontal"]} == {(32, 512)}
    assert {sample.pixels.shape for sample in lines["vertical"]} == {(512, 32)}


def test_fonts_and_sizes_are_even(lines: dict[str, list[Sample]]) -> None:
    for samples in lines.values():
        assert set(Counter(sample.size for sample in samples)) == {30, 25, 20, 18}
        for count in Counter(sample.size for sample in samples).values():
            assert abs(count - N / 4) < 4 * np.sqrt(N * 3 / 16)
        for count in Counter(sample.font for sample in samples).values():
            assert abs(count - N / 2) < 4 * np.sqrt(N / 4)


def test_lengths(lines: dict[str, list[Sample]]) -> None:
    """Size 18 never reaches the canvas's end, so its lines have the drawn lengths: ⌊U(5, m)⌋, m of 16, 19, 24, 26."""
    rng = np.random.default_rng(0)
    expected = rng.uniform(5, np.array([16, 19, 24, 26])[rng.integers(4, size=400_000)]).astype(int)
    found = [len(s.text) for samples in lines.values() for s in samples if s.size == 18]
    assert min(found) == 5
    assert max(found) == 25
    assert abs(np.mean(found) - expected.mean()) < 0.5
    assert max(len(s.text) for s in lines["horizontal"] if s.size == 30) <= 25


def test_tones(lines: dict[str, list[Sample]]) -> None:
    """Half inverted; a tenth of the papers pure noise, a fifth blended, the rest flat; greys in their ranges."""
    samples = [sample for both in lines.values() for sample in both]
    corners, light = [], 0
    for sample in samples:
        pixels = sample.pixels if sample.direction == "horizontal" else sample.pixels.T
        free = np.ones(pixels.shape[1], bool)
        for x, y, w, h in sample.boxes:
            begin, extent = (x, w) if sample.direction == "horizontal" else (y, h)
            free[max(0, begin - 1) : begin + extent + 1] = False
        paper = pixels[:, free].astype(int)
        inverted = paper.mean() > 127.5
        light += inverted
        corners.append(255 - paper if inverted else paper)
    assert abs(light / len(samples) - 0.5) < 4 * np.sqrt(0.25 / len(samples))
    flat = np.array([paper.min() == paper.max() for paper in corners])
    assert abs(flat.mean() - 0.7) < 0.03
    assert max(paper.max() for paper in corners) <= 100
    pure = np.array([paper.std() > 16 for paper in corners])  # three even channels weighed: sigma about 19
    assert 0.08 < pure.mean() < 0.18  # the noise papers and the blends that are nearly noise


def test_starts_and_shifts_fill_the_free_room(lines: dict[str, list[Sample]]) -> None:
    starts, shifts = [], []
    for sample in lines["horizontal"]:
        if sample.size == 18:
            begin, end = int(sample.boxes[0, 0]), int(sample.boxes[-1, 0] + sample.boxes[-1, 2])
            starts.append(begin / (512 - (end - begin)))
            shifts.extend(sample.boxes[:, 1].tolist())
    assert abs(np.mean(starts) - 0.5) < 0.06
    assert min(shifts) <= 6  # Noto hangs its glyphs low under the ascender line
    assert max(shifts) >= 12


def test_no_vertical_forms(lines: dict[str, list[Sample]]) -> None:
    assert all(not sample.turned and not sample.effects for samples in lines.values() for sample in samples)
