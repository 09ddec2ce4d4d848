"""Checkpoints of the older project: its networks for one direction, to be read with the charset they were trained on.

The file is what `torch.save` made of ``{"model": state_dict, "args": argparse.Namespace, …}``, in the zip format or in
the one before it. It is read with torch's restricted unpickler: of what is not tensors and plain values only the
Namespace is allowed, so nothing in a file can run.

    python -m train.evaluate --weight-path F.pth --charset all_words.txt --data gen:eval-classic --direction vertical
"""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gen.charset import Charset
from gen.errors import UserError
from gen.stream import DIRECTIONS
from train.checkpoint import Weights
from train.codec import Codec
from train.crnn import Crnn
from train.image import ImageSpec


def load_legacy(path: str | Path, charset: Charset, direction: str | None = None) -> Weights:
    """The network in an older checkpoint. ``direction`` None: as its arguments say, else as its name says.

    Its lines are scaled to 32 px and nothing else; what it was trained on had no class for the space.
    Raises `UserError` when the file is missing, damaged or something else, or does not fit the charset.
    """
    path = Path(path)
    values = _read(path)
    state = values.get("model")
    if not isinstance(state, dict) or "transcript.weight" not in state:
        raise UserError(f"{path} is no checkpoint of the older project: it has no model with transcript.weight")
    classes = len(state["transcript.weight"])
    if classes != 1 + len(charset):
        raise UserError(
            f"{path} has {classes} classes, the blank and {classes - 1} characters, but the charset has "
            f"{len(charset)} ({charset.sha256[:12]}): give the all_words.txt that it was trained with, --charset FILE"
        )
    said = getattr(values.get("args"), "direction", None)
    direction = direction or _direction(path, said)
    net = Crnn(len(charset), direction)
    _check_names(path, state, net.state_dict())
    net.load_state_dict(state)
    about = {"made_by": "the older project", "epoch": values.get("epoch")}
    return Weights(net.eval(), Codec(charset), (direction,), ImageSpec(trim=False, shrink="linear", room=0), about)


def _read(path: Path) -> dict[str, Any]:
    """The file's dictionary, on the CPU."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            values = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; check the path") from None
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it wants to use {named[1]}, which was not run" if named else "its contents cannot be unpickled"
        raise UserError(f"{path} is no checkpoint of the older project: {reason}") from None
    except Exception as error:  # a damaged file makes torch raise nearly anything
        reason = str(error).partition("\n")[0][:150] or type(error).__name__
        raise UserError(f"{path} is damaged or no checkpoint: {reason}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} is no checkpoint: it holds a {type(values).__name__}")
    return values


def _direction(path: Path, said: object) -> str:
    """Both nets have tensors of the same shapes, so the file's arguments or its name must tell."""
    if said in DIRECTIONS:
        return str(said)
    named = [direction for direction in DIRECTIONS if direction in path.name]
    if len(named) != 1:
        raise UserError(
            f"{path} does not tell the direction of its lines, neither in its arguments nor in its name: "
            "give --direction horizontal or vertical"
        )
    return named[0]


def _check_names(path: Path, state: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> None:
    """Raise `UserError` naming the first tensor that is missing, unknown or of another shape."""
    for name in [*wanted, *state]:
        shapes = [
            "x".join(map(str, side[name].shape)) or "a number" if isinstance(side.get(name), Tensor) else "missing"
            for side in (state, wanted)
        ]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"{path} is no checkpoint of the older project's networks: {name} is {shapes[0]} in the file and "
                f"{shapes[1]} in the network"
            )
