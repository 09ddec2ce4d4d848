"""Log-probabilities of a few classes among all, some frames at a time: what both losses want of the class matrix.

The logits of a large batch over 30,656 classes would fill a GPU several times over. Here they are there for a part of
the frames only, in the backward pass once more; what is kept for it is their logarithmic sum.

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


def _logits(features: Tensor, rows: Tensor, correction: Tensor | None) -> Tensor:
    logits = features @ rows.T
    return logits if correction is None else logits.add_(correction)


def _parts(frames: int, classes: int) -> list[slice]:
    step = max(1, LOGITS // classes)
    return [slice(first, first + step) for first in range(0, frames, step)]


class _LogProbs(torch.autograd.Function):
    """The logits of a single part are kept, which costs less than to make them again."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, rows: Tensor, correction: Tensor | None, own: Tensor) -> Tensor:
        scores, total = features.new_empty(own.shape), features.new_empty(len(features), 1)
        ctx.parts = _parts(len(features), len(rows))
        logits = None
        for part in ctx.parts:
            logits = _logits(features[part], rows, correction)
            total[part] = logits.logsumexp(1, keepdim=True)
            scores[part] = logits.gather(1, own[part]) - total[part]
        ctx.save_for_backward(features, rows, correction, own, total, logits if len(ctx.parts) == 1 else None)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        features, rows, correction, own, total, kept = ctx.saved_tensors
        to_features, to_rows = torch.empty_like(features), torch.zeros_like(rows)
        with torch.autocast(features.device.type, enabled=False):
            for part in ctx.parts:
                slope = _logits(features[part], rows, correction).sub_(total[part]) if kept is None else kept - total
                # A logit's slope: what its own class is given, less the softmax's share of all that the frame is given.
                slope.exp_().mul_(-grad[part].sum(1, keepdim=True)).scatter_add_(1, own[part], grad[part])
                to_features[part] = slope @ rows
                to_rows.addmm_(slope.T, features[part])
        return to_features, to_rows, None, None
