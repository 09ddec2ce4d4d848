"""Both losses against their definitions: value, every gradient, sampled classes, and lines that cannot be learned."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from train import loss as train_loss
from train import scores
from train.codec import frames_needed
from train.config import Crnn as CrnnConfig
from train.config import Lite as LiteConfig
from train.lite import Lite
from train.loss import Classes, ctc_loss, frames_loss, sample_classes
from train.model import Net, build

CLASSES = 9
SURE = train_loss.SURE
torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="module")
def _every_frame() -> Iterator[None]:
    """These networks' gates are far apart: the comparisons are with all classes at every frame."""
    train_loss.SURE = math.inf
    yield
    train_loss.SURE = SURE


@dataclass(frozen=True)
class Lines:
    """Noise with labels: what the losses are given."""

    x: Tensor
    widths: Tensor
    labels: Tensor
    lengths: Tensor

    @property
    def all(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.x, self.widths, self.labels, self.lengths


def make(widths: list[int], texts: list[list[int]], seed: int = 0) -> Lines:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (len(widths), 1, 32, -(-max(widths) // 32) * 32)).astype(np.float32)
    labels = torch.tensor([label for text in texts for label in text])
    return Lines(torch.from_numpy(x), torch.tensor(widths), labels, torch.tensor([len(text) for text in texts]))


def lite(stride: int = 4, classes: int = CLASSES) -> Lite:
    torch.manual_seed(3)
    config = LiteConfig(stride=stride, widths=(4, 8, 8, 8), depths=(0, 1, 0, 0), dim=8, scale=6.0)  # type: ignore[arg-type]
    net = build(config, classes)
    assert isinstance(net, Lite)
    torch.nn.init.normal_(net.gate.weight, 0, 1.0)
    torch.nn.init.zeros_(net.feature.bias)  # type: ignore[arg-type]
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    net(make([96] * 4, [[1]] * 4, 9).x)  # sets the norms, without which frames are all alike
    return net.eval()


def gradients(net: Net, loss: Tensor) -> dict[str, Tensor]:
    net.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def assert_same(net: Net, loss: Tensor, expected: Tensor) -> None:
    """Value by value, and with each line weighted on its own, in all gradients."""
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)
    weights = torch.linspace(1, 2, len(loss)) if loss.ndim else torch.tensor(1.0)
    found, wanted = gradients(net, (loss * weights).sum()), gradients(net, (expected * weights).sum())
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        close = 1e-4 * max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(found[name], gradient, atol=close, rtol=1e-3, msg=f"{name}: {{}}".format)


def reference(net: Net, lines: Lines, scores: Tensor, labels: Tensor) -> Tensor:
    """torch's own loss over normalised scores, which its gradient takes for granted."""
    frames = torch.tensor([net.frames(int(width)) for width in lines.widths])
    scores = scores.transpose(0, 1)
    return F.ctc_loss(scores, labels, frames, lines.lengths, reduction="none", zero_infinity=True)


CASES = {
    "plain": make([64, 40, 23], [[1, 2, 3], [9], [4, 1]]),
    "repeats": make([64, 64, 50], [[2, 2, 2], [5, 5, 1, 5], [1, 1]]),
    "class 0 among the fillers": make([33, 90], [[1], [1, 2, 1, 3, 9, 9, 8]]),
    "just enough frames": make([16, 20, 32], [[1, 2, 3, 4], [7, 7, 7], [3]]),
    "too few frames": make([16, 16, 32], [[1, 2, 3, 4, 5], [6, 6, 6], [3, 4]]),
}


@pytest.mark.parametrize("lines", CASES.values(), ids=CASES)
@pytest.mark.parametrize("kind", ["stride 4", "stride 8", "crnn"])
def test_ctc_is_torchs_over_all_classes(kind: str, lines: Lines) -> None:
    torch.manual_seed(5)
    net = build(CrnnConfig(kind="crnn"), CLASSES).eval() if kind == "crnn" else lite(int(kind[-1]))
    net.train(kind != "crnn")
    loss = ctc_loss(net, *lines.all, Classes())
    assert loss.dtype == torch.float32
    assert_same(net, loss, reference(net, lines, net.log_probs(lines.x), lines.labels))
    texts = torch.split(lines.labels, lines.lengths.tolist())
    fits = [net.frames(int(width)) >= frames_needed(text.tolist()) for width, text in zip(lines.widths, texts)]
    assert (loss > 0).tolist() == fits


def test_at_frames_that_are_surely_blank_all_classes_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_loss, "SURE", 0.5)
    net, lines = lite(), CASES["repeats"]
    gate = net(lines.x)[1]
    closed = gate >= 0.5
    assert 0.1 < float(closed.float().mean()) < 0.9
    alike = (F.logsigmoid(-gate) - math.log(CLASSES))[..., None].expand(-1, -1, CLASSES)
    scores = net.log_probs(lines.x)
    scores = torch.cat([scores[..., :1], torch.where(closed[..., None], alike, scores[..., 1:])], 2)
    loss = ctc_loss(net, *lines.all, Classes())
    assert_same(net, loss, reference(net, lines, scores, lines.labels))


@given(st.lists(st.tuples(st.integers(4, 70), st.lists(st.integers(1, CLASSES), min_size=1, max_size=6)), min_size=1))
@settings(max_examples=25)
def test_ctc_of_any_lines(batch: list[tuple[int, list[int]]]) -> None:
    lines, net = make([width for width, _ in batch], [text for _, text in batch]), lite()
    scores = net.log_probs(lines.x)
    assert_same(net, ctc_loss(net, *lines.all, Classes()), reference(net, lines, scores, lines.labels))


def test_a_line_without_frames_enough_teaches_nothing() -> None:
    lines, net = CASES["too few frames"], lite()
    loss = ctc_loss(net, *lines.all, Classes())
    assert loss[:2].tolist() == [0, 0]
    assert all(not gradient.any() for gradient in gradients(net, loss[:2].sum()).values())
    alone = Lines(lines.x[2:], lines.widths[2:], lines.labels[-2:], lines.lengths[2:])
    together = gradients(net, ctc_loss(net, *lines.all, Classes()).sum())
    for name, gradient in gradients(net, ctc_loss(net, *alone.all, Classes()).sum()).items():
        torch.testing.assert_close(together[name], gradient, atol=1e-4, rtol=1e-3, msg=f"{name}: {{}}".format)


def test_what_lies_beyond_a_line_counts_for_nothing() -> None:
    """Frames of the padding have no share: other pixels there, far enough away, change nothing."""
    lines, net = make([40, 200], [[1, 2], [3]]), lite()
    changed = Lines(lines.x.clone(), lines.widths, lines.labels, lines.lengths)
    changed.x[0, :, :, 150:] = 1
    found = [ctc_loss(net, *each.all, Classes())[0].detach() for each in (lines, changed)]
    torch.testing.assert_close(*found, atol=1e-6, rtol=0)


@pytest.mark.parametrize("lines", CASES.values(), ids=CASES)
def test_sampled_ctc_by_its_definition(lines: Lines) -> None:
    net = lite(classes=40)
    classes = sample_classes(lines.labels - 1, 40, 15, seed=1, step=2)
    assert classes.chosen is not None
    assert classes.correction is not None
    features, gate = net(lines.x)
    inked = (features @ net.rows()[classes.chosen].T + classes.correction).log_softmax(2)
    scores = torch.cat([F.logsigmoid(gate)[..., None], inked + F.logsigmoid(-gate)[..., None]], 2)
    places = {int(number): place for place, number in enumerate(classes.chosen, start=1)}
    labels = torch.tensor([places[int(label) - 1] for label in lines.labels])
    assert_same(net, ctc_loss(net, *lines.all, classes), reference(net, lines, scores, labels))


@pytest.mark.parametrize("negatives", [0, 15])
@pytest.mark.parametrize("logits", [1, 200])
def test_logits_in_parts_change_nothing(logits: int, negatives: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net, lines = lite(classes=40), CASES["repeats"]
    classes = sample_classes(lines.labels - 1, 40, negatives, seed=1, step=2)
    assert (classes.chosen is None) == (negatives == 0)
    centres = torch.linspace(2, 48, len(lines.labels))
    for loss in (ctc_loss, partial(frames_loss, centres=centres)):
        whole = loss(net, *lines.all, classes=classes)
        monkeypatch.setattr(scores, "LOGITS", logits)
        assert_same(net, loss(net, *lines.all, classes=classes), whole)
        monkeypatch.undo()


def test_half_precision_changes_little() -> None:
    lines, net = CASES["plain"], lite()
    exact = ctc_loss(net, *lines.all, Classes())
    with torch.autocast("cpu", torch.bfloat16):
        rough = ctc_loss(net, *lines.all, Classes())
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.1)


def test_look_alikes_are_among_the_sampled_classes() -> None:
    near = np.full((40, 2), -1, np.int32)
    near[3], near[7], near[9] = (30, 31), (3, -1), (20, 21)
    labels = torch.tensor([7, 3, 3])
    for step in range(20):
        found = sample_classes(labels, 40, 5, 7, step, near)
        assert found.chosen is not None
        assert found.correction is not None
        chosen, weight = found.chosen.tolist(), dict(zip(found.chosen.tolist(), found.correction.tolist()))
        assert {3, 7, 30, 31} <= set(chosen)
        assert all(weight[k] == 0 for k in (3, 7, 30, 31))  # they stand for themselves alone
        others = set(chosen) - {3, 7, 30, 31}
        assert 1 <= len(others) <= 5
        assert all(weight[k] == pytest.approx(math.log(36 / len(others))) for k in others)
    everything = np.arange(40, dtype=np.int32)[None].repeat(40, 0)
    found = sample_classes(labels, 40, 5, 7, 0, everything)
    assert found.chosen is not None
    assert found.correction is not None
    assert found.chosen.tolist() == list(range(40))
    assert not found.correction.any()


@given(st.lists(st.integers(0, 99), min_size=1, max_size=30), st.integers(0, 120), st.integers(0, 2**40))
def test_sampled_classes(labels: list[int], negatives: int, step: int) -> None:
    found = sample_classes(torch.tensor(labels), 100, negatives, 7, step)
    if not 0 < negatives < 100 - len(labels):
        assert found == Classes()
        return
    again = sample_classes(torch.tensor(labels), 100, negatives, 7, step)
    assert found.chosen is not None
    assert found.correction is not None
    assert again.chosen is not None
    assert torch.equal(found.chosen, again.chosen)
    chosen, positive = found.chosen.tolist(), set(labels)
    assert chosen == sorted(set(chosen))
    assert positive <= set(chosen) <= set(range(100))
    others = len(chosen) - len(positive)
    assert negatives - len(positive) <= others <= negatives
    weight = math.log((100 - len(positive)) / others) if others else 0
    expected = [0.0 if number in positive else weight for number in chosen]
    assert found.correction.tolist() == pytest.approx(expected, abs=1e-6)
    assert found.local(torch.tensor(labels)).tolist() == [chosen.index(label) for label in labels]


def test_seed_and_step_make_the_sample() -> None:
    samples = [sample_classes(torch.tensor([3]), 500, 50, seed, step).chosen for seed in (1, 2) for step in (0, 1, 256)]
    assert len({tuple(sample.tolist()) for sample in samples if sample is not None}) == 6


def test_sampling_is_unbiased() -> None:
    """Each other class comes equally often, and the corrected sum has the whole one as its mean."""
    labels, logits = torch.tensor([3, 3, 17]), torch.randn(200, generator=torch.Generator().manual_seed(1))
    seen, sums = torch.zeros(200), []
    for step in range(3000):
        sample = sample_classes(labels, 200, 30, 5, step)
        assert sample.chosen is not None
        assert sample.correction is not None
        seen[sample.chosen] += 1
        sums.append(float((logits[sample.chosen] + sample.correction).exp().sum()))
    others = [number for number in range(200) if number not in (3, 17)]
    assert seen[[3, 17]].tolist() == [3000, 3000]
    assert seen[others].std() < 2 * math.sqrt(3000 * 0.15 * 0.85)
    error = np.std(sums) / math.sqrt(len(sums))
    assert abs(np.mean(sums) - float(logits.exp().sum())) < 4 * error
    assert error < 0.02 * float(logits.exp().sum())


def naive_frames_loss(net: Lite, lines: Lines, centres: list[list[float]]) -> Tensor:
    """One character, one frame at a time, each line alone."""
    scores, gates = [], []
    texts = torch.split(lines.labels, lines.lengths.tolist())
    for x, width, text, places in zip(lines.x, lines.widths.tolist(), texts, centres):
        features, gate = (part[0] for part in net(x[None]))
        said = {}
        for place, label in zip(places, text.tolist()):
            frame, rest = divmod(place, net.stride)
            said[min(max(0, int(frame) + (1 if rest >= net.stride / 2 else -1)), len(gate) - 1)] = label
        middles = {int(place / net.stride): label for place, label in zip(places, text.tolist())}
        said |= middles
        for frame, label in said.items():
            scores.append(-(features[frame] @ net.rows().T).log_softmax(0)[label - 1])
        for frame in range(-(-width // net.stride)):
            if frame in middles or frame not in said:
                gates.append(-F.logsigmoid(-gate[frame] if frame in middles else gate[frame]))
    return torch.stack(scores).mean() + torch.stack(gates).mean()


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize(
    "centres",
    [
        [[3.0, 30.5, 95.9], [40.0], [8.0, 17.0]],  # the ends of a line, and neighbours
        [[50.0, 53.0, 57.9], [1.0], [20.5, 22.0]],  # characters in the second frames of others, or in one frame
    ],
)
def test_frames_loss_by_its_definition(stride: int, centres: list[list[float]]) -> None:
    net = lite(stride)
    lines = make([96, 61, 40], [[2, 2, 9], [5], [1, 3]])
    flat = torch.tensor([place for row in centres for place in row])
    assert_same(net, frames_loss(net, *lines.all, flat, Classes()), naive_frames_loss(net, lines, centres))


def test_frames_loss_over_sampled_classes() -> None:
    """What the sample changes is the softmax of the characters' frames."""
    net, lines, centres = lite(classes=40), make([96], [[2, 30, 9]]), torch.tensor([11.0, 43.0, 71.0])
    classes = sample_classes(lines.labels - 1, 40, 10, 1, 1)
    assert classes.chosen is not None
    assert classes.correction is not None
    labels = (lines.labels - 1).repeat_interleave(2)
    some = net(lines.x)[0][0, [2, 3, 10, 11, 17, 18]]
    place = torch.tensor([classes.chosen.tolist().index(label) for label in labels.tolist()])
    sampled = F.cross_entropy(some @ net.rows()[classes.chosen].T + classes.correction, place)
    whole = F.cross_entropy(some @ net.rows().T, labels)
    expected = frames_loss(net, *lines.all, centres, Classes()) - whole + sampled
    assert_same(net, frames_loss(net, *lines.all, centres, classes), expected)
