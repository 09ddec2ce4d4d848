"""Check one sample of a shard, from its tar headers to its boxes: what ``python -m tools.verify`` does to each."""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np

from gen import tar
from gen.contract import Sidecar
from train.members import parse

_MAGIC = {"jpg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n", "webp": b"RIFF"}


def check_sample(
    record: bytes, key: str, index: int, sidecar: Sidecar, row: dict[str, int], charset: frozenset[str]
) -> None:
    """Raise ValueError unless a sample's bytes are what the sidecar and the contract say."""
    image, text, meta = _members(record, key, sidecar.image)
    if len(image) != row["image"]:
        raise ValueError(f"the image has {len(image)} bytes, by the sidecar {row['image']}")
    pixels = None
    if image.startswith(_MAGIC[sidecar.image]):
        pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError(f"the image is not a {sidecar.image} that decodes")
    height, width = pixels.shape[:2]
    if (width, height) != (row["width"], row["height"]):
        raise ValueError(f"the image is {width}x{height}, by the sidecar {row['width']}x{row['height']}")
    label = text.decode()
    _check_label(label, row["label"], charset)
    if meta is not None:
        _check_meta(json.loads(meta), index, sidecar.direction, label, width, height)


def check_indexed(record: bytes, row: dict[str, int], charset: frozenset[str]) -> None:
    """Raise ValueError unless a sample of a tar made elsewhere is what the sidecar says."""
    item = parse(record, ours=False)
    height, width = item.pixels.shape
    if (width, height) != (row["width"], row["height"]):
        raise ValueError(f"the image is {width}x{height}, by the sidecar {row['width']}x{row['height']}")
    _check_label(item.text, row["label"], charset)


def _check_label(label: str, length: int, charset: frozenset[str]) -> None:
    """Raise ValueError unless a label has its length and no character outside the charset."""
    if len(label) != length or not label:
        raise ValueError(f"the label has {len(label)} characters, by the sidecar {length}")
    # A space is a class of its own, not a line of the charset; it only stands alone between other characters.
    spaces = label != label.strip(" ") or "  " in label
    if (outside := sorted(set(label) - charset)) and (outside != [" "] or spaces):
        raise ValueError(f"the label {label!r} has characters outside the charset: {outside}")


def _members(record: bytes, key: str, image: str) -> tuple[bytes, bytes, bytes | None]:
    """The contents of a record's members. Raises ValueError unless every header and padding byte is right."""
    contents: list[bytes] = []
    position = 0
    for suffix in (image, "txt", "json"):
        if suffix == "json" and position == len(record):
            return contents[0], contents[1], None
        header = record[position : position + tar.RECORD]
        size = int(header[124:135] or b"x", 8)
        name = f"{key}.{suffix}".encode()
        if header != tar.header(name, size):
            raise ValueError(f"the header of {name.decode()} is not as it should be (name there: {header[:32]!r})")
        data = record[position + tar.RECORD : position + tar.RECORD + size]
        position += tar.padded(size)
        if len(data) != size or record[position - len(tar.padding(size)) : position] != tar.padding(size):
            raise ValueError(f"{name.decode()} is cut short or badly padded")
        contents.append(data)
    if position != len(record):
        raise ValueError(f"{len(record) - position} bytes follow its last member")
    return contents[0], contents[1], contents[2]


def _check_meta(meta: Any, index: int, direction: str, label: str, width: int, height: int) -> None:
    """Raise ValueError unless the json's index, direction and boxes fit the sample."""
    if not isinstance(meta, dict) or meta.get("index") != index or meta.get("direction") != direction:
        raise ValueError("its json is of another sample")
    boxes = meta.get("boxes")
    if not isinstance(boxes, list) or len(boxes) != len(label):
        raise ValueError(f"its json does not have a box for each of its {len(label)} characters")
    for char, box in zip(label, boxes):
        if not isinstance(box, list) or len(box) != 4 or any(type(number) is not int for number in box):
            raise ValueError(f"box {box} is not four whole numbers")
        x, y, w, h = box
        least = 0 if char == " " else 1  # a space has no ink
        if min(x, y) < 0 or min(w, h) < least or x + w > width or y + h > height:
            raise ValueError(f"box {box} is not inside the image of {width}x{height}")
