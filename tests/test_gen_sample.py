"""`render`: pure, the same on every processor, and its parts agree with each other."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.image import encode_image
from gen.sample import Recipe, Sample, Stream, json_rows, render
from tests.conftest import HAN

ROOT = Path(__file__).parent.parent
RECIPES = ("gen-default", "gen-classic", "gen-prose", "eval-uniform")


def digest(sample: Sample) -> str:
    """Pixels, label and metadata as one number."""
    parts = sample.pixels.tobytes(), sample.text.encode(), sample.meta_json(), encode_image(sample.pixels, "jpg", 90)
    return hashlib.sha256(b"|".join(parts)).hexdigest()


@pytest.fixture(scope="module")
def recipes(small: Callable[..., Recipe]) -> dict[str, Recipe]:
    return {name: small(name) for name in RECIPES}


@settings(max_examples=60)
@given(
    name=st.sampled_from(RECIPES), seed=st.integers(0, 2**63 - 1), direction=st.sampled_from(["horizontal", "vertical"]),
    split=st.sampled_from(["train", "val"]), index=st.integers(0, 10**12),
)  # fmt: skip
def test_a_sample_is_whole(
    name: str, seed: int, direction: str, split: str, index: int, recipes: dict[str, Recipe]
) -> None:
    recipe = recipes[name]
    sample = render(recipe, Stream(seed, direction, split), index)
    height, width = sample.pixels.shape
    across = height if direction == "horizontal" else width
    assert across == 32
    assert len(sample.boxes) == len(sample.text) > 0
    assert (sample.boxes >= 0).all()
    assert (sample.boxes[:, :2] + sample.boxes[:, 2:] <= (width, height)).all()
    assert ((sample.boxes[:, 2:] > 0).all(axis=1) == [char != " " for char in sample.text]).all()
    assert set(sample.text) <= {*recipe.charset.chars, *(" " if name == "gen-prose" else "")}
    meta = json.loads(sample.meta_json())
    assert meta["boxes"] == sample.boxes.tolist()
    assert (meta["index"], meta["direction"], meta["font"]) == (index, direction, sample.font)
    assert all(0 <= place < len(sample.text) for place in meta["turned"])
    assert digest(render(recipe, Stream(seed, direction, split), index)) == digest(sample)


def test_order_does_not_matter(small: Callable[..., Recipe]) -> None:
    stream = Stream(5, "vertical", "train")
    forward = [digest(render(small(), stream, index)) for index in range(4090, 4110)]
    recipe = small()
    assert [digest(render(recipe, stream, index)) for index in reversed(range(4090, 4110))] == forward[::-1]


def test_streams_differ(small: Callable[..., Recipe]) -> None:
    recipe = small()
    streams = [Stream(s, d, p) for s in (1, 2) for d in ("horizontal", "vertical") for p in ("train", "val")]
    assert len({digest(render(recipe, stream, 0)) for stream in streams}) == len(streams)


def test_blanks_of_a_text_have_a_place_and_no_ink(small: Callable[..., Recipe], tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{HAN[:5]} {HAN[5:9]} abc {HAN[9:12]}\n", encoding="utf-8")
    sets = ["corpus.balanced=0", "corpus.common=0", "corpus.length.low=12", "corpus.length.below=[20]"]
    recipe = small(None, sets, (path,))
    for direction in ("horizontal", "vertical"):
        for index in range(60):
            sample = render(recipe, Stream(1, direction, "train"), index)
            assert " " in sample.text
            for char, (_, _, w, h) in zip(sample.text, sample.boxes):
                assert (w * h == 0) == (char == " ")


def test_no_label_ends_in_a_blank(small: Callable[..., Recipe]) -> None:
    """Not either where a canvas is full before the text has ended."""
    recipe = small("gen-classic", ["corpus.uniform=0", "corpus.prose=1", "layout.canvas=128"])
    for direction in ("horizontal", "vertical"):
        texts = [render(recipe, Stream(1, direction, "train"), index).text for index in range(300)]
        assert texts == [text.strip() for text in texts]
        assert any(" " in text for text in texts)


def golden(recipe: Recipe) -> str:
    """The first twenty samples of each stream of a recipe as one number."""
    streams = [Stream(1, direction, split) for direction in ("horizontal", "vertical") for split in ("train", "val")]
    whole = "".join(digest(render(recipe, stream, index)) for stream in streams for index in range(20))
    return hashlib.sha256(whole.encode()).hexdigest()


PINNED = {"numpy": "2.4.6", "opencv": "5.0.0", "freetype": "2.13.2", "jpeg": "build-libjpeg-turbo (ver 3.1.2-70)"}
GOLDEN: dict[str, str] = {
    "gen-default": "d40fbf6cb0f47487537f01d4beb6c09b14a86f0994a1b269ddc91eaa48ac7b4b",
    "gen-classic": "e7a5c59cf4634f7e92811592d6cd1a1114d730397854e7715cc2a0705ed9fdcb",
    "gen-prose": "dc6607fec9da0d6af3bcbe61d840482dc4998f39923f0d1df7b2f850ef840db9",
    "eval-uniform": "095cfaf4d94b967fc6da7ec2aede96934820234f42af2340e7ad1c6a4505a0fe",
}


@pytest.mark.parametrize("name", RECIPES)
def test_golden_samples(name: str, recipes: dict[str, Recipe]) -> None:
    """When this fails, pixels or labels changed: raise `gen.recipe.RENDERER`, then note the new number here."""
    versions = recipes[name].identity_parts()["renderer"]
    found = {library: versions[library] for library in PINNED}
    if found != PINNED:
        pytest.skip(f"golden numbers are for {PINNED}, this is {found}")
    assert golden(recipes[name]) == GOLDEN[name]


def test_processors_without_wide_registers_draw_the_same(recipes: dict[str, Recipe], cache: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.conftest import *; from tests.test_gen_sample import golden, RECIPES\n"
        "fonts = tuple(f for f in find_catalogue_fonts()[0] if f.name in ('noto-sans-sc', 'noto-serif-sc'))\n"
        "for name in RECIPES: print(golden(open_recipe(RecipeSource(load_recipe(name), small_charset(), fonts, (), Path(sys.argv[1])))))"
    )
    narrow = {
        "OPENCV_CPU_DISABLE": "AVX2,FP16,AVX512_SKX,AVX512_COMMON,AVX512_CLX,AVX512_CNL,AVX512_ICL",
        "NPY_DISABLE_CPU_FEATURES": " ".join(_numpy_features()),
        "NUMBA_CPU_NAME": "nehalem",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(cache / "narrow"),
        "PYTHONPATH": str(ROOT / "tests"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code, str(cache)], env={**os.environ, **narrow}, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.split() == [golden(recipe) for recipe in recipes.values()], done.stderr


def _numpy_features() -> list[str]:
    """What numpy chose on this processor beyond its baseline, all of which can be switched off."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]


def test_pixels_are_grey_bytes_in_memory_order(small: Callable[..., Recipe]) -> None:
    for name in RECIPES:
        for direction in ("horizontal", "vertical"):
            pixels = render(small(name), Stream(1, direction, "train"), 3).pixels
            assert pixels.dtype == np.uint8
            assert pixels.flags.c_contiguous


@given(rows=st.lists(st.tuples(*[st.integers(0, 2**31 - 1)] * 4), max_size=30))
def test_boxes_are_written_as_json(rows: list[tuple[int, ...]]) -> None:
    assert json_rows(np.array(rows, np.int32).reshape(-1, 4)) == json.dumps(rows, separators=(",", ":"))
