"""Look at a recipe: a contact sheet of lines as it draws them.

    python -m tools.preview -o sheet.png                              # samples of the default recipe
    python -m tools.preview --rows effect -o effects.png              # a row per effect, the others off
    python -m tools.preview --rows font --scale 2 --boxes -o fonts.png
    python -m tools.preview --config gen-classic --set tone.invert=0 -o classic.png

A row of effects or fonts shows the same lines as the next one, as far as the font has the characters, so that only
the effect differs. Nothing is written but the picture (and glyphs in the cache, as always).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from gen import command
from gen.cli import read_source
from gen.config import EFFECTS, load_recipe
from gen.contract import DIRECTIONS
from gen.errors import UserError
from gen.estimate import processors
from gen.sample import Recipe, RecipeSource, Sample, Stream, open_recipe, render
from tools.preview_sheet import Row, Style, Writer, block, compose

KINDS = ("mixed", "font", "effect")
COUNTS = {"mixed": 48, "font": 6, "effect": 6}  # samples per row and direction; of mixed in all
CHUNK = 12  # samples in a row of a mixed sheet
SHORT = 8  # characters in a line of a font's or effect's row
MOST = 2000  # samples in a sheet: more make a picture that nothing can show


def samples(recipe: Recipe, direction: str, first: int, count: int) -> tuple[Sample, ...]:
    """Some training samples of a recipe, in order."""
    stream = Stream(recipe.config.seed, direction, "train")
    return tuple(render(recipe, stream, index) for index in range(first, first + count))


def row(name: str, recipe: Recipe, directions: Sequence[str], first: int, count: int) -> Row:
    """A row of the sheet: ``count`` samples of each direction."""
    shown = {direction: samples(recipe, direction, first, count) for direction in directions}
    return Row(name, shown.get("horizontal", ()), shown.get("vertical", ()))


def only(effect: str | None) -> list[str]:
    """The ``--set`` values that turn one effect always on (None: not one) and the others off."""
    return [f"effects.{name}.p={int(name == effect)}" for name in EFFECTS]


def make_rows(options: argparse.Namespace, source: RecipeSource, directions: Sequence[str]) -> Iterator[Row]:
    """The rows that the options ask for, made one by one. Raises `UserError`."""
    sets, count, kind = list(options.set), options.count or COUNTS[options.rows], options.rows
    length = options.length or (SHORT if kind != "mixed" else None)
    if length:
        sets.append(f"corpus.length={{low: {length}, below: [{length + 1}]}}")
    if options.seed is not None:
        sets.append(f"seed={options.seed}")

    def opened(more: Sequence[str], **changes: object) -> Recipe:
        config = load_recipe(options.config, [*sets, *more])
        return open_recipe(replace(source, config=config, **changes), processors())  # type: ignore[arg-type]

    if kind == "mixed":
        recipe = opened(())
        for first in range(0, count, CHUNK):
            last = min(first + CHUNK, count)
            yield row(f"{first} to {last - 1}", recipe, directions, first, last - first)
    elif kind == "font":
        for font in source.fonts:
            if _chosen(font.name, options.only):
                recipe = opened(only(None), fonts=(font,))
                yield row(f"{font.name} ({font.style})", recipe, directions, 0, count)
    else:
        for effect in (None, *EFFECTS):
            if _chosen(effect or "none", options.only):
                yield row(effect or "none", opened(only(effect)), directions, 0, count)


def _chosen(name: str, wanted: Sequence[str] | None) -> bool:
    return not wanted or name in wanted


def check(options: argparse.Namespace, source: RecipeSource) -> None:
    """Raises `UserError` for options that make no sheet."""
    for name in ("count", "length", "scale"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: give at least 1")
    if options.scale > 8:
        raise UserError(f"--scale {options.scale}: give 1 to 8")
    known = {"font": [font.name for font in source.fonts], "effect": ["none", *EFFECTS], "mixed": []}[options.rows]
    for name in options.only or ():
        if name not in known:
            choices = f"choose from {', '.join(known)}" if known else "it goes with --rows font or --rows effect"
            raise UserError(f"--only {name}: {choices}")
    rows = 1 if options.rows == "mixed" else len(options.only or known)
    if rows * (options.count or COUNTS[options.rows]) > MOST:
        raise UserError(f"--count {options.count}: a sheet of {rows} rows holds at most {MOST // rows} samples in each")
    if options.output.suffix.lower() != ".png":
        raise UserError(f"-o {options.output}: the sheet is a PNG file, name it so")


def run(options: argparse.Namespace) -> None:
    """Make the sheet and say so. Raises `UserError`."""
    source, notes = read_source(options)
    check(options, source)
    for note in notes:
        print(note, file=sys.stderr)
    directions = DIRECTIONS if options.direction == "both" else (options.direction,)
    style = Style(options.scale, options.boxes, options.rows == "mixed" if options.labels is None else options.labels)
    writer = Writer(source.fonts)
    rows = make_rows(options, source, directions)
    sheet = compose([block(each, style, writer) for each in tqdm(rows, unit="row", disable=None, leave=False)])
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(options.output, "PNG")
    except OSError as error:
        raise UserError(
            f"the sheet cannot be written to {options.output}: {error}; give another file with -o"
        ) from None
    print(f"{options.output}: {sheet.width} x {sheet.height} px")


def parser() -> argparse.ArgumentParser:
    """The command line; the recipe's options mean what they mean to ``python -m gen``."""
    result = command.Parser(prog="python -m tools.preview", description="A contact sheet of a recipe, as PNG.")
    result.add_argument("-o", "--output", type=Path, default=Path("sheet.png"), help="the picture (default: sheet.png)")
    result.add_argument(
        "--rows", choices=KINDS, default="mixed", help="a row per font, per effect, or samples as drawn"
    )
    result.add_argument("--only", nargs="+", metavar="NAME", help="only these fonts or effects")
    result.add_argument("--count", type=int, help="samples in a row and direction (default 6; mixed: 48 in all)")
    result.add_argument("--length", type=int, help=f"characters in a line (default {SHORT}; mixed: as the recipe says)")
    result.add_argument("--direction", choices=(*DIRECTIONS, "both"), default="both")
    result.add_argument("--scale", type=int, default=1, help="show each pixel as a square of so many (default 1)")
    result.add_argument("--boxes", action="store_true", help="draw the box of each character")
    result.add_argument("--labels", action=argparse.BooleanOptionalAction, help="write the label at each line")
    result.add_argument("--config", help="a recipe: YAML file or packaged name (default: gen-default)")
    result.add_argument("--set", action="append", default=[], metavar="A.B=C", help="change a value of the recipe")
    result.add_argument("--seed", help="another seed")
    result.add_argument("--charset", help="a charset file (default: the packaged one)")
    result.add_argument("--fonts", nargs="+", metavar="FONT", help="instead of the catalogue's fonts")
    result.add_argument("--add-fonts", nargs="+", default=[], metavar="FONT", help="besides the catalogue's fonts")
    result.add_argument("--corpus", nargs="+", default=[], metavar="FILE", help="UTF-8 text files to write from")
    result.set_defaults(shard_size=None, format=None)  # the recipe's options that a picture has no use for
    return result


def main(argv: Sequence[str] | None = None) -> int:
    return command.run(parser(), argv, run)


if __name__ == "__main__":  # a missing glyph atlas is drawn by processes that import this file
    sys.exit(main())
