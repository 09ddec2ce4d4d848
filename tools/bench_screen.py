"""How well text is read that the generator did not draw: pages in a browser, and photo-like pictures of them.

    python -m tools.bench_screen --fonts unseen.ttf another.ttf --json screen.json --html worst.html
    python -m tools.bench_screen --fonts unseen.ttf --text my-paragraphs.txt --quick

Chromium lays out paragraphs as people write them (`tools/screen.txt`: prose, digits, Latin words, prices, addresses) in
each font, horizontally and as vertical-rl, in three sizes; each line is cut out of the screen, where it stands and with
a little of the page around it, and read as `python -m infer` reads a file. Take fonts that were not trained on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gen.command import Parser
from gen.errors import UserError
from gen.fonts import Font, covered_by, fonts_from
from gen.stream import DIRECTIONS
from infer.looks import LOOKS, PRESET
from infer.prior import PRIORS
from infer.recognizer import PACKAGED, Recognizer
from tools import bench_infer_peers
from tools.bench import check_output, run, table
from tools.bench_infer_peers import Peer
from tools.screen_page import Look, find_browser, shown
from train.evaluate import write
from train.metrics import Tally
from train.page import Mistake, page

Pixels = NDArray[np.uint8]
TEXT = Path(__file__).with_name("screen.txt")
SIZES = (16, 20, 28)  # px
COLOURS = (("#ffffff", "#1a1a1a"), ("#f4ecd8", "#5b4636"), ("#1e1e1e", "#d4d4d4"))  # day, sepia, night
KINDS = ("screen", "photo")
WORST = 60  # lines on the page
SEED = 1
PEER = "rapidocr"


def photo(pixels: Pixels, number: int) -> Pixels:
    """A line as a hand-held camera might have it, the same for the same number: colour uint8 [H, W, 3] in and out.

    Seen a little from the side, lit from one end, out of focus, with noise, as a JPEG of middling quality.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([SEED, number], np.uint64)))
    height, width = pixels.shape[:2]
    thick = min(height, width)
    square = np.float32([[0, 0], [width, 0], [width, height], [0, height]])  # type: ignore[arg-type]
    seen = square + rng.uniform(-0.06, 0.06, (4, 2)).astype(np.float32) * thick
    matrix = cv2.getPerspectiveTransform(square, seen)
    found = cv2.warpPerspective(pixels, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    light = np.linspace(*rng.uniform(0.65, 1.05, 2), max(height, width), dtype=np.float32)
    found *= light[None, :, None] if width >= height else light[:, None, None]
    found = cv2.GaussianBlur(found, (0, 0), float(rng.uniform(0.02, 0.04)) * thick)
    found += rng.normal(0, rng.uniform(3, 9), found.shape).astype(np.float32)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 80))]
    _, data = cv2.imencode(".jpg", found.clip(0, 255).astype(np.uint8), quality)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded, np.uint8)


def paragraphs_for(font: Font, paragraphs: Sequence[str]) -> list[str]:
    """Those that the font has all characters of. Raises `UserError` when there are none."""
    known = set(covered_by(font, "".join({*"".join("".join(paragraphs).split())})))
    found = [paragraph for paragraph in paragraphs if known.issuperset("".join(paragraph.split()))]
    if not found:
        raise UserError(f"the font {font.path} has all characters of none of the paragraphs; give others with --text")
    return found


@dataclass
class Judge:
    """Counts what readers make of pages. ``mistakes``: lines that ours misread, by kind of picture."""

    recognizer: Recognizer
    peer: Peer | None
    tallies: dict[str, Tally] = field(default_factory=dict)
    together: dict[str, Tally] = field(default_factory=lambda: {kind: Tally() for kind in KINDS})
    mistakes: dict[str, list[Mistake]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    lines: int = 0

    def page(self, lines: Sequence[tuple[Pixels, str]], font: str, direction: str, size: int) -> None:
        """Read the lines of a page, as they are on the screen and as photographs."""
        for kind in KINDS:
            images = [line for line, _ in lines]
            if kind == "photo":
                images = [photo(image, self.lines + place) for place, image in enumerate(images)]
            greys = [np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8) for image in images]
            if self.peer:
                rows = [np.ascontiguousarray(np.rot90(grey, direction == "vertical")) for grey in greys]
                for (_, truth), text in zip(lines, self.peer(rows)["texts"]):
                    self._tally(bench_infer_peers.NAMES[PEER], direction, kind).add(truth, text)
            for grey, (_, truth), reading in zip(greys, lines, self.recognizer.read(images)):
                wrong = self._tally(font, direction, kind).add(truth, reading.text)
                self.together[kind].add(truth, reading.text, font, size, direction)
                if wrong:
                    share = wrong / len(truth)
                    self.mistakes[kind].append(Mistake(share, f"{font}, {size} px", grey, truth, reading.text))
        self.lines += len(lines)

    def _tally(self, *key: str) -> Tally:
        return self.tallies.setdefault(" ".join(key), Tally())

    def cells(self) -> dict[str, dict[str, Any]]:
        """The figures, by font or peer, direction and kind; those of all fonts come last."""
        scores = {name: tally.total for name, tally in self.tallies.items()}
        for kind, tally in self.together.items():
            scores |= {f"all {way} {kind}": score for way, score in tally.by_direction.items()}
        scores |= {f"all {kind}": tally.total for kind, tally in self.together.items()}
        return {name: score.to_dict() for name, score in scores.items()}


