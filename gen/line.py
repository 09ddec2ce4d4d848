"""A line on its way from characters to pixels: set, inked, bent, printed on paper and photographed.

python -m tools.preview -o sheet.png
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from gen import effects, geometry, layout, paint, pools
from gen.config import ClassicLayout, ClassicTone, PageTone
from gen.corpus import BASE_COLUMNS, EFFECT_COLUMNS
from gen.effects import Applied
from gen.recipe import Recipe
from gen.text import SPACE

# Which number of a line's row decides what; the effects have the columns after these.
SIZE, START, END, ACROSS, TIGHT, INVERT, LIGHT, CONTRAST, PAPER, NOISE = range(10)
MIDDLE = NOISE  # of type, which seldom lies on the older project's paper; there the two go together
PAPER_COLOUR, INK_COLOUR = range(10, 13), range(13, BASE_COLUMNS)
SHORTEST = 8  # px: a line is at least this long, or a single dot would make a sliver
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int32]


class Line:
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
        if recipe.config.legible:
            effects.hold_back(self.applied, self.page.size)
        self.bent: dict[str, float] = {}  # strengths that the line's shape allowed

    @property
    def used(self) -> dict[str, float]:
        """The effects that the line shows, with their strengths."""
        return {name: strength for name, (strength, _) in self.applied.items()} | self.bent

    def set_classic(self, config: ClassicLayout) -> None:
        for name in ("tracking", "drift", "jitter"):  # of type; cells have their own
            self.applied.pop(name, None)
        page, n = self.page, len(self.chars)
        boxes = np.empty((n, 4), np.int32)
        drawn = layout.classic(
            self.chars, self.chance, page.table, self.glyphs.advance, math.ceil(self.glyphs.ascender * page.size),
            page.size, self.thickness, config.canvas, self.vertical, self.row[START], boxes,
        )  # fmt: skip
        while drawn > 1 and self.chars[drawn - 1] == SPACE:  # the canvas ends behind a blank
            drawn -= 1
        self.chars, self.boxes, self.turned = self.chars[:drawn], boxes[:drawn], self.turned[:drawn]
        shape = (config.canvas, self.thickness) if self.vertical else (self.thickness, config.canvas)
        self._draw(shape)

    def set_type(self) -> None:
        config, page, row, n = self.recipe.config.layout, self.page, self.row, len(self.chars)
        assert not isinstance(config, ClassicLayout)
        tracking, jitter = (self.applied.get(name, (0.0, ()))[0] for name in ("tracking", "jitter"))
        boxes = np.empty((n, 4), np.int32)
        middle = row[MIDDLE] < config.middle
        if self.vertical:
            end = layout.vertical(
                self.chars, self.chance, page.table, self.glyphs.advance, self.recipe.stance, page.rise, page.size,
                tracking, jitter, config.upright_pair, config.sideways, middle, boxes, self.turned,
            )  # fmt: skip
        else:
            end = layout.horizontal(
                self.chars, self.chance, page.table, self.glyphs.advance, self.recipe.stance, page.rise, page.size,
                tracking, jitter, middle, boxes,
            )  # fmt: skip
        along = int(self.vertical)
        if n == 1:
            self.applied.pop("drift", None)
        elif "drift" in self.applied:
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
        upright = self.vertical and isinstance(self.recipe.config.layout, ClassicLayout)
        if upright and self.applied:
            upright = False
            self._transpose()
        if "weight" in self.applied:
            self.mask = effects.weight(self.mask, self.applied["weight"][0])
        if any(name in self.applied for name in geometry.NAMES):
            bend, self.bent = geometry.make_bend(self.applied, self.boxes, self.mask.shape[1], self.thickness)
            self.mask, self.boxes = bend.mask(self.mask), bend.boxes(self.boxes)
        if isinstance(tone, ClassicTone):
            self._tone_classic(tone)
        else:
            self._tone_page(tone)
        for name, camera in effects.CAMERA.items():
            if name in self.applied:
                strength, draws = self.applied[name]
                self.image = camera(self.image, strength, self.page.size, draws)
        if self.vertical and not upright:
            self._transpose()

    def _tone_classic(self, tone: ClassicTone) -> None:
        row, (low, high), (dark, light) = self.row, tone.paper, tone.ink
        paper = pools.luma(*[low + int(row[k] * (high - low + 1)) for k in PAPER_COLOUR])
        ink = pools.luma(*[dark + int(row[k] * (light - dark + 1)) for k in INK_COLOUR])
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
        if self.recipe.config.legible:
            effects.limit_noise(applied, abs(ink - level))
        paper = np.full(mask.shape, level, np.uint8)
        if share:
            pool = pools.coloured(*noise)
            paint.noisy_paper(paper, level, pool, int(self.row[NOISE] * (len(pool) - paper.size)), share)
        if "gradient" in applied:
            effects.gradient(paper, *applied["gradient"])
        if "texture" in applied:
            effects.texture(paper, *applied["texture"])
        for name, rule in (("underline", effects.underline), ("table", effects.table)):
            if name in applied:
                ends = self.boxes[:, :2] + self.boxes[:, 2:]
                text = (*self.boxes[:, :2].min(axis=0).tolist(), *ends.max(axis=0).tolist())
                strength, draws = applied[name]
                if not rule(paper, level + round((ink - level) * (0.4 + 0.6 * draws[3])), text, strength, draws):
                    del applied[name]
        if "shadow" in applied:
            strength, draws = applied["shadow"]
            effects.shadow(paper, mask, (level + 2 * ink) // 3, strength, draws)
        if "outline" in applied:
            strength, draws = applied["outline"]
            effects.outline(paper, mask, level, ink, strength, draws)
        self.image = np.empty(mask.shape, np.uint8)
        paint.invert_into(mask, paper, ink, invert, self.image)
