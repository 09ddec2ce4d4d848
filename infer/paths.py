"""Which images a command line names: files, folders with all that is in them, patterns, lists.

    python -m infer scans/ 'more/*.png' --list names.txt

Inside a folder the order is that of names, with numbers in them by value: 2.png comes before 10.png. Of a folder's
files those are taken that have the ending of an image; hidden ones are not. A file that is named itself always is.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

from infer.images import ImageError

ENDINGS = {
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
}
STDIN = "-"
Names: TypeAlias = Iterator["str | ImageError"]

_NUMBER = re.compile("[0-9]+")


def named(text: str) -> Names:
    """The images that an argument names. `ImageError`s stand where there is nothing: an empty folder, one that may not
    be looked into, a pattern that nothing matches. A name that does not exist is given on, to fail when it is read."""
    if os.path.isdir(text) and text != STDIN:
        yield from in_folder(text)
    elif any(char in text for char in "*?[") and not os.path.lexists(text):
        found = _in_order(_matching(text))
        for name in found:
            yield from in_folder(name) if os.path.isdir(name) else (name,)
        if not found:
            yield ImageError("matches nothing", text)
    else:
        yield text


def in_folder(top: str) -> Names:
    """The images under a folder, those of folders inside included; through links too, but never in a circle."""
    empty = True
    todo = [iter([os.path.join(top, "")])]  # of each folder on the way down, the first one standing for what holds it
    above: list[tuple[int, int]] = []  # which folders these are
    while todo:
        path = next(todo[-1], None)
        if path is None:
            todo.pop()
            del above[len(todo) - 1 :]
        elif not path.endswith(os.sep):
            empty = False
            yield path
        else:
            try:
                status = os.stat(path)
                if (status.st_dev, status.st_ino) not in above:
                    todo.append(_listed(path))
                    above.append((status.st_dev, status.st_ino))
            except OSError as error:
                empty = False
                yield ImageError(f"cannot be looked into: {error.strerror}", path)
    if empty:
        yield ImageError("holds no image, that is no file with an ending such as .png or .jpg", top)


def in_list(file: BinaryIO, end: bytes = b"\n") -> Names:
    """The images that a list names, one a line, read as it comes; ``file`` is not buffered. Folders count as always,
    patterns do not."""
    first = True
    for record in _split(file, end):
        if end == b"\n":
            record = record.removesuffix(b"\r")
            if first:
                record = record.removeprefix(b"\xef\xbb\xbf")
        first = False
        if record:
            name = os.fsdecode(record)
            yield from in_folder(name) if os.path.isdir(name) else (os.path.join(".", name) if name == STDIN else name,)


def _split(file: BinaryIO, end: bytes) -> Iterator[bytes]:
    rest = b""
    while data := file.read(1 << 16):
        *whole, rest = (rest + data).split(end)
        yield from whole
    yield rest


def _listed(folder: str) -> Iterator[str]:
    """The paths of images and folders directly in a folder, in order; folders end with a slash."""
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                names.append(entry.name + os.sep)
            elif os.path.splitext(entry.name)[1].lower() in ENDINGS:
                names.append(entry.name)
    return (folder + name for name in _in_order(names))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _matching(pattern: str) -> Iterable[str]:
    """What a pattern of the shell matches; ``**`` stands for any folders, but follows no links to them."""
    parts = pattern.split("/")
    if "**" not in parts:
        return glob.iglob(pattern)
    deep = parts.index("**")
    before = "/".join(parts[:deep]) or ("/" if deep else ".")
    after = "/".join(filter(None, parts[deep + 1 :]))
    tops = [top for top in glob.iglob(before) if os.path.isdir(top)]
    if not after:
        return tops
    try:
        found = [(top, path) for top in tops for path in Path(top).glob(f"**/{after}")]
    except ValueError:  # no pattern that can be followed
        return ()
    return [str(path) for top, path in found if not any(part.startswith(".") for part in path.relative_to(top).parts)]


def _in_order(names: Iterable[str]) -> list[str]:
    found = sorted(names)
    found.sort(key=lambda name: _NUMBER.sub(_by_value, name))
    return found


def _by_value(number: re.Match[str]) -> str:
    """A number as text that sorts by value: its digits, their count first."""
    digits = number[0].lstrip("0")
    return f"0{chr(len(digits))}{digits}"
