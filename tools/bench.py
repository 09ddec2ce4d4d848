"""How every bench ends: figures on the screen, in a file if asked for, a mistake told in one line.

python -m tools.bench_gen --json figures.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gen import command
from gen.errors import UserError


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def check_output(file: Path | None, flag: str) -> None:
    """Raise `UserError` before minutes of measuring when a file cannot be written."""
    command.check_output(file, flag)
    if file and not file.absolute().parent.is_dir():
        raise UserError(f"{flag} {file}: the directory {file.parent} does not exist; make it first")


def run(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    measure: Callable[[argparse.Namespace], dict[str, Any]],
) -> int:
    """Measure, and write every figure to ``--json``, a flag added here; the exit code."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")

    def body(options: argparse.Namespace) -> None:
        file: Path | None = options.json
        check_output(file, "--json")
        results = measure(options)
        if file:
            try:
                file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            except OSError as error:
                raise UserError(f"--json {file} cannot be written: {error.strerror}") from None

    return command.run(parser, argv, body)
