"""The run itself: stages one after another, steps, validations, checkpoints; stopped anywhere, it goes on to the bit.

    python -m train --data shards/horizontal --out runs/h

The number of the next step says where a run is: batches, sampled classes and rates follow from it and the seed. With
comm local the processes differ between two synchronisations, see `train.comm`: validations, checkpoints and the end
wait for the next one, a signal too, and when a process fails in between, all go back to the last.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any

from torch import Tensor

from gen.alike import read_near
from gen.command import handled
from gen.errors import UserError
from gen.settings import to_dict
from train import checkpoint
from train.alike import find_alike
from train.checkpoint import BEST, LAST, PREVIOUS, WEIGHTS
from train.chosen import balance
from train.data import Batch, loader
from train.dist import World
from train.given import Given, check_labels, open_agreed, open_stage, without_bad
from train.ledger import FAILED, GOING, STOPPED, Ledger
from train.objective import Learner
from train.optim import Average
from train.plan import Plan
from train.record import Record
from train.setting import Leg, Setting
from train.source import Source
from train.start import check_continues
from train.validation import Validation


class Loop:
    """A run in one of its processes. ``step`` counts those that are done, over all stages."""

    def __init__(self, setting: Setting, learner: Learner, world: World) -> None:
        self.setting, self.learner, self.world = setting, learner, world
        self.step = self._before = 0
        self.best = -1.0
        self.average = Average(learner.net, setting.config.learning.ema, setting.config.learning.keep_origin)
        self._reader = copy.deepcopy(learner.net)  # holds the averaged parameters while they read
        self._ledger = Ledger(world, setting.out)
        self._record: Record | None = None
        self._asked = self._stop = 0  # the signal that asks this process to stop; that for which all do
        self._saved = -1
        self._comm: tuple[int, dict[str, Any]] = -1, {}  # what the processes have of their own, and at which step
        self._failure: UserError | None = None

    def resume(self, values: dict[str, Any]) -> list[str]:
        """Go on from a checkpoint in the run's folder; what is to be told about it. Raises `UserError` when it is of
        another network or charset."""
        notes = check_continues(values, self._description(), self.setting)
        self.learner.load(values)
        self.learner.comm.load(values.get("comm", {}))
        self.average.load(values["ema"], values["ema_steps"], values.get("origin", {}))
        self.step, self.best, self._saved = values["step"], values["best"], values["step"]
        self.setting.about = {**values["about"], **self.setting.about}
        known = {*self.setting.given.excluded, *map(tuple, values["excluded"])}
        self.setting.given = replace(self.setting.given, excluded=tuple(sorted(known)))
        notes.append(f"going on from step {self.step} of {self.setting.steps}")
        return notes

    def _description(self) -> dict[str, Any]:
        made = self.setting
        return checkpoint.describe(made.config.model, made.codec, made.directions, made.image)

    def save(self) -> None:
        """Write the state after the last step, by the first process, to which the others give theirs. Raises
        `UserError` for a full disk."""
        self._settle()
        if self._comm[0] != self.step:
            with self.world.doing(f"step {self.step}, its checkpoint"):
                self._comm = self.step, self.learner.comm.state()
        if not self.world.first or self._saved == self.step:
            return
        values = {
            **self._description(),
            **self.learner.state(),
            "ema": self.average.state,
            "ema_steps": self.average.steps,
            "origin": self.average.origin,
            "comm": self._comm[1],
            "step": self.step,
            "best": self.best,
            "excluded": [list(pair) for pair in self.setting.given.excluded],
            "config": to_dict(self.setting.config),
            "about": self.setting.about,
        }
        out, history = self.setting.out, self.setting.config.keep.history
        checkpoint.save(out / LAST, values, keep=out / PREVIOUS)
        if self._due(history):
            checkpoint.save(out / f"step-{self.step:08d}.pt", values)
        self._saved = self.step

    def _weights(self) -> dict[str, Tensor]:
        return self.average.weights(self.learner.net.fresh)

    def save_weights(self, name: str) -> None:
        """Write the averaged parameters, in half precision, with what reading needs."""
        about = {**self.setting.about, "step": self.step}
        state = checkpoint.half(self._weights())
        checkpoint.save(self.setting.out / name, {**self._description(), "net": state, "about": about})

    def run(self, record: Record | None, validation: Validation | None) -> int:
        """Train to the end, or until a signal; the signal's number, 0 at the end. Raises `UserError` for what the user
        can mend; the last checkpoint is then as good as it was."""
        self._record = record
        with handled(self.ask_to_stop):
            for leg in self.setting.legs:
                while self.step < min(leg.last, self.setting.steps):
                    self._stop = self.world.worst(self._asked)
                    if self._stop:
                        break
                    self._run_leg(leg, validation)
            self._settle()
            self._write(self.save)
            if self.world.worst(self._failure is not None):
                self._interrupted(FAILED)
            if self.world.first and not self._stop:
                self.save_weights(WEIGHTS)
        return self._stop

    def ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        """A signal handler: the step under way is finished and the state saved."""
        self._asked = number

    def _run_leg(self, leg: Leg, validation: Validation | None) -> None:
        """Steps of a stage until its end, a signal, or a bad shard, after which it is called again."""
        setting, world = self.setting, self.world
        sources, weights = self._open(leg)
        data, keep, comm = setting.config.data, setting.config.keep, self.learner.comm
        plan = Plan(
            sources, weights, seed=setting.config.seed * 1000 + leg.number, batch=leg.batch,
            lanes=data.lanes, window=data.window,
        )  # fmt: skip
        first, last = self.step - leg.first, min(leg.last, setting.steps) - leg.first
        batches = loader(
            sources, plan, world.rank, world.size, first, last, setting.codec, setting.image, setting.workers,
            world.device.type == "cuda",
        )  # fmt: skip
        target = leg.first + last
        if self.step == leg.first:
            comm.begin_stage()
        since, begin = self.step, time.perf_counter()
        while self.step < target:
            batch, status = self._next(batches, self.step == since)
            with world.doing(f"step {self.step + 1}, the word before it"):
                if self.step == since:
                    status = self._ledger.agree(status)
                elif comm.nearby(status == FAILED):
                    self._meet(since)
                    return
            if status != GOING:
                self._interrupted(status)
                return
            assert batch is not None
            waited = time.perf_counter() - begin
            with world.doing(f"step {self.step + 1}, its gradients"):
                loss, norm, lr = self.learner.step(
                    batch, leg.stage, leg.last - leg.first, self.step - leg.first, self.step
                )
            if not comm.apart:
                self._settle()
            now = time.perf_counter()
            values: dict[str, Any] = {
                "stage": leg.stage.name, "batch": leg.batch, "lr": lr, "lines_per_s": leg.batch / (now - begin),
                "wait": waited / (now - begin), "time": time.time(), "passes": plan.passes(self.step + 1 - leg.first),
            }  # fmt: skip
            begin = now
            self.step += 1
            self._ledger.add(self.step, loss, norm, batch, values)
            if not comm.together(self.step, target):
                continue
            if comm.apart and not self._meet(since):
                return
            self.average.update(self.learner.net, self.step - since)
            self._before, since = since, self.step
            if validation is not None and (since == target or self._due(keep.validate)):
                self._settle()
                self._validate(validation)
                begin = time.perf_counter()
            if since == target or self._due(keep.every) or self._due(keep.history):
                self._settle()
                self._write(self.save)
                begin = time.perf_counter()
        if values["passes"]:
            often = ", ".join(f"{count:.2f} passes over {name}" for name, count in values["passes"].items())
            self._say(f"step {self.step}: stage {leg.stage.name} has made {often}")

    def _due(self, every: int) -> bool:
        """Whether what happens every so many steps (0: never) is due, where all are together for the first time since
        ``_before``."""
        return every > 0 and self.step // every > self._before // every

    def _meet(self, since: int) -> bool:
        """Average what the processes have become after steps apart; False when one has failed since step ``since``:
        then all are where they were there."""
        with self.world.doing(f"step {self.step}, the synchronisation after it"):
            if self.world.worst(self._failure is not None):
                self._ledger.drop()
                self.learner.comm.undo()
                self.step = since
                self._interrupted(FAILED)
                return False
            self._settle()
            self.learner.comm.synchronise()
        return True

    def _open(self, leg: Leg) -> tuple[list[Source], list[float]]:
        """The sources of a stage and their weights, without bad shards where these may be skipped."""
        setting, stage = self.setting, leg.stage
        again, seed = self.step == leg.first, setting.config.seed * 1000 + leg.number
        alike = setting.out / f"alike-{stage.name}.txt" if stage.alike else None
        self.learner.near = None
        if alike is not None:
            self._reader.load_state_dict(self._weights())
            find_alike(self._reader, setting.codec, alike, again, self.world)
            self.learner.near = read_near(alike, setting.codec.charset)

        def attempt(given: Given) -> tuple[list[Source], list[float]]:
            sources, weights = open_stage(given, stage, seed, alike)
            boxes = stage.loss == "frames"
            if again or boxes:
                self._say(*check_labels(sources, setting.codec, self.learner.net, boxes))
            return sources, weights

        setting.given, (sources, weights) = open_agreed(setting.given, setting.skip, self.world, attempt)
        if again:
            self._say(f"stage {stage.name}: lines of {', '.join(source.name for source in sources)}")
        if setting.config.data.balance:
            sources, notes = balance(sources, setting.config.data.balance)
            if again:
                self._say(*notes)
        return sources, weights

    def _next(self, batches: Iterator[Batch], may_stop: bool) -> tuple[Batch | None, int]:
        """The next batch, and this process's word on whether to go on."""
        if self._failure is not None:
            return None, FAILED
        if self._asked and may_stop:
            return None, STOPPED
        try:
            return next(batches), GOING
        except UserError as error:
            self._failure = error
            return None, FAILED

    def _interrupted(self, status: int) -> None:
        """What all processes do when one of them cannot, or is not to, go on."""
        failure, self._failure = self._failure, None
        if status == STOPPED:
            return
        try:
            given = without_bad(self.setting.given, failure, self.setting.skip, self.world)
        except UserError as error:
            try:
                self.save()
                told = UserError(f"{error} (step {self.step} is saved)")
            except UserError as another:
                told = another
            raise self.world.gather(told)[0] from None  # what the first process could save
        assert given is not None
        self.setting.given = given

    def _settle(self) -> None:
        """Look at the losses of the steps before, which the device has computed by now, and write them down."""
        with self.world.doing(f"step {self.step}, its losses"):
            told = self._ledger.settle(self.learner.scaler.is_enabled(), self._saved)
        for values in told:
            if self._record is not None:
                self._write(partial(self._record.step, values))

    def _say(self, *lines: str) -> None:
        if self._record is not None:
            for line in lines:
                self._record.say(line)

    def _write(self, write: Callable[[], None]) -> None:
        """Write a file. When that fails, no process begins another step, and the state is saved if it can be."""
        try:
            write()
        except UserError as error:
            self._failure = error

    def _validate(self, validation: Validation) -> None:
        self._reader.load_state_dict(self._weights())
        with self.world.doing(f"step {self.step}, the validation after it"):
            values, pictures = validation.measure(self._reader.eval(), self.world)
        values = {"step": self.step, **values}
        self.setting.about["metrics"] = values
        if self._record is not None:
            self._write(partial(self._record.validation, values, pictures))
        if values["char_accuracy_folded"] > self.best:
            if self.world.first:
                self._write(partial(self.save_weights, BEST))
            if self._failure is None:
                self.best = values["char_accuracy_folded"]
