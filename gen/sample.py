"""One labelled line: ``render(recipe, stream, index)``, a pure function and the heart of the program.

    python -m tools.preview -o sheet.png

Whatever draws it, on whatever machine and in whatever order, sample ``index`` of a stream is the same to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gen.config import ClassicLayout
from gen.corpus import GROUP
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
            f'"size":{self.size},"effects":{{{used}}},"turned":{_compact(list(self.turned))},'
            f'"boxes":{_compact(self.boxes.tolist())}}}'
        ).encode()


def _compact(values: list[Any]) -> str:
    return str(values).replace(" ", "")


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
    chars = recipe.charset.chars
    return Sample(
        index=index,
        direction=stream.direction,
        pixels=line.image,
        text="".join([chars[char] if char >= 0 else " " for char in line.chars.tolist()]),
        boxes=line.boxes,
        font=recipe.fonts[font].name,
        size=line.page.size,
        effects=line.used,
        turned=tuple(np.flatnonzero(line.turned).tolist()) if line.vertical else (),
    )
