"""THE image normalisation: what any line goes through before a network sees it, in training and in reading alike.

A line of either direction becomes grey [height, width] with reading order along the width: a horizontal line as it is,
a vertical one turned a quarter counter-clockwise (its top comes to the left; words that lie on their side in a column
stand upright again). Free of torch, so that reading with ONNX needs none.

    python -m pytest tests/test_train_image.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
STEP = 32  # px; batches are padded to a multiple of it, so that few shapes occur
ROOM = 8  # px of paper behind every line of a batch: right behind its last column a network sees what is no paper
GPU_STEP = 104  # on a GPU: cuDNN takes 2 s for the plans of a training step of each new shape; 520 is 512 + ROOM


@dataclass(frozen=True)
class ImageSpec:
    """How weights want their lines. ``trim``: a reader is to cut off blank margins first; ``shrink``: how larger
    lines are made smaller; ``room``: px of paper that are added behind a line at least."""

    height: int = 32
    trim: bool = True
    shrink: Literal["area", "linear"] = "area"
    room: int = ROOM  # without it the packaged weights read one character too many at the end of 4 % of classic lines


def upright(pixels: Bytes, direction: str) -> Bytes:
    """The line with reading order along the width; grey uint8 [H, W] in and out."""
    return np.ascontiguousarray(np.rot90(pixels)) if direction == "vertical" else pixels


def to_height(pixels: Bytes, spec: ImageSpec) -> Bytes:
    """Scale an upright line to the height of the spec, its width in proportion (rounded down, at least 1)."""
    height = spec.height
    if pixels.shape[0] == height:
        return pixels
    width = max(1, pixels.shape[1] * height // pixels.shape[0])
    how = cv2.INTER_AREA if height < pixels.shape[0] and spec.shrink == "area" else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=how), np.uint8)


def prepare(pixels: Bytes, direction: str, spec: ImageSpec) -> Bytes:
    """Grey uint8 [H, W] as in the file to uint8 [spec.height, width], reading order along the width."""
    return to_height(upright(pixels, direction), spec)


def padded(width: int, room: int = ROOM, step: int = STEP) -> int:
    """What a line ``width`` px long takes in a batch, px."""
    return -(-(width + room) // step) * step


def pad_batch(lines: Sequence[Bytes], room: int = ROOM, step: int = STEP) -> tuple[Bytes, NDArray[np.int64]]:
    """Prepared lines as one array uint8 [B, 1, height, W] and their own widths int64 [B].

    Each is continued to the right with its median, which is paper nearly always, for ``room`` px or more; W is a
    multiple of ``step``.
    """
    widths = np.array([line.shape[1] for line in lines], np.int64)
    width = padded(int(widths.max()), room, step)
    batch = np.empty((len(lines), 1, lines[0].shape[0], width), np.uint8)
    for row, line in zip(batch, lines):
        row[0, :, : line.shape[1]] = line
        if line.shape[1] < width:
            row[0, :, line.shape[1] :] = _median(line)
    return batch, widths


def _median(line: Bytes) -> int:
    counts = np.bincount(line.ravel(), minlength=256)
    return int(np.searchsorted(np.cumsum(counts), line.size / 2))


def normalise(batch: Any) -> Any:
    """Grey 0..255 (float array or tensor) to -1..1: (x / 255 - 0.5) / 0.5."""
    return batch / 127.5 - 1.0
