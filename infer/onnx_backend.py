"""Reading with ONNX Runtime on a processor, one thread for each call: fast to start, and without torch.

python -m infer --weight-path model.onnx --image-dir images/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from gen.charset import Charset
from gen.errors import UserError
from infer.backend import Frames
from train.codec import Codec
from train.image import ImageSpec

FORMAT = "crnn-shards 1"
INPUTS, OUTPUTS = ("images", "allowed"), ("place", "chances")


class OnnxBackend:
    """Follows `infer.backend.Backend`."""

    about: Mapping[str, Any]

    def __init__(self, path: Path, charset: Charset | None = None, direction: str | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        options.enable_cpu_mem_arena = False  # it never gives back what the widest batch took
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            self._read_metadata(self._session.get_modelmeta().custom_metadata_map)
        except UserError:
            raise
        except Exception as error:  # the runtime has a dozen of its own, and damaged metadata any
            reason = " ".join(str(error).split())[:150]
            raise UserError(f"{path} is no model that python -m infer.export wrote, or is damaged: {reason}") from None
        if charset is not None and charset.sha256 != self.codec.charset.sha256:
            raise UserError(f"{path} has a charset of its own, not the one of --charset: leave --charset out")
        if direction is not None and direction not in self.directions:
            raise UserError(f"{path} reads {' and '.join(self.directions)} lines, not {direction} ones")
        self._any = np.zeros(self.codec.classes, np.float32)

    def _read_metadata(self, values: Mapping[str, str]) -> None:
        if values.get("format") != FORMAT:
            raise UserError(f"its format is {values.get('format')!r}, not {FORMAT!r}")
        self.codec = Codec(Charset(values["charset"]), json.loads(values["space"]))
        self.directions = tuple(json.loads(values["directions"]))
        self.image = ImageSpec(**json.loads(values["image"]))
        self.about = json.loads(values["about"])
        self._stride = int(json.loads(values["model"])["stride"])

    def frames(self, width: int) -> int:
        return -(-width // self._stride)

    def run(self, images: NDArray[np.uint8], allowed: NDArray[np.bool_] | None) -> Frames:
        mask = self._any if allowed is None else np.where(allowed, 0, -np.inf).astype(np.float32)
        place, chances = self._session.run(OUTPUTS, dict(zip(INPUTS, (images, mask))))
        return Frames(place[:, 0], place[:, 1], chances)
