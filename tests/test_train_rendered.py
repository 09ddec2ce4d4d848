"""Lines drawn while training: the generator's own, estimated well enough to be sorted, the same in every process."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gen.charset import Charset
from gen.corpus import GROUP
from gen.errors import UserError
from gen.fonts import Font
from gen.sample import Stream, render
from gen.stream import DIRECTIONS
from train import rendered
from train.plan import Plan
from train.rendered import Ingredients, RenderedSource
from train.source import Item, Source

CHARS = "一二三四五六七八九十人大天文字好的是不了中国上下0123456789abiXY，。！（）—…"
Make = Callable[..., RenderedSource]


@pytest.fixture
def make(pip_fonts: tuple[Font, ...], cache: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("CRNN_SHARDS_CACHE", str(cache))

    def made(
        direction: str = "horizontal",
        split: str = "train",
        *sets: str,
        recipe: str = "gen-default",
        corpus: tuple[Path, ...] = (),
    ) -> RenderedSource:
        fonts = tuple(str(font.path) for font in pip_fonts)
        ingredients = Ingredients(Charset(CHARS), fonts, corpus, sets)
        return RenderedSource.from_spec(f"gen:{recipe}", direction, split, ingredients)

    return made


def equal(a: Item, b: Item) -> bool:
    assert a.boxes is not None
    assert b.boxes is not None
    same = np.array_equal(a.pixels, b.pixels) and np.array_equal(a.boxes, b.boxes)
    return same and (a.key, a.text, a.font, a.size) == (b.key, b.text, b.font, b.size)


@pytest.mark.parametrize("recipe", ["gen-default", "gen-classic"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_samples_are_the_generators(make: Make, recipe: str, direction: str) -> None:
    source = make(direction, "val", recipe=recipe)
    stream = Stream(1, direction, "val")
    numbers = [GROUP + 3, 0, 17, 3 * GROUP - 1, 0]
    for number, item in zip(numbers, source.read(numbers), strict=True):
        sample = render(source.recipe, stream, number)
        assert np.array_equal(item.pixels, sample.pixels)
        assert item.boxes is not None
        assert np.array_equal(item.boxes, sample.boxes)
        assert len(item.boxes) == len(item.text)
        assert (item.text, item.font, item.size) == (sample.text, sample.font, sample.size)
        assert item.key == f"{number:012d}"


def test_the_protocol(make: Make) -> None:
    source: Source = make("vertical")
    assert (source.name, source.direction, source.blocks) == ("gen:gen-default", "vertical", None)
    assert source.charset.chars == CHARS
    source.prefetch([0, 1])
    plan = Plan([source], [1.0], seed=1, batch=24, window=24)
    ids = plan.batch(0)[:, 1]
    assert len(set(ids.tolist())) == 24
    assert len(source.read(ids.tolist())) == 24


@pytest.mark.parametrize("asked", [False, True], ids=["fresh", "after its identity was asked for"])
def test_it_pickles_small_and_whole(make: Make, asked: bool) -> None:
    source = make("vertical", "val", "seed=5")
    identity = source.identity if asked else None
    data = pickle.dumps(source)
    assert len(data) < 20_000
    copy = pickle.loads(data)
    assert copy.identity == (identity or source.identity)
    assert (copy.name, copy.direction, copy.charset, copy.blocks) == (source.name, "vertical", source.charset, None)
    assert all(equal(a, b) for a, b in zip(source.read(range(5)), copy.read(range(5)), strict=True))
    assert len(pickle.dumps(copy)) < 20_000  # also once it is open


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("sets", [(), ("image.thickness=64", "layout.sizes=[36,48,60]")], ids=["32 px", "64 px"])
def test_widths_are_good_enough_to_sort_by(make: Make, direction: str, sets: tuple[str, ...]) -> None:
    """Effects stretch and space some lines; what is asked for is the extent at 32 px."""
    source = make(direction, "train", *sets)
    ids = np.concatenate([np.arange(250), GROUP + np.arange(50)])
    items = source.read(ids.tolist())
    along, across = (1, 0) if direction == "horizontal" else (0, 1)
    true = np.array([item.pixels.shape[along] * 32 / item.pixels.shape[across] for item in items])
    widths = source.widths(ids)
    assert widths.dtype == np.int64
    assert np.corrcoef(widths, true)[0, 1] > 0.95
    assert np.median(widths / true) == pytest.approx(1, abs=0.1)
    turned = np.arange(300)[::-1]
    assert np.array_equal(source.widths(ids[turned]), widths[turned])


def test_widths_with_blanks(make: Make, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("人 a 大 b 天 文\n" * 3, encoding="utf-8")
    source = make("horizontal", "train", "corpus.text=1", "corpus.balanced=0", "corpus.common=0", corpus=(text,))
    ids = np.arange(100)
    items = source.read(ids.tolist())
    assert any(" " in item.text for item in items)
    true = np.array([item.pixels.shape[1] for item in items])
    assert np.corrcoef(source.widths(ids), true)[0, 1] > 0.9
    assert np.median(source.widths(ids) / true) == pytest.approx(1, abs=0.15)
    assert source.lengths(ids).tolist() == [len(item.text) for item in items]


def test_classic_lines_are_as_long_as_their_canvas(make: Make) -> None:
    for direction in DIRECTIONS:
        source = make(direction, "train", "layout.canvas=320", recipe="gen-classic")
        assert source.widths(np.arange(5)).tolist() == [320] * 5
        assert {max(item.pixels.shape) for item in source.read(range(5))} == {320}


def test_lengths_are_those_of_the_labels(make: Make) -> None:
    source, ids = make(), np.array([5, GROUP + 1, 0, 5, 2 * GROUP - 1])
    assert source.lengths(ids).tolist() == [len(item.text) for item in source.read(ids.tolist())]
    assert source.lengths(ids).dtype == np.int64
    assert source.lengths(ids[:0]).tolist() == source.widths(ids[:0]).tolist() == []


def test_seed_split_and_direction_give_other_lines(make: Make) -> None:
    sources = [
        make(direction, split, f"seed={seed}")
        for direction in DIRECTIONS
        for split in ("train", "val")
        for seed in (1, 2)
    ]
    texts = [tuple(item.text for item in source.read(range(6))) for source in sources]
    assert len(set(texts)) == len(sources)


def test_what_cannot_be_drawn(make: Make, monkeypatch: pytest.MonkeyPatch, pip_fonts: tuple[Font, ...]) -> None:
    fonts = (str(pip_fonts[0].path),)
    with pytest.raises(UserError, match="gen-defualt"):
        make(recipe="gen-defualt")
    with pytest.raises(UserError, match=r"layout\.size"):
        make("horizontal", "train", "layout.size=3")
    with pytest.raises(UserError, match=r"none of the 1 characters"):
        RenderedSource.from_spec("gen:", "horizontal", ingredients=Ingredients(Charset("\ue000"), fonts))
    with pytest.raises(UserError, match="no character of the charset in vertical lines"):  # it is a vertical form
        RenderedSource.from_spec("gen:", "vertical", ingredients=Ingredients(Charset("︐"), fonts))
    monkeypatch.setattr(rendered, "find_catalogue_fonts", lambda: ([], []))
    with pytest.raises(UserError, match=r"no font was found; run python -m tools\.fetch_fonts"):
        RenderedSource.from_spec("gen:gen-default", "horizontal")
