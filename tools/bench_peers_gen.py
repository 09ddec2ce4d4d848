"""Other generators of text lines, measured in this very run: ``python -m tools.bench_gen --peers``.

Each peer is installed from PyPI into a venv of its own (under the cache folder, so that its old or odd requirements
touch nothing here) and drawn with in fresh processes, in turn with a plain Pillow loop, so that noise of the machine
hits all alike. A peer that cannot be installed or run is listed with the reason and without numbers.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gen import paths
from gen.errors import UserError
from tools.peer_venv import call, make
from tools.peer_venv import install as _install

WORKER = Path(__file__).with_name("bench_peer_worker.py")
LENGTH = 12
# What the venv holds besides the peers. Pillow below 10 is for TRDG 1.8.0, which calls ImageFont.getsize (gone in
# Pillow 10) and Image.Resampling (new in 9.1); the two others only convert images with it.
SHARED = ("pillow>=9.1,<10", "numpy", "opencv-python-headless")
RUN_SECONDS = 300


@dataclass(frozen=True)
class Peer:
    """A generator to measure: what it needs beyond its own wheel, and how many lines give a steady figure."""

    name: str
    version: str = ""
    needs: tuple[str, ...] = ()
    first: int = 1000
    warmup: int = 10_000
    block: int = 1000


YARDSTICK = Peer("pillow", warmup=200, first=300, block=300)
OWN = Peer("crnn-shards")
PEERS = (
    # Its other declared needs, opencv-python (with windows, wants libGL) and diffimg (tests), are not needed to draw.
    Peer(
        "trdg",
        "1.8.0",
        ("requests", "tqdm", "wikipedia", "arabic-reshaper==2.1.3", "python-bidi==0.4.2"),
        first=60,
        warmup=20,
        block=60,
    ),
    # It declares `datasets` too, for downloading text: several hundred MB that drawing does not use.
    Peer("neots", "0.3.4", ("pyyaml", "tqdm")),
    Peer("text-image-generator", "0.2.6"),
)


@dataclass(frozen=True)
class Figures:
    """Medians over the rounds, in images per CPU-second; the ratios are those to the yardstick of the same round."""

    name: str
    first: float = 0.0
    steady: float = 0.0
    jpeg: float | None = None
    ratio: float = 0.0
    jpeg_ratio: float | None = None
    problem: str = ""
    versions: dict[str, str] = field(default_factory=dict)


def venv_dir() -> Path:
    """The peers' venv."""
    return paths.cache_dir() / "peers-venv"


def prepare_venv() -> Path:
    """Make the venv when it is missing; its Python. Raises `UserError` when that fails (no network, no venv module)."""
    folder = venv_dir()
    python = make(folder)
    if problem := _install(python, "shared", SHARED):
        raise UserError(f"cannot install {', '.join(SHARED)} into {folder}: {problem}; is there a network?")
    return python


def _measure(python: Path, peer: Peer, font: Path, chars: str, seed: int, scale: float, folder: Path) -> dict[str, Any]:
    """One process of one generator. Returns its figures, or {"problem": why there are none}."""
    task, answer = folder / "task.json", folder / "answer.json"
    answer.unlink(missing_ok=True)
    values = {
        "peer": peer.name,
        "font": str(font.resolve()),
        "chars": chars,
        "length": LENGTH,
        "seed": seed,
        "first": max(10, int(peer.first * scale)),
        "warmup": int(peer.warmup * scale),
        "block": max(10, int(peer.block * scale)),
        "blocks": 3,
    }
    task.write_text(json.dumps(values), encoding="utf-8")
    # Temporary files of the peers go where they are removed with the rest; our own generator is found in this clone.
    environment = {"BENCH_TMP": str(folder), **({"PYTHONPATH": str(WORKER.parent.parent)} if peer is OWN else {})}
    if problem := call([python, WORKER, task, answer], RUN_SECONDS, environment):
        return {"problem": problem}
    result: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return result


def _summary(name: str, rounds: Sequence[dict[str, Any]], yardstick: Sequence[dict[str, Any]]) -> Figures:
    if problems := [entry["problem"] for entry in rounds if "problem" in entry]:
        return Figures(name, problem=f"not measured: {problems[0]}")

    def middle(key: str) -> float:
        return float(statistics.median(entry[key] for entry in rounds))

    def ratio(key: str) -> float:
        return float(statistics.median(entry[key] / base["steady"] for entry, base in zip(rounds, yardstick)))

    has_jpeg = all("jpeg" in entry for entry in rounds)
    return Figures(
        name,
        middle("first"),
        middle("steady"),
        middle("jpeg") if has_jpeg else None,
        ratio("steady"),
        ratio("jpeg") if has_jpeg else None,
        versions=rounds[0]["versions"],
    )


def measure_peers(font: Path, chars: str, rounds: int = 3, scale: float = 1.0, seed: int = 1) -> list[Figures]:
    """Install and measure everyone, the yardstick first (with this Python's Pillow, then with the peers' Pillow).

    ``chars`` are the characters that lines are made of, all of them in the font; ``scale`` shortens or lengthens the
    run. Raises `UserError` when there is no venv to be had or the yardstick itself does not run.
    """
    steps = 1 + len(PEERS) + rounds * (3 + len(PEERS))
    with tqdm(desc="peers", total=steps, unit="step", leave=False, disable=None) as bar:
        python = prepare_venv()
        bar.update()
        problems = {}
        for peer in PEERS:
            bar.set_postfix_str(f"installing {peer.name}")
            problems[peer.name] = _install(python, peer.name, peer.needs, f"{peer.name}=={peer.version}")
            bar.update()
        contestants: list[tuple[str, Path, Peer]] = [
            ("plain Pillow + JPEG", Path(sys.executable), YARDSTICK),
            ("plain Pillow + JPEG, peers' venv", python, YARDSTICK),
            ("this generator, same kind of line", Path(sys.executable), OWN),
            *((f"{peer.name} {peer.version}", python, peer) for peer in PEERS),
        ]
        found: dict[str, list[dict[str, Any]]] = {label: [] for label, _, _ in contestants}
        with tempfile.TemporaryDirectory(prefix="peers-") as name:
            for number in range(rounds):
                for label, interpreter, peer in contestants:
                    bar.set_postfix_str(f"round {number + 1}, {peer.name}")
                    if problem := problems.get(peer.name, ""):
                        found[label].append({"problem": f"pip: {problem}"})
                    else:
                        found[label].append(_measure(interpreter, peer, font, chars, seed + number, scale, Path(name)))
                    bar.update()
    yardstick = found[contestants[0][0]]
    if broken := [entry["problem"] for entry in yardstick if "problem" in entry]:
        raise UserError(f"the plain Pillow loop does not run with {font}: {broken[0]}; name another font with --font")
    return [_summary(label, found[label], yardstick) for label, _, _ in contestants]


def table(figures: Sequence[Figures]) -> list[str]:
    """The figures as lines of text for a terminal."""
    lines = [
        f"{'images per CPU-second, one core':<34}{'first':>9}{'steady':>9}{'x Pillow':>10}{'+ JPEG':>9}{'x Pillow':>10}"
    ]
    for entry in figures:
        if entry.problem:
            lines.append(f"{entry.name:<34}  {entry.problem}")
            continue
        line = f"{entry.name:<34}{entry.first:>9,.0f}{entry.steady:>9,.0f}{entry.ratio:>10.2f}"
        if entry.jpeg is not None and entry.jpeg_ratio is not None:
            line += f"{entry.jpeg:>9,.0f}{entry.jpeg_ratio:>10.2f}"
        lines.append(line)
    return lines
