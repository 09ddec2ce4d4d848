"""What the hard lines of a stage are made of, found when it starts: by what the network has become.

``confusions`` has it read lines and puts together what it misread (`train.confusions`); ``alike`` takes the characters
whose rows of the class matrix are nearest, for which no line need be read. (What four of five wrong characters of
`eval-classic` are read as has one of the four nearest rows: card of the packaged weights, as of 2026-11-27.)

    python -m pytest tests/test_train_hard.py
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gen.alike import NEAR
from gen.charset import fold
from train.codec import Codec
from train.config import Stage
from train.confusions import find_confusions
from train.crnn import Crnn
from train.dist import World
from train.given import Given
from train.image import ImageSpec
from train.lite import Lite
from train.model import Net

ROWS = 1024  # compared with all others at a time: 126 MB


@dataclass(frozen=True)
class Hard:
    """Files of a stage, the same on every machine: a text of confusions, a table of look-alikes (`gen.alike`)."""

    confusions: Path | None = None
    alike: Path | None = None


def find_hard(
    stage: Stage, net: Net, codec: Codec, given: Given, image: ImageSpec, out: Path, again: bool, world: World
) -> Hard:
    """What a stage wants, written to ``out`` where it is not there, or anew where ``again``. All processes call it."""
    confusions = out / f"confusions-{stage.name}.txt" if stage.confusions else None
    alike = out / f"alike-{stage.name}.txt" if stage.alike else None
    if confusions is not None and world.worst(again or not confusions.exists()):
        find_confusions(net, codec, given, image, confusions, world)
    if alike is not None and world.worst(again or not alike.exists()):
        there = alike.read_bytes() if not again and alike.exists() else None
        texts = [text for text in world.gather(there) if text is not None]  # some other machine may have it
        if not texts:
            texts = world.gather(alike_text(class_rows(net), codec).encode() if world.first else None)
        world.write(alike, texts[0])
    return Hard(confusions, alike)


def class_rows(net: Net) -> Tensor:
    """What a network compares a frame with, a row for each class, float32 [classes, dim]."""
    if isinstance(net, Lite):
        return net.matrix.detach().float()
    assert isinstance(net, Crnn)
    return net.transcript.weight.detach()[1:].float()  # without the blank


def alike_text(rows: Tensor, codec: Codec) -> str:
    """A line for each character: itself, and the ``NEAR`` with rows in the most similar directions, nearest first, that
    do not fold into the same one."""
    chars = codec.charset.chars
    rows = F.normalize(rows[: len(chars)], dim=1)
    folded = torch.from_numpy(np.unique([fold(char) for char in chars], return_inverse=True)[1]).to(rows.device)
    lines = []
    for begin in range(0, len(chars), ROWS):
        part = slice(begin, begin + ROWS)
        likeness = rows[part] @ rows.T
        likeness[folded[part, None] == folded] = -2
        values, places = likeness.topk(min(NEAR, len(chars)), 1)
        for first, others, fits in zip(chars[part], places.tolist(), (values > -2).tolist()):
            lines.append(first + "".join(chars[k] for k, fit in zip(others, fits) if fit) + "\n")
    return "".join(lines)
