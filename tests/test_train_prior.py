"""What is common in a run's lines is not to be preferred by its network."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from train_sources import CHARS, MemorySource

from gen.charset import Charset
from train.codec import Codec
from train.loss import sample_classes
from train.prior import log_prior
from train.source import Item

CODEC = Codec(Charset(CHARS))


@dataclass
class Saying(MemorySource):
    """Lines that all say the same."""

    said: str = ""

    def item(self, number: int) -> Item:
        return replace(super().item(number), text=self.said)


@pytest.mark.parametrize("blocks", [None, np.array([30, 20])])
def test_the_prior_of_weighted_sources(blocks: np.ndarray | None) -> None:
    sources = [Saying(blocks, said="一一一二"), Saying(blocks, said="三")]
    found = log_prior(sources, [1.0, 3.0], CODEC).tolist()
    count = len(CHARS)
    wanted = [0.1875 * count, 0.0625 * count, 0.75 * count, *[1.0] * (count - 3)]  # those that never come, as if evenly
    assert found == pytest.approx([math.log(value) for value in wanted], abs=1e-6)


def test_what_comes_evenly_has_no_prior() -> None:
    assert log_prior([Saying(said=CHARS)], [1.0], CODEC).tolist() == [0.0] * len(CHARS)


@pytest.mark.parametrize("negatives", [0, 4])
def test_the_prior_is_added_to_the_logits(negatives: int) -> None:
    prior = torch.arange(30, dtype=torch.float32)
    plain = sample_classes(torch.tensor([3, 7, 3]), 30, negatives, 1, 2)
    found = sample_classes(torch.tensor([3, 7, 3]), 30, negatives, 1, 2, prior)
    assert found.correction is not None
    if negatives:
        assert plain.chosen is not None
        assert plain.correction is not None
        assert found.chosen is not None
        assert found.chosen.tolist() == plain.chosen.tolist()
        assert (found.correction - plain.correction).tolist() == pytest.approx(plain.chosen.tolist())
    else:
        assert found.chosen is None
        assert found.correction.tolist() == prior.tolist()
