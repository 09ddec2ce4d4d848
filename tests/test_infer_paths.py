"""Which images a command line names: order, what is left out, links, patterns, lists."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from infer.images import ImageError
from infer.paths import Names, in_folder, in_list, named


def tree(top: Path, *names: str) -> Path:
    """Empty files, and empty folders where a name ends with a slash."""
    for name in names:
        path = top / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    return top


def under(top: Path, names: Names) -> list[str]:
    """Names relative to a folder; what holds nothing as its words."""
    return [str(name) if isinstance(name, ImageError) else os.path.relpath(name, top) for name in names]


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_order_of_a_folder(tmp_path: Path) -> None:
    """By name, with numbers by value; folders stand among the files."""
    expected = [
        "a/1.png",
        "a/2.png",
        "a/10.png",
        "b.png",
        "line 2.png",
        "line 02.png",
        "line 10.png",
        "線1.png",
        "線9.png",
        "線12.png",
    ]
    expected[4:6] = ["line 02.png", "line 2.png"]
    tree(tmp_path, *reversed(expected))
    assert under(tmp_path, in_folder(str(tmp_path))) == expected


def test_names_are_those_that_open_the_files(inside: Path) -> None:
    tree(inside, "d/a.png", "d/e/b.png")
    assert list(in_folder("d")) == list(in_folder("d/")) == ["d/a.png", "d/e/b.png"]
    assert list(in_folder(".")) == ["./d/a.png", "./d/e/b.png"]
    assert list(named("d")) == ["d/a.png", "d/e/b.png"]
    assert list(named("./d/a.png")) == ["./d/a.png"]


def test_what_a_folder_leaves_out(tmp_path: Path) -> None:
    taken = ["a.png", "b.JPG", "c.jpeg", "d.WebP", "e.tif", "f.tiff", "g.bmp", "h.gif", "i.x.png", "png.png"]
    tree(
        tmp_path,
        *taken,
        "notes.txt",
        "png",
        ".png",
        ".hidden.png",
        "._a.png",
        ".git/a.png",
        "b.png.part",
        "c.pdf",
        "d.svg",
    )
    assert under(tmp_path, in_folder(str(tmp_path))) == taken


def test_folders_with_the_ending_of_an_image(tmp_path: Path) -> None:
    tree(tmp_path, "a.png/b.png", "c.png/")
    assert under(tmp_path, in_folder(str(tmp_path))) == ["a.png/b.png"]


def test_links(tmp_path: Path) -> None:
    """They are followed, but never into a folder that holds them; a link to nothing fails when it is read."""
    tree(tmp_path, "top/real/a.png", "other/b.png")
    top = tmp_path / "top"
    for name, goal in (
        ("again", "real"),
        ("real/up", ".."),
        ("self.png", "self.png"),
        ("gone.png", "nowhere"),
        ("other", "../other"),
        ("me", "."),
    ):
        (top / name).symlink_to(goal)
    assert under(top, in_folder(str(top))) == ["again/a.png", "gone.png", "other/b.png", "real/a.png", "self.png"]


def test_folders_without_images(tmp_path: Path) -> None:
    tree(tmp_path, "empty/", "deep/deeper/", "text/a.txt", "circle/")
    (tmp_path / "circle" / "a").symlink_to(tmp_path / "circle")
    for name in ("empty", "deep", "text", "circle"):
        (error,) = in_folder(str(tmp_path / name))
        assert isinstance(error, ImageError)
        assert error.name == str(tmp_path / name)
        assert "holds no image" in error.reason


def test_a_folder_that_is_too_deep_to_look_into(inside: Path) -> None:
    """What can be reached is read."""
    for _ in range(30):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
        Path("a.png").touch()
    os.chdir(inside)
    *found, error = in_folder("d" * 200)
    assert isinstance(error, ImageError)
    assert "too long" in error.reason
    assert len(found) == 20  # paths have at most 4,096 bytes


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["1.png", "2.png", "10.png"]),
        ("?.png", ["1.png", "2.png"]),
        ("[!2].png", ["1.png"]),
        ("*.txt", ["n.txt"]),  # named itself, so it is tried
        ("s*", ["s/3.png", "s/t/4.png"]),
        ("*/*.png", ["s/3.png"]),
        ("**/*.png", ["1.png", "2.png", "10.png", "s/3.png", "s/t/4.png"]),
        ("s/**/*.png", ["s/3.png", "s/t/4.png"]),
        ("s/**", ["s/3.png", "s/t/4.png"]),
        ("**/t", ["s/t/4.png", "s/t/up/3.png"]),
        ("*.gif", ["*.gif: matches nothing"]),
        ("no/**/*.png", ["no/**/*.png: matches nothing"]),
        ("**/a**", ["**/a**: matches nothing"]),
    ],
)
def test_patterns(inside: Path, pattern: str, expected: list[str]) -> None:
    tree(inside, "1.png", "2.png", "10.png", "n.txt", "s/3.png", "s/t/4.png", ".h/5.png", "s/.h/6.png")
    (inside / "s" / "t" / "up").symlink_to("..")
    assert under(inside, named(pattern)) == expected
    if "nothing" not in expected[0]:
        assert under(inside, named(str(inside / pattern))) == expected


def test_a_name_that_looks_like_a_pattern(inside: Path) -> None:
    tree(inside, "a[1].png", "a1.png", "d*/b.png", "d2/c.png")
    assert list(named("a[1].png")) == ["a[1].png"]
    assert list(named("d*")) == ["d*/b.png"]
    assert list(named("gone.png")) == ["gone.png"]  # which fails when it is read
    assert list(named("-")) == ["-"]


def listed(data: bytes, end: bytes = b"\n") -> list[str | ImageError]:
    return list(in_list(io.BytesIO(data), end))


def test_lists(inside: Path) -> None:
    tree(inside, "d/1.png", "d/2.png", "e/")
    assert listed(b"a.png\nb c.png\n") == listed(b"\xef\xbb\xbfa.png\r\n\r\nb c.png") == ["a.png", "b c.png"]
    assert listed("線\n".encode() + b"\xff\n") == ["線", "\udcff"]
    assert listed(b"d\n-\n*.png\n") == ["d/1.png", "d/2.png", "./-", "*.png"]
    assert listed(b"a\nb\0c\r\0", b"\0") == ["a\nb", "c\r"]
    assert listed(b"") == listed(b"\n\n") == []
    assert [str(name) for name in listed(b"e\n")] == [
        "e: holds no image, that is no file with an ending such as .png or .jpg"
    ]


class Slow(io.RawIOBase):
    """Gives what was written to a pipe piece by piece."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return next(self._pieces, b"")


@given(
    st.lists(st.binary(min_size=1, max_size=9).filter(lambda name: not {0, 10, 13, 47} & set(name)), max_size=9),
    st.data(),
)
def test_lists_in_pieces(names: list[bytes], data: st.DataObject) -> None:
    """However a list is cut on its way, and whether or not its last line ends."""
    assume(not any(os.path.isdir(name) for name in names))  # of a folder comes what it holds
    whole = b"\n".join(names) + data.draw(st.sampled_from([b"", b"\n"]))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(whole) - 1)), max_size=5)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)])]
    found = list(in_list(Slow(filter(None, pieces))))  # type: ignore[arg-type]
    plain = [os.fsencode(str(name)).removeprefix(b"./") for name in found]
    bare = [name.removeprefix(b"\xef\xbb\xbf") if k == 0 else name for k, name in enumerate(names)]
    assert plain == [name for name in bare if name]


def test_a_list_is_read_as_it_comes() -> None:
    """A name is given out before the next one is there."""
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as file, open(writer, "wb", buffering=0) as pipe:
        names = in_list(file)
        for name in ("a.png", "b.png"):
            pipe.write(f"{name}\n".encode())
            assert next(names) == name
        pipe.close()
        assert list(names) == []
