"""How well we read beside others, on the same lines in one run: RapidOCR and ddddocr.

    python -m tools.bench_peers --json peers.json     # 1,000 lines of each set; the peers come from PyPI into a venv
    python -m tools.bench_peers --quick               # whether it runs: the figures mean nothing

A set is lines of an evaluation recipe in one direction, over the whole charset or of the ideographs of GB2312, which
the peers were made for. Ours read as `python -m infer` does. Peers read rows; columns are given to each as they are,
turned to the left, or to the right: whichever it reads best of the first lines. Milliseconds are those of one
processor, without the turning.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from tqdm import tqdm

from gen.command import Parser
from gen.estimate import processors
from gen.fonts import find_catalogue_fonts, fonts_from
from gen.plan import parse_size
from infer.recognizer import EXACT, PACKAGED, Direction, Recognizer
from tools import bench_infer_peers
from tools.bench import run, table
from tools.bench_gen_run import machine
from tools.bench_infer_peer import timed
from tools.bench_infer_peers import Peer
from tools.pen import Bytes, Line, Pen
from train.metrics import Tally

RECIPES = ("eval-default", "eval-classic")
TEXTS = ("gb2312", "all")
TURNS = {"as it is": 0, "to the left": 1, "to the right": 3}  # by quarters, as numpy counts them
TRIED = 40  # lines, to find the turn
NAMES = {
    "int8": "this one, 8-bit integers",
    "onnx": "this one, not quantised",
    "given": "weights",
    **bench_infer_peers.NAMES,
}
Read = Callable[[Sequence[Bytes]], Mapping[str, Sequence[Any]]]


def score(lines: Sequence[Line], texts: Sequence[str]) -> dict[str, Any]:
    """How well texts match the lines; spaces do not count."""
    tally = Tally()
    for line, text in zip(lines, texts):
        tally.add(line.text, text)
    return tally.total.to_dict()


def judged(read: Read, lines: Sequence[Line]) -> dict[str, Any]:
    """The score of a reader, and its milliseconds a line, the mean."""
    found = read([line.pixels for line in lines])
    return {**score(lines, found["texts"]), "ms": 1e3 * fmean(found["cpu"])}


def turned(read: Read, lines: Sequence[Line]) -> dict[str, Any]:
    """`judged` for a reader of rows and lines that are columns; with ``turn``, what suited it best."""

    def all_turned(some: Sequence[Line], turn: str) -> list[Line]:
        return [Line(np.ascontiguousarray(np.rot90(line.pixels, TURNS[turn])), line.text) for line in some]

    tried = {turn: judged(read, all_turned(lines[:TRIED], turn))["char_accuracy_folded"] for turn in TURNS}
    best = max(tried, key=lambda turn: tried[turn])
    return {**judged(read, all_turned(lines, best)), "turn": best}


def ours(weights: Path, direction: Direction) -> Read:
    """Whole reading with the file for one direction, from pixels to text, on one thread."""
    recognizer = Recognizer.load(**{direction: weights})  # type: ignore[arg-type]
    return lambda images: timed(lambda image: recognizer.read([image], direction)[0].text, images)


def tables(cells: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """The part for people."""
    readers = list(next(iter(cells.values())))
    rows = []
    for name, found in cells.items():
        parts = (found[reader] for reader in readers)
        shares = [f"{part['line_accuracy_folded']:.1%} / {part['char_accuracy_folded']:.1%}" for part in parts]
        rows.append([name, *shares])
    times = [[name, *(f"{found[reader]['ms']:.1f}" for reader in readers)] for name, found in cells.items()]
    names = [NAMES[reader] for reader in readers]
    right = table(["lines / characters right, look-alikes as equal", *names], rows)
    return [*right, "", *table(["ms a line, one thread", *names], times)]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Draw, read, print; everything measured. Raises `UserError`."""
    count = 4 if options.quick else parse_size(options.lines, "--lines")
    fonts = fonts_from(options.fonts) if options.fonts else find_catalogue_fonts()[0]
    weights = {"int8": PACKAGED, "onnx": EXACT} if options.weight_path is None else {"given": options.weight_path}
    first = next(iter(weights.values()))
    backends = {way: each for way, each in Recognizer.load(first).backends.items() if each.path == first}
    charset = next(iter(backends.values())).codec.charset
    results: dict[str, Any] = {"machine": machine(), "cells": {}}
    print(" · ".join(f"{name} {value}" for name, value in results["machine"].items() if value))
    with ExitStack() as stack:
        bar = stack.enter_context(tqdm(bar_format="{desc}", leave=False, disable=None))
        peers: dict[str, Peer] = {}
        for name in options.peers:
            bar.set_description_str(f"installing {name}")
            peers[name] = stack.enter_context(bench_infer_peers.started(name))
        pens = {recipe: Pen(recipe, charset, fonts, processors()) for recipe in RECIPES}
        for text, recipe, direction in product(TEXTS, RECIPES, backends):
            cell = f"{'GB2312' if text == 'gb2312' else 'all characters'}, {recipe}, {direction}"
            bar.set_description_str(f"{cell}: drawing")
            pen = pens[recipe]
            lines = pen.gb2312(count, direction) if text == "gb2312" else pen.any(count, direction)
            found = results["cells"][cell] = {}
            for name, path in weights.items():
                bar.set_description_str(f"{cell}: {name}")
                found[name] = judged(ours(path, direction), lines)
            for name, peer in peers.items():
                bar.set_description_str(f"{cell}: {name}")
                found[name] = judged(peer, lines) if direction == "horizontal" else turned(peer, lines)
        bar.clear()
        print("\n" + "\n".join(tables(results["cells"])), flush=True)
    return results


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = Parser(prog="python -m tools.bench_peers", description="How well we read beside others.")
    add = result.add_argument
    known = tuple(bench_infer_peers.NAMES)
    add("--peers", nargs="*", choices=known, default=known, help="only these, or none (default: all)")
    add("--lines", default="1000", metavar="N", help="of each set (default: 1000)")
    add("--quick", action="store_true", help="four lines of each, to see whether it runs")
    add("--weight-path", type=Path, metavar="W", help="a file (default: both of the packaged weights)")
    add("--fonts", nargs="+", metavar="FONT", help="what the lines are drawn with (default: the catalogue's)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    os.environ["OMP_NUM_THREADS"] = "1"  # of torch, which is not imported yet
    return run(parser(), argv, measure)


if __name__ == "__main__":
    sys.exit(main())
