"""A venv of its own for what is measured beside this project, filled from PyPI by package name.

    python -m tools.bench_gen --only peers
    python -m tools.bench_infer --only lines --peers

It lies in the cache folder, so that old or odd requirements touch nothing here, and is filled only once.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gen.errors import UserError

SECONDS = 900  # for what pip does


def call(command: Sequence[object], seconds: float, environment: Mapping[str, str] | None = None) -> str:
    """Run a command; "" when it went well, else the last thing that it said."""
    words, more = [str(part) for part in command], {**os.environ, **(environment or {})}
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, env=more)
    except subprocess.TimeoutExpired:
        return f"not finished after {seconds:.0f} s"
    if done.returncode == 0:
        return ""
    return last_line(done.stderr or done.stdout, ("ERROR",)) + f" (exit code {done.returncode})"


def last_line(text: str, marks: Sequence[str] = ()) -> str:
    """What a program said last, or last with one of the marks."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith(tuple(marks))] if marks else []
    return (marked or lines or ["no message"])[-1][:300]


def make(folder: Path) -> Path:
    """Make the venv when it is missing; its Python. Raises `UserError` when there is no venv module."""
    python = folder / "bin" / "python"
    if not python.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        problem = call([sys.executable, "-m", "venv", folder], SECONDS)
        if problem:
            raise UserError(f"cannot make the venv {folder} for the peers: {problem}; remove the folder and try again")
    return python


def install(python: Path, name: str, needs: Sequence[str], peer: str = "") -> str:
    """Install once: a file in the venv remembers what was asked. Returns the problem, or ""."""
    wanted = "\n".join([peer, *needs])
    mark = python.parent.parent / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}.installed"
    if mark.exists():
        return ""
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    problem = call([*pip, *needs], SECONDS) if needs else ""
    # Without its declared requirements: they are in `needs`, in versions that work together.
    problem = problem or (call([*pip, "--no-deps", peer], SECONDS) if peer else "")
    if not problem:
        mark.write_text(wanted + "\n", encoding="utf-8")
    return problem
