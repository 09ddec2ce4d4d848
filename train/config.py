"""What a training run may be told: frozen dataclasses, filled from YAML and ``--set``, and strict about every word.

    python -m train --data shards/horizontal --out runs/h --steps 10 --set model.dim=64

The values here are the defaults; a file in ``configs/`` states what it changes. ``null`` stands for what the device
decides: the whole class matrix on a GPU, sampled classes on a CPU; bf16 where the processor computes in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from gen.settings import load

STRICT = ConfigDict(extra="forbid")
Channels = Annotated[int, Field(ge=4, le=2048, multiple_of=4)]
Depth = Annotated[int, Field(ge=0, le=32)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Whole = Annotated[int, Field(ge=1)]
Number = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, config=STRICT)
class Lite:
    """The default network; ``stride`` in pixels per frame, ``dim`` numbers per class, ``scale`` of the cosines."""

    kind: Literal["lite"] = "lite"
    stride: Literal[4, 8] = 4
    widths: tuple[Channels, Channels, Channels, Channels] = (32, 64, 128, 192)
    depths: tuple[Depth, Depth, Depth, Depth] = (0, 1, 2, 2)
    neck: Literal["conv", "gru", "attention"] = "conv"
    dim: Annotated[int, Field(ge=8, le=1024)] = 128
    scale: Annotated[float, Field(gt=1, le=100)] = 24.0
    space: bool = False


@dataclass(frozen=True, config=STRICT)
class Crnn:
    """The older project's network, for lines of one direction."""

    kind: Literal["crnn"]
    direction: Literal["horizontal", "vertical"] = "horizontal"
    space: bool = False


@dataclass(frozen=True, config=STRICT)
class Data:
    """How lines are put into batches and read. ``lanes`` and ``window``: see `train.plan`."""

    lanes: Whole = 12
    window: Whole = 1024  # samples per lane that are sorted by width together
    workers: Number | None = None  # that read or draw, per rank; null: 1 on a CPU, up to 16 on a GPU
    cache_gb: Annotated[float, Field(gt=0)] = 20.0  # of fetched blocks on this machine
    val: Number = 1000  # lines of the validation split; 0: no validation
    balance: Share = 0.0  # how much oftener lines with rare characters are seen, see `train.chosen`; 0: not at all


@dataclass(frozen=True, config=STRICT)
class Stage:
    """A stretch of training.

    ``loss``: frames learns each character at the frame of its box, of the data that have boxes (when none have: of
    lines drawn for it); ctc learns whole lines. ``add``: data besides what the
    command names, as ``gen:gen-default=0.3`` beside a total weight of 1. ``longest``: lines of more characters are
    left out, or not drawn. ``sets``: ``--set`` values for the recipes of rendered lines. ``alike``: in this
    share of the drawn lines that are no text (where there are none: of all lines, and these are drawn)
    characters stand beside those that the network holds for nearly the same when the stage starts; sampled classes
    have these among them. ``learn``: new moves only the rows of classes that the weights of --init did not have, so
    that nothing else is forgotten.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    lines: Annotated[int, Field(ge=1)]  # lines seen; rounded up to whole batches
    loss: Literal["frames", "ctc"] = "ctc"
    batch: Whole | None = None  # over all processes; null: 48 on a CPU, 768 on a GPU
    lr: Rate = 2e-3
    class_lr: Share = 0.1  # of the class matrix, times lr
    warmup: Annotated[int, Field(ge=0)] = 100  # steps
    final: Share = 0.01  # of lr, at the end of the cosine
    longest: Whole | None = None  # characters
    add: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    alike: Annotated[float, Field(ge=0, lt=1)] = 0.0
    learn: Literal["all", "new"] = "all"


@dataclass(frozen=True, config=STRICT)
class Learning:
    """What is the same in all stages."""

    negatives: Number | None = None  # classes sampled per step; 0: all; null: 3,000 on a CPU, all on a GPU
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.02
    clip: Annotated[float, Field(gt=0)] = 5.0  # norm of all gradients
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999  # 0: none
    keep_origin: Share = 0.0  # share of the parameters of --init that stays in the weights, see `train.optim.Average`
    start: Literal["glyphs", "random"] = "glyphs"  # of the class matrix


@dataclass(frozen=True, config=STRICT)
class Keep:
    """What is written down, and how often: steps between checkpoints, validations and logged pictures."""

    every: Whole = 500
    validate: Whole = 1000
    history: Number = 0  # a checkpoint is kept for good every so many steps; 0: never


@dataclass(frozen=True, config=STRICT)
class Comm:
    """How several processes come to the same numbers, see `train.comm`; a word alone is the strategy.

    ``every``: steps from one synchronisation of local to the next; null: as few as the network allows, by measuring.
    ``scope``: hosts averages gradients at every step within a host, world leaves each process alone; null: hosts where
    there are several. ``ramp``: how much oftener they meet at the beginning, see `train.comm.Chosen.meets`.
    ``patience_s``: how long to wait for a process that does not answer; with local longer than ``every`` steps take.
    ``momentum`` and ``rate`` are those of the outer step (Douillard et al. 2023), 0 and 1 average; rate null: see
    `train.auto.outer_rate`.
    """

    strategy: Literal["auto", "allreduce", "compress", "local"] = "auto"
    every: Whole | None = None
    scope: Literal["world", "hosts"] | None = None
    ramp: Number = 8
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rate: Annotated[float, Field(gt=0, le=2)] | None = None
    patience_s: Annotated[float, Field(ge=1, le=86_400)] = 180.0


@dataclass(frozen=True, config=STRICT)
class TrainConfig:
    """A training run."""

    seed: Annotated[int, Field(ge=0, lt=2**53)] = 1
    model: Annotated[Lite | Crnn, Field(discriminator="kind")] = Field(default_factory=Lite)
    data: Data = Field(default_factory=Data)
    learning: Learning = Field(default_factory=Learning)
    keep: Keep = Field(default_factory=Keep)
    comm: Comm = Field(default_factory=Comm)
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = (Stage(name="full", lines=2_000_000),)

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages have the same name: {', '.join(names)}")
        if self.model.kind == "crnn" and any(stage.loss == "frames" for stage in self.stages):
            raise ValueError("the frames loss needs the lite network; give crnn stages the loss ctc")
        return self


_ADAPTER: TypeAdapter[TrainConfig] = TypeAdapter(TrainConfig)


def load_config(name: str | None, sets: Sequence[str] = (), model: Lite | Crnn | None = None) -> TrainConfig:
    """The configuration of a YAML file (None: the defaults), with ``--set`` values laid over it; ``model``: the network
    where neither says another."""
    defaults = TrainConfig() if model is None else replace(TrainConfig(), model=model)
    return load(_ADAPTER, defaults, name, sets, {"comm": "strategy"})
