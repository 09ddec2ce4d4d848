"""How well weights read, all of it: every evaluation recipe in both directions, by group, size and font.

    python -m tools.eval_matrix --json matrix.json --markdown matrix.md
    python -m tools.eval_matrix --weight-path runs/h/weights.pt --json h.json --per-font 0

Lines are read whole, or with ``--trim`` as `python -m infer` reads them, blank margins cut off where the weights want
it; with further looks at those that are not sure, as it does, or with ``--looks 1`` as `train.evaluate`. A recipe in a
direction is a cell, and each is written to ``--json`` when it is done: the same command again measures what is missing,
another ``--lines``, ``--trim`` or ``--looks`` all of it.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gen import command

if __name__ == "__main__":
    command.quiet("python -m tools.eval_matrix")

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of torch, which is imported below

import numpy as np

from gen.contract import document
from gen.corpus import GROUP
from gen.errors import UserError
from gen.estimate import processors
from gen.plan import parse_size
from gen.stream import DIRECTIONS
from infer.backend import Backend, open_backend
from infer.looks import LOOKS, PRESET
from infer.recognizer import PACKAGED, Recognizer
from tools.eval_matrix_page import page
from train.evaluate import Evaluation, measure, write
from train.rendered import PREFIX, Ingredients, RenderedSource
from train.source import Ints, Item

RECIPES = ("eval-classic", "eval-default", "eval-uniform")
LOOKED_AT = 8  # times as many lines as wanted, to find some of each font
BATCH = 32
PROGRAM = "python -m tools.eval_matrix"


def first_of_fonts(source: RenderedSource, each: int) -> dict[str, Ints]:
    """By font, which are the first ``each`` lines in it; fewer of fonts that the recipe hardly uses, and none of those
    that it does not."""
    names = [font.name for font in source.recipe.fonts]
    found: dict[int, list[Ints]] = {number: [] for number in range(len(names))}
    groups = -(-LOOKED_AT * each * len(names) // GROUP)
    for group in range(groups):
        fonts = source.recipe.deck.deal(source.stream, group).font
        for number, parts in found.items():
            parts.append(group * GROUP + np.flatnonzero(fonts == number))
        if all(sum(map(len, parts)) >= each for parts in found.values()):
            break
    every = {names[number]: np.concatenate(parts)[:each] for number, parts in found.items()}
    return {name: ids for name, ids in sorted(every.items()) if len(ids)}


class Judge:
    """Has one network read what the recipes draw."""

    def __init__(self, backend: Backend, fonts: Sequence[str], trim: bool, looks: int) -> None:
        self.backend, self.fonts = backend, tuple(fonts)
        if not trim:
            backend.image = replace(backend.image, trim=False)  # type: ignore[misc]
        backends = dict.fromkeys(backend.directions, backend)
        self._recognizer = Recognizer(backends, prior="none", looks=looks, batch_size=BATCH)

    def source(self, recipe: str, direction: str) -> RenderedSource:
        """Lines that nobody trains on."""
        ingredients = Ingredients(self.backend.codec.charset, self.fonts)
        return RenderedSource.from_spec(PREFIX + recipe, direction, "val", ingredients, processors())

    def _read(self, items: Sequence[Item], direction: str) -> Iterator[tuple[Sequence[int], Sequence[str]]]:
        assert direction in DIRECTIONS
        for part in np.array_split(np.argsort([item.pixels.size for item in items]), -(-len(items) // (4 * BATCH))):
            images = [items[number].pixels for number in part]
            readings = self._recognizer.read(images, direction)  # type: ignore[arg-type]
            yield part.tolist(), [reading.text for reading in readings]

    def _judge(self, source: RenderedSource, ids: Ints, what: str) -> Evaluation:
        return measure(self._read, self.backend.codec, [(source, ids)], f"{source.name} {source.direction}, {what}")

    def total(self, source: RenderedSource, lines: int) -> dict[str, Any]:
        """The figures of the first lines."""
        begin = time.perf_counter()
        found = self._judge(source, np.arange(lines), "all")
        unknown = {"characters": found.unknown.total(), "different": "".join(sorted(found.unknown))}
        rate = round(lines / (time.perf_counter() - begin), 1)
        return {**found.tally.to_dict(), "unknown": unknown, "lines_per_s": rate}

    def each_font(self, source: RenderedSource, lines: int) -> dict[str, Any]:
        """By font, the figures of its first lines."""
        wanted = first_of_fonts(source, lines)
        found = self._judge(source, np.unique(np.concatenate(list(wanted.values()))), "each font")
        return {name: score.to_dict() for name, score in found.tally.tables()["by_font"].items()}


def earlier(path: Path | None, weights: Mapping[str, Any]) -> dict[str, Any]:
    """The cells that a file holds already. Raises `UserError` when they are no figures of these weights."""
    if path is None or not path.exists():
        return {}
    try:
        values = json.loads(path.read_bytes())
        cells, before = values["cells"], values["weights"]
        known = dict(cells), before["sha256"]
    except OSError as error:
        raise UserError(f"--json {path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise UserError(f"--json {path} is there already and is no file of this command: give another name") from None
    if known[1] != weights["sha256"]:
        raise UserError(f"--json {path} holds figures of other weights ({known[1][:12]}): give another name")
    return known[0]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command.Parser(prog=PROGRAM, description="How well weights read every evaluation recipe.")
    add = result.add_argument
    add("--weight-path", type=Path, default=PACKAGED, metavar="W", help="ours, .onnx or .pt (default: the packaged)")
    add("--recipes", nargs="+", choices=RECIPES, default=RECIPES, help="only these")
    add("--direction", choices=DIRECTIONS, help="only this one (default: all that the weights read)")
    add("--lines", default="5000", metavar="N", help="of each recipe and direction (default: 5000)")
    add("--per-font", default="1000", metavar="N", help="of each font besides (default: 1000; 0: none)")
    add("--fonts", nargs="+", default=[], metavar="PATH", help="what lines are drawn with (default: the catalogue's)")
    add("--trim", action="store_true", help="cut off blank margins first, where the weights want it")
    add("--looks", type=int, choices=LOOKS, default=PRESET, help=f"as of python -m infer (default: {PRESET})")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu, one thread")
    add("--json", type=Path, metavar="F", help="write all figures there, and go on from those that are there")
    add("--markdown", type=Path, metavar="F", help="write tables there (default: print them)")
    return result


def run(options: argparse.Namespace) -> None:
    """Measure what is missing, write, print. Raises `UserError`."""
    command.check_output(options.markdown, "--markdown")
    lines = parse_size(options.lines, "--lines")
    per_font = 0 if options.per_font.strip() == "0" else parse_size(options.per_font, "--per-font")
    backend = open_backend(options.weight_path, options.device)
    weights = {
        "file": options.weight_path.name,
        "sha256": hashlib.sha256(options.weight_path.read_bytes()).hexdigest(),
        "bytes": options.weight_path.stat().st_size,
        "about": dict(backend.about),
    }
    if options.direction and options.direction not in backend.directions:
        raise UserError(f"--direction {options.direction}: {options.weight_path} reads {backend.directions[0]} lines")
    directions = [options.direction] if options.direction else backend.directions
    cells = earlier(options.json, weights)
    judge = Judge(backend, options.fonts, options.trim, options.looks)

    def keep(name: str, cell: Mapping[str, Any]) -> None:
        cells[name] = dict(cell)
        if options.json:
            write(options.json, document({"weights": weights, "cells": cells}), "--json")

    wanted = []
    for recipe, direction in itertools.product(options.recipes, directions):
        name = f"{recipe} {direction}"
        wanted.append(name)
        source = judge.source(recipe, direction)
        made = {
            "identity": source.identity,
            "seed": source.stream.seed,
            "asked": lines,
            "trim": options.trim,
            "looks": options.looks,
        }
        if {key: cells.get(name, {}).get(key) for key in made} != made:
            keep(name, {**made, **judge.total(source, lines)})
        if per_font and cells[name].get("asked_per_font") != per_font:
            fonts = judge.each_font(source, per_font)
            keep(name, {**cells[name], "asked_per_font": per_font, "by_font_alone": fonts})
    text = page(weights, {name: cells[name] for name in wanted})
    if options.markdown:
        write(options.markdown, text.encode(), "--markdown")
    else:
        print(text, end="", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    def left(options: argparse.Namespace) -> str:
        return f"what is done is in {options.json}, the same command goes on" if options.json else ""

    return command.run(parser(), argv, run, stopped=left)


if __name__ == "__main__":
    sys.exit(main())
