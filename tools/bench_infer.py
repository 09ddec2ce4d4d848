"""How fast lines are read, by us and by RapidOCR: milliseconds a line, folders, start, memory, the service.

    python -m tools.bench_infer --peers --json b.json    # all of it; RapidOCR comes from PyPI into a venv of its own
    python -m tools.bench_infer --only lines start       # some parts
    python -m tools.bench_infer --quick                  # whether it runs: the figures mean nothing

Measure on a machine that does nothing else. Milliseconds a line are those of one processor; everything else is by the
clock. What is printed is Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gen.command import Parser
from gen.errors import UserError
from gen.estimate import processors
from gen.fonts import find_catalogue_fonts, fonts_from
from gen.image import encode_image
from gen.plan import parse_size
from infer.recognizer import EXACT, PACKAGED, Recognizer
from tools import bench_infer_lines, bench_infer_peers, bench_infer_run, bench_rest
from tools.bench import run, table
from tools.bench_gen_run import machine
from tools.bench_infer_lines import WIDTHS, Reader
from tools.pen import Line, Pen

PARTS = ("lines", "start", "folder", "rest")
NAMES = {
    "int8": "lite, 8-bit integers, ONNX Runtime",
    "looks": "the same, thrice at a line that is not sure",
    "onnx": "lite, ONNX Runtime",
    "torch": "lite, torch",
    "crnn": "the older network, torch (random parameters)",
    "rapidocr": f"{bench_infer_peers.NAMES['rapidocr']}, its recogniser alone",
}
CLIENTS = (1, 8, 64)
REQUESTS = 128  # different ones
QUICK = {"rounds": 1, "lines": "2", "images": "4", "seconds": 0.5}
Step = Callable[[str], None]


def lines_table(figures: Mapping[str, Any]) -> list[str]:
    """The part for people."""
    rows = []
    for name in next(iter(figures.values())):
        row = [NAMES[name]]
        for width in figures:
            part = figures[width][name]
            row += [f"{part['ms']:.2f}", f"{part['ratio']:.2f}"]
            row.append(" + ".join(f"{part[key]:.2f}" for key in ("backbone", "matrix", "rest") if key in part))
        rows.append(row)
    head = ["ms a line, one thread"]
    for width in figures:
        head += [f"32x{width}", "times the first", "backbone + class matrix + rest"]
    return table(head, rows)


def start_table(figures: Mapping[str, Any]) -> list[str]:
    """The part for people."""
    head = ("`python -m infer one.jpg`", "to its text, s", "to its end, s", "peak memory, MB", "imports torch")
    cells = f"{figures['first_text_s']:.2f}", f"{figures['whole_s']:.2f}", f"{figures['memory'] / 1e6:.0f}"
    return table(head, [("", *cells, "yes" if figures["torch"] else "no")])


def folder_table(figures: Mapping[str, Any]) -> list[str]:
    """The part for people."""
    head = (f"`--image-dir`, {figures['images']:,} images", "images/s", "s", "peak memory, MB")
    rows = [
        (words, f"{part['rate']:.0f}", f"{part['wall_s']:.1f}", f"{part['memory'] / 1e6:.0f}")
        for words, part in (("--workers 1", figures["one"]), ("one for each processor", figures["all"]))
    ]
    return table(head, rows)


def rest_table(figures: Mapping[str, Any]) -> list[str]:
    """The part for people."""
    rows = [(n, f"{load['rate']:.0f}", f"{load['p50']:.1f}", f"{load['p99']:.1f}") for n, load in figures.items()]
    return table(("clients of the service", "requests/s", "p50, ms", "p99, ms"), rows)


def rest(weights: Mapping[str, Path], lines: Sequence[Line], rounds: int, seconds: float, step: Step) -> dict[str, Any]:
    """By number of clients, medians over rounds; ``weights`` by direction."""
    flags = [f"--weight-path-{way}={path}" for way, path in weights.items()]
    files = [bytes(encode_image(line.pixels, "jpg", 90)) for line in lines]
    found: dict[int, list[bench_rest.Load]] = {clients: [] for clients in CLIENTS}
    with bench_rest.service(*flags) as port:
        for number, clients in itertools.product(range(rounds), CLIENTS):
            step(f"service, {clients} clients, round {number + 1}")
            found[clients].append(bench_rest.measure(port, files, clients, seconds))
    return {str(clients): asdict(bench_rest.median(loads)) for clients, loads in found.items()}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the parts that were asked for, printing each; everything measured. Raises `UserError`."""
    for name, value in QUICK.items() if options.quick else ():
        setattr(options, name, value)
    counts = {name: parse_size(getattr(options, name), f"--{name}") for name in ("lines", "images")}
    if options.rounds < 1:
        raise UserError(f"--rounds {options.rounds}: give at least 1")
    if not options.weight_path.is_file():
        raise UserError(f"--weight-path {options.weight_path} does not exist: give an .onnx file of infer.export")
    if options.weight_path.suffix != ".onnx":
        raise UserError(f"--weight-path {options.weight_path}: make it an .onnx file first, python -m infer.export")
    parts = options.only or PARTS
    fonts = fonts_from(options.fonts) if options.fonts else find_catalogue_fonts()[0]
    results: dict[str, Any] = {"machine": machine(), "weights": options.weight_path.name}
    print(" · ".join(f"{name} {value}" for name, value in results["machine"].items() if value))
    with ExitStack() as stack:
        bar = stack.enter_context(tqdm(bar_format="{desc}", leave=False, disable=None))
        step = bar.set_description_str
        step("drawing")
        backends = Recognizer.load(options.weight_path).backends
        given = [way for way, backend in backends.items() if backend.path == options.weight_path]
        pen = Pen("eval-default", backends[given[0]].codec.charset, fonts, processors())

        def part(name: str, work: Callable[[], Any], lines: Callable[[Any], list[str]]) -> None:
            results[name] = work()
            bar.clear()
            print("\n" + "\n".join(lines(results[name])), flush=True)

        if "lines" in parts:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-infer-"))
            wide = {width: pen.wide(width, counts["lines"]) for width in WIDTHS}
            ours = bench_infer_lines.open_ours(options.weight_path, Path(folder), options.fonts or ())
            readers: dict[str, Reader] = {name: bench_infer_lines.reader(each) for name, each in ours.items()}
            if options.peers:
                step("installing the peer")
                command = bench_infer_peers.command("rapidocr")
                peer = bench_infer_peers.Peer("rapidocr", command, wide[WIDTHS[0]][0].pixels)
                readers["rapidocr"] = stack.enter_context(peer)
                results["peer_first_text_s"] = peer.start_s
            work = bench_infer_lines.speed
            part("lines", lambda: work(readers, ours, wide, options.rounds, step), lines_table)
        one = pen.wide(WIDTHS[0], 1)[0]
        path = PACKAGED if options.weight_path == EXACT else options.weight_path  # what is read with on a processor
        if "start" in parts:
            part("start", lambda: bench_infer_run.start(path, one, options.rounds, step), start_table)
        share = counts["images"] // len(given)
        mixed = [line for way in given for line in pen.any(share, way)] if {"folder", "rest"} & set(parts) else []
        if "folder" in parts:
            rounds = min(options.rounds, 3)
            part("folder", lambda: bench_infer_run.folder(path, mixed, rounds, step), folder_table)
        if "rest" in parts:
            paths, some = dict.fromkeys(given, path), mixed[:: max(1, len(mixed) // REQUESTS)]
            part("rest", lambda: rest(paths, some, min(options.rounds, 3), options.seconds, step), rest_table)
    return results


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = Parser(prog="python -m tools.bench_infer", description="How fast lines are read.")
    add = result.add_argument
    add("--peers", action="store_true", help="RapidOCR too, on the same lines (downloads it into a venv)")
    add("--only", nargs="+", choices=PARTS, help="only these parts")
    add("--quick", action="store_true", help="a few lines of each, to see whether it runs")
    add("--weight-path", type=Path, default=EXACT, metavar="W", help="an .onnx file (default: the packaged weights)")
    add("--fonts", nargs="+", metavar="FONT", help="what the lines are drawn with (default: the catalogue's)")
    add("--rounds", type=int, default=5, metavar="N", help="of which medians are taken (default: 5)")
    add("--lines", default="40", metavar="N", help="of each width in a round (default: 40)")
    add("--images", default="2k", metavar="N", help="in the folder (default: 2k)")
    add("--seconds", type=float, default=3.0, metavar="S", help="of each load of the service (default: 3)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    os.environ["OMP_NUM_THREADS"] = "1"  # of torch, which is not imported yet
    return run(parser(), argv, measure)


if __name__ == "__main__":
    sys.exit(main())
