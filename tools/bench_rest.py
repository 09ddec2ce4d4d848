"""How fast the service answers: requests a second and waiting times at 1, 8 and 64 clients, on one machine.

    python -m tools.bench_rest
    python -m tools.bench_rest --clients 64 --rounds 5 -- -l horizontal.onnx --workers 1 --micro-batch 1

What follows ``--`` goes to the service. Each client asks, waits for the answer, and asks again, over a connection that
it keeps. Clients are a process of their own, and need little.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Any

import numpy as np

from gen import command, paths
from gen.charset import load_charset
from gen.config import load_recipe
from gen.errors import UserError
from gen.fonts import find_catalogue_fonts
from gen.image import encode_image
from gen.sample import RecipeSource, Stream, open_recipe, render
from tools import bench

LINES = {"horizontal": 96, "vertical": 32}
HEAD = "POST /crnn HTTP/1.1\r\nHost: bench\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: "
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="line.jpg"\r\n\r\n%s\r\n--b--\r\n'


@dataclass(frozen=True)
class Load:
    """What a number of clients saw: requests a second, and milliseconds from asking to the answer's last byte."""

    clients: int
    requests: int
    rate: float
    p50: float
    p99: float


def draw() -> list[bytes]:
    """Lines of the default recipe as JPEG files, of all widths, most of them horizontal."""
    fonts = tuple(find_catalogue_fonts()[0])
    recipe = open_recipe(RecipeSource(load_recipe("eval-default"), load_charset(None), fonts, (), paths.cache_dir()))
    samples = (
        render(recipe, Stream(recipe.config.seed, direction, "val"), index)
        for direction, count in LINES.items()
        for index in range(count)
    )
    files = [bytes(encode_image(sample.pixels, "jpg", 90)) for sample in samples]
    return [files[k] for k in np.random.default_rng(1).permutation(len(files))]


@contextmanager
def service(*flags: str) -> Iterator[int]:
    """A service that runs meanwhile; its port. Raises `UserError` when it does not start."""
    program = [sys.executable, "-m", "infer.server", *flags, "--port", "0"]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            told = process.stderr.readline()
            found = re.search(r" at http://\S+:(\d+) ", told)
            if not found:
                raise UserError(f"the service did not start: {told.strip()}")
            yield int(found[1])
        finally:
            process.terminate()


async def _ask(port: int, requests: Iterator[bytes], end: float) -> list[tuple[float, float]]:
    """One client until ``end``: when each answer had come, and how long it took, seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    seen = []
    try:
        while (begin := time.perf_counter()) < end:
            writer.write(next(requests))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
            if not head.startswith(b"HTTP/1.1 200 "):
                raise UserError(f"the service answered {head.splitlines()[0].decode()}")
            seen.append((time.perf_counter(), time.perf_counter() - begin))
    finally:
        writer.close()
        await writer.wait_closed()
    return seen


def measure(port: int, files: Sequence[bytes], clients: int, seconds: float) -> Load:
    """So many clients for so long, after a fifth of that time to get warm."""
    bodies = [PART % file for file in files]
    requests = cycle([f"{HEAD}{len(body)}\r\n\r\n".encode() + body for body in bodies])

    async def all_clients() -> list[list[tuple[float, float]]]:
        end = time.perf_counter() + 1.2 * seconds
        return await asyncio.gather(*(_ask(port, requests, end) for _ in range(clients)))

    begin = time.perf_counter() + 0.2 * seconds
    seen = [each for client in asyncio.run(all_clients()) for each in client if each[0] >= begin]
    if len(seen) < 3:
        raise UserError(f"--seconds {seconds:g} is too short: {len(seen)} answers came")
    p50, p99 = np.percentile([1000 * waited for _, waited in seen], [50, 99])
    rate = len(seen) / (max(when for when, _ in seen) - begin)
    return Load(clients, len(seen), rate, float(p50), float(p99))


def median(loads: Sequence[Load]) -> Load:
    """Of each figure, over rounds with as many clients."""
    figures = {name: statistics.median(getattr(load, name) for load in loads) for name in asdict(loads[0])}
    return Load(**{**figures, "requests": sum(load.requests for load in loads)})


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure and print a table; the figures."""
    files = draw()
    rounds: dict[int, list[Load]] = {clients: [] for clients in args.clients}
    with service(*args.flags) as port:
        for _ in range(max(1, args.rounds)):
            for clients in rounds:  # in turn, so that what else the machine does meets all of them
                rounds[clients].append(measure(port, files, clients, args.seconds))
    print("| clients | requests/s | p50, ms | p99, ms |")
    print("|---|---|---|---|")
    result = {str(clients): asdict(median(loads)) for clients, loads in rounds.items()}
    for clients, load in result.items():
        print(f"| {clients} | {load['rate']:.0f} | {load['p50']:.1f} | {load['p99']:.1f} |")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    parser = command.Parser(prog="python -m tools.bench_rest", description="How fast the service answers.")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64], metavar="N", help="default: 1 8 64")
    parser.add_argument("--seconds", type=float, default=4.0, metavar="S", help="of each measurement (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="measurements of each (default: 3)")
    parser.add_argument("flags", nargs="*", help="of the service, behind --")
    return bench.run(parser, argv, run)


if __name__ == "__main__":
    sys.exit(main())
