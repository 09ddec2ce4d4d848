"""Weights as a model for ONNX Runtime, in half precision or in 8-bit integers.

    python -m infer.export --weight-path runs/h/weights.pt --out h.onnx [--int8]
    python -m infer --weight-path h.onnx --image-dir images/

The model takes uint8 [B, 1, 32, W] of any batch and width and says itself what it reads; see `train.packed.Reader`.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen import command

if __name__ == "__main__":
    command.quiet("python -m infer.export")  # torch takes seconds

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from gen.charset import load_charset
from gen.errors import UserError
from gen.store import LocalDraft, publish
from infer.equalise import equalise
from train.checkpoint import Weights, load_weights
from train.description import INPUTS, OUTPUTS
from train.given import Given
from train.image import pad_batch, prepare
from train.lite import Lite
from train.packed import COLUMNS, Reader, metadata
from train.rendered import Ingredients
from train.source import evenly

if TYPE_CHECKING:
    from infer.quantise import Batches

DATA = ("gen:gen-default", "gen:gen-classic")  # ranges of 8-bit integers are taken from lines of these
LINES = 128  # so many; the quantiser holds the chances of all of them, 220 MB with 30,656 characters


def export(weights: Weights, path: Path, lines: Batches | None = None) -> None:
    """Write a model, whole or not at all: in 8-bit integers if there are ``lines``, as `calibration` gives them.

    Raises `UserError` for a network that is not lite, or a full disk.
    """
    values = metadata(weights)
    assert isinstance(weights.net, Lite)
    reader = Reader(weights.net).eval()
    if lines is not None:
        equalise(reader.net, lines)
    model = _traced(reader, weights.codec.classes, weights.image.height)
    if lines is not None:
        from infer.quantise import ends, quantise  # it needs onnxruntime, which training does not bring

        model = quantise(model, lines, ends(weights.net))
    _halve(model)
    if lines is None:
        _lengthen(model, weights.net.scale)
    helper.set_model_props(model, values)
    try:
        publish(LocalDraft(path), model.SerializeToString())
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def _traced(reader: Reader, classes: int, height: int) -> Any:
    """The network as an ONNX graph in single precision."""
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


def calibration(weights: Weights, places: Sequence[str] = DATA, fonts: Sequence[str] = ()) -> Batches:
    """Prepared lines to take ranges from, uint8 [1, 1, height, W] each, the same number of each source that the weights
    read. ``places``: as ``--data`` of training. Raises `UserError`."""
    direction = weights.directions[0] if len(weights.directions) == 1 else None
    sources, _ = Given(tuple(places), direction, Ingredients(weights.codec.charset, tuple(fonts))).open("train")
    share = -(-LINES // len(sources))
    result = []
    for source in sources:
        for item in source.read(evenly(source, share).tolist()):
            line = prepare(item.pixels, source.direction, weights.image)
            result.append(pad_batch([line], weights.image.room)[0])
    return result


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = command.Parser(prog="python -m infer.export", description="Weights as an ONNX model.")
    add = result.add_argument
    add("--weight-path", required=True, metavar="W", help="weights or a checkpoint of a training run")
    add("--out", required=True, metavar="F", help="the model, F.onnx")
    add("--int8", action="store_true", help="in 8-bit integers: about half the time")
    add(
        "--data", action="append", metavar="PLACE",
        help="with --int8: shards, or gen:CONFIG, whose lines show which numbers occur; may be repeated (default: "
        f"{' and '.join(DATA)})",
    )  # fmt: skip
    add("--fonts", nargs="+", default=[], metavar="PATH", help="for gen: lines (default: the catalogue's)")
    add("--charset", metavar="FILE", help=argparse.SUPPRESS)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 2 for what the user can mend."""
    return command.run(parser(), argv, write)


def write(args: argparse.Namespace) -> None:
    """Write the model that the arguments ask for. Raises `UserError`."""
    if Path(args.out).suffix != ".onnx":
        raise UserError(f"--out {args.out}: a model is known by its name, make it end with .onnx")
    weights = load_weights(args.weight_path, load_charset(args.charset) if args.charset else None)
    if not args.int8 and (args.data or args.fonts):
        raise UserError("--data and --fonts are for --int8: leave them out, or give it as well")
    if args.int8:
        importlib.import_module("infer.quantise")  # what it needs is missed now, not after a minute
    export(weights, Path(args.out), calibration(weights, args.data or DATA, args.fonts) if args.int8 else None)
    print(f"{args.out}: {os.path.getsize(args.out):,} bytes")


if __name__ == "__main__":
    sys.exit(main())
