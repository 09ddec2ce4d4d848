"""From fonts to a reader through the commands: forty characters, both directions, over HTTP, killed on the way.

python -m pytest tests/test_train_learns.py
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from servers import nginx
from small_set import ROOT, font_files
from train_runs import start, steps

from gen.fonts import find_catalogue_fonts

CHARS = "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年0123456789"


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def third_font() -> list[str]:
    """One more font than pip brings, a kai if it was fetched."""
    others = [font for font in find_catalogue_fonts()[0] if font.name in ("lxgw-wenkai", "gkai00mp", "wqy-microhei")]
    return [str(others[0].path)] if others else []


def test_forty_characters_are_learned_from_http_across_a_kill(tmp_path: Path) -> None:
    charset = tmp_path / "charset.txt"
    charset.write_text("\n".join(CHARS) + "\n", encoding="utf-8")
    ours = ["--charset", str(charset), "--fonts", *font_files(), *third_font()]
    easy = ["--set", "corpus.length.below=[9]", "--set", "layout.sizes=[25,31]"]
    run("gen", "--out", str(tmp_path / "www" / "set"), "--n", "12k", "--shard-size", "2000", *ours, *easy)
    with nginx(tmp_path / "www", tmp_path) as url:
        out = tmp_path / "run"
        arguments = [
            *("--config", "train-tiny", "--data", f"{url}/set", "--out", str(out), "--device", "cpu"),
            *("--cache", str(tmp_path / "cache"), *ours),
        ]
        process = start(arguments)
        end = time.monotonic() + 300
        while len(steps(out)) < 320 and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        process = start(arguments)
        text, _ = process.communicate(timeout=600)
    assert process.returncode == 0, text
    assert "going on from step" in text
    assert [values["step"] for values in steps(out)] == list(range(1, 1001))
    report = tmp_path / "report.json"
    # The validation lines are read from the disk: what was learned over HTTP are the same lines.
    run(
        "train.evaluate", "--weight-path", str(out / "weights.pt"), "--data", str(tmp_path / "www" / "set"),
        "--json", str(report),
    )  # fmt: skip
    result = json.loads(report.read_text(encoding="utf-8"))
    assert result["lines"] == 400
    assert result["line_accuracy"] >= 0.9, result["line_accuracy"]
    assert all(result["by_direction"][way]["line_accuracy"] > 0.85 for way in ("horizontal", "vertical"))
