"""Lines to text with a network in torch: what validation and `train.evaluate` share.

python -m train.evaluate --weight-path runs/h/weights.pt --data shards/horizontal
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from train.codec import Codec
from train.image import GPU_STEP, STEP, normalise, pad_batch, padded
from train.model import Net


@torch.no_grad()
def read_lines(
    net: Net,
    codec: Codec,
    lines: Sequence[NDArray[np.uint8]],
    room: int,
    batch: int,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[list[int], list[str]]]:
    """Prepared lines (grey uint8 [height, width] each) as text, a batch at a time: which lines they are, what they say.
    ``room``: of their `ImageSpec`.

    A line is read with others that are padded as far as it is alone, so that its company changes nothing. ``net`` must
    be in evaluation mode.
    """
    cuda = torch.device(device).type == "cuda"
    step, rows = (GPU_STEP, batch) if cuda else (STEP, 0)  # there shapes cost more than rows
    every = np.array([padded(line.shape[1], room, step) for line in lines])
    for width in np.unique(every):
        alike = np.flatnonzero(every == width).tolist()
        for start in range(0, len(alike), batch):
            chosen = alike[start : start + batch]
            yield chosen, read_batch(net, codec, [lines[number] for number in chosen], device, room, step, rows)


def read_batch(
    net: Net,
    codec: Codec,
    lines: Sequence[NDArray[np.uint8]],
    device: torch.device | str,
    room: int,
    step: int,
    rows: int,
) -> list[str]:
    """Lines as one batch, padded by ``room`` or more to a multiple of ``step``, and filled up to ``rows`` rows, which
    nobody looks at."""
    images, widths = pad_batch(lines, room, step)
    x = normalise(torch.from_numpy(images).to(device).float())
    if len(lines) < rows:
        x = torch.cat([x, x[:1].expand(rows - len(lines), -1, -1, -1)])
    classes = net.best(x.contiguous(memory_format=torch.channels_last))[0].cpu().tolist()
    return [codec.read(row[: net.frames(int(width))]) for row, width in zip(classes, widths)]
