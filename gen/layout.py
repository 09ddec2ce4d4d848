"""Where each glyph of a line goes: equal cells as the older project set them, or type as a page sets it.

    python -m tools.preview --config gen-classic -o sheet.png

Glyphs are placed by their boxes and by the em box (see `gen.atlas.Page.rise`), never by a font's ascent and descent,
on which fonts disagree. Boxes are int32 rows x, y, width, height of the ink in the image.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gen.kernel import kernel
from gen.text import SPACE
from gen.vertical import CENTRED, CORNER, DIGIT, LETTER, MARK, SMALL, TURNED, UPRIGHT

Ints = npt.NDArray[np.int32]
Singles = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

SPACE_WIDTH = 0.3  # em
DOWN, ACROSS = np.uint8(0), np.uint8(1)  # how a glyph was set: upright, or turned a quarter clockwise


@kernel
def classic(
    chars: Ints,
    chance: Floats,
    table: Ints,
    advance: Singles,
    ascent: int,
    size: int,
    thickness: int,
    canvas: int,
    vertical: bool,
    start: float,
    boxes: Ints,
) -> int:
    """Fill ``boxes`` [n, 4] for a line of the older project; the number of glyphs drawn.

    The cell is the whole part of the string's width by its length; the string's height reaches from the ascender line
    to the lowest ink (Pillow's former ``getsize``). Each glyph is shifted across the line by ``chance`` [n] of the free
    space, at least one pixel wide; the line begins at ``start`` (0 to 1) of the free length. Drawing stops before the
    canvas ends.
    """
    width, height = 0, 1
    for k in range(len(chars)):
        if chars[k] == SPACE:
            width += int(SPACE_WIDTH * size)
        else:
            width += int(advance[chars[k]] * size + 0.5)
            height = max(height, ascent - table[chars[k], 4] + table[chars[k], 2])
    cell = max(width // len(chars), 1)
    pitch, room = (height, thickness - cell) if vertical else (cell, thickness - height)
    place = int(start * max(canvas - len(chars) * pitch, 1))
    drawn = 0
    while drawn < len(chars):
        shift = int(chance[drawn] * max(room, 1))
        x, y = (shift, place) if vertical else (place, shift)
        if chars[drawn] == SPACE:
            boxes[drawn, 0], boxes[drawn, 1], boxes[drawn, 2], boxes[drawn, 3] = x, y, 0, 0
        else:
            glyph = table[chars[drawn]]
            w, h = glyph[1], glyph[2]
            across, along = (thickness, canvas) if vertical else (canvas, thickness)
            boxes[drawn, 0] = max(0, min(x + glyph[3], across - w))
            boxes[drawn, 1] = max(0, min(y + ascent - glyph[4], along - h))
            boxes[drawn, 2], boxes[drawn, 3] = w, h
        drawn += 1
        place += pitch
        if place + pitch > canvas:
            break
    return drawn


@kernel
def horizontal(
    chars: Ints,
    chance: Floats,
    table: Ints,
    advance: Singles,
    stance: Bytes,
    rise: int,
    size: int,
    tracking: float,
    jitter: float,
    middle: bool,
    boxes: Ints,
) -> float:
    """Fill ``boxes`` [n, 4] for glyphs one after another, the em box's top at y = 0; where the pen ends, px.

    ``tracking`` (em) follows each glyph; ``jitter`` (px) moves each across the line by ``chance`` [n]. Full-width marks
    stand where the font has them, or (``middle``) in the middle of their cells.
    """
    pen = 0.0
    for k in range(len(chars)):
        if chars[k] == SPACE:
            boxes[k, 0], boxes[k, 1], boxes[k, 2], boxes[k, 3] = int(pen + 0.5), 0, 0, 0
            pen += (SPACE_WIDTH + tracking) * size
            continue
        glyph = table[chars[k]]
        shift = int(np.floor((2 * chance[k] - 1) * jitter + 0.5))
        boxes[k, 0], boxes[k, 1] = int(pen + 0.5) + glyph[3], rise - glyph[4] + shift
        boxes[k, 2], boxes[k, 3] = glyph[1], glyph[2]
        if middle and advance[chars[k]] > 0.9 and stance[chars[k]] in (CORNER, CENTRED):
            boxes[k, 0] = int(pen + (advance[chars[k]] * size - glyph[1]) / 2 + 0.5)
            if stance[chars[k]] == CORNER:
                boxes[k, 1] = (size - glyph[2]) // 2 + shift
        pen += (advance[chars[k]] + tracking) * size
    return pen


@kernel
def _run_end(chars: Ints, stance: Bytes, begin: int) -> int:
    """Where the ASCII word or number that begins at ``begin`` ends."""
    end = begin
    while end < len(chars) and chars[end] != SPACE:
        if stance[chars[end]] not in (LETTER, DIGIT, MARK):
            break
        end += 1
    return end


@kernel
def vertical(
    chars: Ints,
    chance: Floats,
    table: Ints,
    advance: Singles,
    stance: Bytes,
    rise: int,
    size: int,
    tracking: float,
    jitter: float,
    upright_pair: float,
    sideways: float,
    middle: bool,
    boxes: Ints,
    turned: Bytes,
) -> float:
    """Fill ``boxes`` and ``turned`` [n] for glyphs one below the other in a column of one em; where the pen ends, px.

    Words and numbers lie on their side with probability ``sideways``, otherwise their letters stand one by one;
    a number of two digits stands in one cell with probability ``upright_pair``. Commas and full stops stand in the
    upper right of their cells, or (``middle``) in the middle.
    """
    pen = 0.0
    k = 0
    while k < len(chars):
        if chars[k] == SPACE:
            boxes[k, 0], boxes[k, 1], boxes[k, 2], boxes[k, 3] = 0, int(pen + 0.5), 0, 0
            pen += (SPACE_WIDTH + tracking) * size
            k += 1
            continue
        end = _run_end(chars, stance, k)
        across = 0  # how the run is set: 0 one by one, 1 on its side, 2 a pair in one cell
        if end - k == 2 and stance[chars[k]] == DIGIT and stance[chars[k + 1]] == DIGIT and chance[k] < upright_pair:
            across = 2
        elif end - k > 1 and chance[end - 1] < sideways:
            across = 1
        if across == 2:
            first, second = table[chars[k]], table[chars[k + 1]]
            left = (size - (advance[chars[k]] + advance[chars[k + 1]]) * size) / 2
            for j, glyph, x in ((k, first, left), (k + 1, second, left + advance[chars[k]] * size)):
                boxes[j, 0], boxes[j, 1] = int(np.floor(x + 0.5)) + glyph[3], int(pen + 0.5) + rise - glyph[4]
                boxes[j, 2], boxes[j, 3] = glyph[1], glyph[2]
                turned[j] = DOWN
            pen += (1 + tracking) * size
            k = end
            continue
        for j in range(k, max(end, k + 1)):
            glyph = table[chars[j]]
            kind = stance[chars[j]]
            shift = int(np.floor((2 * chance[j] - 1) * jitter + 0.5))
            place = int(pen + 0.5)
            step = 1.0
            if across == 1 or kind == TURNED:
                turned[j] = ACROSS
                boxes[j, 2], boxes[j, 3] = glyph[2], glyph[1]
                boxes[j, 1] = place + glyph[3]
                if kind == TURNED:  # brackets and dashes: on the middle of the column
                    boxes[j, 0] = (size - glyph[2]) // 2
                else:
                    boxes[j, 0] = size - (rise - glyph[4]) - glyph[2]
                step = advance[chars[j]]
            else:
                turned[j] = DOWN
                boxes[j, 2], boxes[j, 3] = glyph[1], glyph[2]
                x, y = glyph[3], rise - glyph[4]
                if kind == CORNER:
                    x, y = size - glyph[1] - size // 12, size // 12
                    if middle:
                        x, y = (size - glyph[1]) // 2, (size - glyph[2]) // 2
                elif kind == SMALL:
                    x, y = min(x + size // 8, size - glyph[1]), max(y - size // 8, 0)
                elif kind != UPRIGHT or advance[chars[j]] < 0.9:  # centred, and what is narrower than the column
                    x = (size - glyph[1]) // 2
                boxes[j, 0], boxes[j, 1] = x, place + y
            boxes[j, 0] += shift
            pen += (step + tracking) * size
        k = max(end, k + 1)
    return pen


@kernel
def lengths(
    chars: Ints,
    chance: Floats,
    start: Ints,
    font: Ints,
    advance: npt.NDArray[np.float32],
    stance: Bytes,
    standing: bool,
    upright_pair: float,
    sideways: float,
    result: Floats,
) -> None:
    """Fill ``result`` [lines] with how far the pen goes in each line, em, without tracking: what `horizontal` and
    (``standing``) `vertical` would find. Line k has the characters ``start[k]`` to ``start[k + 1]`` - 1 of the font
    ``font[k]``, whose advances are ``advance[font]``."""
    for line in range(len(start) - 1):
        text, chances = chars[start[line] : start[line + 1]], chance[start[line] : start[line + 1]]
        width, k = 0.0, 0
        while k < len(text):
            if text[k] == SPACE:
                width += SPACE_WIDTH
                k += 1
                continue
            end = _run_end(text, stance, k) if standing else k
            run = end - k
            pair = run == 2 and stance[text[k]] == DIGIT and stance[text[k + 1]] == DIGIT and chances[k] < upright_pair
            across = not standing or (run > 1 and chances[end - 1] < sideways)
            if pair:
                width += 1.0
            else:
                for j in range(k, max(end, k + 1)):
                    width += advance[font[line], text[j]] if across or stance[text[j]] == TURNED else 1.0
            k = max(end, k + 1)
        result[line] = width


@kernel
def wander(boxes: Ints, along: int, amount: float, slope: float) -> None:
    """Move boxes across the line by a shallow arc and a slope, in place; at most about ``amount`` px.

    ``along`` is the axis that the line runs on: 0 for x, 1 for y.
    """
    begin, end = boxes[0, along], boxes[-1, along] + boxes[-1, along + 2]
    for k in range(len(boxes)):
        t = (boxes[k, along] + boxes[k, along + 2] / 2 - begin) / max(end - begin, 1)
        curve = (1 - slope) * (8 * t * (1 - t) - 1) + slope * (2 * t - 1)
        boxes[k, 1 - along] += int(np.floor(amount * curve + 0.5))


@kernel
def settle(
    boxes: Ints, along: int, end: int, before: int, after: int, size: int, thickness: int, place: float, shortest: int
) -> int:
    """Move boxes onto the canvas, in place; the canvas's length along the line, px.

    The first ink or pen comes ``before`` px after the canvas begins, its end ``after`` px before it ends. Across, the
    em box and what stands out of it lie at ``place`` (0 to 1) of the free room; what has no room is pushed inside.
    """
    across = 1 - along
    first, last, top, bottom = 0, end, 0, size
    for k in range(len(boxes)):
        first, last = min(first, boxes[k, along]), max(last, boxes[k, along] + boxes[k, along + 2])
        top, bottom = min(top, boxes[k, across]), max(bottom, boxes[k, across] + boxes[k, across + 2])
    room = thickness - (bottom - top)
    shift = (int(place * (room + 1)) if room >= 0 else room // 2) - top
    for k in range(len(boxes)):
        boxes[k, along] += before - first
        boxes[k, across] = max(0, min(boxes[k, across] + shift, thickness - boxes[k, across + 2]))
    return max(before - first + last + after, shortest)
