"""Lines a second of a training step: both networks, over the whole charset, in the precision of the device.

python -m tools.bench_step --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence

import torch

from gen import command
from train.auto import noise
from train.config import Crnn, Learning, Lite, Stage
from train.dist import World
from train.model import build, macs, parameter_count
from train.objective import Learner

CLASSES, WIDTH = 30_656, 320


def measure(model: Lite | Crnn, loss: str, batch: int, rounds: int, device: torch.device) -> tuple[float, str]:
    """Median lines a second of a network and loss, and the precision it ran in."""
    torch.manual_seed(1)
    learner = Learner(build(model, CLASSES), Learning(), World(0, 1, 0, 1, device), seed=1)
    stage, lines = Stage(name="bench", lines=1, loss=loss), noise(batch, CLASSES, WIDTH).to(device)  # type: ignore[arg-type]
    seconds = []
    for number in range(rounds + 1):
        begin = time.perf_counter()
        float(learner.step(lines, stage, rounds + 1, number, number)[0])
        seconds.append(time.perf_counter() - begin)
    return batch / statistics.median(seconds[1:]), learner.precision


def main(argv: Sequence[str] | None = None) -> int:
    parser = command.Parser(prog="python -m tools.bench_step", description="How fast a network learns.")
    parser.add_argument("--rounds", type=int, default=5, help="steps that are timed (default: 5)")
    parser.add_argument("--batch", type=int, default=None, help="lines (default: 48 on a CPU, 384 on a GPU)")
    return command.run(parser, argv, run)


def run(args: argparse.Namespace) -> None:
    """Measure and print a table."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = args.batch or (384 if device.type == "cuda" else 48)
    print(f"| {WIDTH} px, batch {batch}, {torch.get_num_threads()} threads | parameters | M mult. | lines/s | |")
    print("|---|---|---|---|---|")
    for name, model, loss in (
        ("lite, frames", Lite(), "frames"),
        ("lite, ctc", Lite(), "ctc"),
        ("crnn, ctc", Crnn(kind="crnn"), "ctc"),
    ):
        net = build(model, CLASSES)
        rate, precision = measure(model, loss, batch, max(1, args.rounds), device)
        print(f"| {name} | {parameter_count(net):,} | {macs(net) / 1e6:,.0f} | {rate:.1f} | {precision} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
