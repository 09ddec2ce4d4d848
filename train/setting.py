"""What a run is made from, and which of its steps belong to which stage.

python -m train --data shards/horizontal --out runs/h --set keep.every=100
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen.errors import UserError
from train.codec import Codec
from train.config import Stage, TrainConfig
from train.given import Given, check_stage
from train.image import ImageSpec
from train.plan import check_sizes
from train.shards import BadShard
from train.source import Source


@dataclass(frozen=True)
class Leg:
    """A stage with its place among the steps of the run: from ``first`` up to ``last``, ``batch`` lines each."""

    number: int
    stage: Stage
    first: int
    last: int
    batch: int


def legs(config: TrainConfig, batch: int) -> list[Leg]:
    """The stages of a run; ``batch``: for those that do not say theirs."""
    result: list[Leg] = []
    first = 0
    for number, stage in enumerate(config.stages):
        size = stage.batch or batch
        last = first - (-stage.lines // size)
        result.append(Leg(number, stage, first, last, size))
        first = last
    return result


def check_legs(legs: Sequence[Leg], lanes: int, world: int, given: Given, sources: Sequence[Source]) -> None:
    """Refuse at the start what a later stage could not do; ``sources``: of the data. Raises `UserError` naming the
    stage."""
    for leg in legs:
        try:
            check_sizes(leg.batch, lanes, world)
            check_stage(given, leg.stage, sources)
        except BadShard:  # it may be skipped
            raise
        except UserError as error:
            raise UserError(f"stage {leg.stage.name}: {error}") from None


@dataclass
class Setting:
    """What a run is made from. ``limit``: its last step, None for all stages; ``skip``: bad shards it may leave out."""

    config: TrainConfig
    given: Given
    out: Path
    codec: Codec
    directions: tuple[str, ...]
    image: ImageSpec
    legs: list[Leg]
    workers: int
    about: dict[str, Any]
    limit: int | None = None
    skip: int = 0

    @property
    def steps(self) -> int:
        """Of the whole run."""
        total = self.legs[-1].last
        return total if self.limit is None else min(total, self.limit)
