"""How fast the generator is, against what bounds it, a plain Pillow loop, and others: medians and ratios of one run.

    python -m tools.bench_gen                                # speed, workers, memory, start: some minutes
    python -m tools.bench_gen --atlas --peers --json b.json  # all of it; the peers come from PyPI into their own venv
    python -m tools.bench_gen --only peers                   # one part

Measure on a machine that does nothing else. Everything is written to temporary directories and removed.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gen.charset import load_charset
from gen.cli import parser as gen_parser
from gen.cli import read_source
from gen.command import Parser
from gen.config import load_recipe
from gen.errors import UserError
from gen.estimate import processors
from gen.fonts import covered_by, fonts_from
from gen.plan import parse_size
from gen.sample import RecipeSource, open_recipe
from tools import bench_gen_run, bench_peers_gen
from tools.bench import run

RECIPES = {"classic": "gen-classic", "default": "gen-default"}
PARTS = ("speed", "workers", "memory", "start", "atlas", "peers")
OPTIONAL = ("atlas", "peers")
SMAPS = Path("/proc/self/smaps")
HANZI = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF))


def read_sources(fonts: Sequence[str]) -> dict[str, RecipeSource]:
    """The two recipes, with the catalogue's fonts or those given."""
    arguments = ["--out", ".", *(["--fonts", *fonts] if fonts else [])]
    source, notes = read_source(gen_parser().parse_args(arguments))
    for note in notes:
        print(note, file=sys.stderr)
    return {name: replace(source, config=load_recipe(config)) for name, config in RECIPES.items()}


def trial_font(given: Path | None) -> tuple[Path, str]:
    """The one font of the yardstick and the peers, and its hanzi. Raises `UserError` when there is none."""
    if given is None:
        spec = importlib.util.find_spec("pylopdf_fonts_zh_cn")
        if spec is None or not spec.submodule_search_locations:
            raise UserError("no font for the trial: give one with --font FILE, or pip install pylopdf-fonts-zh-cn")
        given = Path(next(iter(spec.submodule_search_locations))) / "NotoSansSC-Regular.otf"
    font = fonts_from([str(given)])[0]
    hanzi = [c for c in load_charset(None).chars if any(low <= ord(c) <= high for low, high in HANZI)]
    return given, covered_by(font, "".join(hanzi))


def speed_lines(figures: dict[str, Any]) -> list[str]:
    """The speed part for people."""
    lines = ["One worker, horizontal and vertical half and half; images per CPU-second unless said otherwise"]
    head = ("full", "full/wall s", "render", "encode", "full/encode", "x Pillow", "bytes", "pixels")
    lines.append(f"{'':<10}" + "".join(f"{name:>13}" for name in head))
    for name in RECIPES:
        part = figures[name]
        counts = "".join(f"{part[key]:>13,.0f}" for key in ("full", "wall", "render", "encode"))
        counts += (
            f"{part['of_encode']:>13.2f}{part['of_yardstick']:>13.2f}{part['bytes']:>13,.0f}{part['pixels']:>13,.0f}"
        )
        lines.append(f"{name:<10}{counts}")
    lines.append(f"plain Pillow draw + JPEG (12 characters, 512x32): {figures['plain Pillow + JPEG']['full']:,.0f}")
    return lines


def workers_lines(figures: dict[str, float]) -> list[str]:
    """The scaling part for people."""
    return [
        f"Default recipe, images per second: 1 worker {figures['one']:,.0f}, 2 workers {figures['two']:,.0f}, "
        f"ratio {figures['ratio']:.2f} (with the start of the workers {figures['one_with_start']:,.0f} and "
        f"{figures['two_with_start']:,.0f})"
    ]


def memory_lines(figures: Sequence[dict[str, int]]) -> list[str]:
    """The memory part for people."""
    lines = ["Peak private memory of a worker, default recipe, MB: own + pages of the mapped glyph atlas"]
    for part in figures:
        own, atlas, private = (part[key] / 1e6 for key in ("own", "atlas", "private"))
        lines.append(f"  {part['images']:>9,} images: {own:6.0f} + {atlas:.0f} (at most {private:.0f} together)")
    growth = (figures[-1]["own"] - figures[0]["own"]) / 1e6
    lines.append(f"  growth of its own from the first run to the last: {growth:+.1f} MB")
    return lines


