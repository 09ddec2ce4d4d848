"""Samples out of shards, on a disk or on a server: `open_sources` gives what the plan orders and the loader reads.

    python -c "from train.shards import open_sources; print(open_sources('shards', 'train')[0].read([0])[0].text)"

The manifest and the sidecars are read at once (10 to 14 bytes a sample stay in memory); the tars a block at a time,
each verified before the first sample is taken from it. webdataset is not needed, since it can neither seek to a sample
nor tell damaged bytes; the shards are nevertheless plain WebDataset.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gen.charset import Charset
from gen.contract import DIRECTIONS, ELSEWHERE, MANIFEST, RAREST, Block, Manifest, ShardEntry, Sidecar
from gen.errors import UserError
from train.config import Data
from train.members import BadSample, parse
from train.place import LocalPlace, Missing, OpenBlock, Place, Unusable
from train.source import Ints, Item

CACHE_BYTES = int(Data().cache_gb * 2**30)
_THICKNESS = 32  # px, see Source.widths
_OPEN = 128  # blocks of a source that a process keeps open
_ALL = 512  # of all sources, roughly: well below the usual limit of 1,024 files
_AT_ONCE = 8  # sidecars read at the same time


class BadShard(UserError):
    """A shard that cannot be used: ``source`` and ``shard`` are the names, for `open_sources` to leave it out."""

    def __init__(self, source: str, shard: str, reason: str) -> None:
        super().__init__(
            f"shard {shard} of {source}: {reason}; mend it, or leave it out (python -m train: --skip-bad-shards N)"
        )
        self.source, self.shard, self.reason = source, shard, reason

    def __reduce__(self) -> tuple[type[BadShard], tuple[str, str, str]]:
        return BadShard, (self.source, self.shard, self.reason)


@dataclass(frozen=True)
class Shard:
    """A shard by its sidecar. The arrays have one entry per sample."""

    name: str
    blocks: tuple[Block, ...]
    start: NDArray[np.uint32]  # of the record, bytes from the start of its block
    extent: NDArray[np.int32]  # along the reading direction at 32 px thickness, px
    length: NDArray[np.uint16]  # of the label, code points
    rarest: NDArray[np.uint32] | None  # how often its rarest character occurs in the set, if the sidecar says


_reading: WeakSet[ShardSource] = WeakSet()  # sources of this process with open blocks


class ShardSource:
    """The samples of one direction and split; a `train.source.Source`. One thread at a time may read from it."""

    def __init__(self, place: Place, manifest: Manifest, shards: Sequence[Shard]) -> None:
        """``shards``: those of the manifest's that are to be used, in its order."""
        self.name = str(place)
        self.direction = manifest.direction
        self.charset = Charset(manifest.charset)
        self.identity = manifest.identity
        self._place = place
        self._ours = manifest.image != ELSEWHERE
        self._names = [shard.name for shard in shards]
        self._shard_of = [k for k, shard in enumerate(shards) for _ in shard.blocks]
        self._blocks = [block for shard in shards for block in shard.blocks]
        self.blocks: Ints = np.array([block.count for block in self._blocks], np.int64)
        self._first: Ints = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.blocks)])
        self._start = np.concatenate([shard.start for shard in shards])
        self._extent = np.concatenate([shard.extent for shard in shards])
        self._length = np.concatenate([shard.length for shard in shards])
        rarest = [shard.rarest for shard in shards if shard.rarest is not None]
        self._rarest = np.concatenate(rarest) if len(rarest) == len(shards) else None
        self._verified: set[int] = set()  # blocks, by this process
        self._open: dict[int, OpenBlock] = {}  # the one used last at the end

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_verified": set(), "_open": {}}

    def __len__(self) -> int:
        return len(self._start)

    def widths(self, ids: Ints) -> Ints:
        """Extent along the reading direction at 32 px thickness, px; int64 like ``ids``."""
        return self._extent[ids].astype(np.int64)

    def lengths(self, ids: Ints) -> Ints:
        """Code points of the labels; int64 like ``ids``."""
        return self._length[ids].astype(np.int64)

    def rarest(self, ids: Ints) -> Ints | None:
        """How often the rarest character of each label occurs in all labels of the set, if its sidecars say so."""
        return None if self._rarest is None else self._rarest[ids].astype(np.int64)

    def read(self, ids: Sequence[int] | Ints) -> list[Item]:
        """The samples in the order asked for. Raises `BadShard` when one cannot be had, or is not what it should be."""
        items = []
        for number, record in zip(ids, self.records(ids)):
            try:
                items.append(parse(record, self._ours))
            except BadSample as error:
                raise self._bad(int(np.searchsorted(self._first, number, side="right")) - 1, error) from None
        return items

    def records(self, ids: Sequence[int] | Ints) -> list[bytes]:
        """The bytes of the samples in their tar, headers and all. Raises `BadShard`."""
        numbers = np.asarray(ids, np.int64)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise IndexError(
                f"{self.name} has the samples 0 to {len(self) - 1}, not {numbers.min()} to {numbers.max()}"
            )
        blocks = np.searchsorted(self._first, numbers, side="right") - 1
        last = numbers + 1 == self._first[blocks + 1]
        starts = self._start[numbers].tolist()
        ends = self._start[np.where(last, numbers, numbers + 1)].tolist()
        found = []
        for block, start, end, is_last in zip(blocks.tolist(), starts, ends, last.tolist()):
            size = (self._blocks[block].bytes if is_last else end) - start
            try:
                record = self._opened(block).read(start, size)
            except (Unusable, OSError) as error:
                raise self._bad(block, error) from None
            if len(record) != size:
                raise self._bad(block, Unusable("the tar has become shorter"))
            found.append(record)
        return found

    def _bad(self, number: int, error: Exception) -> BadShard:
        block = self._blocks[number]
        where = f"bytes {block.offset} to {block.offset + block.bytes}"
        return BadShard(self.name, self._names[self._shard_of[number]], f"{where}: {error}")

    def _opened(self, number: int) -> OpenBlock:
        """A block, open and verified by this process."""
        found = self._open.pop(number, None)
        if found is None:
            name = self._names[self._shard_of[number]]
            found = self._place.open(name, self._blocks[number], number not in self._verified)
            self._verified.add(number)
            _reading.add(self)
            while len(self._open) >= max(1, min(_OPEN, _ALL // len(_reading))):
                del self._open[next(iter(self._open))]
        self._open[number] = found
        return found

    def prefetch(self, blocks: Sequence[int]) -> None:
        """Bring blocks of a server to the cache, soonest first, in the background. Never raises."""
        self._place.prefetch([(self._names[self._shard_of[k]], self._blocks[k]) for k in blocks])


class NoSamples(UserError):
    """A set without samples of a split."""


def open_source(
    place: str,
    split: str,
    cache: Path | None = None,
    cache_bytes: int = CACHE_BYTES,
    exclude: Collection[tuple[str, str]] = (),
) -> ShardSource:
    """The samples of a split of one direction's shards.

    ``place``: a directory, ``http(s)://…``, or a URL that fsspec reads (``s3://…``). ``cache``: directory for what
    comes from a server (default: the program's cache directory), which is kept below about ``cache_bytes``.
    ``exclude``: shards to leave out, each as the ``source`` and the ``shard`` of a `BadShard`. Raises `UserError` when
    the place holds no complete set, `BadShard` when a sidecar is damaged or a tar has another size.
    """
    try:
        return _open(_place(place, cache, cache_bytes), split, exclude)
    except Missing as error:
        raise UserError(
            f"{error}: give the directory of one direction's shards; if they are still being generated, wait, or write "
            "it with python -m gen --finish; for tars made elsewhere, python -m tools.index does"
        ) from None


def open_sources(
    place: str,
    split: str,
    cache: Path | None = None,
    cache_bytes: int = CACHE_BYTES,
    exclude: Collection[tuple[str, str]] = (),
    directions: Sequence[str] = DIRECTIONS,
) -> list[ShardSource]:
    """As `open_source`, or the sources of those ``directions`` that ``place`` holds and has samples of the split for.

    Raises `UserError` also when one of them is there without its manifest.
    """
    top = _place(place, cache, cache_bytes)
    found: list[ShardSource] = []
    empty: UserError | None = None
    with suppress(Missing):
        return [_open(top, split, exclude)]
    for direction in directions:
        try:
            found.append(_open(top.inside(direction), split, exclude))
        except Missing:
            if "://" not in place and list(Path(place, direction).glob("*.tar")):
                raise UserError(
                    f"{place}/{direction} has shards and no {MANIFEST}: if they are still being generated, wait, or "
                    "write it with python -m gen --finish; for one direction only, name its directory"
                ) from None
        except NoSamples as error:
            empty = error
    if empty is not None and not found:
        raise empty
    return found or [open_source(place, split, cache, cache_bytes, exclude)]


def _place(place: str, cache: Path | None, cache_bytes: int) -> Place:
    if "://" not in place:
        return LocalPlace(place)
    from train.cache import remote_place  # what servers need is imported only for them

    return remote_place(place, cache, cache_bytes)


def _open(place: Place, split: str, exclude: Collection[tuple[str, str]]) -> ShardSource:
    manifest = _read_manifest(place)
    entries = manifest.splits.get(split, ())
    if not sum(entry.count for entry in entries):
        raise NoSamples(f"{place} has no {split} samples: give another set")
    entries = tuple(entry for entry in entries if (str(place), entry.name) not in exclude)
    if not entries:
        raise UserError(f"{place}: no shard is left once the bad ones are skipped")
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # servers answer one at a time slowly
        try:
            found: Iterable[Shard] = pool.map(lambda entry: _read_shard(place, manifest, entry), entries)
            shards = list(tqdm(found, f"sidecars of {place}", len(entries), disable=None, leave=False, unit=""))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return ShardSource(place, manifest, shards)


def _read_manifest(place: Place) -> Manifest:
    """Raises `Missing` when there is none."""
    try:
        manifest = Manifest.parse(place.file(MANIFEST))
    except Missing:
        raise
    except Unusable as error:
        raise UserError(str(error)) from None
    except ValueError as error:
        raise UserError(f"{place}/{MANIFEST}: {error}; give the generating command again") from None
    if manifest.direction not in DIRECTIONS or Charset(manifest.charset).sha256 != manifest.charset_sha256:
        raise UserError(f"{place}/{MANIFEST}: its direction or charset is damaged; give the generating command again")
    return manifest


def _read_shard(place: Place, manifest: Manifest, entry: ShardEntry) -> Shard:
    """A shard by its sidecar. Raises `BadShard` unless both fit the manifest."""
    try:
        place.check(entry)
        sidecar = Sidecar.parse(place.file(f"{entry.name}.json", entry.sidecar_sha256))
        if (sidecar.name, sidecar.count, sidecar.bytes) != (entry.name, entry.count, entry.bytes):
            raise ValueError("its sidecar is of another shard")
        return _shard(sidecar, manifest.direction)
    except (Unusable, ValueError) as error:
        raise BadShard(str(place), entry.name, str(error)) from None


def _shard(sidecar: Sidecar, direction: str) -> Shard:
    """What reading needs of a sidecar. Raises ValueError when its blocks and samples do not fit."""
    columns = sidecar.columns()
    first = np.array([block.first for block in sidecar.blocks], np.int64)
    count = np.array([block.count for block in sidecar.blocks], np.int64)
    ends = np.concatenate([[0], np.cumsum(columns["record"], dtype=np.int64)])
    if not np.array_equal(first, np.cumsum(count) - count) or count.sum() != sidecar.count or not count.all():
        raise ValueError("its blocks do not hold its samples")
    if not np.array_equal(np.diff(ends[np.append(first, sidecar.count)]), [block.bytes for block in sidecar.blocks]):
        raise ValueError("its blocks do not have the bytes of their samples")
    width, height = (columns[name].astype(np.int32) for name in ("width", "height"))
    long, thick = (width, height) if direction == "horizontal" else (height, width)
    return Shard(
        sidecar.name,
        sidecar.blocks,
        (ends[:-1] - np.repeat(ends[first], count)).astype(np.uint32),
        np.maximum(long * _THICKNESS // np.maximum(thick, 1), 1),
        columns["label"].astype(np.uint16),
        columns.get(RAREST[0]),
    )
