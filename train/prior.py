"""How much oftener than others some classes come, so that a loss can take it out again (Menon et al. 2021).

Half of the lines of a fine-tuning run show fifty new characters. Learned as they come, the network would prefer them to
all others, for in its lines they are a hundred times as common. With the log of that in the logits while it learns, it
need not know, and reads without the preference.

    python -m train --config train-tune --init W --corpus new.txt --data gen:gen-default --out runs/tuned
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from train.codec import Codec
from train.given import some
from train.source import Source


def log_prior(sources: Sequence[Source], weights: Sequence[float], codec: Codec) -> Tensor:
    """Of each class the log of how many times as often it occurs as if all were alike, float32 [classes]; 0 where that
    is less than once. By a look at some lines of each source."""
    shares = np.zeros(codec.classes)
    for source, weight in zip(sources, weights):
        labels = [number - 1 for item in source.read(some(source)) for number in codec.encode(item.text)]
        shares += weight * np.bincount(labels, minlength=codec.classes) / max(1, len(labels))
    shares *= codec.classes / max(shares.sum(), 1e-9)
    return torch.from_numpy(np.log(np.maximum(shares, 1.0)).astype(np.float32))
