"""Small recipes that open in a blink (two pip fonts, some two hundred characters), and a small set to serve."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from served import QUICK, N
from shard_set import make_set

from gen.charset import Charset, load_charset
from gen.config import load_recipe
from gen.fonts import Font, find_catalogue_fonts
from gen.sample import Recipe, RecipeSource, open_recipe
from train.shards import open_source

# CI says whether a change is well, and so tries what it tried before; at other times new examples are looked for.
settings.register_profile("any machine", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("any machine")

ASCII = "".join(chr(code) for code in range(0x21, 0x7F))
PUNCTUATION = "，。、：；！？（）《》「」【】“”—…·ー～っ①→"
HAN = "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生自会那后能对着事其里所去行过家十用发天如然作方成者多日都三小军二无同么经法当起与好看学进种将还分此心前面又定见只主没公从𠀋㐂㐄龘驫"


def small_charset() -> Charset:
    """ASCII, punctuation, everyday ideographs, and some of Ext A and plane 2."""
    return Charset(ASCII + PUNCTUATION + HAN)


@pytest.fixture(scope="session")
def pip_fonts() -> tuple[Font, ...]:
    """The two fonts that come with the installation."""
    fonts = tuple(font for font in find_catalogue_fonts()[0] if font.name in ("noto-sans-sc", "noto-serif-sc"))
    assert len(fonts) == 2
    return fonts


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def small(pip_fonts: tuple[Font, ...], cache: Path) -> Callable[..., Recipe]:
    """``small("gen-default", ["seed=3"])``: a recipe over the small charset."""

    def make(config: str | None = None, sets: list[str] | None = None, corpus: tuple[Path, ...] = ()) -> Recipe:
        return open_recipe(RecipeSource(load_recipe(config, sets or []), small_charset(), pip_fonts, corpus, cache))

    return make


@pytest.fixture(scope="session")
def full_charset() -> Charset:
    return load_charset(None)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small set of horizontal lines."""
    folder = tmp_path_factory.mktemp("served")
    make_set(folder, {"train": N, "val": 15})
    return folder


@pytest.fixture(scope="session")
def truth(root: Path) -> list[bytes]:
    """The records of its training samples as they are on the disk."""
    return open_source(str(root / "horizontal"), "train").records(range(N))


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Servers that fail are given up soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.cache.Patience", lambda: QUICK)
        yield
