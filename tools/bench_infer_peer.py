"""Time a reader, a line at a time; and the worker that does so with a peer: ``python -m tools.bench_peers``.

    python tools/bench_infer_peer.py rapidocr < paths-of-line-files

Runs in the peers' own venv and needs only that venv's packages, not this project. It takes files of lines (npz, grey
uint8 [H, W] each) by name, one a line, and answers each with a line of JSON: seconds and text of every image. It reads
with the recogniser alone: no detection, no classification of the angle, and no text is dropped for its low score.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def timed(read: Callable[[Any], str], images: Iterable[Any]) -> dict[str, Any]:
    """Read one image after another: ``cpu`` and ``wall`` seconds of each, and its text."""
    found: dict[str, Any] = {"cpu": [], "wall": [], "texts": []}
    for image in images:
        cpu, wall = time.process_time(), time.perf_counter()
        text = read(image)
        found["cpu"].append(time.process_time() - cpu)
        found["wall"].append(time.perf_counter() - wall)
        found["texts"].append(text)
    return found


def rapidocr() -> Callable[[Any], str]:
    """RapidOCR with the models that its wheel brings, on one thread."""
    engine: Any = importlib.import_module("rapidocr").RapidOCR(
        params={
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            "Global.text_score": 0.0,
            "Global.log_level": "critical",
        }
    )

    def read(image: Any) -> str:
        return "".join(engine(image, use_det=False, use_cls=False, use_rec=True).txts or ())

    return read


def ddddocr(beta: bool) -> Callable[[Any], str]:
    """ddddocr with one of the two recognisers that its wheel brings."""
    image: Any = importlib.import_module("PIL.Image")
    engine: Any = importlib.import_module("ddddocr").DdddOcr(show_ad=False, beta=beta)
    return lambda pixels: str(engine.classification(image.fromarray(pixels)))


READERS = {"rapidocr": rapidocr, "ddddocr": lambda: ddddocr(False), "ddddocr-beta": lambda: ddddocr(True)}


def main() -> None:
    for name in THREADS:
        os.environ[name] = "1"
    if hasattr(os, "sched_setaffinity"):  # ddddocr has no say in its runtime's threads, which are one per processor
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import numpy as np

    cv2: Any = importlib.import_module("cv2")
    cv2.setNumThreads(1)
    answers, sys.stdout = sys.stdout, sys.stderr  # what a package prints is no answer
    read = READERS[sys.argv[1]]()
    for line in sys.stdin:
        with np.load(line.rstrip("\n")) as file:
            images = [file[name] for name in file.files]
        print(json.dumps(timed(read, images)), file=answers, flush=True)


if __name__ == "__main__":
    main()
