"""The networks of the older project, horizontal and vertical, so that their published checkpoints load by name.

Convolutions, then two bidirectional GRUs, as Shi et al. 2015 ("An End-to-End Trainable Neural Network for Image-based
Sequence Recognition") with GRUs for LSTMs. Names of the parameters and the arithmetic are those of the checkpoints.

    python -c "from train.crnn import Crnn; print(Crnn(30656, 'vertical').frames(320))"
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.model import Net

SHORTEST = {"horizontal": 16, "vertical": 20}  # px; what gives one frame


class Block(nn.Module):
    """Convolution, batch normalisation in some, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, norm: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=1 if kernel == 3 else 0)
        self.norm = nn.BatchNorm2d(outputs) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Cnn(nn.Module):
    """[B, 1, length, 32] to [B, 512, frames, 1]."""

    def __init__(self, direction: str) -> None:
        super().__init__()
        self.conv_block_1 = Block(1, 64)
        self.conv_block_2 = Block(64, 128)
        self.conv_block_3_1 = Block(128, 256)
        self.conv_block_3_2 = Block(256, 256)
        self.conv_block_4_1 = Block(256, 512, norm=True)
        self.conv_block_4_2 = Block(512, 512, norm=True)
        self.conv_block_5 = Block(512, 512, kernel=2)
        # Both halve the thickness; along the line the vertical net takes every second position, the other all.
        self.kernel, self.stride = ((2, 2), (1, 2)) if direction == "horizontal" else ((1, 2), (2, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv_block_1(x), 2)
        x = F.max_pool2d(self.conv_block_2(x), 2)
        x = self.conv_block_3_2(self.conv_block_3_1(x))
        x = F.max_pool2d(x, self.kernel, self.stride)
        x = self.conv_block_4_2(self.conv_block_4_1(x))
        x = F.max_pool2d(x, self.kernel, self.stride)
        features: Tensor = self.conv_block_5(x)
        return features


class Crnn(Net):
    """One of the two nets; their tensors have the same shapes, so only ``direction`` tells them apart."""

    def __init__(self, classes: int, direction: str) -> None:
        super().__init__()
        self.direction, self.stride = direction, 4 if direction == "horizontal" else 16
        self.cnn = Cnn(direction)
        self.rnn1 = nn.GRU(512, 256, batch_first=True, bidirectional=True)
        self.rnn2 = nn.GRU(512, 256, batch_first=True, bidirectional=True)
        self.transcript = nn.Linear(512, 1 + classes)

    def frames(self, width: int) -> int:
        quarter = max(width, SHORTEST[self.direction]) // 2 // 2
        return quarter - 3 if self.direction == "horizontal" else -(-quarter // 4) - 1

    def features(self, x: Tensor) -> Tensor:
        """What the class matrix sees: [B, 1, 32, W] to [B, T, 512]. Lines too short for a frame are continued."""
        if x.shape[3] < SHORTEST[self.direction]:
            x = F.pad(x, (0, SHORTEST[self.direction] - x.shape[3], 0, 0), mode="replicate")
        # The length comes first: a horizontal line is mirrored at its diagonal, a vertical one as it was written.
        x = x.transpose(2, 3) if self.direction == "horizontal" else torch.rot90(x, -1, (2, 3))
        x = self.cnn(x).squeeze(3).transpose(1, 2)
        x, state = self.rnn1(x)
        x, _ = self.rnn2(x, state)
        return x

    def best(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = []
        for line in self.features(x):  # one at a time: all scores of 125 frames are 15 MB
            scores = self.transcript(line).float()
            top = scores.max(-1)
            found.append((top.indices, (top.values - scores.logsumexp(-1)).exp()))
        classes, probabilities = zip(*found)
        return torch.stack(classes), torch.stack(probabilities)

    def log_probs(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.transcript(self.features(x)).float(), -1)
