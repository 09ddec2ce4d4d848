"""A run in TensorBoard: curves, and pictures of unseen lines with truth and reading.

    tensorboard --logdir runs/h/tensorboard

All figures are in ``metrics.jsonl`` too, so a run goes on without TensorBoard when the disk fails.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont


class Board:
    """The event files in ``folder``; goes on at ``step`` after what an earlier run drew. ``say`` tells of a failure."""

    def __init__(self, folder: Path, step: int, say: Callable[[str], None]) -> None:
        self._folder, self._step, self._say = folder, step, say
        self._writer: Any = None
        self._failed = False
        self._hook = threading.excepthook

    def curves(self, group: str, values: Mapping[str, Any], names: Sequence[str]) -> None:
        """A point of each curve that has a value, at ``values["step"]``."""

        def draw(to: Any) -> None:
            for name in names:
                if name in values:
                    to.add_scalar(f"{group}/{name}", values[name], values["step"])

        self._draw(draw)

    def pictures(self, lines: Sequence[tuple[NDArray[np.uint8], str, str]], step: int) -> None:
        """Lines as `sheet` shows them."""
        self._draw(lambda to: to.add_image("lines", sheet(lines), step, dataformats="HW"))

    def close(self) -> None:
        """Write what is not written yet."""
        if self._writer is not None:
            self._draw(lambda to: to.close())
            threading.excepthook = self._hook

    def _draw(self, draw: Callable[[Any], None]) -> None:
        if self._failed:
            return
        try:
            if self._writer is None:
                from torch.utils.tensorboard import SummaryWriter  # it takes seconds

                self._writer = SummaryWriter(str(self._folder), purge_step=self._step + 1)
                threading.excepthook = self._told
            draw(self._writer)
        except OSError as error:
            self._failed = True
            self._say(f"{self._folder} cannot be written: {error.strerror or error}; no more curves are drawn there")

    def _told(self, args: threading.ExceptHookArgs) -> None:
        """The thread that writes event files fails with a traceback, although the next call raises the same."""
        if not issubclass(args.exc_type, OSError):
            self._hook(args)


def sheet(lines: Sequence[tuple[NDArray[np.uint8], str, str]]) -> NDArray[np.uint8]:
    """A picture, grey uint8 [H, W]: each prepared line above its label and what was read."""
    from gen.fonts import find_catalogue_fonts

    fonts = [font for font in find_catalogue_fonts()[0] if not font.axes]
    face = ImageFont.truetype(fonts[0].path, 16, index=fonts[0].face) if fonts else ImageFont.load_default()
    width = max(200, max(pixels.shape[1] for pixels, _, _ in lines))
    image = Image.new("L", (width + 16, 84 * len(lines) + 8), 255)
    draw = ImageDraw.Draw(image)
    for row, (pixels, truth, reading) in enumerate(lines):
        top = 8 + 84 * row
        image.paste(Image.fromarray(pixels), (8, top))
        draw.text((8, top + 34), truth, fill=90, font=face)
        draw.text((8, top + 56), reading, fill=0 if reading == truth else 150, font=face)
    return np.asarray(image)
