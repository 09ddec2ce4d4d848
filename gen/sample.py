"""One labelled line: ``render(recipe, stream, index)``, a pure function and the heart of the program.

    python -m tools.preview -o sheet.png

Whatever draws it, on whatever machine and in whatever order, sample ``index`` of a stream is the same to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gen.config import ClassicLayout
from gen.corpus import GROUP
from gen.kernel import kernel
from gen.line import Line
from gen.recipe import Recipe, RecipeSource, open_recipe
from gen.stream import Stream

__all__ = ["Recipe", "RecipeSource", "Sample", "Stream", "open_recipe", "render"]

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Sample:
    """A line as pixels and as text.

    ``pixels``: uint8 [height, width] grey. ``boxes``: int32 [n, 4], x, y, width, height of the ink of each character,
    inside the image (a blank has no area). ``turned``: positions of the characters that lie on their side.
    """

    index: int
    direction: str
    pixels: Bytes
    text: str
    boxes: Ints
    font: str
    size: int
    effects: Mapping[str, float]
    turned: tuple[int, ...]

    def meta_json(self) -> bytes:
        """What the sample's ``.json`` member holds, UTF-8."""
        used = ",".join(f'"{name}":{value:g}' for name, value in self.effects.items())
        return (
            f'{{"index":{self.index},"direction":"{self.direction}","font":{json.dumps(self.font)},'
            f'"size":{self.size},"effects":{{{used}}},"turned":{str(list(self.turned)).replace(" ", "")},'
            f'"boxes":{json_rows(self.boxes)}}}'
        ).encode()


def json_rows(rows: Ints) -> str:
    """A matrix of whole numbers from 0 on as JSON; a kernel, for `json` would cost as much as drawing the glyphs."""
    buffer = np.empty(rows.size * 11 + len(rows) * 2 + 2, np.uint8)
    return buffer[: _write_rows(rows, buffer)].tobytes().decode("ascii")


@kernel
def _write_rows(rows: Ints, buffer: Bytes) -> int:
    """Fill ``buffer`` with ``[[1,2],[3,4]]`` for rows 1 2 and 3 4; the number of bytes."""
    size = 1
    buffer[0] = 91  # [
    for k in range(rows.shape[0]):
        if k:
            buffer[size] = 44  # ,
            size += 1
        buffer[size] = 91
        size += 1
        for j in range(rows.shape[1]):
            if j:
                buffer[size] = 44
                size += 1
            value, power = rows[k, j], 1
            while power * 10 <= value:
                power *= 10
            while power:
                buffer[size] = 48 + value // power % 10
                power //= 10
                size += 1
        buffer[size] = 93  # ]
        size += 1
    buffer[size] = 93
    return size + 1


def render(recipe: Recipe, stream: Stream, index: int) -> Sample:
    """Sample ``index`` of a stream: pure, so equal arguments give equal pixels, text and boxes."""
    group, k = divmod(index, GROUP)
    deal = recipe.deck.deal(stream, group)
    font, first, last = int(deal.font[k]), int(deal.start[k]), int(deal.start[k + 1])
    row: list[float] = deal.columns[k].tolist()
    line = Line(recipe, stream.direction == "vertical", font, deal.chars[first:last], deal.chance[first:last], row)
    if isinstance(recipe.config.layout, ClassicLayout):
        line.set_classic(recipe.config.layout)
    else:
        line.set_type()
    line.finish()
    return Sample(
        index=index,
        direction=stream.direction,
        pixels=line.image,
        text=recipe.letters[line.chars].view(f"<U{len(line.chars)}").item(),
        boxes=line.boxes,
        font=recipe.fonts[font].name,
        size=line.page.size,
        effects=line.used,
        turned=tuple(np.flatnonzero(line.turned).tolist()) if line.vertical else (),
    )
