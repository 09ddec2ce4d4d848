"""Text from a real browser's screen: lines are cut where they stand, and read.

pytest tests/test_tools_bench_screen.py
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import find_browser

from gen.errors import UserError
from gen.fonts import Font
from tests.peers import stand_in
from tools import bench_infer_peers, bench_screen
from tools.screen_page import EDGE, SIDE, Look, document, shown

TEXT = ["今天气温3～11℃，出门记得带一件外套。", "訂單共 3 件，合計 268.50 元，預計週五送達。", "山" * 400]


@pytest.fixture(scope="module")
def browser() -> str:
    return find_browser()[0]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("\n".join([*TEXT[:2], "", "\ufffe 没有的字"]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_lines_are_cut_where_they_stand(browser: str, pip_fonts: tuple[Font, ...], direction: str) -> None:
    lines = shown(browser, TEXT, Look(pip_fonts[0].path, direction, 24, "#ffffff", "#000000"))
    assert [text for _, text in lines[:2]] == TEXT[:2]
    assert "".join(text for _, text in lines[2:]) == TEXT[2]  # one paragraph, several lines
    assert len(lines) > 4
    for pixels, said in lines:
        along, across = pixels.shape[:2] if direction == "vertical" else pixels.shape[1::-1]
        assert 24 < across < 60
        assert along > 11 * len(said)
        ink = pixels.min(axis=2) < 128
        assert ink.any()
        assert not any(edge.any() for edge in (ink[0], ink[-1], ink[:, 0], ink[:, -1]))  # no stroke is cut


def test_what_does_not_fit_is_left_out(browser: str, pip_fonts: tuple[Font, ...]) -> None:
    size = 40
    lines = shown(browser, TEXT[2:] * 5, Look(pip_fonts[0].path, "vertical", size))
    room = (SIDE - 2 * EDGE) // size
    assert 0 < len(lines) < 5 * 400 // room
    assert all(set(said) == {"山"} for _, said in lines)


def test_a_page_is_what_it_should_be() -> None:
    page = document(["1 < 2 & 3"], Look(Path("a b.ttf"), "vertical", 20))
    assert "<p>1 &lt; 2 &amp; 3</p>" in page
    assert "writing-mode: vertical-rl" in page
    assert "a%20b.ttf" in page


def test_a_photograph_is_the_same_line_and_always_the_same(browser: str, pip_fonts: tuple[Font, ...]) -> None:
    for direction in ("horizontal", "vertical"):
        pixels, _ = shown(browser, TEXT[:1], Look(pip_fonts[0].path, direction, 28))[0]
        found = bench_screen.photo(pixels, 3)
        assert found.shape == pixels.shape
        assert found.dtype == np.uint8
        assert np.array_equal(found, bench_screen.photo(pixels, 3))
        assert not np.array_equal(found, bench_screen.photo(pixels, 4))
        before, after = (cv2.resize(each, (16, 16), interpolation=cv2.INTER_AREA).ravel() for each in (pixels, found))
        assert np.corrcoef(before, after)[0, 1] > 0.3
        assert np.abs(found.astype(int) - pixels).mean() > 5


def test_a_page_is_read_and_reported(
    browser: str,
    pip_fonts: tuple[Font, ...],
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bench_infer_peers, "command", stand_in)
    font, out = pip_fonts[0], {name: tmp_path / name for name in ("s.json", "s.html")}
    flags = ["--fonts", str(font.path), "--text", str(text), "--quick", "--peer", "--html", str(out["s.html"])]
    assert bench_screen.main([*flags, "--json", str(out["s.json"]), "--worst", "photo"]) == 0
    found = json.loads(out["s.json"].read_text(encoding="utf-8"))
    cases = [f"{way} {kind}" for way in ("horizontal", "vertical") for kind in ("screen", "photo")]
    names = [f"{font.name} {case}" for case in cases]
    peers = [f"{bench_infer_peers.NAMES['rapidocr']} {case}" for case in cases]
    assert {*found["cells"]} == {*names, *peers, *(f"all {case}" for case in cases), "all screen", "all photo"}
    assert found["cells"][peers[0]]["char_accuracy"] < 0.1  # it counts grey levels
    assert [cell["lines"] for cell in found["cells"].values()] == [2] * 12 + [4, 4]
    assert found["cells"]["all screen"]["char_accuracy_folded"] > 0.9
    assert f"{font.name} lacks characters of 1 of 3 paragraphs" in capsys.readouterr().out
    assert "as photographs" in out["s.html"].read_text(encoding="utf-8")


def test_what_cannot_be_shown_is_told(
    text: Path,
    pip_fonts: tuple[Font, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    find_browser()
    (tmp_path / "odd.txt").write_text("\ufffe 没有的字\n", encoding="utf-8")
    (tmp_path / "no.ttf").write_bytes(b"\0\1\0\0" + b"no font at all" * 9)
    for flags, words in (
        (("--fonts", str(tmp_path / "none.ttf")), "none.ttf does not exist"),
        (("--fonts", str(tmp_path / "no.ttf")), "no.ttf"),
        (("--fonts", str(text), "--text", str(tmp_path / "none.txt")), "none.txt cannot be read"),
        (("--fonts", str(text), "--text", "/dev/null"), "/dev/null holds no text"),
        (("--fonts", str(text), "--html", str(tmp_path / "no" / "s.html")), "does not exist; make it first"),
        (("--fonts", str(text), "--html", str(tmp_path)), "it is a folder"),
        (("--fonts", str(text), "--json", str(tmp_path)), "it is a folder"),
        (("--fonts", str(pip_fonts[0].path), "--text", str(tmp_path / "odd.txt")), "all characters of none of"),
    ):
        assert bench_screen.main(["--text", str(text), *flags]) == 2
        assert words in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bench_screen.main(["--text", str(text), "--fonts", str(text)]) == 2
    assert "no browser was found" in capsys.readouterr().err


def test_a_browser_that_fails_is_told(pip_fonts: tuple[Font, ...]) -> None:
    look = Look(pip_fonts[0].path, "horizontal", 20)
    for program, words in (
        ("/nowhere/chromium", "does not run: No such file"), ("false", "ended with 1"), ("true", "shows no text in"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            shown(program, TEXT, look)
