"""A network in 8-bit integers: half the time, and a line's chances do not depend on what is read with it.

Weights have a scale for each channel, or each character of the class matrix; what flows between layers has one for each
tensor, from what a few lines bring about: not the extremes but the mean of every line's own, since a wider range costs
more in its steps than a cut peak does (`infer.equalise` makes its channels alike before). Both ends of the network stay
in single precision (`ends`), a quarter of the work, and what goes past a block is not rounded between two sums: two
thirds of what integers took from the features were lost there. After Jacob et al. (2018), by the quantiser of ONNX
Runtime.

    python -m infer.export --weight-path runs/h/weights.pt --out h.onnx --int8
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from train.description import INPUTS
from train.lite import Lite, parts
from train.packed import COLUMNS

Batches = Sequence[NDArray[np.uint8]]
# Processors without VNNI add two products of 8 bits in 16: with 7 bits of weight no sum of theirs is cut.
LIMIT = 63


def ends(net: Lite) -> tuple[str, ...]:
    """What the names of those weights begin with that stay in single precision: of the layers up to the first block of
    the third stage, whose rounding all others work on, and of those behind the last block."""
    layers = enumerate(parts(net.config.depths))
    kept = [number for number, (stage, block) in layers if (stage, block) <= (2, 1) or stage == len(net.config.depths)]
    return (*(f"net.backbone.{number}." for number in kept), "net.neck.", "net.feature.", "net.gate.")


def quantise(model: Any, batches: Batches, kept: tuple[str, ...]) -> Any:
    """The network of `infer.export`, whose tensors are in single precision, in 8-bit integers; ``batches``: prepared
    lines uint8 [1, 1, 32, W] to take the ranges from; ``kept``: as `ends` gives it."""
    allowed = np.zeros(_matrix(model).dims[1], np.float32)
    feeds = [dict(zip(INPUTS, (images, allowed))) for images in batches]
    reach = _reach(model, feeds)
    with tempfile.TemporaryDirectory(prefix="quantise-") as folder, _silent():
        path = Path(folder, "int8.onnx")
        quantize_static(
            model, path, _Feeds(feeds), nodes_to_quantize=_nodes(model, kept),
            op_types_to_quantize=["Conv", "Add", "Relu"],
            quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, extra_options={"CalibMovingAverage": True},
        )  # fmt: skip
        result = onnx.load(path)
    _keep_sums(result)
    _quantise_matrix(result, reach)
    return result


class _Feeds(CalibrationDataReader):  # type: ignore[misc]
    """Inputs one after another, as the quantiser asks for them."""

    def __init__(self, feeds: Sequence[dict[str, Any]]) -> None:
        self._rest = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._rest, None)


def _matrix(model: Any) -> Any:
    return next(tensor for tensor in model.graph.initializer if tensor.name == COLUMNS)


def _nodes(model: Any, kept: tuple[str, ...]) -> list[str]:
    """Names of what becomes integers: convolutions, and what follows them, sums of skip connections among it."""
    weights = {node.output[0]: node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    names = []
    for node in model.graph.node:
        given = node.output if node.op_type == "Conv" else node.input
        behind = [weights[name] for name in given if name in weights]
        if behind and not any(name.startswith(kept) for name in behind):
            names.append(node.name)
    return names


def _keep_sums(model: Any) -> None:
    """Let each sum of a skip connection take up the one before it as it was, not as the block between reads it."""
    made = {name: node for node in model.graph.node for name in node.output}

    def unrounded(name: str) -> str:
        for step in ("DequantizeLinear", "QuantizeLinear"):
            if name not in made or made[name].op_type != step:
                return ""
            name = made[name].input[0]
        return name if name in made and made[name].op_type == "Add" else ""

    for node in model.graph.node:
        if node.op_type == "Add":
            for place, name in enumerate(node.input):
                node.input[place] = unrounded(name) or name


def _product(model: Any) -> tuple[Any, Any]:
    """The product with the class matrix, and the sum with what is allowed that follows it."""
    product = next(node for node in model.graph.node if COLUMNS in node.input)
    masked = next(node for node in model.graph.node if product.output[0] in node.input)
    assert (product.op_type, masked.op_type) == ("MatMul", "Add")
    return product, masked


def _reach(model: Any, feeds: Sequence[dict[str, Any]]) -> float:
    """The largest number in the features of a line, the mean over lines; 1, which none of a unit vector is beyond, when
    nothing is read in any of them."""
    name = _product(model)[0].input[0]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [np.abs(features).max() for feed in feeds for features in session.run([name], feed) if features.size]
    return float(np.mean(found)) if found else 1.0


def _quantise_matrix(model: Any, reach: float) -> None:
    """The class matrix in integers, and its product with features that reach from -``reach`` to ``reach``. What is
    allowed is added in the same step: a pass over all classes less."""
    graph = model.graph
    matrix = _matrix(model)
    product, masked = _product(model)
    values = numpy_helper.to_array(matrix)
    scale = np.abs(values).max(0).clip(1e-3) / LIMIT
    tensors = {
        f"{COLUMNS}.int8": np.rint(values / scale).clip(-LIMIT, LIMIT).astype(np.int8),
        f"{COLUMNS}.scale": scale.astype(np.float32),
        "features.scale": np.float32(reach / 127),
        "features.zero": np.uint8(128),
    }
    graph.initializer.remove(matrix)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in tensors.items())
    columns, each, step, zero = tensors
    place = list(graph.node).index(product)
    for node in (product, masked):
        graph.node.remove(node)
    given = ["features.int8", columns, step, each, zero, "", INPUTS[1]]
    graph.node.insert(place, helper.make_node("QuantizeLinear", [product.input[0], step, zero], given[:1]))
    multiply = helper.make_node("MatMulIntegerToFloat", given, masked.output, domain="com.microsoft")
    graph.node.insert(place + 1, multiply)
    if all(opset.domain != "com.microsoft" for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


@contextmanager
def _silent() -> Iterator[None]:
    """Without the quantiser's advice on models that come from elsewhere."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
