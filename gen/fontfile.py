"""The outside of a font file: is it whole, how many faces has it, how does a variable one open.

    python -c "from pathlib import Path; from gen.fontfile import faces_in; print(faces_in(Path('font.ttc')))"

FreeType opens a file that was cut short as if nothing had happened and draws blanks, so the table directory is
compared with the file's size first.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from gen.errors import UserError

SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")

_MAGIC = (b"\x00\x01\x00\x00", b"OTTO", b"true", b"typ1")
_REGULAR = 400.0
_CHUNK = 1 << 20

Axes = tuple[tuple[str, float], ...]


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; UserError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise _unreadable(path, error) from None
    return digest.hexdigest()


def sha256_files(files: Sequence[Path]) -> list[str]:
    """SHA-256 of each file, in parallel: hashing releases the interpreter lock."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(sha256_file, files))


def faces_in(path: Path) -> int:
    """Return how many faces a font file has; UserError when it is missing, empty, cut short or no font."""
    try:
        with path.open("rb") as file:
            return len(_directories(path, file))
    except OSError as error:
        raise _unreadable(path, error) from None


def instance(path: Path, face: int, asked: Axes) -> Axes:
    """Complete the axes that a variable font opens at: Regular where its weight spans 400, unless `asked` has one.

    Return () for a font without axes. The file must have passed `faces_in`. The asked values are not checked here:
    `gen.raster.Face` knows the ranges.
    """
    with path.open("rb") as file:
        tables = _directories(path, file)[face]
        if "fvar" not in tables:
            return asked
        offset, length = tables["fvar"]
        file.seek(offset)
        table = file.read(length)
    if "wght" in dict(asked) or len(table) < 16:
        return tuple(sorted(asked))
    start, _, count, size = struct.unpack(">4H", table[4:12])
    for position in range(start, min(start + count * size, len(table) - 15), size or 1):
        tag, low, _, high = struct.unpack(">4s3i", table[position : position + 16])
        if tag == b"wght" and low <= _REGULAR * 65536 <= high:
            return tuple(sorted((*asked, ("wght", _REGULAR))))
    return tuple(sorted(asked))


def _directories(path: Path, file: BinaryIO) -> list[dict[str, tuple[int, int]]]:
    """The table directory of each face: tag -> (offset, length), every one of them inside the file."""
    size = os.fstat(file.fileno()).st_size
    magic = file.read(4)
    if not size:
        raise UserError(f"the font file {path} is empty; fetch it again or leave it out")
    if magic != b"ttcf" and magic not in _MAGIC:
        raise UserError(f"{path} is not a TTF, OTF or TTC font; leave it out")
    try:
        starts = [0]
        if magic == b"ttcf":
            _version, count = struct.unpack(">2I", file.read(8))
            starts = [start for (start,) in struct.iter_unpack(">I", _exactly(file, 4 * min(count, size)))]
        return [_directory(file, start, size) for start in starts]
    except (EOFError, struct.error):
        raise UserError(f"the font file {path} is cut short ({size} bytes); fetch it again or leave it out") from None


def _directory(file: BinaryIO, start: int, size: int) -> dict[str, tuple[int, int]]:
    file.seek(start)
    (count,) = struct.unpack(">4xH6x", _exactly(file, 12))
    tables = {}
    for tag, _checksum, offset, length in struct.iter_unpack(">4s3I", _exactly(file, 16 * count)):
        if offset + length > size:
            raise EOFError
        tables[tag.decode("latin-1")] = (offset, length)
    if not tables:
        raise EOFError
    return tables


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise EOFError
    return data


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot read the font file {path}: {error.strerror}; check the path")
