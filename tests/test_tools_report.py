"""The report: its counts are those of the shards as tarfile reads them, and the page needs nothing but itself."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import small_set
from PIL import Image

from tools import report, report_charts
from tools.report_stats import Stats, count_all, find_shards, offsets, read_samples

VOID = {"meta", "img", "br", "line", "rect", "polyline"}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        assert small_set.command(folder, patch)("--n", "120") == 0
    return folder / "out"


def read_with_tarfile(folder: Path) -> list[dict[str, bytes]]:
    """Every sample of a folder's shards: file name extension -> bytes, with the key under ``key``."""
    samples: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.rglob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                key, suffix = member.name.split(".")
                data = archive.extractfile(member)
                assert data is not None
                samples.setdefault(key, {"key": key.encode()})[suffix] = data.read()
    return list(samples.values())


def total_of(folder: Path, workers: int = 1) -> Stats:
    total = Stats()
    for part in count_all(find_shards(folder), workers).values():
        total.add(part)
    return total


def test_counts_are_those_of_the_files(shards: Path) -> None:
    samples, total = read_with_tarfile(shards), total_of(shards)
    texts = [sample["txt"].decode() for sample in samples]
    metas = [json.loads(sample["json"]) for sample in samples]
    assert total.images == total.described == len(samples) == 520
    assert total.shards == len(list(shards.rglob("*.tar")))
    assert total.bytes == sum(path.stat().st_size for path in shards.rglob("*.tar"))
    assert total.image_bytes == sum(len(sample["jpg"]) for sample in samples)
    assert total.characters == Counter("".join(texts))
    assert total.lengths == Counter(map(len, texts))
    assert total.fonts == Counter(meta["font"] for meta in metas)
    assert total.sizes == Counter(meta["size"] for meta in metas)
    assert total.effects == Counter(name for meta in metas for name in meta["effects"])
    assert total.effects_each == Counter(len(meta["effects"]) for meta in metas)
    assert total.doubled == sum(any(a == b for a, b in pairwise(text)) for text in texts)
    sizes = [Image.open(io.BytesIO(sample["jpg"])).size for sample in samples]
    assert total.widths == Counter(width for width, _ in sizes)
    assert total.heights == Counter(height for _, height in sizes)


def test_several_processes_count_the_same(shards: Path) -> None:
    assert total_of(shards, 2) == total_of(shards, 1)


def test_single_samples_are_found_by_offset(shards: Path) -> None:
    shard = find_shards(shards)[0]
    assert offsets(shard.sidecar)[-1] == sum(block.bytes for block in shard.sidecar.blocks)
    known = {sample["key"].decode(): sample for sample in read_with_tarfile(shards)}
    numbers = [0, 7, shard.sidecar.count - 1]
    for number, entry in zip(numbers, read_samples(shard, numbers)):
        assert entry.key.endswith(f"{shard.sidecar.start + number:012d}")
        assert entry.image == known[entry.key]["jpg"]
        assert entry.text == known[entry.key]["txt"].decode()
        assert entry.meta == json.loads(known[entry.key]["json"])


