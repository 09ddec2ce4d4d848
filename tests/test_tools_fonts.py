"""tools.fonts and tools.fetch_fonts. Packages are made here and delivered by stand-ins for apt-get and npm on PATH;
the rest is the real code: download, unpack, verify, move into place."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from test_gen_fonts import make_font

from gen import fonts as gen_fonts
from gen.fonts import CatalogueFont
from tools import fetch_fonts
from tools import fonts as tool
from tools.packages import Apt, Npm, PackageError, take_file

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")

FAKE_APT = """#!/bin/sh
echo "apt $*" >> "$CALLS"
for last; do :; done
case "$last" in
  update) exit 0 ;;
  fonts-old=*) echo "E: Version '2' for 'fonts-old' was not found" >&2; exit 100 ;;
  fonts-gone*) echo "E: Unable to locate package fonts-gone" >&2; exit 100 ;;
esac
cp "$ARCHIVES/${last%%=*}.deb" .
"""

FAKE_NPM = """#!/bin/sh
echo "npm $*" >> "$CALLS"
for last; do :; done
case "$last" in
  @x/old@*) echo "npm error notarget No matching version found for $last." >&2; exit 1 ;;
  @x/down*) echo "npm error network request failed, reason: ENOTFOUND" >&2; exit 1 ;;
