"""Reading with ONNX Runtime on a processor, one thread for each call: fast to start, and without torch.

python -m infer --weight-path model.onnx --image-dir images/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from gen.charset import Charset
from gen.errors import UserError
from infer.backend import Frames
from train.description import INPUTS, OUTPUTS, PACKED, Description


class OnnxBackend:
    """Follows `infer.backend.Backend`."""

    def __init__(self, path: Path, charset: Charset | None = None, direction: str | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        options.enable_cpu_mem_arena = False  # it never gives back what the widest batch took
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            description = _description(self._session.get_modelmeta().custom_metadata_map)
        except Exception as error:  # the runtime has a dozen of its own, and damaged metadata any
            reason = " ".join(str(error).split())[:150]
            raise UserError(f"{path} is no model that python -m infer.export wrote, or is damaged: {reason}") from None
        description.check(path, charset, direction)
        self.path = path
        self.codec, self.directions, self.image, self.about = (
            description.codec, description.directions, description.image, description.about
        )  # fmt: skip
        self.stride = int(description.model["stride"])
        self._any = np.zeros(self.codec.classes, np.float32)

    def frames(self, width: int) -> int:
        return -(-width // self.stride)

    def run(self, images: NDArray[np.uint8], allowed: NDArray[np.bool_] | None) -> Frames:
        mask = self._any if allowed is None else np.where(allowed, 0, -np.inf).astype(np.float32)
        place, chances = self._session.run(OUTPUTS, dict(zip(INPUTS, (images, mask))))
        return Frames(place[:, 0], place[:, 1], chances)


def _description(values: Mapping[str, str]) -> Description:
    if values.get("format") != PACKED:
        raise ValueError(f"its format is {values.get('format')!r}, not {PACKED!r}")
    return Description.parse(json.loads(values["description"]))
