"""Every glyph of every font, drawn once into files that all processes map into memory.

    python -m tools.bench_gen --atlas

A font has one folder in the cache, named by what its glyphs depend on. It holds ``cover.npy``, ``advance.npy`` and
``ascender.npy`` and, for each size, a table and the bitmaps one after another. Files appear by rename, the table last,
so what exists is complete; a recipe that needs one size more draws that size only.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from tqdm import tqdm

from gen.charset import Charset
from gen.errors import UserError
from gen.fonts import Font
from gen.process import as_worker
from gen.raster import Face, freetype_version

FORMAT = 2
OFFSET, WIDTH, HEIGHT, LEFT, TOP = range(5)
PLAIN_CENTRE = 0.38  # of a font without ideographs, em above the baseline: where the others have theirs


@dataclass(frozen=True)
class Page:
    """The glyphs of one font at one size.

    ``bitmaps``: uint8, all glyphs one after another. ``table``: int32 [characters of the charset, 5]: offset, width
    and height of the bitmap, its left edge from the pen and its top above the baseline, in pixels (zeros: no glyph).
    """

    size: int
    bitmaps: npt.NDArray[np.uint8]
    table: npt.NDArray[np.int32]
    ideographs: npt.NDArray[np.int32]

    @cached_property
    def rise(self) -> int:
        """Height of the em box's top above the baseline, px: the box is centred on the font's usual ideograph."""
        rows = self.table[self.ideographs]
        rows = rows[rows[:, WIDTH] > 0]
        if not len(rows):
            return round((PLAIN_CENTRE + 0.5) * self.size)
        return (int(np.median(2 * rows[:, TOP] - rows[:, HEIGHT])) + self.size + 1) // 2


@dataclass(frozen=True)
class FontAtlas:
    """One font: ``cover`` bool [characters], ``advance`` float32 [characters] and ``ascender`` in em, and its pages."""

    cover: npt.NDArray[np.bool_]
    advance: npt.NDArray[np.float32]
    ascender: float
    pages: tuple[Page, ...]


def folder(font: Font, charset: Charset, cache: Path) -> Path:
    """Where the glyphs of a font are kept: a name made from all that they depend on."""
    key = json.dumps([FORMAT, font.identity(), charset.sha256, freetype_version()], sort_keys=True, ensure_ascii=True)
    return cache / "atlas" / f"{font.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _table(home: Path, size: int) -> Path:
    return home / f"{size}.table.npy"


def _bitmaps(home: Path, size: int) -> Path:
    return home / f"{size}.bitmaps.npy"


def _missing(home: Path, sizes: Sequence[int]) -> list[int]:
    return [size for size in sizes if not _table(home, size).exists()]


def _save(path: Path, array: npt.NDArray[np.generic]) -> None:
    temp = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temp, "wb") as file:
            np.save(file, array, allow_pickle=False)
        os.replace(temp, path)
    finally:
        temp.unlink(missing_ok=True)


def build_font(font: Font, chars: str, home: Path, sizes: Sequence[int]) -> int:
    """Draw the missing sizes of one font into its folder; the number of glyphs drawn.

    Raises `UserError` when the font is damaged or covers nothing of the charset.
    """
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / ".lock"):
        sizes = _missing(home, sizes)
        if not sizes:
            return 0
        face = Face(font.path, font.face, dict(font.axes))
        excluded = set(font.excluded)
        cover = np.array([ok and char not in excluded for ok, char in zip(face.covered(chars), chars)], np.bool_)
        if not cover.any():
            raise UserError(f"font {font.name} ({font.path}) has none of the {len(chars)} characters: leave it out")
        advance = np.zeros(len(chars), np.float32)
        tables = [np.zeros((len(chars), 5), np.int32) for _ in sizes]
        parts: list[list[bytes]] = [[] for _ in sizes]
        ends = [0] * len(sizes)
        for position in np.flatnonzero(cover):
            glyph = face.glyph_id(ord(chars[position]))
            advance[position] = face.advance(glyph)
            for k, (bitmap, left, top) in enumerate(face.bitmaps(glyph, sizes)):
                tables[k][position] = ends[k], bitmap.shape[1], bitmap.shape[0], left, top
                parts[k].append(bitmap.tobytes())
                ends[k] += bitmap.size
        _save(home / "cover.npy", cover)
        _save(home / "advance.npy", advance)
        _save(home / "ascender.npy", np.array(face.ascender))
        for size, table, part in zip(sizes, tables, parts):
            _save(_bitmaps(home, size), np.frombuffer(b"".join(part), np.uint8))
            _save(_table(home, size), table)
        return int(cover.sum()) * len(sizes)


def build(fonts: Sequence[Font], charset: Charset, sizes: Sequence[int], cache: Path, workers: int) -> None:
    """Draw what is missing for a recipe, a font per process, with a progress bar.

    Raises `UserError` when a font is unusable or the cache cannot be written.
    """
    homes = [folder(font, charset, cache) for font in fonts]
    todo = [(font, home) for font, home in zip(fonts, homes) if _missing(home, sizes)]
    if not todo:
        return
    try:
        (cache / "atlas").mkdir(parents=True, exist_ok=True)
        need = sum(round(0.75 * size * size) for size in sizes) * len(charset) * len(todo) // 2
        if need > shutil.disk_usage(cache).free:
            raise UserError(
                f"the glyph atlas needs about {need >> 20} MB in {cache}, where that is not free: "
                "make room or set CRNN_SHARDS_CACHE to another folder"
            )
        todo.sort(key=lambda pair: -pair[0].path.stat().st_size)  # the largest first: none is left for the end
        bar = tqdm(total=len(todo), desc="drawing glyphs, once", unit="font", disable=None, leave=False)
        with bar:
            for _ in _each(build_font, [(font, charset.chars, home, list(sizes)) for font, home in todo], workers):
                bar.update()
    except OSError as error:
        raise UserError(
            f"the glyph atlas cannot be written in {cache}: {error}; set CRNN_SHARDS_CACHE to a folder that can"
        ) from None


def _each(function: Callable[..., int], calls: Sequence[tuple[Any, ...]], workers: int) -> Iterator[int]:
    """The results of some calls; by a pool of processes when that helps, so that a library user needs none."""
    if min(workers, len(calls)) < 2:
        yield from (function(*call) for call in calls)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(calls)), context, initializer=as_worker) as pool:
        for job in as_completed([pool.submit(function, *call) for call in calls]):
            yield job.result()


def _map(path: Path) -> npt.NDArray[np.generic]:
    array: npt.NDArray[np.generic] = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    return array


def ready(
    fonts: Sequence[Font], charset: Charset, sizes: Sequence[int], cache: Path, workers: int
) -> tuple[FontAtlas, ...]:
    """The atlas of some fonts: drawn where it is missing, drawn again where its files are damaged (a disk that was
    full or lost power), and mapped into memory; nothing is read until it is drawn. Raises `UserError` as `build`."""
    ideographs = np.array([k for k, char in enumerate(charset.chars) if _is_ideograph(char)], np.int32)

    def load(home: Path) -> FontAtlas:
        return _load_font(home, len(charset), sizes, ideographs)

    homes = [folder(font, charset, cache) for font in fonts]
    build(fonts, charset, sizes, cache, workers)
    loaded: dict[Path, FontAtlas] = {}
    for home in homes:
        try:
            loaded[home] = load(home)
        except (OSError, EOFError, ValueError):
            shutil.rmtree(home, ignore_errors=True)
    if len(loaded) < len(set(homes)):
        build(fonts, charset, sizes, cache, workers)
    return tuple(loaded.get(home) or load(home) for home in homes)


def _load_font(home: Path, count: int, sizes: Sequence[int], ideographs: npt.NDArray[np.int32]) -> FontAtlas:
    pages = []
    for size in sizes:
        bitmaps, table = _map(_bitmaps(home, size)).view(np.uint8), _map(_table(home, size)).view(np.int32)
        ends = table[:, OFFSET] + table[:, WIDTH] * table[:, HEIGHT]
        if table.shape != (count, 5) or ends.max(initial=0) != len(bitmaps):
            raise ValueError(f"{home}: a table that does not fit its bitmaps")
        pages.append(Page(size, bitmaps, table, ideographs))
    cover, advance, ascender = (np.load(home / f"{name}.npy") for name in ("cover", "advance", "ascender"))
    if len(cover) != count or len(advance) != count:
        raise ValueError(f"{home}: another number of characters")
    return FontAtlas(cover, advance, float(ascender), tuple(pages))


def _is_ideograph(char: str) -> bool:
    """The blocks that fonts design on the em box: unified ideographs and extension A."""
    return 0x3400 <= ord(char) <= 0x4DBF or 0x4E00 <= ord(char) <= 0x9FFF
