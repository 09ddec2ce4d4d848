"""Find the samples in a tar that was made elsewhere: what `python -m tools.index` does to each.

Members are grouped as WebDataset does it: neighbours whose names are equal up to the first dot are a sample. Each is
then read as training will read it, so what is indexed can be trained on.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gen.contract import BLOCK_BYTES, Block
from gen.tar import RECORD
from train.members import IMAGES, BadSample, key_and_suffix, parse

_LARGEST = 65_535  # what a sidecar can hold for a side of an image and the length of a label


@dataclass
class Group:
    """The members of a sample: its key, where they are in the tar, and the suffix and size of each."""

    key: str
    start: int
    end: int = 0
    members: list[tuple[str, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Scan:
    """What a tar holds, in few bytes. ``columns`` are those of a sidecar; ``tall``: images higher than wide."""

    name: str
    packed: bytes  # the labels, one a line in UTF-8, compressed
    bytes: int
    sha256: str
    blocks: tuple[Block, ...]
    columns: tuple[NDArray[Any], ...]
    characters: Counter[str]
    tall: int
    left_out: list[tuple[str, str]]

    @property
    def count(self) -> int:
        return len(self.columns[0])

    @property
    def labels(self) -> list[str]:
        """Of the samples, in order."""
        return zlib.decompress(self.packed).decode().split("\n")


def groups(archive: tarfile.TarFile) -> Iterator[Group]:
    """The samples of a tar, in order."""
    group: Group | None = None
    for member in archive:
        key, suffix = key_and_suffix(member.name)
        if not member.isreg() or member.issparse() or not key:
            continue
        if group is None or key != group.key:
            if group is not None:
                yield group
            group = Group(key, member.offset)
        group.members.append((suffix, member.size))
        group.end = member.offset_data + -(-member.size // RECORD) * RECORD
    if group is not None:
        yield group


def scan(path: Path, charset: frozenset[str] | None, block_bytes: int = BLOCK_BYTES) -> Scan:
    """Read a tar. ``charset``: leave out labels with other characters (None: take any)."""
    kept: list[Group] = []
    rows: list[tuple[int, int, int, int]] = []  # of the columns but the first
    labels: list[str] = []
    left_out: list[tuple[str, str]] = []
    with path.open("rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                found = list(groups(archive))
        except tarfile.TarError as error:
            reason = f"not a plain tar that is whole ({error})"
            return Scan(path.stem, b"", 0, "", (), (np.empty(0),) * 5, Counter(), 0, [(path.name, reason)])
        size = file.seek(0, os.SEEK_END)
        for group in found:
            group.end = min(group.end, size)  # the last member of a tar without an end may lack its padding
            try:
                row, text = _check(group, os.pread(file.fileno(), group.end - group.start, group.start), charset)
            except BadSample as error:
                left_out.append((f"{path.name}/{error.key}", error.reason))
                continue
            kept.append(group)
            rows.append(row)
            labels.append(text)
        tall = sum(height > width for _, width, height, _ in rows)
        blocks, sizes = _blocks(file, kept, block_bytes)
        file.seek(0)
        digest = hashlib.sha256()
        while piece := file.read(1 << 20):
            digest.update(piece)
    columns = tuple(np.array(column, np.uint32) for column in (sizes, *([row[k] for row in rows] for k in range(4))))
    packed, characters = zlib.compress("\n".join(labels).encode()), Counter("".join(labels))
    return Scan(path.stem, packed, size, digest.hexdigest(), blocks, columns, characters, tall, left_out)


def _check(group: Group, record: bytes, charset: frozenset[str] | None) -> tuple[tuple[int, int, int, int], str]:
    """Bytes of the image, width, height and length of the label; the label. Raises `BadSample`."""
    suffixes = [suffix for suffix, _ in group.members]
    if len(set(suffixes)) < len(suffixes):
        raise BadSample(group.key, "two members of the same kind")
    item = parse(record, ours=False)
    height, width = item.pixels.shape
    if not item.text:
        raise BadSample(group.key, "an empty label")
    if charset is not None and not charset.issuperset(item.text):
        raise BadSample(group.key, "characters outside the charset")
    if max(height, width, len(item.text)) > _LARGEST:
        raise BadSample(group.key, f"larger than {_LARGEST:,} px or characters")
    image = next(size for suffix, size in group.members if suffix in IMAGES)
    return (image, width, height, len(item.text)), item.text


def _blocks(file: BinaryIO, kept: list[Group], limit: int) -> tuple[tuple[Block, ...], list[int]]:
    """The blocks over the samples, and each sample's record: it reaches to the next one's in its block, across what
    was left out between them. Blocks begin and end with a sample."""
    blocks: list[Block] = []
    sizes: list[int] = []
    first = 0
    for k, group in enumerate(kept):
        begin = kept[first].start
        if group.end - begin >= limit or k == len(kept) - 1:
            file.seek(begin)
            sha256 = hashlib.sha256(file.read(group.end - begin)).hexdigest()
            blocks.append(Block(begin, group.end - begin, first, k + 1 - first, sha256))
            sizes.append(group.end - group.start)
            first = k + 1
        else:
            sizes.append(kept[k + 1].start - group.start)
    return tuple(blocks), sizes