def start_lines(figures: dict[str, float]) -> list[str]:
    """The start part for people."""
    return [
        f"From the start of Python to the first image {figures['first_image_s']:.2f} s; "
        f"a whole command for 402 images {figures['whole_command_s']:.2f} s"
    ]


def atlas_lines(figures: dict[str, dict[str, float]]) -> list[str]:
    """The atlas part for people."""
    return [
        f"Glyph atlas, {name}: {part['fonts']:.0f} fonts in {part['seconds']:.1f} s with {part['workers']:.0f} "
        f"processes, {part['bytes'] / 1e6:,.0f} MB"
        for name, part in figures.items()
    ]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the parts that were asked for, printing each; everything measured. Raises `UserError`."""
    parts = options.only or [part for part in PARTS if part not in OPTIONAL or getattr(options, part)]
    images, repeats = parse_size(options.images, "--images"), options.repeats
    if repeats < 1:
        raise UserError(f"--repeats {repeats}: give at least 1")
    sizes = [parse_size(text, "--memory-images") for text in options.memory_images]
    results: dict[str, Any] = {"machine": bench_gen_run.machine()}
    print(" · ".join(f"{name} {value}" for name, value in results["machine"].items() if value))
    font, chars = trial_font(options.font)
    sources = read_sources(options.fonts or ()) if set(parts) - {"peers"} else {}
    if set(parts) - {"peers", "atlas"}:
        for source in sources.values():
            open_recipe(source, processors())  # draws missing glyphs now, outside of every measurement

    def part(name: str, work: Callable[[Callable[[str], None]], Any], lines: Callable[[Any], list[str]]) -> None:
        if name not in parts:
            return
        with tqdm(desc=name, bar_format="{desc}: {postfix}", leave=False, disable=None) as bar:
            results[name] = work(bar.set_postfix_str)
        print("\n" + "\n".join(lines(results[name])), flush=True)

    default = sources.get("default")
    part("speed", lambda step: bench_gen_run.speed(sources, images, repeats, font, chars, step), speed_lines)
    if default:
        part("workers", lambda step: bench_gen_run.scaling(default, images * 10, min(repeats, 3), step), workers_lines)
        if "memory" in parts and not SMAPS.exists():
            parts = [name for name in parts if name != "memory"]
            print(f"\nMemory was not measured: this system has no {SMAPS}")
        part(
            "memory",
            lambda step: [asdict(found) for found in bench_gen_run.memory(default, sizes, 2, step)],
            memory_lines,
        )
        part("start", lambda step: bench_gen_run.start(options.fonts or (), repeats, step), start_lines)
        part("atlas", lambda step: bench_gen_run.atlas(sources, processors(), step), atlas_lines)
    if "peers" in parts:
        figures = bench_peers_gen.measure_peers(font, chars, min(repeats, 5))
        results["peers"] = [asdict(entry) for entry in figures]
        print("\n" + "\n".join(bench_peers_gen.table(figures)), flush=True)
    return results


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = Parser(prog="python -m tools.bench_gen", description="How fast the generator is.")
    result.add_argument("--peers", action="store_true", help="other generators too (downloads them into a venv)")
    result.add_argument("--atlas", action="store_true", help="time drawing every glyph anew")
    result.add_argument("--only", nargs="+", choices=PARTS, help="only these parts")
    result.add_argument("--repeats", type=int, default=5, help="rounds of which medians are taken (default 5)")
    result.add_argument("--images", default="4k", help="images of each direction in a round (default 4k)")
    result.add_argument(
        "--memory-images", nargs="+", default=["10k", "60k"], metavar="N", help="runs compared in memory (10k 60k)"
    )
    result.add_argument("--font", type=Path, help="the yardstick's and peers' font (default: Noto Sans SC from pip)")
    result.add_argument("--fonts", nargs="+", metavar="FONT", help="the recipes' fonts instead of the catalogue")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), argv, measure)


if __name__ == "__main__":  # workers import this file too
    sys.exit(main())
