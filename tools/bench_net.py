"""What the network costs when several hosts train: real exchange between imitated hosts, one row for each strategy.

    python -m tools.bench_net --hosts 2 --rate 1gbit --step-ms 40 --json figures.json

Hosts are network namespaces, their links limited (`tools.netns`); their processes exchange what training exchanges,
through gloo, with the shapes of the real networks. A step's computation is a sleep as long as a GPU would take, unless
`--real` has the processors compute. Needs Linux, root, `ip` and `tc`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any

import torch

from gen.command import Parser
from gen.errors import UserError
from tools.bench import run, table
from tools.bench_gen_run import machine
from tools.bench_net_rank import Job, Seat, Timed, work
from tools.netns import Host, network, parse_rate
from train.config import Comm

STRATEGIES = ("older", "allreduce", "compress", "local", "auto")
REAL = ("apart", "allreduce", "compress", "local", "auto")
OLDER_RANKS = 3  # a host
LIMIT = 600.0  # seconds for a measurement
Figures = dict[str, dict[str, Any]]


@contextmanager
def ended(processes: Sequence[Any]) -> Iterator[None]:
    """No process is left, whatever happens."""
    try:
        yield
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()


class Bench:
    """Measures jobs on hosts, each in processes of its own."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = hosts
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tools.bench_net_rank"])
        os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # else it complains that the addresses of hosts have no names
        self._port = 29_400

    def measure(self, job: Job, hosts: int, ranks: int) -> tuple[Timed, float, float]:
        """A job on the first hosts, so many processes each: what the first process tells, seconds of the slowest, mean
        bytes per host."""
        self._port += 1
        master, size = self.hosts[0].address, hosts * ranks
        pipes, given, processes = [], [], []
        for rank in range(size):
            group, local = divmod(rank, ranks)
            seat = Seat(self.hosts[group], master, self._port, rank, size, local, ranks, group)
            mine, theirs = self._context.Pipe(False)
            processes.append(self._context.Process(target=work, args=(theirs, seat, job), daemon=True))
            pipes.append(mine)
            given.append(theirs)
        with ended(processes):
            for process in processes:
                process.start()
            for pipe in given:
                pipe.close()
            found = self._answers(pipes)
        return (
            found[0],
            max(timed.seconds for timed in found),
            statistics.mean(timed.sent for timed in found[::ranks]),
        )

    def _answers(self, pipes: list[Any]) -> list[Timed]:
        """What each process says. Raises `UserError` when one fails, or none says anything for long."""
        found: dict[int, Timed] = {}
        end = time.monotonic() + LIMIT
        while len(found) < len(pipes):
            ready = wait([pipe for k, pipe in enumerate(pipes) if k not in found], max(0.0, end - time.monotonic()))
            if not ready:
                raise UserError(f"the processes have not measured anything in {LIMIT:.0f} s")
            for pipe in ready:
                try:
                    answer = pipe.recv()  # type: ignore[union-attr]
                except EOFError:
                    answer = "a process ended without a word"
                if isinstance(answer, str):
                    raise UserError(f"the measurement failed: {answer}")
                found[pipes.index(pipe)] = answer
        return [found[k] for k in range(len(pipes))]


