"""How every bench ends: figures on the screen, in a file if asked for, a mistake told in one line.

python -m tools.bench_gen --json figures.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gen.errors import UserError


def run(name: str, measure: Callable[[], dict[str, Any]], file: Path | None) -> int:
    """Measure, and write every figure to ``file``; the exit code of ``python -m tools.NAME``."""
    try:
        if file and not file.absolute().parent.is_dir():  # say so before minutes of measuring
            raise UserError(f"--json {file}: the directory {file.parent} does not exist; make it first")
        results = measure()
        if file:
            try:
                file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            except OSError as error:
                raise UserError(f"--json {file} cannot be written: {error.strerror}") from None
    except UserError as error:
        print(f"python -m tools.{name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0
