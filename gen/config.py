"""What a recipe may say: frozen dataclasses, filled from YAML and ``--set``, and strict about every word.

    python -m gen --out shards --n 500 --dry-run --config gen-default --set effects.rotation.p=0.5

The values here are those of ``configs/gen-default.yaml``; a file states only what it changes. Everything in a recipe
but the number of images decides what is drawn, and so enters the identity of the shards.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from gen import paths
from gen.errors import UserError

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


@dataclass(frozen=True, config=STRICT)
class Corpus:
    """What is written: the weights of the four sources, and how lines are put together from them."""

    balanced: Weight = 0.6
    uniform: Weight = 0.0
    common: Weight = 0.4
    text: Weight = 0.5
    length: Length = Field(default_factory=Length)
    repeats: Probability = 0.15
    runs: Probability = 0.35

    @model_validator(mode="after")
    def _check(self) -> Corpus:
        if self.balanced + self.uniform + self.common + self.text <= 0:
            raise ValueError("the weights balanced, uniform, common and text are all 0: give at least one")
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
    speckle: Effect = _effect(0.08, 0.03, 0.15, 0, 1)  # sigma, as a share of the grey value
    salt: Effect = _effect(0.05, 0.002, 0.015, 0, 0.5)  # share of pixels that are black or white
    contrast: Effect = _effect(0.15, 0.6, 1.3, 0.1, 4)  # gain about the middle grey
    gamma: Effect = _effect(0.15, 0.6, 1.6, 0.1, 8)  # exponent
    jpeg: Effect = _effect(0.12, 25, 75, 1, 100)  # quality of an extra compression

    @model_validator(mode="after")
    def _check(self) -> Effects:
        for field in fields(self):
            bounds: Any = getattr(field.default, "json_schema_extra", None)
            low, high = getattr(self, field.name).range
            if low < bounds["least"] or high > bounds["most"]:
                raise ValueError(
                    f"{field.name}.range is [{low:g}, {high:g}], but must lie within "
                    f"[{bounds['least']:g}, {bounds['most']:g}]"
                )
        return self


EFFECTS = tuple(field.name for field in fields(Effects))


@dataclass(frozen=True, config=STRICT)
class RecipeConfig:
    """All that decides what is drawn, apart from the charset, the fonts and the text files."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    shard_size: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    meta: Literal["full", "none"] = "full"
    image: Image = Field(default_factory=Image)
    corpus: Corpus = Field(default_factory=Corpus)
    layout: Annotated[TypesetLayout | ClassicLayout, Field(discriminator="kind")] = Field(default_factory=TypesetLayout)
    tone: Annotated[PageTone | ClassicTone, Field(discriminator="kind")] = Field(default_factory=PageTone)
    effects: Effects = Field(default_factory=Effects)

    @property
    def longest(self) -> int:
        """An upper bound for the length of a line, px."""
        if isinstance(self.layout, ClassicLayout):
            return round(self.layout.canvas * self.effects.stretch.range[1] + self.image.thickness)
        em = max(self.layout.sizes) * (1.1 + self.effects.tracking.range[1])  # the widest glyphs are a little over 1 em
        set_solid = max(self.corpus.length.below) * em + 2 * self.layout.margin[1]
        return round(set_solid * self.effects.stretch.range[1] + self.image.thickness)

    @model_validator(mode="after")
    def _check(self) -> RecipeConfig:
        if max(self.layout.sizes) > self.image.thickness:
            raise ValueError(
                f"layout.sizes has {max(self.layout.sizes)} px, but image.thickness is {self.image.thickness}: "
                "glyphs would be cut"
            )
        if self.longest > LONGEST:
            raise ValueError(
                f"a line of this recipe could be {self.longest} px long, at most {LONGEST} are possible: "
                "lower corpus.length.below, layout.sizes or effects.tracking"
            )
        return self


_ADAPTER: TypeAdapter[RecipeConfig] = TypeAdapter(RecipeConfig)
_DUMP: TypeAdapter[Any] = TypeAdapter(Any)


def to_dict(config: object) -> dict[str, Any]:
    """Plain JSON-able values of a config, every field stated."""
    assert is_dataclass(config)
    result: dict[str, Any] = _DUMP.dump_python(config, mode="json")
    return result


