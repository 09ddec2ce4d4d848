"""Log-probabilities in parts: the same values and gradients as at once, and never more logits than they may take."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from train import scores
from train.scores import log_probs

torch.set_num_threads(1)


def draw(
    frames: int, classes: int, labels: int, corrected: bool, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Features, rows, correction and own classes; some of these are alike."""
    random = torch.Generator().manual_seed(frames * 31 + classes)
    features = torch.randn(frames, 5, generator=random, dtype=dtype, requires_grad=True)
    rows = torch.randn(classes, 5, generator=random, dtype=dtype, requires_grad=True)
    correction = torch.randn(classes, generator=random, dtype=dtype) if corrected else None
    return features, rows, correction, torch.randint(0, classes, (frames, labels), generator=random)


def naive(features: Tensor, rows: Tensor, correction: Tensor | None, own: Tensor) -> Tensor:
    logits = features @ rows.T + (0 if correction is None else correction)
    return logits.log_softmax(1).gather(1, own)


def with_gradients(found: Tensor, features: Tensor, rows: Tensor) -> list[Tensor]:
    weights = torch.linspace(-1, 2, found.numel(), dtype=found.dtype).reshape(found.shape)
    return [found.detach(), *torch.autograd.grad((found * weights).sum(), (features, rows))]


@given(st.integers(0, 40), st.integers(1, 30), st.integers(1, 6), st.booleans(), st.integers(1, 1500))
@settings(max_examples=60)
def test_parts_give_what_the_whole_gives(frames: int, classes: int, labels: int, corrected: bool, logits: int) -> None:
    given = draw(frames, classes, labels, corrected, torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "LOGITS", logits)
        found = with_gradients(log_probs(*given), *given[:2])
    for one, other in zip(found, with_gradients(naive(*given), *given[:2]), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("logits", [1, 30, 1 << 26])
@pytest.mark.parametrize("corrected", [False, True])
def test_gradients_are_the_slopes(logits: int, corrected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "LOGITS", logits)
    features, rows, correction, own = draw(6, 8, 3, corrected, torch.float64)
    assert torch.autograd.gradcheck(lambda *given: log_probs(*given, correction, own), (features, rows))


@pytest.mark.parametrize("logits", [100, 1 << 26])
def test_autocast_changes_nothing(logits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "LOGITS", logits)
    given = draw(20, 30, 4, True)
    expected = with_gradients(log_probs(*given), *given[:2])
    with torch.autocast("cpu", torch.bfloat16):
        found = with_gradients(log_probs(*given), *given[:2])
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


def test_no_more_logits_than_may_be_and_none_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "LOGITS", 7 * 300)
    given = draw(100, 300, 2, True)
    kept: list[int] = []
    with (
        Largest() as largest,
        torch.autograd.graph.saved_tensors_hooks(lambda each: (kept.append(each.numel()), each)[1], lambda each: each),
    ):
        log_probs(*given).sum().backward()  # type: ignore[no-untyped-call]
    assert largest.numbers == 7 * 300
    assert sum(kept) < 100 * 10 + 300 * 10
