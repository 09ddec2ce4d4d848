"""Weights as a model for ONNX Runtime, in half precision, or with a class matrix of 8-bit numbers.

    python -m infer.export --weight-path runs/h/weights.pt --out h.onnx [--int8]
    python -m infer --weight-path h.onnx --image-dir images/

The model takes uint8 [B, 1, 32, W] of any batch and width and says itself what it reads; see `train.packed.Reader`.
With 8-bit numbers the features of a batch have one scale, so that chances depend a little on what is read together.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gen import command

if __name__ == "__main__":
    command.quiet("python -m infer.export")  # torch takes seconds

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from gen.charset import load_charset
from gen.errors import UserError
from gen.store import LocalDraft
from train.checkpoint import Weights, load_weights
from train.description import INPUTS, OUTPUTS
from train.lite import Lite
from train.packed import COLUMNS, Reader, metadata


def export(weights: Weights, path: Path, int8: bool = False) -> None:
    """Write a model, whole or not at all. Raises `UserError` for a network that is not lite, or a full disk."""
    values = metadata(weights)
    assert isinstance(weights.net, Lite)
    model = _traced(weights.net, weights.codec.classes, weights.image.height)
    if int8:
        _with_int8(model)
    _halve(model)
    if not int8:
        _lengthen(model, weights.net.scale)
    helper.set_model_props(model, values)
    try:
        with LocalDraft(path) as draft:
            draft.write(model.SerializeToString())
            draft.publish()
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def _traced(net: Lite, classes: int, height: int) -> Any:
    """The network as an ONNX graph in single precision."""
    reader = Reader(net).eval()
    example = torch.zeros(2, 1, height, 320, dtype=torch.uint8), torch.zeros(classes)
    dims = {"images": {0: torch.export.Dim("batch"), 3: torch.export.Dim("width")}, "allowed": None}
    chatter = logging.getLogger("torch.onnx")
    level = chatter.level
    chatter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():  # the exporter's, on what torch itself will change
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                reader, example, dynamo=True, dynamic_shapes=dims, verbose=False,
                input_names=INPUTS, output_names=OUTPUTS,
            )  # fmt: skip
    finally:
        chatter.setLevel(level)
    assert program is not None
    model = program.model_proto
    del model.metadata_props[:]
    for node in model.graph.node:  # traces of the code it came from, with paths
        del node.metadata_props[:]
        node.doc_string = ""
    return model


def _halve(model: Any) -> None:
    """Store matrices and filters in half precision with a cast each, which the runtime does once, when it loads.

    Vectors stay as they are: they are small, and the network that is restored has its own, exact, from the metadata.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name))
            casts.append(name)
    for name in casts:
        wide = f"{name}.wide"
        for node in model.graph.node:
            for place, given in enumerate(node.input):
                if given == name:
                    node.input[place] = wide
    for name in reversed(casts):
        model.graph.node.insert(0, helper.make_node("Cast", [name], [f"{name}.wide"], to=TensorProto.FLOAT))


def _lengthen(model: Any, scale: float) -> None:
    """Give the class matrix, once rounded, columns of one length again, as the network that is restored has them. This
    the runtime does when it loads, too."""
    graph = model.graph
    wide = f"{COLUMNS}.wide"
    place, cast = next((k, node) for k, node in enumerate(graph.node) if wide in node.output)
    cast.output[0], length, unit = f"{COLUMNS}.cast", f"{COLUMNS}.length", f"{COLUMNS}.unit"
    values = {f"{COLUMNS}.axes": np.array([0]), f"{COLUMNS}.factor": np.float32(scale)}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in values.items())
    axes, factor = values
    for node in (
        helper.make_node("Mul", [unit, factor], [wide]),
        helper.make_node("Div", [cast.output[0], length], [unit]),
        helper.make_node("ReduceL2", [cast.output[0], axes], [length], keepdims=1),
    ):
        graph.node.insert(place + 1, node)


def _with_int8(model: Any) -> None:
    """The class matrix as 8-bit numbers, one scale a class, and its product with 8-bit features in integers."""
    graph = model.graph
    matrix = next(tensor for tensor in graph.initializer if tensor.name == COLUMNS)
    product = next(node for node in graph.node if COLUMNS in node.input)
    masked = next(node for node in graph.node if product.output[0] in node.input)
    assert (product.op_type, masked.op_type) == ("MatMul", "Add")
    values = numpy_helper.to_array(matrix)
    scale = np.abs(values).max(0).clip(1e-3) / 127
    tensors = {f"{COLUMNS}_int8": np.rint(values / scale).clip(-127, 127).astype(np.int8), f"{COLUMNS}_scale": scale}
    graph.initializer.remove(matrix)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in tensors.items())
    # One step does it all, the mask too: a pass over all classes less.
    given = [product.input[0], *tensors, "", INPUTS[1]]
    step = helper.make_node("DynamicQuantizeMatMul", given, masked.output, domain="com.microsoft")
    graph.node.insert(list(graph.node).index(masked), step)
    for node in (product, masked):
        graph.node.remove(node)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = command.Parser(prog="python -m infer.export", description="Weights as an ONNX model.")
    add = result.add_argument
    add("--weight-path", required=True, metavar="W", help="weights or a checkpoint of a training run")
    add("--out", required=True, metavar="F", help="the model, F.onnx")
    add("--int8", action="store_true", help="class matrix in 8-bit numbers: smaller and faster")
    add("--charset", metavar="FILE", help=argparse.SUPPRESS)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 2 for what the user can mend."""
    return command.run(parser(), argv, write)


def write(args: argparse.Namespace) -> None:
    """Write the model that the arguments ask for. Raises `UserError`."""
    weights = load_weights(args.weight_path, load_charset(args.charset) if args.charset else None)
    export(weights, Path(args.out), args.int8)
    print(f"{args.out}: {os.path.getsize(args.out):,} bytes")


if __name__ == "__main__":
    sys.exit(main())
