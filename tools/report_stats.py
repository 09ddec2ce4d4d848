"""What is in the shards, counted: one pass over every label and metadata record, without decoding images.

    python -m tools.report shards -o report.html

A shard's samples are found through its sidecar. Counting is per shard and the counts add up, so that shards are read
by several processes and only the sums travel.
"""

from __future__ import annotations

import json
import mmap
import multiprocessing
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gen import tar
from gen.contract import DIRECTIONS, SHARD_FILE, SPLITS, Sidecar
from gen.errors import UserError

DOUBLED = re.compile(r"(.)\1", re.DOTALL)
_SIZE = slice(124, 135)  # of a member's data, octal digits in its ustar header


@dataclass(frozen=True)
class Shard:
    """A committed shard: its tar and what its sidecar says."""

    path: Path
    sidecar: Sidecar


@dataclass(frozen=True)
class Entry:
    """One sample as stored: the image file's bytes, the label, and the metadata ({} when the recipe wrote none)."""

    key: str
    image: bytes
    text: str
    meta: dict[str, Any]


@dataclass
class Stats:
    """Counts over any number of shards of one direction and split."""

    images: int = 0
    shards: int = 0
    bytes: int = 0  # of the tars
    image_bytes: int = 0
    characters: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)  # code points in a label
    widths: Counter[int] = field(default_factory=Counter)  # px
    heights: Counter[int] = field(default_factory=Counter)
    fonts: Counter[str] = field(default_factory=Counter)
    sizes: Counter[int] = field(default_factory=Counter)  # font px
    effects: Counter[str] = field(default_factory=Counter)  # samples that have the effect
    effects_each: Counter[int] = field(default_factory=Counter)  # effects on one sample
    doubled: int = 0  # labels with a character twice in a row
    described: int = 0  # samples with metadata
    # character -> (tar, sample within it) where it occurs, for a few characters at most per merge
    seen: dict[str, tuple[Path, int]] = field(default_factory=dict)

    def add(self, other: Stats) -> None:
        """Take in the counts of other shards."""
        for name in ("images", "shards", "bytes", "image_bytes", "doubled", "described"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("characters", "lengths", "widths", "heights", "fonts", "sizes", "effects", "effects_each"):
            getattr(self, name).update(getattr(other, name))
        for char, place in other.seen.items():
            self.seen.setdefault(char, place)


def find_shards(root: Path) -> list[Shard]:
    """The committed shards under ``root``, by direction, split and number. Raises `UserError` when there are none."""
    found = []
    for direction in DIRECTIONS:
        folder = root / direction
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            match = SHARD_FILE.fullmatch(path.name)
            if match is None or match[3] != "json":
                continue
            shard = path.with_suffix(".tar")
            try:
                sidecar = Sidecar.parse(path.read_bytes())
                size = shard.stat().st_size
            except (OSError, ValueError) as error:
                raise UserError(f"{path} cannot be used: {error}; run: python -m tools.verify {root}") from None
            if size != sidecar.bytes:
                raise UserError(
                    f"{shard} has {size} bytes, its sidecar says {sidecar.bytes}; run: python -m tools.verify {root}"
                )
            found.append(Shard(shard, sidecar))
    if not found:
        raise UserError(f"{root} holds no finished shards; make some: python -m gen --out {root} --n 20k")
    return found


def offsets(sidecar: Sidecar) -> NDArray[np.int64]:
    """Where each sample's record begins in the tar, and where the last one ends: int64 [count + 1]."""
    ends = np.cumsum(sidecar.columns()["record"], dtype=np.int64)
    return np.concatenate([np.zeros(1, np.int64), ends])


def read_entry(data: bytes | mmap.mmap, begin: int, end: int, image: int) -> Entry:
    """The sample whose record is ``data[begin:end]`` and whose image file has ``image`` bytes. Raises ValueError."""
    key = data[begin : begin + 100].split(b".", 1)[0].decode("ascii")
    at = begin + tar.padded(image)
    size = int(data[at + _SIZE.start : at + _SIZE.stop], 8)
    text = data[at + tar.RECORD : at + tar.RECORD + size].decode("utf-8")
    at += tar.padded(size)
    meta: dict[str, Any] = {}
    if at < end:
        size = int(data[at + _SIZE.start : at + _SIZE.stop], 8)
        meta = json.loads(data[at + tar.RECORD : at + tar.RECORD + size])
    return Entry(key, data[begin + tar.RECORD : begin + tar.RECORD + image], text, meta)


def read_samples(shard: Shard, numbers: Sequence[int]) -> Iterator[Entry]:
    """Some samples of a shard, counted from 0 within it."""
    bounds, images = offsets(shard.sidecar), shard.sidecar.columns()["image"]
    with shard.path.open("rb") as file:
        for number in numbers:
            file.seek(int(bounds[number]))
            record = file.read(int(bounds[number + 1] - bounds[number]))
            yield read_entry(record, 0, len(record), int(images[number]))


def count_shard(shard: Shard) -> Stats:
    """The counts of one shard. Raises `UserError` when its bytes are not what the sidecar says."""
    columns = shard.sidecar.columns()
    stats = Stats(images=shard.sidecar.count, shards=1, bytes=shard.sidecar.bytes)
    stats.image_bytes = int(columns["image"].sum(dtype=np.int64))
    for name, counter in (("label", stats.lengths), ("width", stats.widths), ("height", stats.heights)):
        values, counts = np.unique(columns[name], return_counts=True)
        counter.update(dict(zip(values.tolist(), counts.tolist())))
    bounds, images = offsets(shard.sidecar).tolist(), columns["image"].tolist()
    texts: list[str] = []
    try:
        with shard.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for number, image in enumerate(images):
                entry = read_entry(data, bounds[number], bounds[number + 1], image)
                texts.append(entry.text)
                _count_meta(stats, entry.meta)
    except (OSError, ValueError) as error:
        raise UserError(f"{shard.path} cannot be read: {error}; run: python -m tools.verify") from None
    for number, text in enumerate(texts):
        stats.doubled += DOUBLED.search(text) is not None
        for char in text:
            if char not in stats.seen:
                stats.seen[char] = shard.path, number
    stats.characters.update("".join(texts))
    return stats


def _count_meta(stats: Stats, meta: dict[str, Any]) -> None:
    if not meta:
        return
    stats.described += 1
    stats.fonts[meta["font"]] += 1
    stats.sizes[meta["size"]] += 1
    stats.effects.update(list(meta["effects"]))
    stats.effects_each[len(meta["effects"])] += 1


def count_all(shards: Sequence[Shard], workers: int) -> dict[tuple[str, str], Stats]:
    """The counts of every direction and split that is there, with a progress bar in images."""
    totals: dict[tuple[str, str], Stats] = {}
    images = sum(shard.sidecar.count for shard in shards)

    def take(shard: Shard, stats: Stats) -> None:
        totals.setdefault((shard.sidecar.direction, shard.sidecar.split), Stats()).add(stats)
        bar.update(shard.sidecar.count)

    with tqdm(total=images, desc="reading labels", unit="image", unit_scale=True, disable=None, leave=False) as bar:
        if workers < 2 or len(shards) < 4:  # starting processes takes longer than three shards do
            for shard in shards:
                take(shard, count_shard(shard))
        else:
            with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
                for shard, stats in zip(shards, pool.map(count_shard, shards)):
                    take(shard, stats)
    order = [(direction, split) for direction in DIRECTIONS for split in SPLITS]
    return {key: totals[key] for key in order if key in totals}
