"""What reads prepared lines: a network in ONNX Runtime or in torch, behind one small interface.

python -m tools.bench_infer
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gen.charset import Charset
from gen.errors import UserError
from train.codec import Codec
from train.image import ImageSpec

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Frames:
    """The frames of a batch that are not blank, in order. ``line``, ``frame``: int64 [N], which one it is;
    ``chances``: float32 [N, classes], the probability of each character there (class k is column k - 1)."""

    line: NDArray[np.int64]
    frame: NDArray[np.int64]
    chances: NDArray[np.float32]


class Backend(Protocol):
    """A network with what its weights say of themselves. Any number of threads may call it at the same time."""

    @property
    def path(self) -> Path: ...
    @property
    def codec(self) -> Codec: ...
    @property
    def directions(self) -> tuple[str, ...]: ...
    @property
    def image(self) -> ImageSpec: ...
    @property
    def about(self) -> Mapping[str, Any]: ...
    @property
    def stride(self) -> int: ...  # px from a frame to the next

    def frames(self, width: int) -> int:
        """How many frames a line ``width`` px long has."""
        ...

    def run(self, images: NDArray[np.uint8], allowed: NDArray[np.bool_] | None) -> Frames:
        """Read uint8 [B, 1, height, W]; with ``allowed``, bool [classes], no other characters."""
        ...


def open_backend(
    path: Path, device: str = "cpu", charset: Charset | None = None, direction: str | None = None
) -> Backend:
    """The network in a file: ONNX as `infer.export` writes it, our weights, or the older project's checkpoint (which
    needs its ``charset``, and ``direction`` where it does not tell). torch is imported for the last two, and for a GPU.

    Raises `UserError`.
    """
    if not path.is_file():
        told = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {told}: give a file of weights (.onnx, or .pt of a training run)")
    if device not in DEVICES:
        raise UserError(f"device {device!r} is none of {', '.join(DEVICES)}")
    with_onnx = device == "cpu" and path.suffix == ".onnx"
    try:
        if with_onnx:
            from infer.onnx_backend import OnnxBackend

            return OnnxBackend(path, charset, direction)
        from infer.torch_backend import TorchBackend
    except ModuleNotFoundError as error:
        extra = "infer" if with_onnx else "train"
        raise UserError(f"{path} is read with {error.name}, which is missing: pip install '.[{extra}]'") from None
    return TorchBackend(path, device, charset, direction)
