"""A large file cut into parts that travel one by one, and put together again where they arrive.

    python -m tools.gpu_pack

Only the standard library is imported: this runs before anything else has arrived.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

ARCHIVE = "carried.tar.xz"  # what `tools.gpu_pack` makes and `tools.gpu_leg` unpacks
_PART = re.compile(r"(.+)\.(\d+)-of-(\d+)")


def cut(source: Path, folder: Path, size: int) -> list[Path]:
    """Write ``source`` as parts of at most ``size`` bytes, equal but for the last: ``folder/NAME.1-of-3`` and so on."""
    total = source.stat().st_size
    count = max(1, -(-total // size))
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    with source.open("rb") as file:
        for number in range(1, count + 1):
            part = folder / f"{source.name}.{number}-of-{count}"
            part.write_bytes(file.read(-(-total // count)))
            parts.append(part)
    return parts


def missing(folder: Path, name: str) -> list[int]:
    """The numbers of the parts of ``name`` that are not in ``folder``; 1 when there is none at all."""
    parts = _parts(folder, name)
    count = max((int(match[3]) for match in parts.values()), default=1)
    return [number for number in range(1, count + 1) if number not in {int(match[2]) for match in parts.values()}]


def join(folder: Path, name: str, target: Path) -> None:
    """Put the parts of ``name`` together as ``target``, which appears whole or not at all. None may be missing."""
    temp = target.with_name(target.name + ".tmp")
    parts = _parts(folder, name)
    with temp.open("wb") as whole:
        for path in sorted(parts, key=lambda path: int(parts[path][2])):
            with path.open("rb") as part:
                shutil.copyfileobj(part, whole)
    os.replace(temp, target)


def _parts(folder: Path, name: str) -> dict[Path, re.Match[str]]:
    found = {path: _PART.fullmatch(path.name) for path in folder.glob(f"{name}.*-of-*")}
    return {path: match for path, match in found.items() if match}
