"""How well the network reads unseen lines in the middle of a run.

python -m train --data shards/horizontal --out runs/h --set keep.validate=200
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.codec import Codec
from train.dist import World
from train.image import ImageSpec, prepare
from train.metrics import Score, Tally
from train.model import Net
from train.reading import read_lines
from train.source import Source, evenly

Picture = tuple[NDArray[np.uint8], str, str]
PICTURES = 12
BATCH = 64


class Validation:
    """The same lines each time: ``count`` of the validation splits, evenly from each source, a share on each rank."""

    def __init__(
        self, sources: Sequence[Source], codec: Codec, image: ImageSpec, count: int, rank: int, world: int
    ) -> None:
        self._codec, self._room = codec, image.room
        self._lines, self._texts, self._fonts = [], [], []
        for source in sources:
            share = max(1, count // len(sources))
            for item in source.read(evenly(source, share)[rank::world].tolist()):
                self._lines.append(prepare(item.pixels, source.direction, image))
                self._texts.append(item.text)
                self._fonts.append((item.font, item.size))

    def measure(self, net: Net, world: World) -> tuple[dict[str, Any], list[Picture]]:
        """Accuracies over all ranks' lines; and some of this rank's lines with truth and reading."""
        readings = [""] * len(self._lines)
        for chosen, texts in read_lines(net, self._codec, self._lines, self._room, BATCH, world.device):
            for number, text in zip(chosen, texts):
                readings[number] = text
        tally = Tally(self._codec.space)
        for truth, reading, (font, size) in zip(self._texts, readings, self._fonts):
            tally.add(truth, reading, font, size)
        total = Score(*map(sum, zip(*map(astuple, world.gather(tally.total)))))
        at = np.unique(np.linspace(0, len(readings) - 1, min(PICTURES, len(readings))).astype(int))
        return total.to_dict(), [(self._lines[k], self._texts[k], readings[k]) for k in at]
