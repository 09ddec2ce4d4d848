"""How fast shards come from a web server, fetched and verified as in training, beside curl of the same files.

    python -m tools.bench_fetch --json figures.json

Needs `nginx` and `curl`; both ends are on this machine, over the loopback, so that they share its cores.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from gen.command import Parser
from gen.contract import BLOCK_BYTES, Block
from gen.errors import UserError
from tools.bench import run, table
from tools.bench_gen_run import machine
from tools.nginx import nginx
from tools.programs import find_program
from train.cache import remote_place

CONNECTIONS = (1, 8)
WHY = "and this bench needs it"
Shards = list[tuple[str, list[Block]]]


def make_shards(root: Path, count: int, size: int) -> Shards:
    """Files of noise, as large as shards, and their blocks: what is in them matters to nobody here."""
    rng = np.random.Generator(np.random.Philox(key=np.array([1, size], np.uint64)))
    shards = []
    for number in range(count):
        data = rng.bytes(size)
        name = f"train-{number:06d}"
        (root / f"{name}.tar").write_bytes(data)
        cuts = range(0, size, BLOCK_BYTES)
        parts = [(cut, data[cut : cut + BLOCK_BYTES]) for cut in cuts]
        shards.append((name, [Block(cut, len(part), 0, 1, hashlib.sha256(part).hexdigest()) for cut, part in parts]))
    return shards


def ours(url: str, shards: Shards, connections: int, folder: Path) -> None:
    """Every block into a cache that is empty, verified: what a run does in its first pass."""
    place = remote_place(url, folder / "cache", 1 << 40)
    blocks = [(name, block) for name, parts in shards for block in parts]
    with ThreadPoolExecutor(connections) as pool:
        for _ in pool.map(lambda each: place.open(*each), blocks):
            pass


def curl(url: str, shards: Shards, connections: int, folder: Path) -> None:
    """Every file, as it is."""
    parallel = ["--parallel", "--parallel-immediate", "--parallel-max", str(connections)] if connections > 1 else []
    words = [word for name, _ in shards for word in ("-o", str(folder / f"{name}.tar"), f"{url}/{name}.tar")]
    _run([find_program("curl", "curl", WHY), "-sS", "--fail", *parallel, *words])


def curl_and_check(url: str, shards: Shards, connections: int, folder: Path) -> None:
    """Then sha256sum, as many at once."""
    curl(url, shards, connections, folder)
    names = "".join(f"{folder / name}.tar\0" for name, _ in shards)
    words = ["xargs", "-0", "-n", "1", "-P", str(connections), find_program("sha256sum", "coreutils", WHY)]
    _run(words, names.encode())


def _run(words: Sequence[str], given: bytes = b"") -> None:
    done = subprocess.run(words, input=given, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(f"{Path(words[0]).name} ends with {done.returncode}: {said[-1] if said else 'no word of why'}")


WAYS: dict[str, tuple[str, Callable[[str, Shards, int, Path], None]]] = {
    "ours": ("ours: blocks, cached, sha256 of each verified", ours),
    "curl": ("curl, not verified", curl),
    "curl_sha256": ("curl, then sha256sum", curl_and_check),
}


def spent() -> float:
    """CPU seconds of this process and of the programs that it has run to their end."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def once(way: str, url: str, shards: Shards, connections: int) -> dict[str, float]:
    """``mb_per_s``, and ``cpu_share``: CPU seconds of the client for each second."""
    with tempfile.TemporaryDirectory(prefix="bench-fetch-") as folder:
        cpu, begin = spent(), time.perf_counter()
        WAYS[way][1](url, shards, connections, Path(folder))
        seconds, used = time.perf_counter() - begin, spent() - cpu
    total = sum(block.bytes for _, blocks in shards for block in blocks)
    return {"mb_per_s": total / seconds / 1e6, "cpu_share": used / seconds, "cpu_s_per_gb": used / total * 1e9}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, printed as well. Raises `UserError`."""
    for name, least in (("shards", 1), ("megabytes", 0.1), ("rounds", 1)):
        if not getattr(options, name) >= least:
            raise UserError(f"--{name} {getattr(options, name):g}: give at least {least}")
    if options.megabytes > 10_000:  # a shard is held in memory while it is made
        raise UserError(f"--megabytes {options.megabytes:g}: give at most 10,000")
    for name, package in (("nginx", "nginx-light"), ("curl", "curl")):
        find_program(name, package, WHY)
    about = machine()
    print(" · ".join(f"{name} {value}" for name, value in about.items() if value))
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-fetch-") as folder:
        root, own = Path(folder, "root"), Path(folder, "nginx")
        for path in (root, own):
            path.mkdir()
        Path(folder).chmod(0o755)
        shards = make_shards(root, options.shards, round(options.megabytes * 1e6))
        with nginx(root, own) as url:
            for number in range(-1, options.rounds):  # the one before the first fills the file cache
                for connections in CONNECTIONS:
                    for way in WAYS:
                        figures = once(way, url, shards, connections)
                        if number >= 0:
                            found.setdefault(way, {}).setdefault(str(connections), []).append(figures)
    medians = {
        way: {count: {key: float(statistics.median(run[key] for run in runs)) for key in runs[0]}
              for count, runs in counts.items()}
        for way, counts in found.items()
    }  # fmt: skip
    print("\n" + "\n".join(lines(medians, options)))
    return {**medians, "machine": about, "shards": options.shards, "megabytes": options.megabytes}


def lines(figures: dict[str, dict[str, dict[str, float]]], options: argparse.Namespace) -> list[str]:
    """The table for people."""
    head = [f"{options.shards} shards of {options.megabytes:g} MB, nginx over the loopback"]
    for count in CONNECTIONS:
        head += [f"MB/s, {count} connection{'s' * (count > 1)}", "CPU share", "CPU-s per GB"]
    rows = []
    for way, counts in figures.items():
        row = [WAYS[way][0]]
        for each in counts.values():
            row += [f"{each['mb_per_s']:,.0f}", f"{each['cpu_share']:.0%}", f"{each['cpu_s_per_gb']:.2f}"]
        rows.append(row)
    return table(head, rows)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = Parser(prog="python -m tools.bench_fetch", description="How fast shards are fetched and verified.")
    result.add_argument("--shards", type=int, default=8, help="how many (8)")
    result.add_argument("--megabytes", type=float, default=72.0, help="of each (72: 10,000 lines)")
    result.add_argument("--rounds", type=int, default=3, help="of which medians are taken (3)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), argv, measure)


if __name__ == "__main__":
    sys.exit(main())
