"""Lines drawn while training: ``--data gen:configs/gen-default.yaml``, the generator's own `render`, without shards.

Sample k of a source is sample k of the recipe's stream, so a run is as repeatable as one from a disk.

    python -m train --data gen:configs/gen-default.yaml --direction horizontal --out runs/g --steps 5
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen import paths
from gen.alike import Alike, read_near
from gen.charset import Charset, load_charset
from gen.config import ClassicLayout, RecipeConfig, load_recipe
from gen.corpus import GROUP, Deal
from gen.errors import UserError
from gen.fonts import Font, find_catalogue_fonts, fonts_from
from gen.identity import identity_of
from gen.layout import lengths
from gen.line import END, SIZE, START, TIGHT
from gen.sample import Recipe, RecipeSource, Stream, open_recipe, render
from train.source import Ints, Item

PREFIX = "gen:"
DEALS = 16  # kept of each recipe: the lines of a batch are from all over a window of the plan
_opened = lru_cache(maxsize=4)(open_recipe)  # both directions and splits share one


@lru_cache(maxsize=4)
def _hard(source: RecipeSource, workers: int, table: Path, share: float, written: int) -> Recipe:
    """A recipe with lines by `gen.alike`, for both directions; ``written``: when the table was."""
    recipe = copy.copy(_opened(source, workers))
    recipe.deck = recipe.deck.with_alike(Alike(read_near(table, source.charset), share))
    return recipe


@dataclass(frozen=True)
class Ingredients:
    """What a recipe of rendered lines is made with: the same choices as on the generator's command line."""

    charset: Charset | None = None  # None: the packaged one
    fonts: tuple[str, ...] = ()  # empty: the catalogue's, as far as they are installed
    corpus: tuple[Path, ...] = ()
    sets: tuple[str, ...] = ()
    shift: int = 0  # added to the recipe's seed
    alike: tuple[Path, float] | None = None  # of the training lines: see `gen.alike`, its table and the share

    def source(self, spec: str) -> RecipeSource:
        """The recipe of ``gen:NAME`` or ``gen:FILE``. Raises `UserError` as the generator does."""
        config = load_recipe(spec.removeprefix(PREFIX) or None, self.sets)
        fonts: Sequence[Font] = fonts_from(list(self.fonts)) if self.fonts else find_catalogue_fonts()[0]
        if not fonts:
            raise UserError(f"{spec}: no font was found; run python -m tools.fetch_fonts, or give --fonts DIR")
        charset = self.charset if self.charset is not None else load_charset(None)
        return RecipeSource(config, charset, tuple(fonts), self.corpus, paths.cache_dir())


@dataclass
class RenderedSource:
    """An endless source of one direction; follows `train.source.Source`. Pickles small and opens where it is read."""

    name: str
    direction: str
    recipe_source: RecipeSource
    stream: Stream
    alike: tuple[Path, float] | None = None
    blocks: Ints | None = None
    _recipe: Recipe | None = field(default=None, repr=False)

    @classmethod
    def from_spec(
        cls, spec: str, direction: str, split: str = "train", ingredients: Ingredients | None = None, workers: int = 1
    ) -> RenderedSource:
        """``gen:configs/gen-default.yaml`` opened, its glyphs drawn first by ``workers`` processes where they are
        not in the cache. Raises `UserError`."""
        wanted = ingredients or Ingredients()
        source = wanted.source(spec)
        stream = Stream(source.config.seed + wanted.shift, direction, split)
        result = cls(spec, direction, source, stream, wanted.alike)
        result._open(workers).deck.pool(direction)  # refuses a direction in which nothing can be drawn
        return result

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_advances"} | {"_recipe": None}

    @property
    def config(self) -> RecipeConfig:
        return self.recipe_source.config

    @property
    def charset(self) -> Charset:
        return self.recipe_source.charset

    @property
    def recipe(self) -> Recipe:
        """The recipe, opened in this process."""
        return self._recipe or self._open()

    def _open(self, workers: int = 1) -> Recipe:
        if self.alike is None:
            recipe = _opened(self.recipe_source, workers)
        else:
            recipe = _hard(self.recipe_source, workers, *self.alike, self.alike[0].stat().st_mtime_ns)
        recipe.deck.kept = DEALS
        self._recipe = recipe
        return recipe

    @cached_property
    def identity(self) -> str:
        return identity_of(self.recipe.identity_parts())

    def _deals(self, ids: Ints) -> Sequence[tuple[NDArray[np.bool_], Deal]]:
        groups = ids // GROUP
        return [(groups == group, self.recipe.deck.deal(self.stream, int(group))) for group in np.unique(groups)]

    def lengths(self, ids: Ints) -> Ints:
        """Code points, int64 [n]; in classic recipes the canvas may still cut some off."""
        result = np.zeros(len(ids), np.int64)
        for chosen, deal in self._deals(ids):
            result[chosen] = np.diff(deal.start)[ids[chosen] % GROUP]
        return result

    def widths(self, ids: Ints) -> Ints:
        """What the lines will measure along the reading direction, about, int64 [n]: good enough to sort by."""
        layout = self.config.layout
        result = np.zeros(len(ids), np.int64)
        if isinstance(layout, ClassicLayout):
            result[:] = layout.canvas
        else:
            for chosen, deal in self._deals(ids):
                result[chosen] = self._set_widths(deal)[ids[chosen] % GROUP]
        return result * 32 // self.config.image.thickness

    @cached_property
    def _advances(self) -> NDArray[np.float32]:
        """In em, [fonts, characters]."""
        return np.stack([glyphs.advance for glyphs in self.recipe.glyphs])

    def _set_widths(self, deal: Deal) -> NDArray[np.float64]:
        """Of a deal's lines, px: all that makes them long by a tenth or more."""
        layout, recipe = self.config.layout, self.recipe
        assert not isinstance(layout, ClassicLayout)
        em = np.empty(len(deal.font))
        lengths(
            deal.chars, deal.chance, deal.start, deal.font, self._advances, recipe.stance,
            self.direction == "vertical", layout.upright_pair, layout.sideways, em,
        )  # fmt: skip
        strengths = {
            name: np.where(deal.columns[:, column] < p, low + deal.columns[:, column + 1] * (high - low), np.nan)
            for name, column, p, (low, high) in recipe.active
            if name in ("tracking", "stretch")
        }
        em += np.nan_to_num(strengths.get("tracking", np.zeros(1))) * np.diff(deal.start)
        size = np.array(layout.sizes)[(deal.columns[:, SIZE] * len(layout.sizes)).astype(int)]
        loose = deal.columns[:, TIGHT] >= layout.tight
        low, high = layout.margin
        margin = 2 * low + (deal.columns[:, START] + deal.columns[:, END]) * (high - low)
        stretch = np.nan_to_num(strengths.get("stretch", np.ones(1)), nan=1.0)
        return np.asarray((em * size + loose * margin) * stretch, np.float64)

    def rarest(self, ids: Ints) -> None:
        """Recipes deal characters evenly as they are told."""

    def read(self, ids: Sequence[int]) -> list[Item]:
        """The lines, drawn now."""
        samples = [render(self.recipe, self.stream, int(number)) for number in ids]
        return [
            Item(f"{sample.index:012d}", sample.pixels, sample.text, sample.boxes, sample.font, sample.size)
            for sample in samples
        ]

    def prefetch(self, blocks: Sequence[int]) -> None:
        """Nothing is to be fetched."""
