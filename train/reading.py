"""Lines to text with a network in torch: what validation and `train.evaluate` share.

python -m train.evaluate --weight-path runs/h/weights.pt --data shards/horizontal
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from train.codec import Codec
from train.image import normalise, pad_batch
from train.model import Net


@torch.no_grad()
def read_lines(
    net: Net, codec: Codec, lines: Sequence[NDArray[np.uint8]], batch: int, device: torch.device | str = "cpu"
) -> Iterator[tuple[list[int], list[str]]]:
    """Prepared lines (grey uint8 [height, width] each) as text, batches of lines of like width: for each, which lines
    they are and what they say. ``net`` must be in evaluation mode."""
    order = np.argsort([line.shape[1] for line in lines], kind="stable")
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch].tolist()
        images, widths = pad_batch([lines[number] for number in chosen])
        x = normalise(torch.from_numpy(images).to(device).float())
        classes = net.best(x.contiguous(memory_format=torch.channels_last))[0].cpu().tolist()
        yield chosen, [codec.read(row[: net.frames(int(width))]) for row, width in zip(classes, widths)]
