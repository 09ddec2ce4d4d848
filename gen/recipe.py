"""A recipe ready to draw: configuration, charset, glyphs and deck, and the identity of all that.

python -m gen --out shards --n 500 --dry-run
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from gen import atlas
from gen.charset import Charset
from gen.config import EFFECTS, LONGEST, RecipeConfig, to_dict
from gen.corpus import BASE_COLUMNS, EFFECT_COLUMNS, Deck
from gen.errors import UserError
from gen.fonts import Font
from gen.raster import freetype_version
from gen.stream import DIRECTIONS
from gen.text import TextCorpus, read_text
from gen.vertical import DIGIT, LETTER, MARK, TURNED, stances

# Ready-made vertical punctuation looks like turned punctuation: never drawn in vertical lines.
VERTICAL_FORMS = {*range(0xFE10, 0xFE20), *range(0xFE30, 0xFE50)}
TALLEST = 1.3  # em: what is taller would run into its neighbours in a column
Flags = npt.NDArray[np.bool_]
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
        self.stance = stances(self.charset.chars)
        drawn = [self._drawable(font) for font in glyphs]
        cover = {direction: np.array([flags[direction] for flags in drawn]) for direction in DIRECTIONS}
        either = np.logical_or(*cover.values())
        self._check_length(either)
        self.deck = Deck(self.config.corpus, self.charset, cover, text, self._times())
        self.letters = np.array([*self.charset.chars, " "])  # position to character; SPACE is the last
        self.covered = np.asarray(either.any(axis=0))
        self.active = [
            (name, BASE_COLUMNS + EFFECT_COLUMNS * k, effect.p, effect.range)
            for k, name in enumerate(EFFECTS)
            if (effect := getattr(self.config.effects, name)).p > 0
        ]

    def _times(self) -> npt.NDArray[np.int32]:
        """How many times as often as otherwise each font is taken. Raises `UserError` for the name of no font."""
        names, wanted = [font.name for font in self.fonts], self.config.corpus.fonts
        for name in wanted:
            if name not in names:
                near = get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}"
                raise UserError(f"corpus.fonts names {name!r}, which none of the recipe's fonts is called; {hint}")
        return np.array([wanted.get(name, 1) for name in names], np.int32)

    @cached_property
    def _ways(self) -> tuple[Flags, Flags, Flags]:
        """Which characters may lie on their side in a column, may stand, and are ready-made vertical forms."""
        classic = self.config.layout.kind == "classic"
        may_turn = np.isin(self.stance, (TURNED, LETTER, DIGIT, MARK)) & (not classic)
        may_stand = (self.stance != TURNED) | classic
        return may_turn, may_stand, np.array([ord(char) in VERTICAL_FORMS for char in self.charset.chars])

    def _drawable(self, font: atlas.FontAtlas) -> dict[str, Flags]:
        """Which characters a font draws whole in lines of each direction: bool [characters].

        A glyph larger than the image is thick would be cut, and its label no longer true.
        """
        table = np.stack([page.table for page in font.pages])
        sizes = np.array(self.config.layout.sizes)[:, None]
        wide, tall = table[:, :, atlas.WIDTH], table[:, :, atlas.HEIGHT]
        thickness = self.config.image.thickness
        low = (tall <= thickness).all(axis=0)
        slim = ((wide <= thickness) & (tall <= TALLEST * sizes)).all(axis=0)
        may_turn, may_stand, forms = self._ways
        upright = font.cover & (low | ~may_turn) & (slim | ~may_stand) & ~forms
        return {"horizontal": font.cover & low, "vertical": upright}

    def _check_length(self, cover: Flags) -> None:
        """Raise `UserError` when a line of the widest glyphs would be longer than any image."""
        widths = [float(font.advance[flags].max(initial=0)) for font, flags in zip(self.glyphs, cover)]
        widths += [
            float(page.table[flags, atlas.WIDTH].max(initial=0)) / page.size
            for font, flags in zip(self.glyphs, cover)
            for page in font.pages
        ]
        longest = self.config.longest(max(widths))
        if longest > LONGEST:
            raise UserError(
                f"with the widest glyph of these fonts ({max(widths):.2f} em) a line could be {longest} px long, "
                f"at most {LONGEST} are possible: lower corpus.length.below, layout.sizes or effects.tracking"
            )

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
    glyphs = atlas.ready(source.fonts, source.charset, source.config.layout.sizes, source.cache, workers)
    return Recipe(source, glyphs, read_text(source.corpus, source.charset) if source.corpus else None)
