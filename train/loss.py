"""The two losses, over all classes or a sample of them.

``frames``: a character at the frame of its box's centre, the blank at frames away from any character: learns to tell
tens of thousands of classes apart in minutes. ``ctc``: whole lines (Graves et al. 2006), without boxes.

Only the blank and the classes of a line's own label enter its CTC, each with its log-probability under all classes
(or all sampled ones). The class matrix runs on the frames alone that the gate is not sure are blank, soon a third.

    python -m pytest tests/test_train_loss.py
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from train.lite import Lite
from train.model import Net
from train.scores import log_probs

SURE = 7.0  # gates above it say blank with 99.9 %: which character it might be otherwise is not worth learning


@dataclass(frozen=True)
class Classes:
    """Which classes the softmax of a step runs over. ``chosen`` int64 [K] counts classes from 0 (no blank), sorted;
    ``correction`` float32 [K] is added to the logits; None for both: all classes."""

    chosen: Tensor | None = None
    correction: Tensor | None = None

    def to(self, device: torch.device) -> Classes:
        """The same on a device."""
        if self.chosen is None or self.correction is None:
            return self
        pair = self.chosen, self.correction
        if device.type == "cuda":  # a copy from other memory waits for what the device does before it
            pair = self.chosen.pin_memory(), self.correction.pin_memory()
        return Classes(*(tensor.to(device, non_blocking=True) for tensor in pair))

    def local(self, labels: Tensor) -> Tensor:
        """Where classes (from 0) stand among the chosen ones."""
        return labels if self.chosen is None else torch.searchsorted(self.chosen, labels)


def sample_classes(
    labels: Tensor, classes: int, negatives: int, seed: int, step: int, near: NDArray[np.int32] | None = None
) -> Classes:
    """The classes of a batch (``labels`` int64, from 0) and ``negatives`` others, the same for equal seed and step.

    ``near``: int32 [classes, n], for each label others that always come with it, -1 is none: those that it is hard to
    tell from. Sampled by chance they would be there in one step of many, and the correction cannot make up for the
    others: it raises a logit, but what a step teaches ends where the class is wholly taken for the label.

    Logits of the others get log(population / sampled), so that the softmax is unbiased in expectation over samples
    (sampled softmax; Jean et al. 2015 with a uniform proposal). All classes when sampling would save nothing.
    """
    if not 0 < negatives < classes - len(labels):
        return Classes()
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, step << 8 | 1], np.uint64)))
    positive = np.unique(labels.cpu().numpy())
    if near is not None:
        further = near[positive[positive < len(near)]]
        positive = np.union1d(positive, further[further >= 0])
    others = np.setdiff1d(rng.choice(classes, negatives, replace=False, shuffle=False), positive, assume_unique=True)
    chosen = np.concatenate([positive, others])
    correction = np.zeros(len(chosen), np.float32)
    if len(others):
        correction[len(positive) :] = math.log((classes - len(positive)) / len(others))
    order = np.argsort(chosen)
    to = labels.device
    return Classes(torch.from_numpy(chosen[order]).to(to), torch.from_numpy(correction[order]).to(to))


def frames_loss(
    net: Lite, x: Tensor, widths: Tensor, labels: Tensor, lengths: Tensor, centres: Tensor, classes: Classes
) -> Tensor:
    """Cross entropy of the characters at their frames plus that of the gate; a mean over characters and over frames.

    ``widths`` [B] px, ``labels`` int64 [sum] from 1, ``lengths`` [B], ``centres`` float32 [sum] px along the line.
    The frame that holds a centre must not be blank. The one nearest to it besides may be or not, but if not it is the
    same character, which decoding makes one of. All others are blank; those beyond a line's end count for nothing.
    """
    features, gate = net(x)
    lines, steps = gate.shape
    row = torch.repeat_interleave(torch.arange(lines, device=x.device), lengths) * steps
    place = centres / net.stride
    second = torch.where(place.frac() < 0.5, place - 1, place + 1)
    target = torch.full((lines * steps,), -1, dtype=torch.long, device=x.device)
    target[row + second.long().clamp_(0, steps - 1)] = labels - 1
    at = row + place.long().clamp_(0, steps - 1)
    target[at] = labels - 1  # the last wins where two tiny characters share a frame
    known = target >= 0
    own = classes.local(target[known])[:, None]
    loss = -log_probs(features.flatten(0, 1)[known], net.rows(classes.chosen), classes.correction, own).mean()
    blank = ~known
    valid = torch.arange(steps, device=x.device) < -(-widths // net.stride)[:, None]
    valid = valid.flatten() & (target.scatter(0, at, -1) < 0)  # the second frames may say either
    gates = F.binary_cross_entropy_with_logits(gate.flatten()[valid], blank[valid].float())
    return loss + gates


def ctc_loss(net: Net, x: Tensor, widths: Tensor, labels: Tensor, lengths: Tensor, classes: Classes) -> Tensor:
    """The CTC loss of each line, float32 [B], 0 where a line has too few frames for its label; in float32 throughout.

    Arguments as of `frames_loss`.
    """
    local = classes.local(labels - 1)
    rows, numbers = _own_classes(local, lengths)
    if isinstance(net, Lite):
        features, gate = net(x)
        blank = F.logsigmoid(gate)
        own = _own_scores(net, features, gate < SURE, rows, classes) + F.logsigmoid(-gate)[..., None]
    else:
        scores = net.log_probs(x)
        blank = scores[..., 0]
        own = scores[..., 1:].gather(2, rows[:, None, :].expand(-1, scores.shape[1], -1))
    scores = torch.cat([blank[..., None], own], 2).transpose(0, 1)
    frames = torch.tensor([net.frames(int(width)) for width in widths.tolist()])
    frames = frames.to(lengths.device)
    with torch.autocast(x.device.type, enabled=False):
        loss = F.ctc_loss(scores, numbers, frames, lengths, reduction="none", zero_infinity=True)
        # torch's gradient is that of a softmax over all columns: it has a term exp(score) that would vanish if they
        # summed to 1. They do not, so it is taken out again; what is added has the value 0.
        valid = torch.arange(scores.shape[0], device=x.device)[:, None] < frames
        surplus = (scores.exp() * (valid & (loss.detach() > 0))[..., None]).sum(dim=(0, 2))
        return loss - (surplus - surplus.detach())


def _own_scores(net: Lite, features: Tensor, open_: Tensor, rows: Tensor, classes: Classes) -> Tensor:
    """Log-probabilities of each line's own classes ``rows`` [B, L] among all at each frame, float32 [B, T, L].

    The class matrix runs on the frames that ``open_`` (bool [B, T]) names; on the others all classes are alike.
    """
    lines, steps = open_.shape
    line = torch.arange(lines, device=rows.device)[:, None].expand(-1, steps)[open_]
    matrix = net.rows(classes.chosen)
    scores = log_probs(features[open_], matrix, classes.correction, rows[line])
    alike = -math.log(len(matrix))
    return scores.new_full((lines, steps, rows.shape[1]), alike).index_put((open_,), scores)


def _own_classes(labels: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The labels of each line side by side, int64 [B, longest] (filled up with class 0), and each label's number
    among them, from 1, int64 [sum]: equal labels have equal numbers, as CTC compares them."""
    used = torch.arange(int(lengths.max()), device=labels.device) < lengths[:, None]
    rows = torch.zeros(used.shape, dtype=labels.dtype, device=labels.device).masked_scatter(used, labels)
    first = (rows[:, :, None] == rows[:, None, :]).int().argmax(2) + 1
    return rows, first[used]
