"""Lines that evaluation recipes draw, for benches that read: of a length, of an alphabet, or as they come.

python -m tools.bench_peers --quick
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gen.charset import Charset, is_gb2312_hanzi
from gen.config import SOURCES, load_recipe
from gen.errors import UserError
from gen.fonts import Font
from gen.paths import cache_dir
from gen.sample import RecipeSource, Stream, open_recipe, render
from train.image import pad_batch

Bytes = NDArray[np.uint8]
SLACK = 32  # px of paper at most that a line is padded with


@dataclass(frozen=True)
class Line:
    """A line, grey uint8 [H, W], and what it says."""

    pixels: Bytes
    text: str


class Pen:
    """Draws lines of a recipe that nobody trains on."""

    def __init__(self, recipe: str, charset: Charset, fonts: Sequence[Font], workers: int) -> None:
        self.name = recipe
        self.source = RecipeSource(load_recipe(recipe), charset, tuple(fonts), (), cache_dir())
        self.recipe = open_recipe(self.source, workers)

    def _stream(self, direction: str) -> Stream:
        return Stream(self.recipe.config.seed, direction, "val")

    def wide(self, width: int, count: int) -> list[Line]:
        """Horizontal lines that are nearly ``width`` px long, continued with paper to just that. Raises `UserError`."""
        found: list[Line] = []
        for number in range(count * 10_000):
            sample = render(self.recipe, self._stream("horizontal"), number)
            if width - SLACK < sample.pixels.shape[1] <= width:
                found.append(Line(pad_batch([sample.pixels], 0, width)[0][0, 0], sample.text))
                if len(found) == count:
                    return found
        raise UserError(f"too few lines of {self.name} are {width} px long with these fonts")

    def any(self, count: int, direction: str = "horizontal") -> list[Line]:
        """Lines as they come."""
        samples = (render(self.recipe, self._stream(direction), number) for number in range(count))
        return [Line(sample.pixels, sample.text) for sample in samples]

    def gb2312(self, count: int, direction: str = "horizontal") -> list[Line]:
        """Lines of the ideographs of GB2312, each equally often, laid out and worn as the recipe says."""
        chars = [char for char in self.source.charset.chars if is_gb2312_hanzi(char)]
        rng = np.random.Generator(np.random.Philox(key=np.array([self.recipe.config.seed, 1], np.uint64)))
        rows = ["".join(rng.permutation(chars)) for _ in range(3)]
        only = [*(f"corpus.{name}=0" for name in SOURCES), "corpus.text=1", "corpus.repeats=0", "corpus.runs=0"]
        with tempfile.TemporaryDirectory(prefix="bench-lines-") as folder:
            file = Path(folder, "gb2312.txt")
            file.write_text("\n".join(rows) + "\n", encoding="utf-8")
            recipe = open_recipe(replace(self.source, config=load_recipe(self.name, only), corpus=(file,)))
            samples = [render(recipe, self._stream(direction), number) for number in range(count)]
        assert all(map(is_gb2312_hanzi, "".join(sample.text for sample in samples)))
        return [Line(sample.pixels, sample.text) for sample in samples]
