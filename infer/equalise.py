"""Channels brought to like ranges before a network becomes integers, which have one step for all channels of a tensor.

A channel multiplied where it is written and divided where it is read leaves the network as it was, ReLU and skip
connections included (Nagel et al. 2019, who even out weights so). Here half of the unevenness of what was seen is moved
into the weights, in the logarithm (as Xiao et al. 2023 do between two layers): these have a step for each channel that
they write, not for each that they read.

    python -m pytest tests/test_infer_equalise.py
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.image import normalise
from train.lite import Block, Conv, ConvNeck, Lite

Layer = nn.Conv1d | nn.Conv2d
MOVED = 0.5  # share of the unevenness; 0.33 to 0.85 are hardly worse
# Channels that reach less than this share of the largest are taken for that: they are nearly always 0. Those that
# always were stay as they are: nothing says how far they go in other lines.
FLAT = 1e-3


@dataclass
class Joint:
    """The layers that write the channels of one tensor, and of its sums along skip connections, and those that read
    them."""

    writers: list[Layer]
    readers: list[Layer]


@torch.no_grad()
def equalise(net: Lite, lines: Sequence[NDArray[np.uint8]]) -> None:
    """Even out the channels of a network whose normalisations are folded into its convolutions (`train.packed.Reader`),
    in place; ``lines``: prepared ones, uint8 [1, 1, 32, W], at least one."""
    assert lines
    joints = [*_joints(net)]
    for joint, reach in zip(joints, _reaches(net, joints, lines)):
        top = float(reach.max())
        if not 0 < top < math.inf:  # nothing ever comes there, or no number
            continue
        factor = torch.where(reach > 0, (top / reach.clamp(min=FLAT * top)) ** MOVED, 1.0)
        for layer in joint.writers:
            assert layer.bias is not None
            layer.weight.mul_(_along(factor, layer, 0))
            layer.bias.mul_(factor)
        for layer in joint.readers:
            layer.weight.div_(_along(factor, layer, 0 if layer.groups > 1 else 1))


def _joints(net: Lite) -> Iterator[Joint]:
    assert isinstance(net.neck, ConvNeck)
    stream: Joint | None = None  # what goes through the blocks of a stage
    for module in net.backbone:
        if isinstance(module, Block):
            assert stream is not None
            stream.readers.append(module.depthwise)
            stream.writers.append(module.narrow)
            yield Joint([module.depthwise], [module.widen])
            yield Joint([module.widen], [module.narrow])
        elif isinstance(module, Conv):
            first = module[0]
            assert isinstance(first, nn.Conv2d)
            if stream is not None:
                stream.readers.append(first)
                yield stream
            stream = Joint([first], [])
    assert stream is not None
    stream.writers.append(net.neck.conv)
    stream.readers += [net.neck.conv, net.feature, net.gate]
    yield stream


def _reaches(net: Lite, joints: Sequence[Joint], lines: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
    """How far each channel of each joint goes from 0 where it is read, float32 [channels]: the mean of the lines' own
    extremes."""
    seen: dict[nn.Module, Tensor] = {}

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (x,) = inputs
        seen[layer] = x.abs().amax([axis for axis in range(x.ndim) if axis != 1])

    handles = [layer.register_forward_pre_hook(look) for joint in joints for layer in joint.readers]
    totals = [torch.zeros(joint.writers[0].out_channels) for joint in joints]
    try:
        for line in lines:
            net(normalise(torch.from_numpy(line).float()))
            for total, joint in zip(totals, joints):
                total += torch.stack([seen[layer] for layer in joint.readers]).amax(0)
    finally:
        for handle in handles:
            handle.remove()
    return [total / len(lines) for total in totals]


def _along(factor: Tensor, layer: Layer, axis: int) -> Tensor:
    """A channel's factor, in the shape of the layer's weights."""
    shape = [1] * layer.weight.ndim
    shape[axis] = -1
    return factor.reshape(shape)
