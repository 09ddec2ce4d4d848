"""The default network: frames, probabilities, and whether every line of the recipes has frames enough."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from gen.charset import Charset
from gen.config import load_recipe
from gen.stream import DIRECTIONS
from train.codec import frames_needed
from train.config import Lite as LiteConfig
from train.image import ImageSpec, normalise, pad_batch, prepare
from train.lite import NECKS, AttentionNeck, Lite
from train.rendered import Ingredients, RenderedSource

CLASSES = 11
VARIANTS = list(product((4, 8), NECKS))
HARD = ("2000", "http", "……")  # narrow characters, and a blank between equal ones
torch.set_num_threads(1)


def make(stride: int = 4, neck: str = "conv", classes: int = CLASSES) -> Lite:
    """A small network whose every part has an effect: fresh ones begin as their skip connections."""
    torch.manual_seed(7)
    config = LiteConfig(stride=stride, neck=neck, widths=(4, 8, 12, 16), depths=(1, 1, 1, 1), dim=8)  # type: ignore[arg-type]
    net = Lite(config, classes).eval()
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith(("out.weight", "conv.weight")):
                tensor.normal_(0, 0.5)
            elif name == "gate.bias":
                tensor.zero_()
            elif name == "gate.weight":
                tensor.normal_(0, 3)
    return net


NETS = {variant: make(*variant) for variant in VARIANTS}


def lines(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (count, 1, 32, width)).astype(np.float32))


@pytest.mark.parametrize(("stride", "neck"), VARIANTS)
def test_shapes_and_frames(stride: int, neck: str) -> None:
    net = NETS[stride, neck]
    for width in (1, 2, 3, 4, 5, 7, 8, 9, 31, 33, 64, 97):
        x = lines(2, width)
        with torch.inference_mode():
            features, gate = net(x)
            scores, (best, chance) = net.log_probs(x), net.best(x)
        steps = -(-width // stride)
        assert net.frames(width) == steps
        assert features.shape == (2, steps, 8)
        assert gate.shape == best.shape == chance.shape == (2, steps)
        assert scores.shape == (2, steps, 1 + CLASSES)
        assert best.dtype == torch.int64
        assert {scores.dtype, chance.dtype, features.dtype, gate.dtype} == {torch.float32}
        torch.testing.assert_close(features.norm(dim=2), torch.ones(2, steps))


@given(st.sampled_from(VARIANTS), st.integers(1, 90), st.integers(0, 5), st.floats(-3, 3))
@settings(max_examples=80)
def test_best_is_what_the_probabilities_say(variant: tuple[int, str], width: int, seed: int, bias: float) -> None:
    net = NETS[variant]
    with torch.inference_mode():
        net.gate.bias.fill_(bias)
        scores, (best, chance) = net.log_probs(lines(2, width, seed)), net.best(lines(2, width, seed))
    torch.testing.assert_close(scores.exp().sum(2), torch.ones(scores.shape[:2]), atol=1e-5, rtol=0)
    blank = scores[..., 0].exp()
    sure = (blank - 0.5).abs() > 1e-5
    assert torch.equal((best == 0)[sure], (blank >= 0.5)[sure])
    expected = scores[..., 1:].argmax(2) + 1
    assert torch.equal(best[best > 0], expected[best > 0])
    of_best = scores.gather(2, best[..., None]).squeeze(2).exp()
    torch.testing.assert_close(chance, of_best, atol=1e-5, rtol=0)


def test_a_gate_of_zero_is_blank() -> None:
    net = make()
    with torch.inference_mode():
        net.gate.weight.zero_()
        best, chance = net.best(lines(1, 20))
    assert not best.any()
    assert (chance == 0.5).all()


def test_a_blank_frame_costs_no_class_matrix() -> None:
    """Rows that are not numbers harm nothing where every frame is blank."""
    net = make()
    with torch.inference_mode():
        net.gate.weight.zero_()
        net.gate.bias.fill_(1)
        net.matrix.fill_(float("nan"))
        best, chance = net.best(lines(2, 40))
    assert not best.any()
    torch.testing.assert_close(chance, torch.full_like(chance, 1 / (1 + np.exp(-1))))


@given(st.integers(1, 300), st.integers(0, 100), st.sampled_from((4, 8)))
def test_padding_adds_no_frame_to_a_line(width: int, padding: int, stride: int) -> None:
    """A line's frames are counted from its own width, and are there however far it is continued."""
    net = NETS[stride, "conv"]
    alone, together = net.frames(width), net.frames(width + padding)
    assert alone <= together
    images, widths = pad_batch([np.zeros((32, width), np.uint8), np.zeros((32, width + padding), np.uint8)])
    assert [net.frames(int(each)) for each in widths] == [alone, together]
    assert net.frames(images.shape[3]) >= together


