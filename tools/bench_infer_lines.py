"""Milliseconds of each reader, a line at a time on one thread: part of ``python -m tools.bench_infer``.

All readers see the same lines in turn (A B A B …), so that a noisy machine hits all alike; a figure is the median of
all rounds' means, a ratio the median of the rounds' ratios. Milliseconds are those of the processor, not of the clock
on the wall: what else runs on the machine takes turns, but is not counted.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from gen.errors import UserError
from infer.backend import Backend
from infer.recognizer import EXACT, PACKAGED, Recognizer
from tools.bench_gen_run import median
from tools.bench_infer_peer import timed
from tools.pen import Bytes, Line

WIDTHS = (320, 512)
OURS = ("int8", "onnx", "torch")
Timed = Mapping[str, Sequence[Any]]
Reader = Callable[[Sequence[Bytes]], Timed]
Step = Callable[[str], None]


def reader(recognizer: Recognizer) -> Reader:
    """Whole reading, from pixels to text."""
    return lambda images: timed(lambda image: recognizer.read([image], "horizontal")[0].text, images)


def network(backend: Backend) -> Reader:
    """The network alone, from a prepared line to chances; instead of texts numbers of frames that are not blank."""
    return lambda images: timed(lambda image: len(backend.run(image[None, None], None).line), images)  # type: ignore[arg-type, return-value]


def open_ours(weights: Path, folder: Path, fonts: Sequence[str]) -> dict[str, Recognizer]:
    """The weights with ONNX Runtime, in 8-bit integers and as they are, and with torch on one thread, each looking once
    at a line; in 8-bit integers as ``python -m infer`` does, with further looks at lines that are not sure; and the
    older project's network, its parameters drawn at random, whose every frame is blank. Raises `UserError`."""
    import torch

    from infer.export import calibration, export
    from infer.torch_backend import TorchBackend
    from train.checkpoint import load_weights
    from train.crnn import Crnn

    torch.set_num_threads(1)
    loaded = load_weights(weights)
    if "horizontal" not in loaded.directions:
        raise UserError(f"{weights} reads {loaded.directions[0]} lines; horizontal ones are measured")
    int8 = PACKAGED if weights == EXACT else folder / "int8.onnx"
    if weights != EXACT:
        export(loaded, int8, calibration(loaded, fonts=fonts))
    torch.manual_seed(1)
    net = Crnn(len(loaded.codec.charset), "horizontal")
    with torch.no_grad():
        net.transcript.bias[0] = 1e3  # so that no time goes into what noise says
    older = {"model": net.state_dict(), "args": Namespace(direction="horizontal"), "epoch": 0, "optimizer": None}
    torch.save(older, folder / "crnn.pth")
    return {
        "int8": Recognizer.load(horizontal=int8, looks=1),
        "looks": Recognizer.load(horizontal=int8),
        "onnx": Recognizer.load(horizontal=weights, looks=1),
        "torch": Recognizer({"horizontal": TorchBackend(weights, "cpu")}, looks=1),
        "crnn": Recognizer.load(horizontal=folder / "crnn.pth", charset=loaded.codec.charset, looks=1),
    }


def speed(
    readers: Mapping[str, Reader],
    ours: Mapping[str, Recognizer],
    lines: Mapping[int, Sequence[Line]],
    rounds: int,
    step: Step,
) -> dict[str, Any]:
    """By width, then by reader: ``ms`` and ``wall_ms`` a line, ``ratio``, how many times as long as ``int8`` it takes,
    and for ours ``backbone``, ``matrix`` (with the softmax) and ``rest`` (trimming, decoding), ms.

    The class matrix is not run on a line of paper, so that what such a line takes is the backbone's.
    """
    images = {width: [line.pixels for line in found] for width, found in lines.items()}
    every: dict[tuple[int, str], list[Timed]] = {(width, name): [] for width in images for name in readers}
    parts: dict[tuple[int, str, str], list[float]] = {}
    for number in range(-1, rounds):  # what the first takes is not counted
        for width, pixels in images.items():
            paper = [np.full_like(image, 255) for image in pixels]
            for name, read in readers.items():
                step(f"{width} px, {name}, round {number + 1}")
                found = read(pixels[:2] if number < 0 else pixels)
                if number >= 0:
                    every[width, name].append(found)
            for name in OURS:
                for part, given in (("paper", paper), ("run", pixels)):
                    found = network(ours[name].backends["horizontal"])(given[:2] if number < 0 else given)
                    if number >= 0 and not (part == "paper" and any(found["texts"])):
                        parts.setdefault((width, name, part), []).append(fmean(found["cpu"]))
    return {
        str(width): {
            name: _figures(every[width, name], every[width, "int8"])
            | _parts(every[width, name], *(parts.get((width, name, part), []) for part in ("paper", "run")))
            for name in readers
        }
        for width in images
    }


def _figures(rounds: Sequence[Timed], base: Sequence[Timed]) -> dict[str, float]:
    return {
        "ms": 1e3 * median([fmean(each["cpu"]) for each in rounds]),
        "wall_ms": 1e3 * median([fmean(each["wall"]) for each in rounds]),
        "ratio": median([fmean(each["cpu"]) / fmean(other["cpu"]) for each, other in zip(rounds, base)]),
    }


def _parts(rounds: Sequence[Timed], paper: Sequence[float], run: Sequence[float]) -> dict[str, float]:
    if not (paper and run):
        return {}
    rest = [fmean(each["cpu"]) - part for each, part in zip(rounds, run)]
    matrix = [whole - part for whole, part in zip(run, paper)]
    return {"backbone": 1e3 * median(paper), "matrix": 1e3 * median(matrix), "rest": 1e3 * median(rest)}
