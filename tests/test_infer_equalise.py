"""Channels that are evened out leave what a network says as it was, and bring its integers nearer to it.

pytest tests/test_infer_equalise.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from infer.equalise import equalise
from infer.export import export
from infer.onnx_backend import OnnxBackend
from tests.infer_weights import make_weights
from train.checkpoint import Weights, load_weights
from train.image import ImageSpec, normalise, pad_batch, prepare
from train.lite import Block, Lite
from train.packed import EXACT, Reader

SAMPLES = Path(__file__).parents[1] / "infer" / "samples"


def lines() -> list[NDArray[np.uint8]]:
    """The sample images, each prepared as a batch of its own."""
    result = []
    for path in sorted(SAMPLES.glob("*.png")):
        direction = path.name.partition("-")[0]
        image = np.asarray(Image.open(path).convert("L"))
        result.append(pad_batch([prepare(image, direction, ImageSpec(trim=True))])[0])
    return result


@torch.no_grad()
@pytest.mark.parametrize("trained", [True, False])
def test_the_function_stays(tmp_path: Path, trained: bool) -> None:
    net = (load_weights(EXACT) if trained else make_weights(tmp_path / "w.pt")).net
    assert isinstance(net, Lite)
    plain, even = Reader(net).eval(), Reader(net).eval()
    equalise(even.net, lines())
    assert not torch.allclose(plain.net.gate.weight, even.net.gate.weight, rtol=0.1)
    for line in lines()[:5]:
        x = normalise(torch.from_numpy(line).float())
        for a, b in zip(plain.net(x), even.net(x)):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("closed", ["one", "all"])
def test_channels_that_nothing_comes_through(tmp_path: Path, closed: str) -> None:
    net = make_weights(tmp_path / "w.pt", stride=8).net
    assert isinstance(net, Lite)
    block = next(module for module in net.modules() if isinstance(module, Block))
    some = slice(3, 4) if closed == "one" else slice(None)
    block.widen.weight[some] = 0
    block.widen.bias[some] = -1  # type: ignore[index]
    reader = Reader(net).eval()
    x = normalise(torch.from_numpy(lines()[0]).float())
    before = reader.net(x)
    equalise(reader.net, lines()[:2])
    even = next(module for module in reader.net.modules() if isinstance(module, Block))
    assert (even.widen.bias[some] == -1).all()  # type: ignore[index]
    for a, b in zip(before, reader.net(x)):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def uneven() -> Weights:
    """The packaged weights, with channels of very different ranges between the pointwise layers of each block."""
    weights = load_weights(EXACT)
    random = torch.Generator().manual_seed(1)
    for block in weights.net.modules():
        if isinstance(block, Block):
            factor = torch.randn(block.widen.out_channels, generator=random).exp()
            block.widen.weight.mul_(factor[:, None, None, None])
            block.widen.bias.mul_(factor)  # type: ignore[union-attr]
            block.narrow.weight.div_(factor[:, None, None])
    return weights


def spreads(net: Lite) -> list[float]:
    """Of what the last layer of each block reads in a line: the largest number, by the median of its channels'."""
    found: list[float] = []

    def look(_: object, inputs: tuple[torch.Tensor, ...]) -> None:
        reach = inputs[0].abs().amax((0, 2, 3))
        found.append(float(reach.max() / reach.median()))

    layers = [module.narrow for module in net.modules() if isinstance(module, Block)]
    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    net(normalise(torch.from_numpy(lines()[0]).float()))
    for handle in handles:
        handle.remove()
    return found


@torch.no_grad()
def test_channels_are_evener() -> None:
    reader = Reader(uneven().net).eval()  # type: ignore[arg-type]
    before = spreads(reader.net)
    equalise(reader.net, lines())
    assert np.log(spreads(reader.net)).mean() < 0.7 * np.log(before).mean()


def test_integers_come_nearer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = uneven()
    export(weights, tmp_path / "even.onnx", lines())
    monkeypatch.setattr("infer.export.equalise", lambda net, lines: None)
    export(weights, tmp_path / "plain.onnx", lines())
    exact, even, plain = (OnnxBackend(path) for path in (EXACT, tmp_path / "even.onnx", tmp_path / "plain.onnx"))
    away: list[tuple[float, float]] = []
    for line in lines():
        right, near, far = (
            dict(zip(frames.frame.tolist(), frames.chances))
            for frames in (backend.run(line, None) for backend in (exact, even, plain))
        )
        both = right.keys() & near.keys() & far.keys()
        away += [tuple(float(np.abs(each[k] - right[k]).sum()) for each in (near, far)) for k in both]  # type: ignore[misc]
    assert len(away) > 200
    after, before = np.mean(away, axis=0)
    assert after < 0.7 * before
