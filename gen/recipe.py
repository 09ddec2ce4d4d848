"""A recipe ready to draw: configuration, charset, glyphs and deck, and the identity of all that.

python -m gen --out shards --n 500 --dry-run
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gen import atlas
from gen.charset import Charset
from gen.config import EFFECTS, RecipeConfig, to_dict
from gen.corpus import BASE_COLUMNS, EFFECT_COLUMNS, Deck
from gen.fonts import Font
from gen.raster import freetype_version
from gen.text import TextCorpus, read_text
from gen.vertical import stances

RENDERER = 1  # raise it with every change that changes pixels, labels or boxes


@dataclass(frozen=True)
class RecipeSource:
    """All that a process needs to open a recipe; small, and picklable."""

    config: RecipeConfig
    charset: Charset
    fonts: tuple[Font, ...]
    corpus: tuple[Path, ...]
    cache: Path


class Recipe:
    """A recipe with its glyphs and its deck: what `render` reads. Open it with `open_recipe`."""

    def __init__(self, source: RecipeSource, glyphs: tuple[atlas.FontAtlas, ...], text: TextCorpus | None) -> None:
        self.source, self.glyphs, self.text = source, glyphs, text
        self.config, self.charset, self.fonts = source.config, source.charset, source.fonts
        cover = np.array([font.cover for font in glyphs])
        self.deck = Deck(self.config.corpus, self.charset, cover, text)
        self.letters = np.array([*self.charset.chars, " "])  # position to character; SPACE is the last
        self.covered = np.asarray(cover.any(axis=0))
        self.stance = stances(self.charset.chars)
        self.active = [
            (name, BASE_COLUMNS + EFFECT_COLUMNS * k, effect.p, effect.range)
            for k, name in enumerate(EFFECTS)
            if (effect := getattr(self.config.effects, name)).p > 0
        ]

    @cached_property
    def uncovered(self) -> str:
        """The characters of the charset that none of the fonts draws."""
        return "".join(char for char, found in zip(self.charset.chars, self.covered) if not found)

    def identity_parts(self) -> dict[str, Any]:
        """Everything that decides the bytes of a shard, JSON-able; equal parts mean equal shards."""
        return {
            "config": to_dict(self.config),
            "charset": self.charset.sha256,
            "fonts": [font.identity() for font in self.fonts],
            "corpus": [dict(zip(("name", "sha256"), file)) for file in self.text.files] if self.text else [],
            "renderer": {
                "version": RENDERER,
                "numpy": np.__version__,
                "opencv": cv2.__version__,
                "freetype": freetype_version(),
                "jpeg": _build_version("JPEG"),
                "zlib": zlib.ZLIB_RUNTIME_VERSION,
            },
        }


def _build_version(library: str) -> str:
    """The version of a library that OpenCV was built with, as it states it."""
    lines = (line.strip() for line in cv2.getBuildInformation().splitlines())
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(library + ":")), "unknown")


def open_recipe(source: RecipeSource, workers: int = 1) -> Recipe:
    """Open a recipe, first drawing the glyphs that the cache lacks with ``workers`` processes.

    Raises `UserError` for unusable fonts, an unwritable cache, or unusable text files.
    """
    cv2.setNumThreads(1)  # the pool of processes is the parallelism; OpenCV's own threads would fight it
    sizes = source.config.layout.sizes
    atlas.build(source.fonts, source.charset, sizes, source.cache, workers)
    glyphs = atlas.load(source.fonts, source.charset, sizes, source.cache)
    return Recipe(source, glyphs, read_text(source.corpus, source.charset) if source.corpus else None)
