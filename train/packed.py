"""Weights as a model for ONNX Runtime, and back: what ships with the package is read with it, and trained further.

In the model each batch normalisation is folded into the convolution before it; the four vectors of each lie in the
metadata, so that the network can be restored. Large tensors are in half precision.

    python -m infer.export --weight-path runs/h/weights.pt --out h.onnx
    python -m train --init h.onnx --data shards/ --out runs/h2
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gen.charset import Charset
from gen.errors import UserError
from train.checkpoint import MODEL, Weights, describe
from train.description import PACKED, Description
from train.lite import Block, Conv, Lite
from train.model import build

EXACT = Path(__file__).parents[1] / "infer" / "weights" / "lines.onnx"  # what comes with the program
COLUMNS = "columns"  # the class matrix [dim, classes], normalised and scaled
_VECTORS = ("weight", "bias", "running_mean", "running_var")


class Reader(nn.Module):
    """A folded network as one function of pixels, in two steps: the class matrix runs only on frames that are not
    blank."""

    def __init__(self, net: Lite) -> None:
        super().__init__()
        self.register_buffer(COLUMNS, net.rows().detach().T.contiguous())
        self.net = _folded(net)

    def forward(self, images: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [B, 1, 32, W] and float32 [classes] (0, or minus infinity for what may not be read) to the frames
        that are not blank, int64 [N, 2] (line, frame), and each character's probability there, float32 [N, classes]."""
        features, gate = self.net(images.float() / 127.5 - 1.0)
        place = torch.nonzero(gate < 0)
        line, frame = place[:, 0], place[:, 1]
        scores = features[line, frame] @ self.columns + allowed
        return place, scores.softmax(1) * torch.sigmoid(-gate[line, frame])[:, None]


def _pairs(net: Lite) -> list[tuple[str, str]]:
    """Names of all convolutions that a normalisation follows, with its name."""
    found = []
    for name, module in net.named_modules():
        if isinstance(module, Conv):
            found.append((f"{name}.0", f"{name}.1"))
        elif isinstance(module, Block):
            found += [(f"{name}.depthwise", f"{name}.norm"), (f"{name}.narrow", f"{name}.out")]
    return found


def _folded(net: Lite) -> Lite:
    """A copy whose convolutions normalise, without the class matrix."""
    net = copy.deepcopy(net).eval()
    for conv, norm in _pairs(net):
        folded = fuse_conv_bn_eval(net.get_submodule(conv), net.get_submodule(norm))  # type: ignore[arg-type, type-var]
        net.set_submodule(conv, folded)
        net.set_submodule(norm, nn.Identity())
    net.matrix = nn.Parameter(torch.empty(0))
    return net


def metadata(weights: Weights) -> dict[str, str]:
    """What a model says of itself, and the normalisations that are folded in it. Raises `UserError` for a network
    that is not lite."""
    net = weights.net
    if not isinstance(net, Lite):
        raise UserError("only lite networks become ONNX models; the older project's are read with torch as they are")
    if net.config.neck != "conv":  # torch's exporter unrolls a GRU for lines of one length, and renames linear layers
        raise UserError(
            f"a network with the neck {net.config.neck} becomes no ONNX model; it is read with torch as it is"
        )
    values = describe(net.config, weights.codec, weights.directions, weights.image)
    state = net.state_dict()
    vectors = [state[f"{norm}.{name}"].float().numpy().ravel() for _, norm in _pairs(net) for name in _VECTORS]
    return {
        "format": PACKED,
        "description": json.dumps({**values, "about": dict(weights.about)}, ensure_ascii=False),
        "norms": base64.b64encode(np.concatenate(vectors).astype("<f4").tobytes()).decode(),
    }


def load_packed(path: Path, charset: Charset | None = None, direction: str | None = None) -> Weights:
    """The network in a model, with its normalisations; as `train.checkpoint.load_weights`. Raises `UserError`."""
    try:
        import onnx
    except ModuleNotFoundError:
        raise UserError(f"{path} is opened with onnx, which is not installed: pip install '.[train]'") from None
    try:
        model = onnx.load(path)
        values = {each.key: each.value for each in model.metadata_props}
        if values.get("format") != PACKED:
            raise UserError(f"{path} is no model that python -m infer.export wrote ({PACKED})")
        description = Description.parse(json.loads(values["description"]))
        tensors = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
        if COLUMNS not in tensors:
            raise UserError(
                f"{path} is in 8-bit integers, for python -m infer on a processor only: give the file that it was made "
                "from (of the packaged weights: lines.onnx)"
            )
        net = build(MODEL.validate_python(description.model), description.codec.classes)
        assert isinstance(net, Lite)
        net.load_state_dict(_restored(net, tensors, values["norms"]))
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; check the path") from None
    except (KeyError, TypeError, ValueError, RuntimeError, ValidationError) as error:
        raise UserError(f"{path} is damaged: {str(error).splitlines()[0][:150]}") from None
    except Exception as error:  # protobuf's own
        raise UserError(f"{path} is no ONNX model, or damaged: {type(error).__name__}") from None
    description.check(path, charset, direction)
    return Weights(net.eval(), description.codec, description.directions, description.image, description.about)


def _restored(net: Lite, tensors: Mapping[str, np.ndarray[Any, Any]], norms: str) -> dict[str, Tensor]:
    """The state of ``net`` from folded tensors: fold' = weight * (gamma / deviation) is undone."""

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(np.array(tensors[name], np.float32))

    state, pairs = net.state_dict(), _pairs(net)
    vectors = torch.frombuffer(bytearray(base64.b64decode(norms, validate=True)), dtype=torch.float32)
    lengths = [len(state[f"{norm}.weight"]) for _, norm in pairs for _ in _VECTORS]
    parts = iter(torch.split(vectors, lengths))  # refuses another sum
    for conv, norm in pairs:
        gamma, bias, mean, variance = (next(parts) for _ in _VECTORS)
        module = net.get_submodule(norm)
        assert isinstance(module, nn.BatchNorm2d)
        undo = torch.where(gamma == 0, 0.0, (variance + module.eps).sqrt() / gamma)
        state[f"{conv}.weight"] = tensor(f"net.{conv}.weight") * undo[:, None, None, None]
        for name, vector in zip(_VECTORS, (gamma, bias, mean, variance)):
            state[f"{norm}.{name}"] = vector.clone()
    known = {f"{name}.{end}" for pair in pairs for name in pair for end in (*_VECTORS, "num_batches_tracked")}
    for name in state.keys() - known - {"matrix"}:
        state[name] = tensor(f"net.{name}")
    state["matrix"] = tensor(COLUMNS).T / net.scale
    return state
