"""The bytes of one sample in a shard to its line: tar headers, image, label, boxes.

A record is what the sidecar's ``record`` column measures: the members of one sample with their tar headers, in any
order and any flavour of tar (ustar, GNU with long names, pax), since shards may be made elsewhere.

    python -m pytest tests/test_train_shards.py -k record
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from gen.tar import RECORD, padded
from train.source import Item

IMAGES = ("jpg", "jpeg", "png", "webp")  # suffixes of members that hold the image; the first one of a sample counts
LABEL = "txt"
_LONG_NAME, _PAX, _PAX_GLOBAL = b"L", b"x", b"g"
_FILES = (b"0", b"\0", b"7")  # type flags of regular files
# WebDataset's rule: directory and name up to the first dot of the name are the key, the rest is the suffix.
_KEY = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")
_META = re.compile(r"__[^/]*__($|/)")  # names that it passes over


class BadSample(ValueError):
    """A record that holds no line: the ``key`` of the sample, and the ``reason``."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"sample {key}: {reason}")
        self.key, self.reason = key, reason


def key_and_suffix(name: str) -> tuple[str, str]:
    """What a member's name says by WebDataset's rule, the suffix in lower case; two empty strings if nothing."""
    match = None if _META.match(name) else _KEY.match(name)
    return (match[1], match[2].lower()) if match else ("", "")


def members(record: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the regular files in a run of tar members. Raises ValueError where it is not one."""
    position, long_name = 0, ""
    while position < len(record) and record[position]:
        kind = record[position + 156 : position + 157]
        try:
            size = int(record[position + 124 : position + 136].rstrip(b"\0 "), 8)
        except ValueError:
            raise ValueError(f"there is no tar header at byte {position} of a sample") from None
        data = record[position + RECORD : position + RECORD + size]
        if len(data) != size:
            raise ValueError("a sample ends inside a tar member")
        if kind == _LONG_NAME:
            long_name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif kind == _PAX:
            long_name = _pax_path(data) or long_name
        elif kind != _PAX_GLOBAL:
            if kind in _FILES:
                yield long_name or _name(record, position), data
            long_name = ""
        position += padded(size)


def _name(record: bytes, position: int) -> str:
    """The name in a header; ustar keeps the first part of a long one apart."""
    name = record[position : position + 100].partition(b"\0")[0]
    if record[position + 257 : position + 263] == b"ustar\0":
        prefix = record[position + 345 : position + 500].partition(b"\0")[0]
        name = prefix + b"/" + name if prefix else name
    return name.decode("utf-8", "surrogateescape")


def _pax_path(data: bytes) -> str:
    """The ``path`` in a pax header, whose lines are ``LENGTH KEY=VALUE``; empty when it has none."""
    position, path = 0, ""
    while position < len(data):
        digits = data[position : position + 20].partition(b" ")[0]
        length = int(digits)
        name, _, value = data[position + len(digits) + 1 : position + length - 1].partition(b"=")
        if name == b"path":
            path = value.decode("utf-8", "surrogateescape")
        position += max(length, 1)
    return path


def decode(image: bytes) -> NDArray[np.uint8] | None:
    """The image in a file's bytes as grey uint8 [H, W], None when it is none."""
    try:
        pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error:  # no bytes, or a size beyond OpenCV's limits
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


def clean(label: str) -> str:
    """The text of a label made elsewhere: any white space is one space, and none stands at the ends."""
    return " ".join(label.split())


def parse(record: bytes, ours: bool) -> Item:
    """The line in a sample's record. Raises `BadSample`.

    ``ours``: the label is taken to the letter and the json believed, as ``shards/README.md`` says; otherwise the label
    is cleaned, and a json may mean anything.
    """
    key = ""
    found: dict[str, bytes] = {}
    try:
        for name, data in members(record):
            stem, suffix = key_and_suffix(name)
            key = key or stem
            if stem and stem != key:
                break
            if stem:
                found.setdefault("image" if suffix in IMAGES else suffix, data)
        if missing := {"image", LABEL} - found.keys():
            raise ValueError(f"no {' and no '.join(sorted(missing))}")
        pixels = decode(found["image"])
        if pixels is None:
            raise ValueError("the image cannot be decoded")
        text = found[LABEL].decode("utf-8" if ours else "utf-8-sig")
        if not ours:
            return Item(key, pixels, clean(text))
        if "json" not in found:
            return Item(key, pixels, text)
        try:
            meta = json.loads(found["json"])
        except UnicodeDecodeError:
            raise ValueError("the json is not UTF-8") from None
        return Item(key, pixels, text, np.array(meta["boxes"], np.int32).reshape(-1, 4), meta["font"], meta["size"])
    except UnicodeDecodeError:
        raise BadSample(key, "the label is not UTF-8") from None
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise BadSample(key, str(error)) from None
