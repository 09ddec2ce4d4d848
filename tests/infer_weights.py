"""Weights that read at random, but always the same: a small network whose every part has an effect, in a file."""

from __future__ import annotations

from pathlib import Path

import torch

from gen.charset import Charset
from gen.stream import DIRECTIONS
from tests.conftest import small_charset
from train import checkpoint
from train.checkpoint import Weights, load_weights
from train.codec import Codec
from train.config import Lite as LiteConfig
from train.image import ImageSpec
from train.lite import Lite


def make_weights(
    path: Path, *, stride: int = 4, neck: str = "conv", space: bool = False, charset: Charset | None = None,
    directions: tuple[str, ...] = DIRECTIONS, trim: bool = False, blank: bool = False,
) -> Weights:  # fmt: skip
    """Write a weights file as a training run does, and open it. About half the frames of noise are not blank, or with
    ``blank`` none."""
    torch.manual_seed(7)
    codec = Codec(charset or small_charset(), space)
    config = LiteConfig(stride=stride, neck=neck, widths=(4, 8, 12, 16), depths=(1, 1, 1, 1), dim=8, space=space)  # type: ignore[arg-type]
    net = Lite(config, codec.classes)
    net(torch.randn(8, 1, 32, 96))  # normalisations with numbers of their own
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith(("out.weight", "conv.weight", "norm.bias", "1.bias", "out.bias")):
                tensor.normal_(0, 0.5)
        net.eval()
        gate = net(torch.rand(8, 1, 32, 96) * 2 - 1)[1]
        net.gate.weight *= 3 / gate.std()
        net.gate.bias.copy_(net.gate.bias * 0 + 1e4 if blank else -3 / gate.std() * (gate.median() - net.gate.bias))
    values = checkpoint.describe(config, codec, directions, ImageSpec(trim=trim))
    about = {"data": [{"name": "none"}], "step": 0}
    checkpoint.save(path, {**values, "net": checkpoint.half(net.state_dict()), "about": about})
    return load_weights(path)
