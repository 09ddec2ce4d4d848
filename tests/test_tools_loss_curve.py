"""The picture of the loss: what is read of a run, and where the marks are."""

from __future__ import annotations

import json
import lzma
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tools import loss_curve
from tools.loss_curve import Step, picture, read_steps

SVG = "{http://www.w3.org/2000/svg}"


def metrics(steps: list[tuple[int, str, float]]) -> str:
    rows = [{"step": number, "stage": stage, "loss": loss, "lr": 0.1} for number, stage, loss in steps]
    return "".join(json.dumps(row) + "\n" for row in [*rows, {"step": 1, "line_accuracy": 0.5}])


def test_runs_follow_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(metrics([(n, "glyphs", 8.0) for n in range(1, 101)]), encoding="utf-8")
    second = metrics([(n, "full", 1.0) for n in range(1, 301)])
    (tmp_path / "b.jsonl.xz").write_bytes(lzma.compress(second.encode()))
    out = tmp_path / "loss.svg"
    flags = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl.xz"), "--batch", "1k", "-o", str(out)]
    assert loss_curve.main(flags) == 0
    root = ElementTree.fromstring(out.read_text(encoding="utf-8"))
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert [word for word in words if word and ":" in word] == ["1: glyphs", "2: full"]
    assert "0.40 M lines" in words
    high, low = (path.get("d", "") for path in root.iter(f"{SVG}path") if path.get("class") == "loss")
    above, below = ({float(y) for y in re.findall(r" ([\d.]+)", d)} for d in (high, low))
    assert len(above) == len(below) == 1  # level
    assert max(above) < min(below)
    starts = [re.findall(r"M([\d.]+)", path.get("d", ""))[0] for path in root.iter(f"{SVG}path")][-2:]
    assert float(starts[0]) < float(starts[1])


def test_steps_after_a_restart_count_as_they_were_last(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(metrics([(1, "full", 3.0), (2, "full", 9.0), (2, "full", 2.0), (3, "full", 1.0)]), encoding="utf-8")
    assert read_steps(path, "", 8) == [Step("full", 3.0, 8), Step("full", 2.0, 8), Step("full", 1.0, 8)]


def test_the_axis_counts_the_lines_of_each_batch(tmp_path: Path) -> None:
    path, out = tmp_path / "m.jsonl", tmp_path / "loss.svg"
    rows = [{"step": n, "stage": "a" if n < 3 else "b", "loss": 1.0, "batch": 300 if n < 3 else 100} for n in (1, 2, 3)]
    torn = '{"step": 4, "stage": "b", "lo'  # the run was killed
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + torn, encoding="utf-8")
    assert loss_curve.main([str(path), "-o", str(out)]) == 0
    assert "700 lines" in out.read_text(encoding="utf-8")
    first, second = (float(x) for x in re.findall(r'class="stage" d="M([\d.]+)', out.read_text(encoding="utf-8")))
    whole = loss_curve.WIDTH - loss_curve.LEFT - loss_curve.RIGHT
    assert (second - first) / whole == pytest.approx(6 / 7, abs=1e-3)


def test_points_are_means_of_a_stage_only() -> None:
    steps = [Step("a", 4.0, 96)] * 500 + [Step("b", 1.0, 48)] * 500
    values = re.findall(r'class="loss" d="([^"]+)"', picture(steps))
    assert [len(set(re.findall(r" ([\d.]+)", value))) for value in values] == [1, 1]
    assert picture([Step("<one>", 2.0, 1)]).count("&lt;one&gt;") == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), ("{\n", "is no metrics.jsonl"), ('{"step": 1}\n', "holds no steps")],
)
def test_mistakes_are_told_in_a_line(
    tmp_path: Path, content: str | None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert loss_curve.main([str(path), "-o", str(tmp_path / "loss.svg")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m tools.loss_curve: ")
    assert error.count("\n") == 1
    assert words in error
    assert not (tmp_path / "loss.svg").exists()


def test_a_loss_that_falls_little_has_an_axis_too() -> None:
    drawn = picture([Step("full", loss, 8) for loss in (0.37, 0.33, 0.3, 0.26)])
    assert len(re.findall(r'text-anchor="end">0\.\d+<', drawn)) >= 3
