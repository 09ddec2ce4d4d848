"""What a recipe may say: frozen dataclasses, filled from YAML and ``--set``, and strict about every word.

    python -m gen --out shards --n 500 --dry-run --config gen-default --set effects.rotation.p=0.5

The values here are those of ``configs/gen-default.yaml``; a file states only what it changes. Everything in a recipe
but the number of images decides what is drawn, and so enters the identity of the shards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from gen.settings import load, to_dict

__all__ = ["EFFECTS", "ClassicLayout", "ClassicTone", "Corpus", "Effects", "Length", "PageTone", "RecipeConfig"]
__all__ += ["TypesetLayout", "load_recipe", "to_dict"]

LONGEST = 8192  # px; the pools of noise are as wide
STRICT = ConfigDict(extra="forbid")
Probability = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Grey = Annotated[int, Field(ge=0, le=255)]
Pixels = Annotated[int, Field(ge=0, le=512)]
Count = Annotated[int, Field(ge=1, le=200)]
Size = Annotated[int, Field(ge=6, le=128)]


def _ordered(pair: tuple[Any, Any], what: str) -> None:
    if pair[0] > pair[1]:
        raise ValueError(f"{what} goes from {pair[0]} down to {pair[1]}: write the smaller number first")


@dataclass(frozen=True, config=STRICT)
class Image:
    """How a line is stored. ``thickness`` is its extent across the reading direction, in pixels."""

    format: Literal["jpg", "png", "webp"] = "jpg"
    quality: Annotated[int, Field(ge=1, le=100)] = 90
    thickness: Annotated[int, Field(ge=8, le=128)] = 32


@dataclass(frozen=True, config=STRICT)
class Length:
    """Characters in a line: the whole part of a uniform draw from ``low`` to one of ``below``, chosen evenly."""

    low: Count = 1
    below: tuple[Count, ...] = (25,)

    @model_validator(mode="after")
    def _check(self) -> Length:
        if not self.below or min(self.below) <= self.low:
            raise ValueError(f"every number of length.below must be greater than length.low ({self.low})")
        return self


SOURCES = ("balanced", "uniform", "common", "prose", "signs")  # of lines, beside the user's own text


@dataclass(frozen=True, config=STRICT)
class Corpus:
    """What is written: the weights of the six sources, and how lines are put together from them."""

    balanced: Weight = 0.6
    uniform: Weight = 0.0
    common: Weight = 0.4
    prose: Weight = 0.0
    signs: Weight = 0.0
    text: Weight = 0.5
    length: Length = Field(default_factory=Length)
    repeats: Probability = 0.15
    runs: Probability = 0.35
    fonts: Mapping[str, Count] = field(default_factory=dict, hash=False)

    @model_validator(mode="after")
    def _check(self) -> Corpus:
        weights = [*SOURCES, "text"]
        if not any(getattr(self, name) for name in weights):
            raise ValueError(f"the weights {', '.join(weights[:-1])} and text are all 0: give at least one")
        return self


Sizes = Annotated[tuple[Size, ...], Field(min_length=1, max_length=16)]


@dataclass(frozen=True, config=STRICT)
class ClassicLayout:
    """Equal cells on a canvas of fixed length, each glyph shifted across the line (the older project's layout)."""

    kind: Literal["classic"]
    sizes: Sizes = (30, 25, 20, 18)
    canvas: Annotated[int, Field(ge=64, le=4096)] = 512


@dataclass(frozen=True, config=STRICT)
class TypesetLayout:
    """Glyphs side by side as type is set, on a canvas as long as the line. Margins in pixels, chances per line."""

    kind: Literal["typeset"] = "typeset"
    sizes: Sizes = (16, 18, 20, 22, 25, 28, 31)
    margin: tuple[Pixels, Pixels] = (0, 24)
    tight: Probability = 0.4
    upright_pair: Probability = 0.5
    sideways: Probability = 0.8
    middle: Probability = 0.0

    @model_validator(mode="after")
    def _check(self) -> TypesetLayout:
        _ordered(self.margin, "layout.margin")
        return self


@dataclass(frozen=True, config=STRICT)
class ClassicTone:
    """Dark paper and light ink with independent channels, made grey; half of the images inverted."""

    kind: Literal["classic"]
    paper: tuple[Grey, Grey] = (0, 100)
    ink: tuple[Grey, Grey] = (105, 255)
    noise: Probability = 0.1
    blend: Probability = 0.2
    invert: Probability = 0.5

    @model_validator(mode="after")
    def _check(self) -> ClassicTone:
        _ordered(self.paper, "tone.paper")
        _ordered(self.ink, "tone.ink")
        if self.noise + self.blend > 1:
            raise ValueError(f"tone.noise + tone.blend is {self.noise + self.blend:g}: together at most 1")
        return self


@dataclass(frozen=True, config=STRICT)
class PageTone:
    """Two grey levels at least ``contrast[0]`` apart: dark ink on lighter paper, or the other way round."""

    kind: Literal["page"] = "page"
    contrast: tuple[Grey, Grey] = (60, 255)
    invert: Probability = 0.35

    @model_validator(mode="after")
    def _check(self) -> PageTone:
        _ordered(self.contrast, "tone.contrast")
        return self


@dataclass(frozen=True, config=STRICT)
class Effect:
    """One degradation: with what probability, and the range its strength is drawn from, evenly."""

    p: Probability = 0.0
    range: tuple[Finite, Finite] = (0.0, 0.0)

    @model_validator(mode="after")
    def _check(self) -> Effect:
        _ordered(self.range, "range")
        return self


def _effect(p: float, low: float, high: float, least: float, most: float) -> Any:
    """A field for an effect with its default values; ``least`` and ``most`` bound what a recipe may ask for."""
    return Field(default_factory=lambda: Effect(p, (low, high)), json_schema_extra={"least": least, "most": most})


@dataclass(frozen=True, config=STRICT)
class Effects:
    """Every degradation. The comment says what the range measures."""

    tracking: Effect = _effect(0.35, -0.04, 0.4, -0.2, 2)  # extra space after each glyph, in em
    drift: Effect = _effect(0.15, 0.5, 2.5, 0, 16)  # the baseline wanders, px
    jitter: Effect = _effect(0.1, 0.5, 2.0, 0, 16)  # each glyph out of line by up to, px
    rotation: Effect = _effect(0.15, -2, 2, -10, 10)  # degrees
    shear: Effect = _effect(0.12, -0.25, 0.25, -0.6, 0.6)  # sideways px per px of height
    perspective: Effect = _effect(0.12, -0.15, 0.15, -0.5, 0.5)  # one end larger than the other by
    stretch: Effect = _effect(0.2, 0.85, 1.15, 0.5, 2)  # along the line, times
    weight: Effect = _effect(0.2, -0.6, 0.8, -1, 1)  # strokes thinner (-1) to bolder (+1)
    outline: Effect = _effect(0.04, 0.4, 1.0, 0.1, 1)  # rim of another grey, opacity
    shadow: Effect = _effect(0.05, 1, 2, 1, 4)  # px to the lower right
    gradient: Effect = _effect(0.2, 10, 50, 0, 128)  # paper lighter at one end by, grey levels
    texture: Effect = _effect(0.2, 3, 20, 0, 128)  # uneven paper, grey levels
    underline: Effect = _effect(0.06, 1, 2, 1, 6)  # a rule beside the text, px thick
    table: Effect = _effect(0.05, 1, 2, 1, 6)  # lines of a table around the text, px thick
    gaussian_blur: Effect = _effect(0.2, 0.3, 1.0, 0.1, 8)  # sigma, px
    motion_blur: Effect = _effect(0.06, 2, 4, 2, 16)  # length, px
    defocus: Effect = _effect(0.05, 0.6, 1.3, 0.1, 8)  # radius of the disc, px
    downscale: Effect = _effect(0.12, 1.2, 1.8, 1, 8)  # made smaller and large again, times
    gaussian_noise: Effect = _effect(0.25, 2, 18, 0, 128)  # sigma, grey levels
    speckle: Effect = _effect(0.08, 0.03, 0.1, 0, 1)  # sigma, as a share of the grey value
    salt: Effect = _effect(0.05, 0.002, 0.015, 0, 0.5)  # share of pixels that are black or white
    contrast: Effect = _effect(0.15, 0.6, 1.3, 0.1, 4)  # gain about the middle grey
    gamma: Effect = _effect(0.15, 0.6, 1.6, 0.1, 8)  # exponent
    jpeg: Effect = _effect(0.12, 25, 75, 1, 100)  # quality of an extra compression

    @model_validator(mode="after")
    def _check(self) -> Effects:
        for each in fields(self):
            bounds: Any = getattr(each.default, "json_schema_extra", None)
            low, high = getattr(self, each.name).range
            if low < bounds["least"] or high > bounds["most"]:
                raise ValueError(
                    f"{each.name}.range is [{low:g}, {high:g}], but must lie within "
                    f"[{bounds['least']:g}, {bounds['most']:g}]"
                )
        return self


EFFECTS = tuple(each.name for each in fields(Effects))


@dataclass(frozen=True, config=STRICT)
class RecipeConfig:
    """All that decides what is drawn, apart from the charset, the fonts and the text files."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    shard_size: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    meta: Literal["full", "none"] = "full"
    legible: bool = True
    image: Image = Field(default_factory=Image)
    corpus: Corpus = Field(default_factory=Corpus)
    layout: Annotated[TypesetLayout | ClassicLayout, Field(discriminator="kind")] = Field(default_factory=TypesetLayout)
    tone: Annotated[PageTone | ClassicTone, Field(discriminator="kind")] = Field(default_factory=PageTone)
    effects: Effects = Field(default_factory=Effects)

    def longest(self, widest: float) -> int:
        """An upper bound for the length of a line whose widest glyph takes ``widest`` em, px."""
        if isinstance(self.layout, ClassicLayout):
            return round((self.layout.canvas + self.image.thickness) * self.effects.stretch.range[1])
        em = max(self.layout.sizes) * (widest + self.effects.tracking.range[1])
        set_solid = max(self.corpus.length.below) * em + 2 * self.layout.margin[1]
        return round((set_solid + self.image.thickness) * self.effects.stretch.range[1])

    @model_validator(mode="after")
    def _check(self) -> RecipeConfig:
        if max(self.layout.sizes) > self.image.thickness:
            raise ValueError(
                f"layout.sizes has {max(self.layout.sizes)} px, but image.thickness is {self.image.thickness}: "
                "glyphs would be cut"
            )
        if self.longest(1) > LONGEST:
            raise ValueError(
                f"a line of this recipe could be {self.longest(1)} px long, at most {LONGEST} are possible: "
                "lower corpus.length.below, layout.sizes or effects.tracking"
            )
        return self


_ADAPTER: TypeAdapter[RecipeConfig] = TypeAdapter(RecipeConfig)


def load_recipe(name: str | Path | None = None, sets: Sequence[str] = ()) -> RecipeConfig:
    """The recipe of a YAML file (None: the default one), with ``--set`` values laid over it."""
    return load(_ADAPTER, RecipeConfig(), name, sets)
