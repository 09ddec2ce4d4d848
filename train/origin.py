"""What a run begins with: the newest checkpoint in its folder, else the weights of ``--init``, else nothing. It is read
once, before all else, and the network is its network unless the configuration says another.

    python -m train --init infer/weights/lines.onnx --data gen:gen-prose --out runs/prose
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gen.errors import UserError
from train import checkpoint
from train.checkpoint import MODEL, Weights, load_newest
from train.config import Crnn, Lite, TrainConfig
from train.crnn import Crnn as CrnnNet
from train.dist import World
from train.lite import Lite as LiteNet


@dataclass(frozen=True)
class Origin:
    """``values``: the checkpoint to go on from; ``init``: the weights to start from, where there is none; ``path`` of
    whichever it is. ``notes``: what is to be told."""

    path: Path | None = None
    values: dict[str, Any] | None = None
    init: Weights | None = None
    notes: tuple[str, ...] = ()
    written: int | None = None  # see `last_written`

    @property
    def model(self) -> Lite | Crnn | None:
        """Its network; None where a file does not tell, or there is none."""
        if self.values is None:
            return _config(self.init) if self.init else None
        try:
            return MODEL.validate_python(self.values.get("model"))
        except ValidationError:  # of a later version; what is wrong with it is told where the two are compared
            return None

    def configure(self, load: Callable[[Lite | Crnn | None], TrainConfig]) -> TrainConfig:
        """The settings that ``load`` gives for a network. Raises `UserError`."""
        model = self.model
        try:
            return load(model)
        except UserError as error:
            if model is None:
                raise
            told = error
        load(None)  # when it is not that network's fault
        raise UserError(f"{told} (the network is the {model.kind} of {self.path})")

    def agree(self, out: Path, world: World) -> None:
        """Raise `UserError` where the processes do not find the same checkpoint in a run's folder."""
        found = world.gather(None if self.values is None else self.values["step"])
        if len(set(found)) > 1:
            raise UserError(
                f"the processes find checkpoints of different steps in {out}: {found}; it must be one folder that all "
                "machines see, or be copied to each of them"
            )


def _config(weights: Weights) -> Lite | Crnn:
    if isinstance(weights.net, LiteNet):
        return weights.net.config
    assert isinstance(weights.net, CrnnNet)
    return MODEL.validate_python({"kind": "crnn", "direction": weights.net.direction, "space": weights.codec.space})


def find_origin(out: Path, init: str | None, load: Callable[[str], Weights]) -> Origin:
    """The origin of a run in a folder; ``load`` reads what ``init`` names. Raises `UserError` for a file that is
    damaged or missing."""
    written = last_written(out)
    values, notes = load_newest(out)
    if not (out / checkpoint.LAST).exists():
        written = None  # it was damaged
    if values is not None:
        if "optimizer" not in values:
            raise UserError(f"{out / checkpoint.LAST} is a file of weights, no checkpoint: give it to --init instead")
        if init:
            notes.append(f"--init is not used: {out} has a checkpoint, and the run goes on from it")
        return Origin(out / checkpoint.LAST, values, notes=tuple(notes), written=written)
    return Origin(Path(init), init=load(init)) if init else Origin()


def last_written(out: Path) -> int | None:
    """When the last checkpoint in a run's folder was written, in ns; None for a fresh run."""
    try:
        return (out / checkpoint.LAST).stat().st_mtime_ns
    except OSError:
        return None