def from_dict(values: Mapping[str, Any], source: str = "recipe") -> RecipeConfig:
    """A checked recipe from plain values, laid over the default ones. Raises `UserError` naming the key, the value and ``source``."""
    recipe: RecipeConfig = validate(_ADAPTER, merge(to_dict(RecipeConfig()), values), source)
    return recipe


def validate(adapter: TypeAdapter[Any], values: Mapping[str, Any], source: str) -> Any:
    """``values`` as the adapter's dataclass, or a `UserError` of one line about the first thing that is wrong."""
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise UserError(f"{source}: {_explain(problem, values, len(error.errors()))}") from None


def _explain(problem: Any, values: Mapping[str, Any], count: int) -> str:
    location = [str(part) for part in problem["loc"] if part not in ("classic", "typeset", "page")]
    where = ".".join(location) or "the file"
    more = f" (and {count - 1} more)" if count > 1 else ""
    if problem["type"] == "unexpected_keyword_argument":
        near = difflib.get_close_matches(location[-1], _known_keys(location[:-1], values), n=1)
        hint = f"did you mean {'.'.join([*location[:-1], near[0]])}?" if near else "see configs/gen-default.yaml"
        return f"unknown key {where}; {hint}{more}"
    message = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    shown = "" if isinstance(value, Mapping) or is_dataclass(value) or "ArgsKwargs" in repr(value) else f" {value!r}"
    return f"{where}{shown}: {message[0].lower() + message[1:]}{more}"


def _known_keys(location: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """The names that the schema allows at a place, following the kinds chosen in ``values``."""
    kinds: dict[tuple[str, Any], type] = {
        ("layout", "classic"): ClassicLayout,
        ("layout", "typeset"): TypesetLayout,
        ("tone", "classic"): ClassicTone,
        ("tone", "page"): PageTone,
    }
    here: Any = RecipeConfig()
    for part in location:
        section = values.get(part)
        chosen = kinds.get((part, section.get("kind"))) if isinstance(section, Mapping) else None
        if chosen:
            return [field.name for field in fields(chosen)]
        here = getattr(here, part, None)
    return [field.name for field in fields(here)] if is_dataclass(here) else []


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over``, section by section; a section whose ``kind`` changes starts afresh."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and value.get("kind", old.get("kind")) == old.get("kind"):
            result[key] = merge(old, value)
        else:
            result[key] = value
    return result


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises `UserError` when it is missing or not one."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"config {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"config {path} is not YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"config {path} must be a mapping of names to values")
    return values


def parse_set(text: str) -> dict[str, Any]:
    """``a.b=c`` as nested values, c read as YAML. Raises `UserError` when it has another shape."""
    name, equals, value = text.partition("=")
    if not equals or not all(name.split(".")):
        raise UserError(f"--set {text}: write it as section.key=value, for example --set effects.rotation.p=0.5")
    try:
        nested: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--set {text}: {value!r} is not a YAML value") from None
    for part in reversed(name.split(".")):
        nested = {part: nested}
    assert isinstance(nested, dict)
    return nested


def find_config(name: str) -> Path:
    """A file as given, or the packaged one of that name (``gen-classic`` means ``configs/gen-classic.yaml``)."""
    given = Path(name)
    packaged = paths.configs_dir() / (name if name.endswith(".yaml") else name + ".yaml")
    if given.is_file() or not packaged.is_file():
        if not given.is_file():
            near = ", ".join(sorted(path.stem for path in paths.configs_dir().glob("*-*.yaml")))
            raise UserError(f"config {name} does not exist: give a YAML file, or one of {near}")
        return given
    return packaged


def load_recipe(name: str | Path | None = None, sets: Sequence[str] = ()) -> RecipeConfig:
    """The recipe of a YAML file (None: the default one), with ``--set`` values laid over it."""
    path = find_config(str(name)) if name is not None else None
    values = read_yaml(path) if path else {}
    for text in sets:
        values = merge(values, parse_set(text))
    source = str(path) if path else "recipe"
    return from_dict(values, f"{source} with --set" if sets else source)
