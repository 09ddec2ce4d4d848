"""The page of misread lines: what is different in each, and figures that say no more than is true."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

from train.metrics import Tally
from train.page import Mistake, page, percent


class Page(HTMLParser):
    """What a browser would ask for, and the cells of misread lines."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.cells: list[tuple[str, str]] = []
        self._kind: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses += [values[name] or "" for name in ("src", "href") if name in values]
        if tag == "span":
            self._kind = values.get("class") or "same"
        elif tag == "i" and self._kind:
            self.cells.append((self._kind, ""))

    def handle_data(self, data: str) -> None:
        if self.cells and self._kind:
            kind, text = self.cells.pop()
            self.cells.append((kind, text + data))

    def handle_endtag(self, tag: str) -> None:
        if tag == "span":
            self._kind = None


@pytest.mark.parametrize("space", [False, True])
def test_the_page_shows_what_is_different(space: bool) -> None:
    tally = Tally(space)
    tally.add("<a，&b c", "<a,&x")
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    text = page("a <title> & more", tally, [Mistake(0.5, "key<1>", pixels, "<a，&b c", "<a,&x")])
    shown = Page(text)
    assert "a &lt;title&gt; &amp; more" in text
    assert "key&lt;1&gt;" in text
    assert all(address.startswith("data:image/png;base64,") for address in shown.addresses)
    assert len(shown.addresses) == 1
    same = [
        ("same", "<"),
        ("same", "<"),
        ("same", "a"),
        ("same", "a"),
        ("mild", "，"),
        ("mild", ","),
        ("same", "&"),
        ("same", "&"),
    ]
    assert shown.cells[:8] == same
    assert ("bad", "∅") in shown.cells
    assert (("bad", "␣") in shown.cells) is space
    assert f"of {tally.confusions.total()} errors" in text


def test_a_page_without_mistakes_says_so() -> None:
    tally = Tally()
    tally.add("a", "a", "song", 20)
    text = page("t", tally, [])
    assert "Every line was read right" in text
    assert "100.00 %" in text
    assert "confusions" not in text


@pytest.mark.parametrize(("share", "text"), [(1, "100.00 %"), (0.999999, "99.99 %"), (0.29, "29.00 %"), (0, "0.00 %")])
def test_shares_are_rounded_down(share: float, text: str) -> None:
    assert percent(share) == text
