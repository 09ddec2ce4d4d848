"""The default network: a depthwise-separable backbone, a small neck, and a class matrix behind a factorised blank.

A frame is blank with probability σ(g), and character c with σ(-g) · softmax(c): a frame whose gate says blank needs
no class matrix at all, which is most of the frames and most of the arithmetic. Features and rows of the class matrix
are normalised, so that a row is the direction in which a character's image lies and may start from that image.

    python -m pytest tests/test_train_lite.py
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.config import Lite as LiteConfig
from train.model import Net


class Conv(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int]) -> None:
        padding = (kernel[0] // 2 if stride != kernel else 0, kernel[1] // 2)
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def depthwise(conv: nn.Conv1d | nn.Conv2d, x: Tensor) -> Tensor:
    """``conv``, one filter for each channel. In bfloat16 its gradient on a processor takes up to ten times as long as
    that of the same filters on the diagonals of dense groups of 32 channels, whose other weights are zero."""
    channels, group = conv.out_channels, 32
    if not conv.training or channels % group or not (x.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
        result: Tensor = conv(x)
        return result
    diagonal = torch.eye(group).repeat(channels // group, 1).reshape(channels, group, *(1,) * (conv.weight.ndim - 2))
    convolve = F.conv2d if isinstance(conv, nn.Conv2d) else F.conv1d
    return convolve(x, conv.weight * diagonal, conv.bias, padding=conv.padding, groups=channels // group)


class Block(nn.Module):
    """Depthwise 3x3, then two pointwise layers with twice the channels between them, around a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.widen = nn.Conv2d(channels, 2 * channels, 1)
        self.narrow = nn.Conv2d(2 * channels, channels, 1, bias=False)
        self.out = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.out.weight)  # a block begins as its skip connection

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.widen(self.norm(depthwise(self.depthwise, x))))
        outer: Tensor = x + self.out(self.narrow(inner))
        return outer


class ConvNeck(nn.Module):
    """Each channel looks two frames to either side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 5, padding=2, groups=channels)
        nn.init.zeros_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + depthwise(self.conv, x)


class GruNeck(nn.Module):
    """One bidirectional GRU over the frames."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, channels // 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = x + self.gru(x.transpose(1, 2))[0].transpose(1, 2)
        return mixed


class AttentionNeck(nn.Module):
    """One layer of self-attention over the frames, each head with a learned penalty on distance (as ALiBi, Press et
    al. 2022, in both directions), since frames carry no position of their own."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.mix = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.slope = nn.Parameter(torch.linspace(-3.0, 0.0, heads))
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x.transpose(1, 2))
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.mix(y).chunk(3, dim=2))
        at = torch.arange(x.shape[2], device=x.device, dtype=torch.float32)  # bfloat16 counts to 256
        distance = (at[:, None] - at[None, :]).abs()
        bias = (-self.slope.exp()[:, None, None] * distance).to(q.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        changed: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return x + changed.transpose(1, 2)


NECKS = {"conv": ConvNeck, "gru": GruNeck, "attention": AttentionNeck}


def parts(depths: Sequence[int]) -> list[tuple[int, int]]:
    """What follows what in a backbone: (stage, 0) is the convolution that a stage begins with, (stage, k) its k-th
    block; the last convolution is a stage of its own."""
    return [(stage, k) for stage, depth in enumerate([*depths, 0]) for k in range(depth + 1)]


class Lite(Net):
    """``matrix``: a row of ``dim`` numbers for each class. ``forward`` gives what the losses need."""

    def __init__(self, config: LiteConfig, classes: int) -> None:
        super().__init__()
        self.config = config
        self.stride = config.stride
        a, b, c, d = config.widths
        late = 2 if config.stride == 8 else 1
        self.backbone = nn.Sequential(
            Conv(1, a, (3, 3), (2, 2)), *(Block(a) for _ in range(config.depths[0])),
            Conv(a, b, (3, 3), (2, 2)), *(Block(b) for _ in range(config.depths[1])),
            Conv(b, c, (3, 3), (2, late)), *(Block(c) for _ in range(config.depths[2])),
            Conv(c, d, (3, 3), (2, 1)), *(Block(d) for _ in range(config.depths[3])),
            Conv(d, d, (2, 1), (2, 1)),
        )  # fmt: skip
        self.neck = NECKS[config.neck](d)
        self.feature = nn.Conv1d(d, config.dim, 5, padding=2)
        self.gate = nn.Conv1d(d, 1, 5, padding=2)
        nn.init.constant_(self.gate.bias, 1.0)  # type: ignore[arg-type]  # most frames are blank
        self.matrix = nn.Parameter(F.normalize(torch.randn(classes, config.dim)))
        self.scale = config.scale

    def frames(self, width: int) -> int:
        """One frame for every ``stride`` pixels begun."""
        return -(-width // self.stride)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features, normalised, float32 [B, T, dim], and gates, float32 [B, T]: positive where the frame is blank."""
        hidden = self.neck(self.backbone(x).squeeze(2))
        feature, gate = self.feature(hidden).float(), self.gate(hidden).float()  # also under autocast
        return F.normalize(feature.transpose(1, 2), dim=2), gate.squeeze(1)

    def rows(self, classes: Tensor | None = None) -> Tensor:
        """Normalised rows of the class matrix times the scale: features times these are the logits."""
        matrix = self.matrix if classes is None else self.matrix[classes]
        return F.normalize(matrix, dim=1) * self.scale

    def best(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `Net.best`: a frame is blank where its gate says so, and the class matrix runs on the others only."""
        features, gate = self(x)
        classes = torch.zeros(gate.shape, dtype=torch.int64, device=gate.device)
        chance = torch.sigmoid(gate)
        inked = gate < 0
        top = (features[inked] @ self.rows().T).softmax(1).max(1)
        classes[inked] = top.indices + 1
        chance[inked] = top.values * (1 - chance[inked])
        return classes, chance

    def log_probs(self, x: Tensor) -> Tensor:
        """As `Net.log_probs`."""
        features, gate = self(x)
        inked = (features @ self.rows().T).log_softmax(2) + F.logsigmoid(-gate)[..., None]
        return torch.cat([F.logsigmoid(gate)[..., None], inked], 2)