class Page(HTMLParser):
    """Checks that tags are closed in order, and collects what the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID or (tag in ("line", "rect", "polyline") and not self.get_starttag_text().endswith("/>")):  # type: ignore[union-attr]
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass  # closed by itself

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_well_formed_and_loads_nothing(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "page.html"
    assert report.main([str(shards), "-o", str(output), "--samples", "5", "--workers", "1"]) == 0
    assert str(output) in capsys.readouterr().out
    text = output.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    assert page.sources
    assert all(source.startswith("data:image/") for source in page.sources)
    assert not re.search(r"https?:|//[a-z]|<script|<link|@import|url\(", re.sub(r"base64,[^\"]*", "", text))
    assert 'name="viewport"' in text
    assert "prefers-color-scheme:dark" in text
    words = "".join(page.words)
    assert "520 text lines" in words
    assert "43 of 43 characters occur (100 %)" in words
    for heading in ("Totals", "Characters", "Fonts", "Effects", "Rarest characters", "Horizontal samples"):
        assert heading in words
    labels = re.findall(r'<div class="label" lang="zh">([^<]*)</div>', text)
    known = {sample["txt"].decode() for sample in read_with_tarfile(shards)}
    assert len(labels) == 10
    assert {label.replace("&amp;", "&") for label in labels} <= known


def test_rarest_characters_come_with_a_picture(shards: Path) -> None:
    text = report.make_report(shards, 1, 1, 0)
    total = total_of(shards)
    shown = re.findall(r'<b lang="zh">(.)</b><small>U\+[0-9A-F]{4,5}</small><br><span class="soft">([\d,]+) ×', text)
    assert [int(count.replace(",", "")) for _, count in shown] == sorted(total.characters.values())
    assert {char: int(count.replace(",", "")) for char, count in shown} == dict(total.characters)
    assert text.count('<img src="data:image/png') == len(shown)


def test_a_set_without_metadata_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert small_set.command(tmp_path, monkeypatch)("--n", "4", "--set", "meta=none", "--direction", "vertical") == 0
    text = report.make_report(tmp_path / "out", 3, 1, 0)
    assert "meta: none" in text
    assert "Vertical samples" in text
    assert "Horizontal samples" not in text


def test_an_unfinished_set_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_set.command(tmp_path, monkeypatch)
    assert run("--n", "200", "--slice", "0/2") == 0
    counted = total_of(tmp_path / "out").images
    page = report.make_report(tmp_path / "out", 1, 1, 0)
    assert f"{600 - counted:,} of the planned samples are not there yet" in page


def test_mistakes_are_one_line_with_exit_code_2(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: str) -> str:
        assert report.main(list(arguments)) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        return message

    assert "is not a directory" in fails(str(tmp_path / "nowhere"))
    assert "no recipe.json" in fails(str(tmp_path))
    assert "--samples -1" in fails(str(shards), "--samples", "-1")
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in fails(str(shards), "-o", str(tmp_path / "file" / "page.html"), "--workers", "1")
    assert small_set.command(tmp_path, monkeypatch)("--n", "4") == 0
    capsys.readouterr()
    tar = tmp_path / "out" / "horizontal" / "train-000000.tar"
    data = tar.read_bytes()
    tar.write_bytes(data[:-512])
    assert f"{tar} has {len(data) - 512} bytes" in fails(str(tmp_path / "out"))
    tar.write_bytes(bytes(len(data)))
    assert "tools.verify" in fails(str(tmp_path / "out"))
    for path in (tmp_path / "out").rglob("*-0*.json"):
        path.unlink()
    assert "no finished shards" in fails(str(tmp_path / "out"))


def test_charts_hold_every_value() -> None:
    counts = {k: k + 1 for k in range(500)}
    drawn = report_charts.histogram(counts, "x", "y", 0)
    bins = [int(value.replace(",", "")) for value in re.findall(r"<title>[^:]*: ([\d,]+)</title>", drawn)]
    assert sum(bins) == sum(counts.values())
    assert len(bins) <= 60
    assert report_charts.histogram({}, "x", "y", 0) == ""
    assert report_charts.histogram({5: 3}, "x", "y", 0).count("<rect") == 1
    curve = report_charts.frequency_curve({"a": [0] * 5 + [1000], "b": []}, "x", "y")
    assert curve.count("<polyline") == 2
    assert "1000.0,1000.0" in curve  # what never occurs lies on the ground


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.5, "0.5"), (999, "999"), (1234, "1,234"), (12_345, "12.3k"), (4_500_000, "4.5M")]
)
def test_numbers_as_people_read_them(value: float, text: str) -> None:
    assert report_charts.number(value) == text


@pytest.mark.parametrize(
    ("part", "text"), [(0, "0 %"), (1, "0.01 %"), (120, "1.2 %"), (5000, "50 %"), (9999, "99.99 %"), (10_000, "100 %")]
)
def test_shares_keep_their_digits(part: int, text: str) -> None:
    assert report_charts.percent(part, 10_000) == text
