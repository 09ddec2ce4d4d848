"""One labelled line: ``render(recipe, stream, index)``, a pure function and the heart of the program.

    python -m tools.preview -o sheet.png

Whatever draws it, on whatever machine and in whatever order, sample ``index`` of a stream is the same to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from gen import atlas, effects, geometry, layout, paint, pools
from gen.charset import Charset
from gen.config import EFFECTS, ClassicLayout, ClassicTone, PageTone, RecipeConfig, to_dict
from gen.corpus import BASE_COLUMNS, EFFECT_COLUMNS, GROUP, Deck, Stream
from gen.effects import Applied
from gen.fonts import Font
from gen.raster import freetype_version
from gen.text import TextCorpus, read_text
from gen.vertical import stances

__all__ = ["Recipe", "RecipeSource", "Sample", "Stream", "open_recipe", "render"]

RENDERER = 1  # raise it with every change that changes pixels, labels or boxes
SIZE, START, END, ACROSS, TIGHT, INVERT, LIGHT, CONTRAST, PAPER, RED, GREEN, BLUE, INK_RED, INK_GREEN, INK_BLUE, FREE = (
    range(BASE_COLUMNS)
)
SHORTEST = 8  # px: a line is at least this long, or a single dot would make a sliver
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Sample:
    """A line as pixels and as text.

    ``pixels``: uint8 [height, width] grey. ``boxes``: int32 [n, 4], x, y, width, height of the ink of each character,
    inside the image (a blank has no area). ``turned``: positions of the characters that lie on their side.
    """

    index: int
    direction: str
    pixels: Bytes
    text: str
    boxes: Ints
    font: str
    size: int
    effects: Mapping[str, float]
    turned: tuple[int, ...]

    def meta_json(self) -> bytes:
        """What the sample's ``.json`` member holds, UTF-8."""
        used = ",".join(f'"{name}":{value:g}' for name, value in self.effects.items())
        return (
            f'{{"index":{self.index},"direction":"{self.direction}","font":{json.dumps(self.font)},'
            f'"size":{self.size},"effects":{{{used}}},"turned":{_compact(list(self.turned))},'
            f'"boxes":{_compact(self.boxes.tolist())}}}'
        ).encode()


def _compact(values: list[Any]) -> str:
    return str(values).replace(" ", "")


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
        self.covered = cover.any(axis=0)
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


def render(recipe: Recipe, stream: Stream, index: int) -> Sample:
    """Sample ``index`` of a stream: pure, so equal arguments give equal pixels, text and boxes."""
    group, k = divmod(index, GROUP)
    deal = recipe.deck.deal(stream, group)
    font, first, last = int(deal.font[k]), int(deal.start[k]), int(deal.start[k + 1])
    row: list[float] = deal.columns[k].tolist()
    line = _Line(recipe, stream.direction == "vertical", font, deal.chars[first:last], deal.chance[first:last], row)
    if isinstance(recipe.config.layout, ClassicLayout):
        line.set_classic(recipe.config.layout)
    else:
        line.set_type()
    line.finish()
    chars = recipe.charset.chars
    return Sample(
        index=index,
        direction=stream.direction,
        pixels=line.image,
        text="".join([chars[char] if char >= 0 else " " for char in line.chars.tolist()]),
        boxes=line.boxes,
        font=recipe.fonts[font].name,
        size=line.page.size,
        effects=line.used,
        turned=tuple(np.flatnonzero(line.turned).tolist()) if line.vertical else (),
    )


