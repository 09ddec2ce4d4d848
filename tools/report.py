"""Look at a set of shards: one self-contained HTML page.

    python -m tools.report shards -o shards/report.html

Totals, how often each character occurs, fonts, lengths, sizes, effects, the rarest characters, and random samples
with their labels. Labels and metadata are all read; only some hundred images are decoded.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gen import command
from gen.charset import Charset
from gen.dataset import Held, read_held
from gen.errors import UserError
from gen.image import encode_image
from gen.store import LocalStore
from tools.report_page import Crop, Report, page
from tools.report_stats import Entry, Shard, Stats, count_all, find_shards, read_samples

RARE = 60  # characters shown one by one
DECODED = 1000  # images looked at as pixels
MARGIN = 3  # px around a character cut out of a line


def pick(shards: Sequence[Shard], count: int, rng: random.Random) -> list[Entry]:
    """``count`` different samples, each equally likely, in random order."""
    ends = np.cumsum([shard.sidecar.count for shard in shards])
    chosen = rng.sample(range(int(ends[-1])), min(count, int(ends[-1])))
    found: dict[int, Entry] = {}
    for position, shard in enumerate(shards):
        begin = int(ends[position]) - shard.sidecar.count
        inside = sorted(number for number in chosen if begin <= number < int(ends[position]))
        entries = read_samples(shard, [number - begin for number in inside])
        found.update(zip(inside, entries))
    return [found[number] for number in chosen]


def decode(data: bytes, key: str) -> NDArray[np.uint8]:
    """The grey pixels uint8 [H, W] of an image file. Raises `UserError` naming the sample when it cannot be decoded."""
    pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise UserError(f"the image of sample {key} cannot be decoded; run: python -m tools.verify")
    return np.asarray(pixels, np.uint8)


def contrasts(entries: Sequence[Entry]) -> Counter[int]:
    """Grey levels between the dark and the light pixels of each image -> how many images."""
    found: Counter[int] = Counter()
    for entry in entries:
        low, high = np.percentile(decode(entry.image, entry.key), (2, 98))
        found[int(high - low)] += 1
    return found


def crop(entry: Entry, char: str) -> Crop | None:
    """The character cut out of a line by its box; None when the metadata has no box for it."""
    boxes = entry.meta.get("boxes")
    if not boxes or char not in entry.text:
        return None
    pixels = decode(entry.image, entry.key)
    x, y, width, height = boxes[entry.text.index(char)]
    part = pixels[max(0, y - MARGIN) : y + height + MARGIN, max(0, x - MARGIN) : x + width + MARGIN]
    if not part.size:
        return None
    return Crop(bytes(encode_image(part, "png", 0)), f"{entry.key}, {entry.meta.get('font', '')}")


def rarest(charset: Charset, total: Stats, shards: Sequence[Shard], count: int) -> list[tuple[str, int, Crop | None]]:
    """The characters that occur least, in the order of the charset where equal, each with a picture if it has one."""
    chosen = sorted(charset.chars, key=lambda char: total.characters[char])[:count]
    known = {shard.path: shard for shard in shards}
    result = []
    for char in chosen:
        picture = None
        if char in total.seen:
            path, number = total.seen[char]
            picture = crop(next(read_samples(known[path], [number])), char)
        result.append((char, total.characters[char], picture))
    return result


def make_report(root: Path, samples: int, workers: int, seed: int) -> str:
    """The page for the shards under ``root``; ``samples`` images of each direction are shown. Raises `UserError`."""
    held = _held(root)
    shards = find_shards(root)
    charset = Charset(held.charset)
    stats = count_all(shards, workers)
    total = Stats()
    for part in stats.values():
        total.add(part)
    rng = random.Random(seed)
    sheets = {}
    for direction in dict.fromkeys(shard.sidecar.direction for shard in shards):
        own = [shard for shard in shards if shard.sidecar.direction == direction]
        sheets[direction] = pick([s for s in own if s.sidecar.split == "train"] or own, samples, rng)
    report = Report(
        place=root.name or str(root),
        identity=held.identity,
        image=held.image,
        charset=charset,
        stats=stats,
        planned={(direction, split): n for direction, splits in held.counts.items() for split, n in splits.items()},
        total=total,
        contrast=contrasts(pick(shards, DECODED, rng)),
        sheets=sheets,
        rare=rarest(charset, total, shards, RARE),
    )
    return page(report)


def _held(root: Path) -> Held:
    if not root.is_dir():
        raise UserError(f"{root} is not a directory: give the one that was --out of python -m gen")
    held = read_held(LocalStore(str(root)))
    if held is None:
        raise UserError(f"{root} has no recipe.json: give the directory that was --out of python -m gen")
    return held


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command.Parser(prog="python -m tools.report", description="An HTML page about a set of shards.")
    result.add_argument("dir", type=Path, help="the directory that was --out of python -m gen")
    result.add_argument("-o", "--output", type=Path, help="where the page goes (default: DIR/report.html)")
    result.add_argument("--samples", type=int, default=40, help="images shown per direction (default 40)")
    result.add_argument("--seed", type=int, default=0, help="which samples are shown (default 0)")
    result.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes that read (default: all cores)"
    )
    return result


def run(options: argparse.Namespace) -> None:
    """Write the page and say so. Raises `UserError`."""
    if options.samples < 0 or options.workers < 1:
        raise UserError(f"--samples {options.samples} --workers {options.workers}: at least 0 samples and 1 worker")
    output: Path = options.output or options.dir / "report.html"
    text = make_report(options.dir, options.samples, options.workers, options.seed)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"the report cannot be written to {output}: {error.strerror}; give another file with -o"
        ) from None
    print(f"{output}: {len(text.encode()) / 1e6:.1f} MB, open it in a browser")


def main(argv: Sequence[str] | None = None) -> int:
    return command.run(parser(), argv, run)


if __name__ == "__main__":
    sys.exit(main())
