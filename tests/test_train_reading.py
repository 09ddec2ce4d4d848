"""Reading lines with a network: rows that only fill a batch up, as a GPU likes it, change nothing."""

from __future__ import annotations

import numpy as np
import torch

from gen.charset import Charset
from train.codec import Codec
from train.config import Lite
from train.image import ROOM, STEP
from train.model import build
from train.reading import read_batch, read_lines


def test_rows_that_fill_up_are_not_read() -> None:
    torch.manual_seed(0)
    net = build(Lite(dim=16, widths=(8, 8, 8, 8)), 30).eval()
    torch.nn.init.constant_(net.gate.bias, -1.0)  # type: ignore[union-attr,arg-type]
    codec = Codec(Charset("".join(chr(0x4E00 + k) for k in range(30))))
    rng = np.random.default_rng(0)
    lines = [rng.integers(0, 256, (32, width), np.uint8) for width in (84, 88, 70)]
    alone = read_batch(net, codec, lines, "cpu", ROOM, STEP, 0)
    assert read_batch(net, codec, lines, "cpu", ROOM, STEP, 8) == alone
    assert all(alone)
    ((chosen, texts),) = read_lines(net, codec, lines, ROOM, 8)
    assert [texts[chosen.index(k)] for k in range(3)] == alone
