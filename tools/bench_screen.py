"""How well text is read that the generator did not draw: pages in a browser, and photo-like pictures of them.

    python -m tools.bench_screen --fonts unseen.ttf another.ttf --json screen.json --html worst.html
    python -m tools.bench_screen --fonts unseen.ttf --text my-paragraphs.txt --quick

Chromium lays out paragraphs as people write them (`tools/screen.txt`: prose, digits, Latin words, prices, addresses) in
each font, horizontally and as vertical-rl, in three sizes; each line is cut out of the screen, where it stands and with
a little of the page around it, and read as `python -m infer` reads a file. Take fonts that were not trained on.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
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
from infer.prior import PRIORS
from infer.recognizer import PACKAGED, Recognizer
from tools.bench import run, table
from tools.screen_page import Look, shown
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


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Show, cut, read, print; everything measured. Raises `UserError`."""
    program = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
    if program is None:
        raise UserError("no browser was found: install Chromium (Debian: apt-get install chromium)")
    try:
        paragraphs = [line for line in options.text.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--text {options.text} cannot be read as UTF-8 text: {error}") from None
    if not paragraphs:
        raise UserError(f"--text {options.text} holds no text; give it a paragraph a line")
    if options.html and not options.html.absolute().parent.is_dir():
        raise UserError(f"--html {options.html}: the folder {options.html.parent} does not exist; make it first")
    recognizer = Recognizer.load(options.weight_path, prior=options.prior)
    tallies: dict[tuple[str, str, str], Tally] = {}
    together = {kind: Tally() for kind in KINDS}
    worst: list[Mistake] = []
    number, left_out = 0, {}
    sizes = SIZES[:1] if options.quick else SIZES
    fonts = fonts_from(options.fonts)
    for font in fonts:
        if font.path.suffix.lower() == ".ttc" or font.axes:
            raise UserError(f"--fonts {font.path}: a browser shows no one face of a collection or of a variable font")
    pages = [(font, direction, at) for font in fonts for direction in DIRECTIONS for at in range(len(sizes))]
    for font, direction, at in tqdm(pages, unit=" pages", leave=False, disable=None):
        known = paragraphs_for(font, paragraphs)
        left_out[font.name] = len(paragraphs) - len(known)
        first = len(known) * at // len(sizes)  # what does not fit on one page begins another
        turned = [*known[first:], *known[:first]]
        lines = shown(program, turned, Look(font.path, direction, sizes[at], *COLOURS[at]))
        for kind in KINDS:
            images = [photo(line, number + place) if kind == "photo" else line for place, (line, _) in enumerate(lines)]
            for image, (_, truth), reading in zip(images, lines, recognizer.read(images)):
                tally = tallies.setdefault((font.name, direction, kind), Tally())
                wrong = tally.add(truth, reading.text)
                together[kind].add(truth, reading.text, font.name, sizes[at], direction)
                grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
                note = f"{font.name}, {sizes[at]} px, {kind}"
                if wrong:
                    worst.append(Mistake(wrong / len(truth), note, np.asarray(grey, np.uint8), truth, reading.text))
        number += len(lines)
    cells = {" ".join(key): tally.total.to_dict() for key, tally in tallies.items()}
    cells |= {f"all {kind}": tally.total.to_dict() for kind, tally in together.items()}
    print("\n".join(report(cells)))
    for name, count in left_out.items():
        if count:
            print(f"{name} lacks characters of {count} of {len(paragraphs)} paragraphs, which are left out there")
    if options.html:
        some = sorted(worst, key=lambda mistake: -mistake.share)[:WORST]
        title = "Lines from a browser's screen" + (", as photographs" if options.worst == "photo" else "")
        some = [mistake for mistake in some if mistake.note.endswith(options.worst)]
        write(options.html, page(title, together[options.worst], some).encode(), "--html")
    return {"cells": cells, "left_out": left_out, "confusions": confusions(together)}


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
    add("--quick", action="store_true", help="one size only")
    add("--html", type=Path, metavar="F", help="write a page there, with the worst lines")
    add("--worst", choices=KINDS, default="screen", help="of which pictures (default: screen)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), argv, measure)


if __name__ == "__main__":
    sys.exit(main())
