"""The older nets against their arithmetic written out once more, in numpy and from the pixels of the file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from gen.stream import DIRECTIONS
from train import image
from train.crnn import SHORTEST, Crnn

Array = NDArray[np.float64]
CLASSES = 21
torch.set_num_threads(1)


def net(direction: str) -> Crnn:
    """A net with parameters that leave no part of it without effect on the result."""
    torch.manual_seed(5)
    made = Crnn(CLASSES, direction).eval()
    with torch.no_grad():
        for name, tensor in made.state_dict().items():
            if name.endswith("norm.running_var"):
                tensor.uniform_(0.01, 0.05)
            elif "norm" in name and tensor.is_floating_point():
                tensor.normal_(0, 0.3)
            elif name.startswith("cnn") and name.endswith("weight"):
                tensor.mul_(2)
            elif name.startswith(("rnn", "transcript")):
                tensor.mul_(4)
    return made


def conv(x: Array, weight: Array, bias: Array, padding: int) -> Array:
    """[channels, rows, columns]; every window times every kernel."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(x, weight.shape[2:], axis=(1, 2))
    return np.asarray(np.einsum("crwhk,ochk->orw", windows, weight, optimize=True)) + bias[:, None, None]


def pool(x: Array, kernel: tuple[int, int], stride: tuple[int, int]) -> Array:
    windows = sliding_window_view(x, kernel, axis=(1, 2))[:, :: stride[0], :: stride[1]]
    return np.asarray(windows.max(axis=(3, 4)))


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def gru(x: Array, p: Mapping[str, Array], name: str, start: list[Array]) -> tuple[Array, list[Array]]:
    """Both ways over x [T, 512] from the states in ``start``: [T, 512] and the two last states."""
    outputs, last = [], []
    for way, suffix in enumerate(("", "_reverse")):
        weights = [p[f"{name}.{kind}_l0{suffix}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        state, found = start[way], []
        for frame in x[::-1] if way else x:
            a, b = weights[0] @ frame + weights[2], weights[1] @ state + weights[3]
            reset, update = sigmoid(a[:256] + b[:256]), sigmoid(a[256:512] + b[256:512])
            new = np.tanh(a[512:] + reset * b[512:])
            state = (1 - update) * new + update * state
            found.append(state)
        outputs.append(np.array(found[::-1] if way else found))
        last.append(state)
    return np.concatenate(outputs, 1), last


def logits(p: Mapping[str, Array], pixels: NDArray[np.uint8], direction: str) -> Array:
    """What the older project computes for an image file: [T, 1 + classes]."""
    x = (pixels / 255 - 0.5) / 0.5
    x = x.T if direction == "horizontal" else x  # [length, 32]

    def block(x: Array, name: str, padding: int = 1) -> Array:
        name = f"cnn.conv_block_{name}"
        x = conv(x, p[f"{name}.conv.weight"], p[f"{name}.conv.bias"], padding)
        if f"{name}.norm.weight" in p:
            scale = p[f"{name}.norm.weight"] / np.sqrt(p[f"{name}.norm.running_var"] + 1e-5)
            x = (x - p[f"{name}.norm.running_mean"][:, None, None]) * scale[:, None, None]
            x += p[f"{name}.norm.bias"][:, None, None]
        return np.maximum(x, 0)

    kernel, stride = {"horizontal": ((2, 2), (1, 2)), "vertical": ((1, 2), (2, 2))}[direction]
    y = pool(block(x[None], "1"), (2, 2), (2, 2))
    y = pool(block(y, "2"), (2, 2), (2, 2))
    y = pool(block(block(y, "3_1"), "3_2"), kernel, stride)
    y = pool(block(block(y, "4_1"), "4_2"), kernel, stride)
    y = block(y, "5", padding=0)
    assert y.shape[2] == 1
    frames, state = gru(y[:, :, 0].T, p, "rnn1", [np.zeros(256), np.zeros(256)])
    frames, _ = gru(frames, p, "rnn2", state)
    return frames @ p["transcript.weight"].T + p["transcript.bias"]


def draw(length: int, direction: str, seed: int = 1) -> NDArray[np.uint8]:
    """Random pixels as the file has them."""
    shape = (32, length) if direction == "horizontal" else (length, 32)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def as_input(pixels: NDArray[np.uint8], direction: str) -> torch.Tensor:
    line = image.prepare(pixels, direction, image.ImageSpec())
    return torch.from_numpy(image.normalise(line[None, None].astype(np.float32)))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("length", [20, 61, 94])
def test_the_arithmetic(direction: str, length: int) -> None:
    made, pixels = net(direction), draw(length, direction)
    parameters = {name: tensor.double().numpy() for name, tensor in made.state_dict().items()}
    expected = logits(parameters, pixels, direction)
    with torch.inference_mode():
        features = made.features(as_input(pixels, direction))
        found = made.transcript(features)[0].numpy()
    assert found.shape == (made.frames(length), 1 + CLASSES)
    assert np.abs(found - expected).max() < 1e-4
    assert expected.std(axis=0).max() > 0.1 or len(expected) == 1  # frames differ, or nothing was compared


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_names_are_those_of_the_checkpoints(direction: str) -> None:
    conv_blocks = ("1", "2", "3_1", "3_2", "4_1", "4_2", "5")
    names = {f"cnn.conv_block_{block}.conv.{kind}" for block in conv_blocks for kind in ("weight", "bias")}
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names |= {f"cnn.conv_block_{block}.norm.{kind}" for block in ("4_1", "4_2") for kind in norm}
    gru_names = [
        f"{kind}_{gate}_l0{way}" for kind in ("weight", "bias") for gate in ("ih", "hh") for way in ("", "_reverse")
    ]
    names |= {f"{rnn}.{name}" for rnn in ("rnn1", "rnn2") for name in gru_names}
    names |= {"transcript.weight", "transcript.bias"}
    made = Crnn(30_656, direction)
    assert set(made.state_dict()) == names
    assert made.transcript.weight.shape == (30_657, 512)
    assert round(sum(parameter.numel() for parameter in made.parameters()) / 1e6, 1) == 23.6  # DESIGN, section 5


@given(st.sampled_from(DIRECTIONS), st.integers(1, 700))
def test_frames_are_as_many_as_promised(direction: str, width: int) -> None:
    with torch.device("meta"):  # shapes only
        made = Crnn(3, direction)
        x = made.cnn(torch.empty(1, 1, max(width, SHORTEST[direction]), 32))
    assert x.shape == (1, 512, made.frames(width), 1)
    assert made.frames(1) == made.frames(SHORTEST[direction]) == 1
    beyond = SHORTEST[direction] + width
    assert made.frames(beyond + made.stride) == made.frames(beyond) + 1


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_line_too_short_is_continued(direction: str) -> None:
    made, pixels = net(direction), draw(7, direction)
    axis = 1 if direction == "horizontal" else 0
    longer = np.concatenate([pixels, np.repeat(pixels.take([-1], axis), SHORTEST[direction] - 7, axis)], axis)
    with torch.inference_mode():
        assert torch.equal(made.log_probs(as_input(pixels, direction)), made.log_probs(as_input(longer, direction)))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_best_classes_are_those_of_the_whole_distribution(direction: str) -> None:
    made = net(direction)
    x = torch.cat([as_input(draw(96, direction, seed), direction) for seed in range(3)])
    with torch.inference_mode():
        classes, chances = made.best(x)
        whole = made.log_probs(x)
    assert whole.dtype == chances.dtype == torch.float32
    assert torch.allclose(whole.exp().sum(2), torch.ones(whole.shape[:2]), atol=1e-5)
    assert torch.equal(classes, whole.argmax(2))
    assert torch.allclose(chances, whole.exp().max(2).values, atol=1e-6)
    assert len(classes.unique()) > 1


def test_it_learns_in_half_precision_with_scores_in_float32() -> None:
    made = Crnn(CLASSES, "horizontal")
    with torch.autocast("cpu", torch.bfloat16):
        scores = made.log_probs(as_input(draw(64, "horizontal"), "horizontal"))
    assert scores.dtype == torch.float32
    scores.sum().backward()
    assert all(parameter.grad is not None for parameter in made.parameters())
