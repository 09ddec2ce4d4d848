"""What a run tells: a bar for people, ``metrics.jsonl`` for programs, TensorBoard with curves and pictures.

tail -f runs/h/metrics.jsonl
tensorboard --logdir runs/h/tensorboard
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

METRICS, BOARD = "metrics.jsonl", "tensorboard"
_BOARD_EVERY = 20  # steps between points of a curve


class Record:
    """Where the first process of a run writes what happens; goes on at ``step`` after what an earlier run wrote."""

    def __init__(self, folder: Path, step: int, steps: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / METRICS
        self._drop_from(step)
        self._file = self._path.open("a", encoding="utf-8")
        self._folder, self._step = folder, step
        self._board: Any = None
        self._bar = tqdm(total=steps, initial=step, unit="step", disable=None, smoothing=0.05)
        self.last: dict[str, Any] = {}

    def _drop_from(self, step: int) -> None:
        """Leave out what was written after the checkpoint that the run goes on from: those steps come again."""
        if not self._path.exists():
            return
        kept = []
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue  # the last line of a killed run
        temp = self._path.with_suffix(".tmp")
        temp.write_text("".join(kept), encoding="utf-8")
        os.replace(temp, self._path)

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        self._file.close()
        if self._board is not None:
            self._board.close()

    @property
    def board(self) -> Any:
        """TensorBoard's writer, opened when it is first needed: importing it takes seconds."""
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._folder / BOARD), purge_step=self._step + 1)
        return self._board

    def step(self, values: dict[str, Any]) -> None:
        """A finished step: at least ``step`` (from 1), ``loss``, ``lines_per_s``, ``wait`` (share of time)."""
        self.last = values
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()
        self._bar.update()
        self._bar.set_postfix_str(
            f"{values['stage']} loss {values['loss']:.3f}, {values['lines_per_s']:.0f} lines/s, "
            f"waiting {values['wait']:.0%}",
            refresh=False,
        )
        if values["step"] % _BOARD_EVERY == 0:
            self._curves("train", values, ("loss", "lr", "lines_per_s", "wait", "norm"))

    def validation(self, values: dict[str, Any], pictures: Sequence[tuple[NDArray[np.uint8], str, str]]) -> None:
        """Accuracies on unseen lines, and some of these lines with truth and reading."""
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()
        self._curves("val", values, [name for name in values if "accuracy" in name])
        if pictures:
            self.board.add_image("lines", sheet(pictures), values["step"], dataformats="HW")
        self.say(
            f"step {values['step']}: {values['char_accuracy']:.1%} of characters and {values['line_accuracy']:.1%} of "
            f"{values['lines']} unseen lines right (look-alikes as equal: {values['char_accuracy_folded']:.1%}, "
            f"{values['line_accuracy_folded']:.1%})"
        )

    def _curves(self, group: str, values: dict[str, Any], names: Sequence[str]) -> None:
        for name in names:
            if name in values:
                self.board.add_scalar(f"{group}/{name}", values[name], values["step"])

    def say(self, text: str) -> None:
        """A line for people, with the time."""
        tqdm.write(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr)


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