def job_of(name: str, options: argparse.Namespace) -> tuple[Job, int]:
    """A row's job, and its processes per host."""
    step_ms = None if options.real else options.step_ms
    if name == "older":
        return Job("crnn", Comm("allreduce"), max(1, options.steps // 8), step_ms, options.lines), OLDER_RANKS
    if name == "apart":
        return Job(options.model, Comm("allreduce"), options.steps, step_ms, options.lines, True), options.ranks
    every = options.every if name in ("local", "auto") else None
    return Job(options.model, Comm(name, every), options.steps, step_ms, options.lines), options.ranks  # type: ignore[arg-type]


def compare(options: argparse.Namespace, bench: Bench, told: Callable[[str], None]) -> Figures:
    """Every row, in turn, in each round; medians."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in options.strategies}
    for number in range(options.rounds):
        alone: dict[tuple[str, int], dict[str, float]] = {}
        for name in options.strategies:
            job, ranks = job_of(name, options)
            words = f"round {number + 1} of {options.rounds}"
            if (job.model, ranks) not in alone:
                told(f"{words}: one host, {job.model}")
                alone[job.model, ranks] = one_host(job, ranks, bench)
            told(f"{words}: {options.hosts} hosts, {name}")
            timed, seconds, sent = bench.measure(job, options.hosts, ranks)
            speed, one = timed.steps / seconds, alone[job.model, ranks]
            rows[name].append({
                "scaling": options.hosts * speed / one["apart"],
                "bytes_per_step": sent / timed.steps,
                "steps_per_s": speed,
                "one_host_steps_per_s": one["apart"],
                "one_host_loopback_steps_per_s": one["loopback"],
                "scaling_loopback": options.hosts * speed / one["loopback"],
                "ranks_per_host": ranks,
                "picked": timed.chosen.strategy,
                "every": timed.chosen.every,
                "predicted": timed.predicted,
                "told": timed.told,
            })  # fmt: skip
    return {name: summary(each) for name, each in rows.items()}


def one_host(job: Job, ranks: int, bench: Bench) -> dict[str, float]:
    """Steps per second of one host: ``apart`` without exchange between its processes, and with all-reduce over the
    loopback, which takes a few cores as long as it takes. GPUs of one host exchange over PCIe, beside the backward
    pass, so ``apart`` is what others are compared with; where a host has one process both are the same."""
    found = {}
    for name in ("apart", "loopback") if ranks > 1 else ("apart",):
        timed, seconds, _ = bench.measure(replace(job, comm=Comm("allreduce"), apart=name == "apart"), 1, ranks)
        found[name] = timed.steps / seconds
    return {"loopback": found["apart"], **found}


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of the numbers; of what was picked the word of the last round."""
    measured = [key for key, value in rounds[0].items() if isinstance(value, float)]
    return {**rounds[-1], **{key: float(statistics.median(each[key] for each in rounds)) for key in measured}}


def lines(figures: Figures, options: argparse.Namespace) -> list[str]:
    """The table for people, and what is to be known about it."""
    what = "real steps on a core each" if options.real else f"a sleep of {options.step_ms:g} ms for a GPU's step"
    head = (
        f"{options.hosts} hosts at {options.rate}, {what}", "steps/s", "one host's steps/s",
        "MB sent per host and step", f"lines/s of {options.hosts} hosts over one",
    )  # fmt: skip
    rows, notes = [], []
    for name, row in figures.items():
        megabytes, many = row["bytes_per_step"] / 1e6, row["ranks_per_host"] > 1
        shown = row["steps_per_s"], row["one_host_steps_per_s"], megabytes, row["scaling"]
        rows.append((words(name, row), *(f"{value:.{2 if value < 100 else 0}f}" for value in shown)))
        if many:
            least = row["bytes_per_step"] * 8 / parse_rate(options.rate)
            notes.append(
                f"{name}: one host is {row['ranks_per_host']} processes that do not exchange, for GPUs of a host do so "
                f"over PCIe, beside the backward pass. Exchanging through this machine's loopback they make "
                f"{row['one_host_loopback_steps_per_s']:.2f} steps/s, against which the last column would be "
                f"{row['scaling_loopback']:.2f}. {megabytes:,.0f} MB at {options.rate} alone take {least:.2f} s."
            )
    return [*table(head, rows), *(["", *notes] if notes else [])]


def words(name: str, row: dict[str, Any]) -> str:
    """A row's name."""
    if name == "older":
        return f"older: 94.6 MB, {row['ranks_per_host']} processes a host, all-reduce"
    if name == "apart":
        return "no exchange: what this machine makes of so many processes"
    picked = f"{name}: {row['picked']}" if name == "auto" else name
    return f"{picked}, every {row['every']} steps" if row["picked"] == "local" else picked


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, printed as well. Raises `UserError`."""
    for name, least in (("hosts", 2), ("steps", 1), ("rounds", 1), ("ranks", 1), ("lines", 1)):
        if getattr(options, name) < least:
            raise UserError(f"--{name} {getattr(options, name)}: give at least {least}")
    if options.every is not None and options.every < 1:
        raise UserError(f"--every {options.every}: give at least 1")
    if not 1 <= options.step_ms <= 10_000:
        raise UserError(f"--step-ms {options.step_ms:g}: give from 1 to 10,000")
    parse_rate(options.rate)
    options.strategies = options.strategies or (REAL if options.real else STRATEGIES)
    about = {**machine(), "torch": torch.__version__}
    print(" · ".join(f"{name} {value}" for name, value in about.items() if value))
    with network(options.hosts, options.rate) as hosts:
        figures = compare(options, Bench(hosts), lambda text: print(text, file=sys.stderr, flush=True))
    print("\n" + "\n".join(lines(figures, options)))
    return {
        **figures, "machine": about, "hosts": options.hosts, "rate": options.rate, "model": options.model,
        "step": "real steps" if options.real else f"a sleep of {options.step_ms:g} ms", "rounds": options.rounds,
    }  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = Parser(prog="python -m tools.bench_net", description="What the network costs when several hosts train.")
    add = result.add_argument
    add("--hosts", type=int, default=2, help="how many (2)")
    add("--rate", default="1gbit", help="of each host's link (1gbit)")
    add("--step-ms", type=float, default=40.0, metavar="MS", help="a GPU's step, slept (40)")
    add(
        "--steps", type=int, default=64, help="in one measurement, rounded up to periods of local; older an eighth (64)"
    )
    add("--rounds", type=int, default=3, help="of which medians are taken (3)")
    add(
        "--strategies",
        nargs="+",
        choices=("apart", *STRATEGIES),
        help="rows (all but apart; with --real all but older)",
    )
    add("--model", choices=("lite", "crnn"), default="lite", help="of all rows but older (lite)")
    add("--ranks", type=int, default=1, help="processes a host, but older's three (1)")
    add("--every", type=int, metavar="H", help="steps between synchronisations of local (as auto finds)")
    add("--real", action="store_true", help="real steps on the processors, one core each, instead of the sleep")
    add("--lines", type=int, default=48, help="per process in a real step (48)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), argv, measure)


if __name__ == "__main__":  # processes import this file too
    sys.exit(main())
