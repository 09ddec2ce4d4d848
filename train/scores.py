"""Log-probabilities of a few classes among all, some frames at a time: what both losses want of the class matrix.

The logits of a large batch over 30,656 classes would fill a GPU several times over. Here they are there for a part of
the frames only, in the backward pass once more.

    python -m pytest tests/test_train_scores.py
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LOGITS = 1 << 26  # at a time: 256 MB of float32


def log_probs(features: Tensor, rows: Tensor, correction: Tensor | None, own: Tensor) -> Tensor:
    """Of the classes ``own`` int64 [N, L] under a softmax over all K of them, [N, L].

    The logits are ``features`` [N, dim] times ``rows`` [K, dim], plus ``correction`` [K], which gets no gradient; in
    the precision of the features, also under autocast. A class may be among a frame's own more than once.
    """
    with torch.autocast(features.device.type, enabled=False):
        scores: Tensor = _LogProbs.apply(features, rows, correction, own)  # type: ignore[no-untyped-call]
        return scores


def _all(features: Tensor, rows: Tensor, correction: Tensor | None) -> Tensor:
    """Log-probabilities of all classes."""
    logits = features @ rows.T
    return (logits if correction is None else logits.add_(correction)).log_softmax(1)


def _parts(frames: int, classes: int) -> list[slice]:
    step = max(1, LOGITS // classes)
    return [slice(first, first + step) for first in range(0, frames, step)]


class _LogProbs(torch.autograd.Function):
    """Those of a single part are kept, which costs less than to make them again."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, rows: Tensor, correction: Tensor | None, own: Tensor) -> Tensor:
        ctx.parts = _parts(len(features), len(rows))
        scores = features.new_empty(own.shape)
        every = None
        for part in ctx.parts:
            every = _all(features[part], rows, correction)
            scores[part] = every.gather(1, own[part])
        ctx.save_for_backward(features, rows, correction, own, every if len(ctx.parts) == 1 else None)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        features, rows, correction, own, kept = ctx.saved_tensors
        to_features, to_rows = torch.empty_like(features), torch.zeros_like(rows)
        with torch.autocast(features.device.type, enabled=False):
            for part in ctx.parts:
                slope = _all(features[part], rows, correction).exp_() if kept is None else kept.exp()
                # A logit's slope: what its own class is given, less the softmax's share of all that the frame is given.
                slope.mul_(-grad[part].sum(1, keepdim=True)).scatter_add_(1, own[part], grad[part])
                to_features[part] = slope @ rows
                to_rows.addmm_(slope.T, features[part])
        return to_features, to_rows, None, None
