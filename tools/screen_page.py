"""Lines as a browser shows them: pages of Chinese text in a font, and where on the screen each line stands.

python -m tools.bench_screen --quick --fonts F
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gen.errors import UserError
from gen.stream import DIRECTIONS
from tools.peer_venv import last_line

SIDE, EDGE = 1400, 24  # px, of the square window and of what is left free around the text
MARGIN = 3  # px of the page around a line
HEIGHT = 1.1  # em, of a line without its margin: what a font says of itself may be less than its glyphs need, or more
SECONDS = 120
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking "
    "--hide-scrollbars --force-device-scale-factor=1 --no-first-run"
)
MODES = {"horizontal": "horizontal-tb", "vertical": "vertical-rl"}
STYLE = """
@font-face {{ font-family: page; src: url("{font}"); }}
html {{ margin: 0; background: {paper}; color: {ink}; }}
body {{ margin: 0; }}
main {{ margin: {edge}px; width: {inner}px; height: {inner}px; overflow: hidden; writing-mode: {mode};
  font: {size}px/1.8 page; }}
p {{ margin: 0 0 0.4em; }}
"""
# Where each character stands, as a browser lays it out; a line ends where the next one does not go on along the text.
SCRIPT = """
document.fonts.load("20px page").then(() => {
  const lines = [], vertical = getComputedStyle(document.querySelector("main")).writingMode !== "horizontal-tb";
  for (const node of document.querySelectorAll("p")) {
    const text = node.firstChild;
    let line = null, last = -1;
    for (let at = 0; at < text.length;) {
      const char = String.fromCodePoint(text.data.codePointAt(at));
      const range = document.createRange();
      range.setStart(text, at);
      range.setEnd(text, at += char.length);
      const box = range.getBoundingClientRect();
      if (!box.width || !box.height) continue;
      const along = vertical ? box.top : box.left;
      if (along < last) line = null;
      if (!line) lines.push(line = {text: "", box: [box.left, box.top, box.right, box.bottom]});
      line.text += char;
      line.box = [Math.min(line.box[0], box.left), Math.min(line.box[1], box.top),
                  Math.max(line.box[2], box.right), Math.max(line.box[3], box.bottom)];
      last = along;
    }
  }
  document.title = document.fonts.check("20px page") ? "shown" : "no font";
  const found = document.createElement("pre");
  found.id = "lines";
  found.hidden = true;
  found.textContent = JSON.stringify(lines);
  document.body.append(found);
});
"""


@dataclass(frozen=True)
class Look:
    """How a page looks: the font's file, ``size`` in px, colours of CSS."""

    font: Path
    direction: str
    size: int
    paper: str = "#ffffff"
    ink: str = "#1a1a1a"


def document(paragraphs: Sequence[str], look: Look) -> str:
    """The page, with the script that writes its lines into it."""
    style = STYLE.format(
        font=look.font.absolute().as_uri(), mode=MODES[look.direction], size=look.size, paper=look.paper, ink=look.ink,
        edge=EDGE, inner=SIDE - 2 * EDGE,
    )  # fmt: skip
    body = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)
    return (
        f'<!doctype html><html lang="zh"><head><meta charset="utf-8"><style>{style}</style></head>'
        f"<body><main>{body}</main><script>{SCRIPT}</script></body></html>"
    )


def find_browser() -> str | None:
    """Chromium or its twin, where there is one."""
    return shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")


def shown(program: str, paragraphs: Sequence[str], look: Look) -> list[tuple[NDArray[np.uint8], str]]:
    """The lines of a page that are wholly on the screen: colour uint8 [H, W, 3] (BGR), and what each says.

    Raises `UserError` when the browser fails, or does not take the font.
    """
    assert look.direction in DIRECTIONS
    with tempfile.TemporaryDirectory(prefix="bench-screen-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        page, picture = folder / "page.html", folder / "page.png"
        page.write_text(document(paragraphs, look), encoding="utf-8")
        flags = [*FLAGS.split(), f"--window-size={SIDE},{SIDE}", f"--user-data-dir={folder / 'profile'}"]
        wait = "--virtual-time-budget=5000"
        found = _run([program, *flags, wait, "--dump-dom", page.as_uri()])
        _run([program, *flags, wait, f"--screenshot={picture}", page.as_uri()])
        pixels = cv2.imread(str(picture), cv2.IMREAD_COLOR)
    match = re.search(r'<pre id="lines"[^>]*>(.*?)</pre>', found, re.DOTALL)
    if match is None or "<title>shown</title>" not in found or pixels is None:
        raise UserError(f"{program} shows no text in {look.font}: is it a font?")
    lines = []
    for line in json.loads(unescape(match[1])):
        left, top, right, bottom = line["box"]
        spare = HEIGHT * look.size / 2
        if look.direction == "vertical":
            left, right = (left + right) / 2 - spare, (left + right) / 2 + spare
        else:
            top, bottom = (top + bottom) / 2 - spare, (top + bottom) / 2 + spare
        if min(left, top) >= EDGE - 1 and max(right, bottom) <= SIDE - EDGE:  # what does not fit is cut off there
            y, x = (slice(round(low) - MARGIN, round(high) + MARGIN) for low, high in ((top, bottom), (left, right)))
            lines.append((np.ascontiguousarray(pixels[y, x], np.uint8), line["text"].strip()))
    return lines


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{command[0]} does not run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]} was not done after {SECONDS} s") from None
    if done.returncode:
        raise UserError(f"{command[0]} ended with {done.returncode}: {last_line(done.stderr)}")
    return done.stdout
