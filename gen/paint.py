"""Pixels of a line: glyphs onto a canvas, canvas onto paper, and what bends them. Integer arithmetic throughout.

    python -m tools.preview --rows effect -o sheet.png

A mask is uint8 [height, width], how much ink covers each pixel. Images are uint8 [height, width] grey.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gen.kernel import kernel

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Signed = npt.NDArray[np.int8]


@kernel
def glyphs(mask: Bytes, bitmaps: Bytes, table: Ints, chars: Ints, boxes: Ints, turned: Bytes) -> None:
    """Draw glyphs at ``boxes`` [n, 4], the darker of two pixels where they meet.

    What lies outside is cut, and the boxes with it, in place. ``turned`` [n] is 1 for a glyph on its side. Blanks
    (negative in ``chars`` [n]) draw nothing.
    """
    rows, columns = mask.shape
    for k in range(len(chars)):
        if chars[k] < 0:
            continue
        offset, stride, tall = table[chars[k], 0], table[chars[k], 1], table[chars[k], 2]
        x, y, w, h = boxes[k]
        left, right, top, bottom = max(0, -x), min(w, columns - x), max(0, -y), min(h, rows - y)
        for r in range(top, bottom):
            target = mask[y + r, x + left : x + right]  # slices: without them each access asks for its sign
            if turned[k]:  # the image's row is the glyph's column, read upwards
                for c in range(len(target)):
                    target[c] = max(target[c], bitmaps[offset + (tall - 1 - left - c) * stride + r])
            else:
                source = bitmaps[offset + r * stride + left : offset + r * stride + right]
                for c in range(len(target)):
                    target[c] = max(target[c], source[c])
        boxes[k, 0], boxes[k, 1] = x + left, y + top
        boxes[k, 2], boxes[k, 3] = max(right - left, 0), max(bottom - top, 0)


@kernel
def cover(image: Bytes, mask: Bytes, level: int, opacity: int) -> None:
    """Lay ink of grey ``level`` over an image where the mask says, in place; ``opacity`` 0 to 256."""
    rows, columns = image.shape
    for r in range(rows):
        for c in range(columns):
            share = (mask[r, c] * opacity) >> 8
            mixed = image[r, c] * (255 - share) + level * share + 127
            image[r, c] = (mixed + 1 + (mixed >> 8)) >> 8


@kernel
def mix(one: Bytes, other: Bytes, share: int) -> None:
    """``one`` becomes ``share``/256 of ``other`` and the rest of itself, in place."""
    rows, columns = one.shape
    for r in range(rows):
        for c in range(columns):
            one[r, c] = (one[r, c] * (256 - share) + other[r, c] * share + 128) >> 8


@kernel
def invert_into(mask: Bytes, paper: Bytes, level: int, invert: bool, image: Bytes) -> None:
    """``image`` = ink of grey ``level`` over ``paper`` where the mask says; the negative of it when ``invert``."""
    rows, columns = image.shape
    flip = 255 if invert else 0
    for r in range(rows):
        for c in range(columns):
            mixed = paper[r, c] * (255 - mask[r, c]) + level * mask[r, c] + 127
            image[r, c] = ((mixed + 1 + (mixed >> 8)) >> 8) ^ flip


@kernel
def noisy_paper(paper: Bytes, level: int, pool: Bytes, offset: int, share: int) -> None:
    """Fill with ``level``, of which ``share``/256 is replaced by the flat ``pool`` from ``offset`` on."""
    rows, columns = paper.shape
    base = level * (256 - share)
    for r in range(rows):
        line, noise = paper[r], pool[offset + r * columns : offset + (r + 1) * columns]
        for c in range(columns):
            line[c] = (base + noise[c] * share) >> 8


@kernel
def slope(paper: Bytes, along: int, across: int) -> None:
    """Make paper lighter towards one end and one edge: by ``along`` and ``across`` grey levels over its length."""
    rows, columns = paper.shape
    for r in range(rows):
        base = (across * (2 * r - rows) * 128) // rows
        for c in range(columns):
            value = paper[r, c] + ((base + (along * (2 * c - columns) * 128) // columns) >> 8)
            paper[r, c] = max(0, min(255, value))


@kernel
def add(image: Bytes, pool: Signed, top: int, left: int, gain: int, relative: bool) -> None:
    """Add the window of ``pool`` at a corner (32 is one sigma) in place: sigma is ``gain``/256 grey levels.

    When ``relative``, sigma is ``gain``/65536 of each pixel's own grey value.
    """
    rows, columns = image.shape
    for r in range(rows):
        line, noise = image[r], pool[top + r, left : left + columns]
        for c in range(columns):
            strength = np.int32(noise[c]) * np.int32(gain)
            if relative:
                strength = (strength >> 4) * np.int32(line[c]) >> 4
            line[c] = max(0, min(255, line[c] + ((strength + 4096) >> 13)))


@kernel
def salt(image: Bytes, pool: Signed, first: int, count: int) -> None:
    """Make ``count`` pixels black or white, at places that the bits of ``pool`` from ``first`` on name, in place."""
    rows, columns = image.shape
    values = pool.reshape(-1)
    for k in range(count):
        start = (first + 5 * k) % (values.size - 5)
        draw = 0
        for j in range(5):  # the lowest bits of noise are as good as coins
            draw = (draw << 5) | (values[start + j] & 31)
        place = (draw >> 1) % (rows * columns)
        image[place // columns, place % columns] = 255 * (draw & 1)


@kernel
def convolve(image: Bytes, weights: Ints, shift: int, result: Bytes) -> None:
    """``result`` = image filtered by odd-sized ``weights`` whose sum is 2**shift; the edge pixel is repeated."""
    rows, columns = image.shape
    tall, wide = weights.shape
    for r in range(rows):
        total = np.full(columns, 1 << (shift - 1), np.int32)
        for i in range(tall):
            line = image[max(0, min(rows - 1, r + i - tall // 2))]
            for j in range(wide):
                weight, move = weights[i, j], j - wide // 2
                if weight:
                    for c in range(columns):
                        total[c] += weight * line[max(0, min(columns - 1, c + move))]
        for c in range(columns):
            result[r, c] = total[c] >> shift


@kernel
def bend(source: Bytes, result: Bytes, scale: Floats, offset: Floats, step: float, lean: float, begin: float) -> None:
    """Resample ``source`` into ``result``, bilinear: pixel (x, y) comes from

        v = scale[x] * y + offset[x],   u = step * x + lean * v + begin

    with u, v the column and row in the source; outside is 0. Fixed point, 1/256 of a pixel.
    """
    rows, columns = result.shape
    high, wide = source.shape
    framed = np.zeros((high + 3, wide + 3), np.uint8)  # outside becomes inside: no question at each pixel
    framed[1 : high + 1, 1 : wide + 1] = source
    flat, stride = framed.reshape(-1), wide + 3
    one = 1 << 16
    tilt, base, start = np.empty(columns, np.int64), np.empty(columns, np.int64), np.empty(columns, np.int64)
    for x in range(columns):
        tilt[x], base[x] = int(np.floor(scale[x] * one)), int(np.floor((offset[x] + 1) * one))
        start[x] = int(np.floor((step * x + begin + 1 - lean) * one))
    slant = int(np.floor(lean * one))
    for y in range(rows):
        line = result[y]
        for x in range(columns):
            v = tilt[x] * y + base[x]
            u = start[x] + ((slant * v) >> 16)
            v = min(max(v, 0), ((high + 1) << 16) + 65535)
            u = min(max(u, 0), ((wide + 1) << 16) + 65535)
            au, av = (u >> 8) & 255, (v >> 8) & 255
            place = np.uint64((v >> 16) * stride + (u >> 16))
            first = flat[place] * (256 - au) + flat[place + np.uint64(1)] * au
            place += np.uint64(stride)
            second = flat[place] * (256 - au) + flat[place + np.uint64(1)] * au
            line[x] = (first * (256 - av) + second * av + 32768) >> 16
