"""What a file of weights says of itself, in whatever format it is: enough to read with it. Free of torch.

python -m pytest tests/test_train_packed.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gen.charset import Charset
from gen.errors import UserError
from train.codec import Codec
from train.image import ImageSpec

PACKED = "crnn-shards 1"  # the format of models for ONNX Runtime
INPUTS, OUTPUTS = ("images", "allowed"), ("place", "chances")  # of such a model, see `train.packed.Reader`


@dataclass(frozen=True)
class Description:
    """``model``: the network's settings, as in a configuration; ``about``: how it was made (data, steps, metrics,
    revision), JSON-able."""

    codec: Codec
    directions: tuple[str, ...]
    image: ImageSpec
    model: Mapping[str, Any]
    about: Mapping[str, Any]

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Description:
        """The description in the values that `train.checkpoint.describe` made. Raises KeyError or TypeError."""
        codec = Codec(Charset(values["charset"]), bool(values["space"]))
        image = ImageSpec(**values["image"])
        return cls(codec, tuple(values["directions"]), image, values["model"], values.get("about", {}))

    def check(self, name: object, charset: Charset | None, direction: str | None) -> None:
        """Raise `UserError` when these weights, called ``name``, are not for what the user wants to read."""
        mine = self.codec.charset
        if charset is not None and charset.sha256 != mine.sha256:
            raise UserError(
                f"{name} reads the {len(mine)} characters {mine.sha256[:12]}, but --charset has {len(charset)}, "
                f"{charset.sha256[:12]}: leave --charset out, the file has its own"
            )
        if direction is not None and direction not in self.directions:
            raise UserError(f"{name} reads {' and '.join(self.directions)} lines, not {direction} ones")
