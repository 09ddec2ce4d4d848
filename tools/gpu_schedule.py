"""Stages that end when the time does: their lengths follow from how fast lines are learned on the machine at hand.

    python -m tools.gpu_leg

The configuration's ``lines`` say how the stages compare: all that is left of them is scaled by one factor, as often as
the time that is left becomes clearer. Steps that are done stay, so a run goes on in the middle of a stage.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from train.config import Stage, TrainConfig

COST = {"frames": 1.0, "ctc": 1.4}  # of a line (H200); used for stages of which none has been timed yet


def rates(metrics: Path) -> dict[str, float]:
    """Lines a second of each stage that a run's ``metrics.jsonl`` has steps of: over the later half of them, as the
    first ones find batches that were made before the clock started, without those that took four times the usual: a
    GPU's first step of each shape takes 2 s."""
    seen: dict[str, list[float]] = {}
    for values in _steps_in(metrics):
        seen.setdefault(values["stage"], []).append(values["lines_per_s"])
    found = {}
    for name, speeds in seen.items():
        times = [1 / speed for speed in speeds[len(speeds) // 2 :]]
        usual = [time for time in times if time < 4 * median(times)]
        found[name] = len(usual) / sum(usual)
    return found


def last_step(metrics: Path) -> int:
    """The last step that a run's ``metrics.jsonl`` has; 0 for none."""
    return max((values["step"] for values in _steps_in(metrics)), default=0)


def _steps_in(metrics: Path) -> Iterator[dict[str, Any]]:
    for line in metrics.read_text(encoding="utf-8").splitlines() if metrics.exists() else ():
        try:
            values = json.loads(line)
        except ValueError:
            continue  # the last line of a killed run
        if "lines_per_s" in values:
            yield values


def seconds(config: TrainConfig, step: int, known: Mapping[str, float]) -> float:
    """What a run takes from a step of the whole on. ``known``: lines a second by stage, of one stage at least."""
    last = next(stage for stage in reversed(config.stages) if stage.name in known)

    def rate(stage: Stage) -> float:
        return known.get(stage.name) or known[last.name] * COST[last.loss] / COST[stage.loss]

    left = [_steps(stage) - did for stage, did in zip(config.stages, _done(config.stages, step))]
    return sum(steps * _size(stage) / rate(stage) for stage, steps in zip(config.stages, left))


def fit(config: TrainConfig, step: int, wanted: float, known: Mapping[str, float]) -> TrainConfig:
    """The configuration with stages that take ``wanted`` seconds from ``step`` of the whole run on, in the proportions
    that they had. ``known`` as of `seconds`; without any, all is left as it is. Every stage states its batch."""
    done = _done(config.stages, step)
    left = [_steps(stage) - did for stage, did in zip(config.stages, done)]
    if not any(left) or not any(stage.name in known for stage in config.stages):
        return config
    scale = wanted / seconds(config, step, known)
    stages = [
        replace(stage, lines=_size(stage) * (did + math.ceil(scale * steps)))
        for stage, did, steps in zip(config.stages, done, left)
    ]
    return replace(config, stages=tuple(stages))


def fitted(config: TrainConfig, held: TrainConfig) -> TrainConfig:
    """A configuration with the lengths and batches that its stages have in another, of a checkpoint; as it is where
    the two have other stages."""
    if [stage.name for stage in config.stages] != [stage.name for stage in held.stages]:
        return config
    pairs = zip(config.stages, held.stages)
    return replace(config, stages=tuple(replace(one, lines=other.lines, batch=other.batch) for one, other in pairs))


def halve(config: TrainConfig, step: int) -> TrainConfig:
    """The same lines still to go in half as large batches, for the stage at ``step`` and later ones of its loss: it
    ran out of memory. As it is when a batch cannot be halved."""
    done = _done(config.stages, step)
    at = next((k for k, (stage, did) in enumerate(zip(config.stages, done)) if did < _steps(stage)), len(done))
    stages = list(config.stages)
    for k, stage in enumerate(stages[at:], at):
        if stage.loss == stages[at].loss:
            half = _size(stage) // 2
            if half % config.data.lanes:
                return config
            stages[k] = replace(stage, batch=half, lines=half * (done[k] + 2 * (_steps(stage) - done[k])))
    return replace(config, stages=tuple(stages))


def steps(config: TrainConfig) -> int:
    """Of the whole run."""
    return sum(map(_steps, config.stages))


def _size(stage: Stage) -> int:
    assert stage.batch is not None
    return stage.batch


def _steps(stage: Stage) -> int:
    return -(-stage.lines // _size(stage))


def _done(stages: Sequence[Stage], step: int) -> list[int]:
    """How many steps of each stage a run that has done ``step`` has behind it."""
    done = []
    for stage in stages:
        done.append(min(step, _steps(stage)))
        step -= done[-1]
    return done