def texts_of(options: argparse.Namespace) -> dict[Font, list[str]]:
    """By font, the paragraphs that it can show. Raises `UserError`."""
    try:
        paragraphs = [line for line in options.text.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--text {options.text} cannot be read as UTF-8 text: {error}") from None
    if not paragraphs:
        raise UserError(f"--text {options.text} holds no text; give it a paragraph a line")
    found = {}
    for font in fonts_from(options.fonts):
        if font.path.suffix.lower() == ".ttc" or font.axes:
            raise UserError(f"--fonts {font.path}: a browser shows no one face of a collection or of a variable font")
        found[font] = paragraphs_for(font, paragraphs)
        if len(found[font]) < len(paragraphs):
            print(
                f"{font.name} lacks characters of {len(paragraphs) - len(found[font])} of {len(paragraphs)} paragraphs"
            )
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Show, cut, read, print; everything measured. Raises `UserError`."""
    program = find_browser()
    if program is None:
        raise UserError("no browser was found: install Chromium (Debian: apt-get install chromium)")
    check_output(options.html, "--html")
    texts = texts_of(options)
    sizes = SIZES[:1] if options.quick else SIZES
    with ExitStack() as stack:
        peer = stack.enter_context(bench_infer_peers.started(PEER)) if options.peer else None
        judge = Judge(Recognizer.load(options.weight_path, prior=options.prior, looks=options.looks), peer)
        pages = list(product(texts, DIRECTIONS, range(len(sizes))))
        for font, direction, at in tqdm(pages, unit=" pages", leave=False, disable=None):
            first = len(texts[font]) * at // len(sizes)  # what does not fit on one page begins another
            paragraphs = [*texts[font][first:], *texts[font][:first]]
            lines = shown(program, paragraphs, Look(font.path, direction, sizes[at], *COLOURS[at]))
            judge.page(lines, font.name, direction, sizes[at])
    cells = judge.cells()
    print("\n".join(report(cells)))
    if options.html:
        worst = sorted(judge.mistakes[options.worst], key=lambda mistake: -mistake.share)[:WORST]
        title = "Lines from a browser's screen" + (", as photographs" if options.worst == "photo" else "")
        write(options.html, page(title, judge.together[options.worst], worst).encode(), "--html")
    return {"prior": options.prior, "looks": options.looks, "cells": cells, "confusions": confusions(judge.together)}


def confusions(together: dict[str, Tally]) -> dict[str, list[list[Any]]]:
    """By kind of picture, what is taken for what most often."""
    return {
        kind: [[*pair, count] for pair, count in tally.confusions.most_common(20)] for kind, tally in together.items()
    }


def report(cells: dict[str, dict[str, Any]]) -> list[str]:
    """The part for people."""
    keys = ("line_accuracy", "line_accuracy_folded", "char_accuracy", "char_accuracy_folded")
    rows = [
        [name, f"{cell['lines']:,}", f"{cell['characters']:,}", *(f"{cell[key]:.1%}" for key in keys)]
        for name, cell in cells.items()
    ]
    return table(["", "lines", "characters", "lines right", "folded", "characters right", "folded"], rows)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = Parser(prog="python -m tools.bench_screen", description="How well a browser's text is read.")
    add = result.add_argument
    add("--fonts", nargs="+", required=True, metavar="FONT", help="files or folders, best of fonts not trained on")
    add("--text", type=Path, default=TEXT, metavar="F", help="a paragraph a line (default: 42 of the package)")
    add("--weight-path", type=Path, default=PACKAGED, metavar="W", help="default: the packaged weights")
    add("--prior", choices=PRIORS, default="auto", help="as of python -m infer (default: auto)")
    add("--looks", type=int, choices=LOOKS, default=PRESET, help=f"as of python -m infer (default: {PRESET})")
    add("--peer", action="store_true", help="RapidOCR too, columns turned to the left (comes from PyPI into a venv)")
    add("--quick", action="store_true", help="one size only")
    add("--html", type=Path, metavar="F", help="write a page there, with the worst lines")
    add("--worst", choices=KINDS, default="screen", help="of which pictures (default: screen)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), argv, measure)


if __name__ == "__main__":
    sys.exit(main())