@pytest.mark.parametrize("neck", NECKS)
def test_frames_far_from_the_padding_stay_as_they_are(neck: str) -> None:
    """The convolutions see a stretch of the line; with the other necks the padding reaches a little further."""
    net, line = NETS[4, neck], lines(1, 160)
    with torch.inference_mode():
        alone = net(line)[0]
        padded = net(F.pad(line, (0, 64), value=0.8))[0][:, :40]
    torch.testing.assert_close(alone[:, :20], padded[:, :20], atol=0 if neck == "conv" else 0.05, rtol=0)


def test_attention_tells_neighbours_apart_in_half_precision() -> None:
    """Distances beyond 256 frames are no whole numbers in bfloat16, where a frame would be its neighbour."""
    torch.manual_seed(1)
    neck = AttentionNeck(16).eval()
    torch.nn.init.normal_(neck.out.weight)
    x = torch.randn(1, 16, 700)
    with torch.inference_mode():
        exact = neck(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = neck(x.bfloat16()).float()
    error = (exact - rough).abs().mean(dim=(0, 1))
    assert float(error[300:].mean()) < 1.3 * float(error[:250].mean())


def test_rows_of_some_classes() -> None:
    net = make()
    some = torch.tensor([7, 2])
    assert torch.equal(net.rows()[some], net.rows(some))
    torch.testing.assert_close(net.rows().norm(dim=1), torch.full((CLASSES,), net.scale))


@pytest.fixture
def hard(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Ingredients:
    """Lines of nothing but the hard strings, in all fonts that are here."""
    monkeypatch.setenv("CRNN_SHARDS_CACHE", str(cache))
    text = tmp_path / "hard.txt"
    text.write_text("\n".join(HARD), encoding="utf-8")
    only = ("corpus.balanced=0", "corpus.common=0", "corpus.uniform=0", "corpus.text=1", "corpus.repeats=0")
    whole = ("corpus.length.low=4", "corpus.length.below=[5]")  # or 2 for the dots, which are no longer
    return Ingredients(Charset("20htp…"), corpus=(text,), sets=(*only, *whole))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("recipe", ["gen-default", "gen-classic"])
def test_every_line_of_the_recipes_has_frames_enough(hard: Ingredients, recipe: str, direction: str) -> None:
    """Rendered with all fonts, sizes and effects: stretched, narrow, slim; all of it must fit into stride 4."""
    source, net = RenderedSource.from_spec(f"gen:{recipe}", direction, ingredients=hard), make()
    spare: dict[tuple[str, int], int] = {}
    for item in source.read(range(500)):
        width = prepare(item.pixels, direction, ImageSpec()).shape[1]
        key = item.text, item.size
        spare[key] = min(spare.get(key, 99), net.frames(width) - frames_needed(item.text))
    sizes = load_recipe(recipe).layout.sizes
    assert set(spare) == set(product(HARD, sizes))
    assert {key: frames for key, frames in spare.items() if frames < 0} == {}


def test_a_rendered_line_goes_through(hard: Ingredients) -> None:
    source, net = RenderedSource.from_spec("gen:gen-default", "vertical", ingredients=hard), make()
    images, widths = pad_batch([prepare(item.pixels, "vertical", ImageSpec()) for item in source.read(range(3))])
    best, _ = net.best(normalise(torch.from_numpy(images).float()))
    assert best.shape == (3, net.frames(images.shape[3]))
    assert best.shape[1] >= max(net.frames(int(width)) for width in widths)
