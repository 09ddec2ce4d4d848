"""Cut wide blank margins off a line: a network trained on lines that fill their image reads nothing in a large void.

Ink is where edges are: light that changes slowly has none. Faint edges count as well, down to what the paper itself has
everywhere; where ink does not stand out from that, nothing is cut. Nor is it where specks are in the margin. The cut is
made well outside of the ink. At the ends it is made only where the margin is far wider than those the network learned
from; across the line also where small type stands in a narrow margin, for it is read better when it is enlarged.

    python -m pytest tests/test_infer_trim.py
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
KEPT = 0.15  # of the ink's height, left on each side; lines that were read like this had the fewest errors
FILLED = 0.75  # ink that takes this share of the height is left as it is across the line
VOID, ROOM = 0.4, 32  # ink of less than this share stands in a void when so many px are blank
ZOOM = 1.4  # without a void a line is enlarged at most so much: one of commas or lower case is low, but not small
LEGIBLE = 10  # px; lower ink is no text but a dash or a dot, and its height says nothing
WIDE = 1.5  # margins before and after the text up to this many heights are left, too
FAINT = 12  # grey levels that an edge of ink has at least
SHARE = 0.25  # of the strongest edge, likewise where that is less
QUIET = 0.1  # share of the image that is surely paper
NOISE = 2.8  # the strongest edge in noise is this many times the one that a share of QUIET stays below
CLEAR = 2  # times the noise that the strongest edge of ink has


@dataclass(frozen=True)
class Crop:
    """What is left of an image: the rows from ``top`` to ``bottom``, the columns from ``left`` to ``right``, px."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, pixels: Bytes) -> Bytes:
        """That part of the image."""
        return pixels[self.top : self.bottom, self.left : self.right]


def find_crop(pixels: Bytes) -> Crop:
    """Where the line is in an upright image, grey uint8 [H, W]: all of it where ink fills it, or there is none."""
    height, width = pixels.shape
    whole = Crop(0, height, 0, width)
    reach = min(9, max(5, height // 50 | 1)) // 2  # px; in large images edges are wider
    x, y, w, h = cv2.boundingRect(_ink(pixels, reach))
    if not w:
        return whole
    left, right = _within(x, x + w, width, reach)
    top, bottom = _within(y, y + h, height, reach)
    top, bottom = _across(top, bottom, height)
    margin = round(0.5 * (bottom - top))
    wide = WIDE * (bottom - top)
    return Crop(
        top,
        bottom,
        max(0, left - margin) if left > wide else 0,
        min(width, right + margin) if width - right > wide else width,
    )


def _across(top: int, bottom: int, height: int) -> tuple[int, int]:
    """The rows that are kept, given those with ink."""
    ink = bottom - top
    if not LEGIBLE <= ink < FILLED * height:
        return 0, height
    kept = ink + 2 * max(2, round(KEPT * ink))
    start = top - (kept - ink) // 2
    if ink >= min(VOID * height, height - ROOM):
        kept = max(kept, math.ceil(height / ZOOM))
        start = min(max(0, top - (kept - ink) // 2), height - kept)
    return max(0, start), min(height, start + kept)


def _within(start: int, end: int, size: int, reach: int) -> tuple[int, int]:
    """From where to where there is ink, given what is within ``reach`` of it."""
    return start + reach if start else 0, end - reach if end < size else size


def _ink(pixels: Bytes, reach: int) -> Bytes:
    """What has an edge of ink within ``reach`` px, uint8 [H, W], 0 where there is none.

    Nothing is smoothed first: specks only make the crop larger, but a stroke of one pixel would be lost.
    """
    edges = cv2.morphologyEx(pixels, cv2.MORPH_GRADIENT, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    quiet = int(QUIET * edges.size)
    noise = NOISE * int(np.partition(edges, quiet, axis=None)[quiet])
    strongest = int(edges.max())
    if strongest <= max(FAINT, CLEAR * noise):
        return np.zeros(edges.shape, np.uint8)
    return (edges > max(noise, min(FAINT, SHARE * strongest))).view(np.uint8)
