"""The state of a run, small enough to come back from a machine that keeps nothing: two files, one of them in parts.

    python -m tools.gpu_leg

``weights.pt`` is what `train.evaluate` and ``--init`` take: the averaged parameters in half precision. ``state.pt``
has the rest of a checkpoint: the parameters themselves, in half precision too, and the optimizer's moments as bf16. A
run that goes on from the two is not the same to the bit, as one that goes on from its own checkpoint is, but nothing
that it learned is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tools import gpu_parts
from train import checkpoint
from train.checkpoint import LAST, WEIGHTS

STATE = "state.pt"
PART = 15 << 20  # bytes of a file that comes back
_DESCRIPTION = ("format", "model", "charset", "charset_sha256", "space", "directions", "image")


def export(run: Path, out: Path) -> dict[str, Any]:
    """Write the files of a run's last checkpoint into ``out``; what is in the checkpoint. Raises `UserError`."""
    values = checkpoint.load(run / LAST)
    description = {name: values[name] for name in _DESCRIPTION}
    about = {**values["about"], "step": values["step"]}
    checkpoint.save(out / WEIGHTS, {**description, "net": checkpoint.half(values["ema"]), "about": about})
    rest = {name: value for name, value in values.items() if name != "ema"}
    rest["net"] = checkpoint.half(values["net"])
    rest["optimizer"] = _moments(values["optimizer"], lambda tensor: tensor.bfloat16())
    checkpoint.save(run / STATE, rest)
    gpu_parts.cut(run / STATE, out, PART)
    return values


def restore(folder: Path, run: Path) -> int:
    """Make the checkpoint of a run from the files of `export`; its step. Raises `UserError`."""
    run.mkdir(parents=True, exist_ok=True)
    gpu_parts.join(folder, STATE, run / STATE)
    values, weights = checkpoint.load(run / STATE), checkpoint.load(folder / WEIGHTS)
    for name, state in ("ema", weights["net"]), ("net", values["net"]):
        values[name] = {each: full(tensor) for each, tensor in state.items()}
    values["optimizer"] = _moments(values["optimizer"], full)
    checkpoint.save(run / LAST, values)
    return int(values["step"])


def full(tensor: Tensor) -> Tensor:
    """A tensor in single precision, if it is one of floating-point numbers."""
    return tensor.float() if tensor.is_floating_point() else tensor


def _moments(optimizer: dict[str, Any], change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """AdamW's state with its moments changed; the count of steps, a tensor without dimensions, stays exact."""
    state = {
        number: {
            name: change(value) if torch.is_tensor(value) and value.ndim else value for name, value in entry.items()
        }
        for number, entry in optimizer["state"].items()
    }
    return {**optimizer, "state": state}
