"""Which characters a network holds for nearly the same, found when a stage with ``alike`` starts, for its hard lines.

They are those whose rows of the class matrix are nearest: no line need be read for it. (What four of five wrong
characters of `eval-classic` are read as has one of the four nearest rows: card of the packaged weights, 2026-11-27.)

    python -m pytest tests/test_train_alike.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gen.alike import NEAR
from gen.charset import fold
from train.codec import Codec
from train.crnn import Crnn
from train.dist import World
from train.lite import Lite
from train.model import Net

ROWS = 1024  # compared with all others at a time: 126 MB


def find_alike(net: Net, codec: Codec, path: Path, again: bool, world: World) -> None:
    """Write the table of `gen.alike` to ``path``, the same on every machine, where it is not there, or anew where
    ``again``. All processes call it."""
    if world.worst(again or not path.exists()):
        there = path.read_bytes() if not again and path.exists() else None
        texts = [text for text in world.gather(there) if text is not None]  # some other machine may have it
        if not texts:
            texts = world.gather(alike_text(class_rows(net), codec).encode() if world.first else None)
        world.write(path, texts[0])


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