class _Line:
    """A line on its way from characters to pixels. From `set_type` on it runs along x, whatever its direction."""

    image: Bytes
    mask: Bytes
    boxes: Ints

    def __init__(self, recipe: Recipe, vertical: bool, font: int, chars: Ints, chance: Any, row: list[float]) -> None:
        self.recipe, self.vertical, self.chars, self.chance, self.row = recipe, vertical, chars, chance, row
        self.thickness = recipe.config.image.thickness
        self.glyphs = recipe.glyphs[font]
        pages = self.glyphs.pages
        self.page = pages[int(row[SIZE] * len(pages))]
        self.turned = np.zeros(len(chars), np.uint8)
        self.applied: Applied = {
            name: (round(low + row[column + 1] * (high - low), 3), row[column + 2 : column + EFFECT_COLUMNS])
            for name, column, p, (low, high) in recipe.active
            if row[column] < p
        }
        self.used: dict[str, float] = {name: strength for name, (strength, _) in self.applied.items()}

    def set_classic(self, config: ClassicLayout) -> None:
        page, n = self.page, len(self.chars)
        boxes = np.empty((n, 4), np.int32)
        drawn = layout.classic(
            self.chars, self.chance, page.table, self.glyphs.advance, page.rise, page.size, self.thickness,
            config.canvas, self.vertical, self.row[START], boxes,
        )  # fmt: skip
        self.chars, self.boxes, self.turned = self.chars[:drawn], boxes[:drawn], self.turned[:drawn]
        shape = (config.canvas, self.thickness) if self.vertical else (self.thickness, config.canvas)
        self._draw(shape)

    def set_type(self) -> None:
        config, page, row, n = self.recipe.config.layout, self.page, self.row, len(self.chars)
        assert not isinstance(config, ClassicLayout)
        tracking, jitter = self.used.get("tracking", 0.0), self.used.get("jitter", 0.0)
        boxes = np.empty((n, 4), np.int32)
        if self.vertical:
            end = layout.vertical(
                self.chars, self.chance, page.table, self.glyphs.advance, self.recipe.stance, page.rise, page.size,
                tracking, jitter, config.upright_pair, config.sideways, boxes, self.turned,
            )  # fmt: skip
        else:
            end = layout.horizontal(
                self.chars, self.chance, page.table, self.glyphs.advance, page.rise, page.size, tracking, jitter, boxes
            )
        along = int(self.vertical)
        if "drift" in self.applied and n > 1:
            amount, draws = self.applied["drift"]
            layout.wander(boxes, along, amount if draws[0] < 0.5 else -amount, draws[1])
        low, high = config.margin
        if row[TIGHT] < config.tight:
            low, high = min(low, 1), min(high, 2)
        before, after = (low + int(row[column] * (high - low + 1)) for column in (START, END))
        length = layout.settle(
            boxes, along, int(end), before, after, page.size, self.thickness, row[ACROSS], SHORTEST
        )  # fmt: skip
        self.boxes = boxes
        self._draw((length, self.thickness) if self.vertical else (self.thickness, length))
        if self.vertical:
            self._transpose()

    def _draw(self, shape: tuple[int, int]) -> None:
        self.mask = np.zeros(shape, np.uint8)
        paint.glyphs(self.mask, self.page.bitmaps, self.page.table, self.chars, self.boxes, self.turned)

    def _transpose(self) -> None:
        self.boxes = np.ascontiguousarray(self.boxes[:, [1, 0, 3, 2]])
        for name in ("mask", "image"):
            if hasattr(self, name):
                setattr(self, name, cv2.transpose(getattr(self, name)))

    def finish(self) -> None:
        """Bend the mask, lay it on paper, and look at it through a camera."""
        tone = self.recipe.config.tone
        natural = isinstance(self.recipe.config.layout, ClassicLayout)
        if natural and self.vertical and self.applied:
            self._transpose()
        if "weight" in self.applied:
            self.mask = effects.weight(self.mask, self.applied["weight"][0])
        if any(name in self.applied for name in geometry.NAMES):
            bend, strengths = geometry.make_bend(self.applied, self.boxes, self.mask.shape[1], self.thickness)
            self.mask, self.boxes = bend.mask(self.mask), bend.boxes(self.boxes)
            self.used.update(strengths)
        if isinstance(tone, ClassicTone):
            self._tone_classic(tone)
        else:
            self._tone_page(tone)
        for name, camera in effects.CAMERA.items():
            if name in self.applied:
                strength, draws = self.applied[name]
                self.image = camera(self.image, strength, self.page.size, draws)
        if self.vertical and (not natural or self.applied):
            self._transpose()

    def _tone_classic(self, tone: ClassicTone) -> None:
        row, (low, high), (dark, light) = self.row, tone.paper, tone.ink
        paper = _grey([low + int(row[k] * (high - low + 1)) for k in (RED, GREEN, BLUE)])
        ink = _grey([dark + int(row[k] * (light - dark + 1)) for k in (INK_RED, INK_GREEN, INK_BLUE)])
        share = 0
        if row[PAPER] < tone.noise:
            share = 256
        elif row[PAPER] < tone.noise + tone.blend:
            share = int(row[LIGHT] * 256)
        self._press(paper, ink, row[INVERT] < tone.invert, share, tone.paper)

    def _tone_page(self, tone: PageTone) -> None:
        row, (low, high) = self.row, tone.contrast
        contrast = low + int(row[CONTRAST] * (high - low + 1))
        light = contrast + int(row[LIGHT] * (256 - contrast))
        paper, ink = light, light - contrast
        if row[INVERT] < tone.invert:
            paper, ink = ink, paper
        self._press(paper, ink, False, 0, (0, 0))

    def _press(self, level: int, ink: int, invert: bool, share: int, noise: tuple[int, int]) -> None:
        """Ink of one grey on paper of another, with all that lies between them."""
        applied, mask = self.applied, self.mask
        paper = np.full(mask.shape, level, np.uint8)
        if share:
            pool = pools.coloured(*noise)
            paint.noisy_paper(paper, level, pool, int(self.row[FREE] * (len(pool) - paper.size)), share)
        if "gradient" in applied:
            effects.gradient(paper, *applied["gradient"])
        if "texture" in applied:
            effects.texture(paper, *applied["texture"])
        for name, rule in (("underline", effects.underline), ("table", effects.table)):
            if name in applied:
                ends = self.boxes[:, :2] + self.boxes[:, 2:]
                text = (*self.boxes[:, :2].min(axis=0).tolist(), *ends.max(axis=0).tolist())
                strength, draws = applied[name]
                rule(paper, level + round((ink - level) * (0.4 + 0.6 * draws[3])), text, strength, draws)
        if "shadow" in applied:
            strength, draws = applied["shadow"]
            effects.shadow(paper, mask, 0 if ink < level else level // 3, strength, draws)
        if "outline" in applied:
            strength, draws = applied["outline"]
            effects.outline(paper, mask, round(level + (255 * (ink < level) - level) * draws[0]), strength)
        self.image = np.empty(mask.shape, np.uint8)
        paint.invert_into(mask, paper, ink, invert, self.image)


def _grey(colour: list[int]) -> int:
    red, green, blue = colour
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
