"""Every effect: it shows, it keeps greys and boxes in range, and the boxes go where the ink goes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen import effects, geometry, paint, pools
from gen.config import EFFECTS, Effects, load_recipe
from gen.sample import Recipe, Stream, render

PLAIN = [f"effects.{name}.p=0" for name in EFFECTS]
PLAIN += ["tone.contrast=[120,200]", "corpus.length.low=4", "corpus.length.below=[9]", "layout.tight=0"]
GEOMETRY = (*geometry.NAMES, "tracking", "drift", "jitter")


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
@pytest.mark.parametrize("name", EFFECTS)
def test_an_effect_at_probability_one(name: str, direction: str, small: Callable[..., Recipe]) -> None:
    sizes = ["layout.sizes=[16,18]"] if name in ("underline", "table") else []  # a rule needs room
    plain, touched = small(None, PLAIN + sizes), small(None, [*PLAIN, *sizes, f"effects.{name}.p=1"])
    stream = Stream(2, direction, "train")
    low, high = getattr(touched.config.effects, name).range
    changed = used = 0
    for index in range(40):
        before, after = render(plain, stream, index), render(touched, stream, index)
        assert after.text == before.text
        assert after.pixels.dtype == np.uint8
        if name in after.effects:
            used += 1
            weakened = name in ("rotation", "perspective", "weight")  # by lack of room, or by small type
            assert low - 1e-9 <= (low if weakened else after.effects[name]) <= high + 1e-9
            assert abs(after.effects[name]) <= max(abs(low), abs(high))
        changed += before.pixels.shape != after.pixels.shape or not np.array_equal(before.pixels, after.pixels)
        height, width = after.pixels.shape
        assert (after.boxes >= 0).all()
        assert (after.boxes[:, 0] + after.boxes[:, 2] <= width).all()
        assert (after.boxes[:, 1] + after.boxes[:, 3] <= height).all()
    # A strength near zero may leave a short line as it is: jitter rounds to whole pixels, a gain of 1.00 is none.
    assert used >= 32
    assert changed >= 32, f"{name} changed {changed} of 40 lines"


def test_every_effect_is_recorded_and_nothing_else(small: Callable[..., Recipe]) -> None:
    recipe = small()
    for index in range(200):
        assert set(render(recipe, Stream(1, "horizontal", "train"), index).effects) <= {*EFFECTS, "fit"}


def ink_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero((mask > 40).any(1)), np.flatnonzero((mask > 40).any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@settings(max_examples=60)
@given(
    length=st.integers(20, 400), x=st.floats(0, 1), y=st.floats(0, 1), w=st.integers(3, 16), h=st.integers(3, 16),
    rotation=st.floats(-10, 10), shear=st.floats(-0.6, 0.6), perspective=st.floats(-0.5, 0.5), stretch=st.floats(0.5, 2),
)  # fmt: skip
def test_a_bent_box_is_around_the_bent_ink(
    length: int, x: float, y: float, w: int, h: int, rotation: float, shear: float, perspective: float, stretch: float
) -> None:
    left, top = int(x * (length - w)), int(y * (32 - h))
    mask = np.zeros((32, length), np.uint8)
    mask[top : top + h, left : left + w] = 255
    strengths = {"rotation": rotation, "shear": shear, "perspective": perspective, "stretch": stretch}
    boxes = np.array([[left, top, w, h]], np.int32)
    bend, _ = geometry.make_bend({name: (value, (0.0,) * 4) for name, value in strengths.items()}, boxes, length, 32)
    x0, y0, x1, y1 = ink_box(bend.mask(mask))
    bx, by, bw, bh = bend.boxes(boxes)[0].tolist()
    assert bx - 1 <= x0
    assert by - 1 <= y0
    assert x1 <= bx + bw + 1
    assert y1 <= by + bh + 1
    lean = (h + 1) * abs(bend.lean) * stretch + (w + 1) * abs(bend.slope)  # a leaning box is looser at its corners
    assert (bw - (x1 - x0)) <= lean + 4
    assert (bh - (y1 - y0)) <= lean + 4


def test_no_bend_is_no_change() -> None:
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 256, (32, 100), np.uint8)
    boxes = np.array([[10, 5, 20, 20]], np.int32)
    bend, strengths = geometry.make_bend({"stretch": (1.0, (0.0,) * 4)}, boxes, 100, 32)
    assert np.array_equal(bend.mask(mask), mask)
    assert np.array_equal(bend.boxes(boxes), boxes)
    assert strengths == {"stretch": 1.0}


def test_ink_over_paper_is_a_weighted_mean() -> None:
    paper = np.full((1, 256), 200, np.uint8)
    mask = np.arange(256, dtype=np.uint8)[None]
    image = np.empty_like(paper)
    paint.invert_into(mask, paper, 40, False, image)
    exact = (200 * (255 - mask.astype(int)) + 40 * mask.astype(int)) / 255
    assert abs(image - exact).max() <= 1
    inverted = np.empty_like(paper)
    paint.invert_into(mask, paper, 40, True, inverted)
    assert np.array_equal(inverted, 255 - image)


def test_kernels_of_blur_keep_the_light() -> None:
    for eighths in range(1, 60):
        weights = effects.disc_weights(eighths)
        assert weights.sum() == 1024
        assert (weights >= 0).all()
        assert np.array_equal(weights, weights.T)
    for length in range(2, 12):
        for direction in range(4):
            assert effects.motion_weights(length, direction).sum() == 1024


def test_noise_has_the_stated_strength() -> None:
    for pool in (pools.gaussian(), pools.texture()):
        assert abs(float(pool.astype(float).std()) - 32) < 1
        image = np.full((32, 4000), 128, np.uint8)
        paint.add(image, pool, 3, 5, 10 * 256, False)
        assert 7 < image.std() < 13
    image = np.full((32, 4000), 200, np.uint8)
    paint.add(image, pools.gaussian(), 0, 0, round(0.05 * 65536), True)
    assert 9 < image.std() < 11


def test_salt_spoils_the_stated_share() -> None:
    image = np.full((32, 1000), 128, np.uint8)
    paint.salt(image, pools.gaussian(), 7, 640)
    spoiled = (image != 128).mean()
    assert 0.017 < spoiled <= 0.02
    assert 0.4 < (image == 255).sum() / (image != 128).sum() < 0.6


def test_the_schema_names_every_effect_of_the_camera() -> None:
    assert set(effects.CAMERA) | {
        *GEOMETRY,
        "weight",
        "outline",
        "shadow",
        "gradient",
        "texture",
        "underline",
        "table",
    } == set(EFFECTS)
    assert load_recipe(None).effects == Effects()


def test_small_type_is_not_blurred_twice(small: Callable[..., Recipe]) -> None:
    soft = [f"effects.{name}.p=1" for name in effects.SOFTENERS]
    for size, most in ((16, 1), (25, 2)):
        held, free = (
            small(None, [*PLAIN, *soft, f"layout.sizes=[{size}]", f"legible={flag}"]) for flag in (True, False)
        )
        for index in range(5):
            assert len(render(held, Stream(1, "horizontal", "train"), index).effects) == most
            assert len(render(free, Stream(1, "horizontal", "train"), index).effects) == 4


def test_noise_stays_below_the_contrast(small: Callable[..., Recipe]) -> None:
    sets = [*PLAIN, "tone.contrast=[60,60]", "effects.gaussian_noise.p=1", "effects.gaussian_noise.range=[50,50]"]
    assert render(small(None, sets), Stream(1, "horizontal", "train"), 0).effects["gaussian_noise"] == 12
    assert (
        render(small(None, [*sets, "legible=false"]), Stream(1, "horizontal", "train"), 0).effects["gaussian_noise"]
        == 50
    )
