"""Networks from configurations, their sizes, and multiplications counted by hand."""

from __future__ import annotations

import pytest
import torch

from train.config import Crnn as CrnnConfig
from train.config import Lite as LiteConfig
from train.crnn import Crnn
from train.lite import Lite
from train.model import Net, build, macs, parameter_count

torch.set_num_threads(1)


def test_a_configuration_names_its_network() -> None:
    lite = build(LiteConfig(dim=16), 5)
    assert isinstance(lite, Lite)
    assert lite.matrix.shape == (5, 16)
    crnn = build(CrnnConfig(kind="crnn", direction="vertical"), 5)
    assert isinstance(crnn, Crnn)
    assert crnn.direction == "vertical"
    assert crnn.transcript.out_features == 6


def test_parameters_come_from_torchs_generator() -> None:
    torch.manual_seed(4)
    first = build(LiteConfig(dim=8), 5).state_dict()
    second = build(LiteConfig(dim=8), 5).state_dict()
    torch.manual_seed(4)
    again = build(LiteConfig(dim=8), 5).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["matrix"], second["matrix"])


def test_parameters_counted_by_hand() -> None:
    """widths 4, 8, 12, 16 without blocks: convolutions without bias, two numbers per channel in norms."""
    net = build(LiteConfig(widths=(4, 8, 12, 16), depths=(0, 0, 0, 0), dim=8), 10)
    convolutions = 9 * (1 * 4 + 4 * 8 + 8 * 12 + 12 * 16) + 2 * 16 * 16
    norms = 2 * (4 + 8 + 12 + 16 + 16)
    neck = 5 * 16 + 16
    heads = (5 * 16 * 8 + 8) + (5 * 16 * 1 + 1)
    assert parameter_count(net) == convolutions + norms + neck + heads + 10 * 8


def test_a_block_counted_by_hand() -> None:
    sizes = [parameter_count(build(LiteConfig(widths=(4, 8, 12, 16), depths=(0, n, 0, 0)), 10)) for n in (0, 1, 2)]
    block = 9 * 8 + 2 * 8 + (8 * 16 + 16) + 16 * 8 + 2 * 8
    assert [b - a for a, b in zip(sizes, sizes[1:])] == [block, block]


def backbone_macs(neck: int) -> int:
    """For widths 4, 8, 12, 16, one block of 8 channels, dim 8, ten classes, and a line of 64 px at stride 4."""
    convolutions = 16 * 32 * 4 * 9 + 8 * 16 * 8 * 9 * 4 + 4 * 16 * 12 * 9 * 8 + 2 * 16 * 16 * 9 * 12 + 16 * 16 * 2 * 16
    block = 8 * 16 * (8 * 9 + 8 * 16 + 16 * 8)
    heads = 16 * 5 * 16 * (8 + 1)
    return convolutions + block + heads + 16 * neck + 16 * 10 * 8


@pytest.mark.parametrize(
    ("neck", "per_frame"),
    [
        ("conv", 16 * 5),
        ("gru", 2 * 3 * 8 * (16 + 8)),  # two ways, three gates of eight: from sixteen inputs and from the state
        ("attention", 16 * 48 + 16 * 16),  # its linear layers
    ],
)
def test_multiplications_counted_by_hand(neck: str, per_frame: int) -> None:
    config = LiteConfig(widths=(4, 8, 12, 16), depths=(0, 1, 0, 0), dim=8, neck=neck)  # type: ignore[arg-type]
    assert macs(build(config, 10), 64) == backbone_macs(per_frame)


def test_multiplications_of_the_older_network() -> None:
    """A horizontal line of 64 px: 64x32, then 32x16, 16x8, 15x4, 14x2 positions, and 13 frames."""
    net = build(CrnnConfig(kind="crnn"), 9)
    convolutions = 9 * (
        64 * 32 * 64 + 32 * 16 * 64 * 128 + 16 * 8 * (128 * 256 + 256 * 256) + 15 * 4 * (256 * 512 + 512 * 512)
    )
    last = 13 * 1 * 4 * 512 * 512
    gates = 13 * 2 * (2 * 3 * 256 * (512 + 256))
    assert net.frames(64) == 13
    assert macs(net, 64) == convolutions + last + gates + 13 * 512 * 10


def test_counting_leaves_the_network_as_it_was() -> None:
    net = build(LiteConfig(widths=(4, 4, 4, 4), depths=(0, 1, 0, 0), dim=8), 3).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert macs(net, 32) == macs(net, 32)
    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_the_interface_asks_for_all_of_it() -> None:
    net, x = Net(), torch.zeros(1, 1, 32, 8)
    for call in (lambda: net.frames(8), lambda: net.best(x), lambda: net.log_probs(x)):
        with pytest.raises(NotImplementedError):
            call()