esac
name=${last#@x/}
cp "$ARCHIVES/${name%%@*}.tgz" "x-${name%%@*}.tgz"
"""


def entry(name: str, manager: str, package: str, file: str, content: bytes) -> CatalogueFont:
    digest = hashlib.sha256(content).hexdigest()
    return CatalogueFont(name, "song", "OFL-1.1", manager, package, "2", file, 0, digest)  # type: ignore[arg-type]


def make_tgz(path: Path, member: str, content: bytes) -> None:
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def make_deb(path: Path, files: dict[str, bytes], work: Path) -> None:
    root = work / f"{path.stem}-root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        f"Package: {path.stem}\nVersion: 2\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: test\n"
    )
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "usr" / "link.ttf").symlink_to("small.ttf")
    subprocess.run(["dpkg-deb", "-b", "--root-owner-group", str(root), str(path)], check=True, capture_output=True)


class World:
    """A folder with stand-in managers, their packages, and a log of what was called."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.dest, self.log = root, root / "dest", root / "calls"
        self.archives, self.bin = root / "archives", root / "bin"
        for folder in (self.archives, self.bin):
            folder.mkdir()
        self.font = make_font(root / "small.ttf").read_bytes()
        self.other = make_font(root / "other.ttf", "四五").read_bytes()
        for name, script in (("apt-get", FAKE_APT), ("npm", FAKE_NPM)):
            (self.bin / name).write_text(script)
            (self.bin / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{self.bin}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("CALLS", str(self.log))
        monkeypatch.setenv("ARCHIVES", str(self.archives))
        self.monkeypatch = monkeypatch

    def catalogue(self, *entries: CatalogueFont) -> None:
        for module in (gen_fonts, fetch_fonts):
            self.monkeypatch.setattr(module, "catalogue", lambda path=None: tuple(entries))

    def run(self, *arguments: str) -> int:
        return fetch_fonts.main(["--dest", str(self.dest), *arguments])

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


@needs_dpkg
def test_both_managers_fetch_verify_and_leave_nothing_behind(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    make_deb(
        world.archives / "fonts-two.deb", {"usr/a/small.ttf": world.font, "usr/other.ttf": world.other}, world.root
    )
    make_tgz(world.archives / "web.tgz", "package/400/web.ttf", world.font)
    world.catalogue(
        entry("one", "apt", "fonts-two", "usr/a/small.ttf", world.font),
        entry("two", "apt", "fonts-two", "usr/other.ttf", world.other),
        entry("three", "npm", "@x/web", "package/400/web.ttf", world.font),
    )
    (world.dest / ".fetch-litter").mkdir(parents=True)
    assert world.run("--strict") == 0
    assert "3 of 3 fonts are ready (3 fetched now" in capsys.readouterr().out
    assert (world.dest / "one" / "small.ttf").read_bytes() == world.font
    assert (world.dest / "two" / "other.ttf").read_bytes() == world.other
    assert sorted(path.name for path in world.dest.iterdir() if path.is_dir()) == ["one", "three", "two"]
    calls = world.calls()
    assert sum(call.endswith(" update") for call in calls) == 1
    assert sum("download" in call for call in calls) == 1
    assert world.run() == 0
    assert world.calls() == calls  # the second run fetches nothing
    (world.dest / "three" / "web.ttf").unlink()
    assert world.run() == 0
    (world.dest / "three" / "web.ttf").write_bytes(world.font[:500])  # no font any more: fetched again
    assert world.run() == 0
    assert [call.split()[0] for call in world.calls()[len(calls) :]] == ["npm", "npm"]  # and no apt-get update
    assert (world.dest / "three" / "web.ttf").read_bytes() == world.font


@needs_dpkg
def test_another_version_is_accepted_with_a_warning_and_refused_strictly(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    make_deb(world.archives / "fonts-old.deb", {"usr/small.ttf": world.other}, world.root)
    make_tgz(world.archives / "old.tgz", "package/web.ttf", world.other)
    world.catalogue(
        entry("one", "apt", "fonts-old", "usr/small.ttf", world.font),
        entry("two", "npm", "@x/old", "package/web.ttf", world.font),
    )
    world.monkeypatch.setattr("tools.fetch_fonts.PIP_ONLY_COVERS", 1)
    # the stand-ins know no version 2, and deliver what they have when asked without one
    (world.bin / "npm").write_text(FAKE_NPM.replace("@x/old@*", "@x/old@2"))
    assert world.run("--strict") == 2
    shown = capsys.readouterr().err
    assert "none of the 2 fonts" in shown
    assert shown.count("another version than 2, which --strict refuses") == 2
    assert world.run() == 0
    captured = capsys.readouterr()
    assert captured.err.count("warning:") == 2
    assert "2 of 2 fonts are ready" in captured.out
    assert world.run("--strict") == 2  # what an earlier run accepted is not strictly there


@needs_dpkg
def test_what_cannot_be_had_is_named_and_the_rest_is_taken(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.archives / "fonts-broken.deb").write_bytes(b"!<arch>\nnonsense")
    make_deb(world.archives / "fonts-moved.deb", {"usr/elsewhere.ttf": world.font}, world.root)
    make_deb(world.archives / "fonts-page.deb", {"usr/page.ttf": b"<html>"}, world.root)
    make_deb(world.archives / "fonts-good.deb", {"usr/small.ttf": world.font}, world.root)
    world.catalogue(
        entry("gone", "apt", "fonts-gone", "usr/small.ttf", world.font),
        entry("broken", "apt", "fonts-broken", "usr/small.ttf", world.font),
        entry("moved", "apt", "fonts-moved", "usr/small.ttf", world.font),
        entry("linked", "apt", "fonts-moved", "usr/link.ttf", world.font),
        entry("page", "apt", "fonts-page", "usr/page.ttf", b"<html>"),
        entry("down", "npm", "@x/down", "package/web.ttf", world.font),
        entry("down2", "npm", "@x/down2", "package/web.ttf", world.font),
        entry("good", "apt", "fonts-good", "usr/small.ttf", world.font),
    )
    assert world.run() == 0
    captured = capsys.readouterr()
    reasons = dict(line.removeprefix("missing: ").split(": ", 1) for line in captured.err.splitlines())
    assert "Unable to locate package" in reasons["gone"]
    assert "cannot be unpacked" in reasons["broken"] or "has no file" in reasons["broken"]
    assert "has no file usr/small.ttf" in reasons["moved"]
    assert "not an ordinary file" in reasons["linked"]
    assert "not a TTF, OTF or TTC font" in reasons["page"]
    assert "ENOTFOUND" in reasons["down"]
    assert reasons["down2"] == reasons["down"]
    assert sum(call.startswith("npm") for call in world.calls()) == 1  # unreachable once is unreachable
    assert "1 of 8 fonts are ready (1 fetched now" in captured.out
    assert not (world.dest / "page").exists()
    assert world.run("--strict", "--only", "good") == 0
    assert world.run("--strict", "--only", "good", "moved") == 1
    assert world.run("--only", "moved") == 2
    assert world.run("--only", "absent") == 2
    assert "the catalogue has no font absent" in capsys.readouterr().err


def test_missing_managers_are_the_reason(world: World, tmp_path: Path) -> None:
    world.monkeypatch.setenv("PATH", str(tmp_path / "void"))
    for manager, tool_name in ((Apt(tmp_path / "apt"), "apt-get"), (Npm(tmp_path / "npm"), "npm")):
        with pytest.raises(PackageError, match=f"there is no {tool_name} here"):
            manager.download("fonts-unifont", "1")


def test_only_the_pip_fonts(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.monkeypatch.setenv("PATH", str(world.root / "void"))
    assert world.run() == 0
    captured = capsys.readouterr()
    assert captured.err.count("missing: ") == 23
    assert captured.err.count("there is no apt-get here") == 18
    assert captured.err.count("there is no npm here") == 5
    assert "2 of 25 fonts are ready (0 fetched now" in captured.out
    assert "they cover 28,944 of the 30,656" in captured.out


def test_an_unwritable_place_is_a_user_error(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.dest.write_text("a file where the folder should be")
    assert world.run() == 2
    assert "choose another folder with --dest" in capsys.readouterr().err


def test_a_cut_archive_is_a_reason_not_a_crash(tmp_path: Path) -> None:
    whole = tmp_path / "web.tgz"
    make_tgz(whole, "package/web.ttf", os.urandom(100_000))
    whole.write_bytes(whole.read_bytes()[:50_000])
    with pytest.raises(PackageError, match="cannot be unpacked"):
        take_file(whole, "package/web.ttf", tmp_path)


def test_coverage_table_and_histogram(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = tmp_path / "words.txt"
    words.write_text("a\n一\n㐀\n𠀋\n龍\n\u3000\n", encoding="utf-8")
    fonts = [str(make_font(tmp_path / f"f{number}.ttf", chars)) for number, chars in enumerate(("a一", "一㐀𠀋", "一"))]
    assert tool.main(["--charset", str(words), "--fonts", *fonts]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["font", "style", "total", "ascii", "gb2312", "uro", "ext-a", "plane", "2"]
    assert lines[1].split() == ["charset", "6", "1", "1", "2", "1", "1"]
    assert lines[2].split() == ["f0", "user", "2", "1", "1", "1", "0", "0"]
    assert lines[3].split() == ["f1", "user", "3", "0", "1", "1", "1", "1"]
    rows = {line.split()[0]: line.split()[1] for line in lines if line.endswith("%")}
    assert rows == {"0": "2", "1": "3", "2": "0", "3": "1", "4-5": "0", "6+": "0"}
    assert "2 characters are covered by no font:" in lines
    assert "龍 '\\u3000' (U+3000)" in lines
    assert tool.main(["--charset", str(words), "--fonts", fonts[0], "--add-fonts", fonts[1]]) == 0
    assert "f1" in capsys.readouterr().out


def test_many_uncovered_characters_are_cut_short() -> None:
    lines = tool.uncovered_lines("".join(map(chr, range(0x4E00, 0x4E00 + 250))))
    assert lines[0].startswith("250 characters")
    assert lines[1].endswith(" and 50 more")
    assert tool.uncovered_lines("") == ["every character is covered"]


def test_buckets() -> None:
    assert [tool.bucket(count) for count in (0, 1, 2, 3, 4, 5, 6, 25)] == ["0", "1", "2", "3", "4-5", "4-5", "6+", "6+"]


def test_the_pip_fonts_alone_are_said_to_be_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CRNN_SHARDS_DATA", str(tmp_path))
    assert tool.main([]) == 0
    out = capsys.readouterr().out
    assert "only the pip fonts were found: they cover 28,944 of the 30,656 characters" in out
    assert "1712 characters are covered by no font:" in out
    assert out.count("missing: ") == 23


def test_user_errors_end_with_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    font = make_font(tmp_path / "f.ttf", "零")
    words = tmp_path / "words.txt"
    words.write_text("一\n一\n", encoding="utf-8")
    assert tool.main(["--charset", str(words), "--fonts", str(font)]) == 2
    assert "duplicate" in capsys.readouterr().err
    words.write_text("一\n", encoding="utf-8")
    assert tool.main(["--charset", str(words), "--fonts", str(font)]) == 2
    assert "covers none of the 1 characters" in capsys.readouterr().err
    assert tool.main(["--fonts", str(tmp_path / "absent.ttf")]) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "does not exist" in shown


def test_a_catalogue_font_added_once_more_counts_once() -> None:
    pip = [entry for entry in gen_fonts.catalogue() if entry.manager == "pip"]
    fonts, _, _ = tool.choose(None, [str(pip[0].path())])
    names = [font.name for font in fonts]
    assert names.count(pip[0].name) == 1
    assert replace(fonts[0], name="x").identity() != fonts[0].identity()
