"""Reading with torch: checkpoints of training runs and of the older project, and anything on a GPU.

python -m infer --weight-path runs/h/weights.pt --image-dir images/
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gen.charset import Charset
from gen.errors import UserError
from infer.backend import Frames
from train.checkpoint import load_weights
from train.image import normalise
from train.lite import Lite
from train.packed import Reader


class TorchBackend:
    """Follows `infer.backend.Backend`."""

    def __init__(self, path: Path, device: str, charset: Charset | None = None, direction: str | None = None) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("device cuda: torch finds no GPU here; leave it out, or install torch with CUDA")
        weights = load_weights(path, charset, direction)
        self.path = path
        self.codec, self.directions, self.image, self.about = (
            weights.codec, weights.directions, weights.image, weights.about
        )  # fmt: skip
        self._device = torch.device(device)
        self._net = weights.net.to(device)
        self.stride = self._net.stride
        self._folded = None
        if isinstance(weights.net, Lite):  # takes half the time of the network as it is trained
            folded = Reader(weights.net).eval().to(device)
            self._folded = folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def frames(self, width: int) -> int:
        return self._net.frames(width)

    @torch.inference_mode()
    def run(self, images: NDArray[np.uint8], allowed: NDArray[np.bool_] | None) -> Frames:
        given = torch.from_numpy(images).to(self._device)
        mask = torch.zeros(self.codec.classes)
        if allowed is not None:
            mask = torch.from_numpy(np.where(allowed, 0, -np.inf).astype(np.float32))
        mask = mask.to(self._device)
        if self._folded is not None:
            place, chances = self._folded(given, mask)
        else:
            x = normalise(given.float()).contiguous(memory_format=torch.channels_last)
            scores = self._net.log_probs(x)
            if allowed is not None:
                scores = (scores + torch.cat([mask.new_zeros(1), mask])).log_softmax(2)
            place = (scores.argmax(2) > 0).nonzero()
            chances = scores[place[:, 0], place[:, 1], 1:].exp()
        line, frame = place.cpu().numpy().T
        return Frames(line, frame, chances.cpu().numpy())
