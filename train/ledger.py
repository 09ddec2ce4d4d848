"""What steps have cost: looked at one step late, so that the device need not wait, averaged over all processes.

tail -f runs/h/metrics.jsonl
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gen.errors import UserError
from train.data import Batch
from train.dist import World
from train.source import Ints

GOING, STOPPED, FAILED = range(3)


@dataclass(frozen=True)
class Done:
    """A step that was made: its number, what it cost, which lines were in it, and what else is told of it."""

    step: int
    loss: Tensor
    norm: Tensor
    ids: Ints
    texts: tuple[str, ...]
    values: dict[str, Any]


class Ledger:
    """The steps that nobody has looked at yet. ``folder``: where the batch of a loss that is no number is told."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world, self._folder = world, folder
        self._open: list[Done] = []
        self._means: Tensor | None = None  # of those that are open, float32 [2, steps]; None: not known yet

    def add(self, step: int, loss: Tensor, norm: Tensor, batch: Batch, values: dict[str, Any]) -> None:
        """Note a step, still being computed."""
        self._open.append(Done(step, loss, norm, batch.ids, batch.texts, values))
        self._means = None

    def drop(self) -> None:
        """Forget the steps that are open: they will be made again."""
        self._open, self._means = [], None

    def agree(self, status: int) -> int:
        """What the processes together say on whether to go on; what open steps have cost travels with it."""
        if self._world.size == 1:
            return status
        word = torch.tensor([status == FAILED, status == STOPPED], dtype=torch.float32, device=self._world.device)
        if self._means is None:
            word = torch.cat([word, self._costs().flatten()])
        said = self._world.total(word).cpu()
        if self._means is None:
            self._means = (said[2:] / self._world.size).reshape(2, len(self._open))
        return FAILED if said[0] else STOPPED if said[1] else GOING

    def _costs(self) -> Tensor:
        if not self._open:
            return torch.empty(2, 0, device=self._world.device)
        costs = [done.loss for done in self._open], [done.norm for done in self._open]
        return torch.stack([torch.stack(row).float() for row in costs])

    def settle(self, scaled: bool, saved: int) -> list[dict[str, Any]]:
        """Close the open steps: what is to be written down of each. All processes call it at the same step.

        ``scaled``: an infinite norm is a step that was left out. ``saved``: the step of the last checkpoint. Raises
        `UserError`, in all processes, for a loss that is no number.
        """
        if not self._open:
            return []
        if self._world.size > 1 and self._means is None:
            self.agree(GOING)
        means = self._costs() if self._means is None else self._means
        settled, rows = self._open, means.T.tolist()
        self.drop()
        told = []
        for done, (loss, norm) in zip(settled, rows, strict=True):
            if not np.isfinite(loss) or not (np.isfinite(norm) or scaled):
                self._diverged(done, loss, norm, saved)
            told.append({"step": done.step, "loss": round(loss, 5), "norm": round(norm, 4), **done.values})
        return told

    def _diverged(self, done: Done, loss: float, norm: float, saved: int) -> None:
        here = not np.isfinite(float(done.loss))
        batch = {"step": done.step, "ids": done.ids.tolist(), "texts": done.texts}
        found = [each for each in self._world.gather(batch if here else None) if each is not None]
        report = self._folder / "diverged.json"
        if self._world.first:
            with suppress(OSError):  # a full disk: the loss is to be told all the same
                report.write_text(json.dumps((found or [batch])[0]))
        kept = f"the checkpoint of step {saved} is kept" if saved > 0 else "there is no checkpoint yet"
        raise UserError(
            f"the loss of step {done.step} is {loss} and the norm of its gradient {norm}; its batch is in {report}, "
            f"{kept}: lower lr or clip, or look at these lines"
        )
