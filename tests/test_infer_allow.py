"""Which characters ``--allow`` leaves: standards, files, characters as they are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.charset import Charset
from gen.errors import UserError
from infer.allow import allowed_characters, allowed_classes
from tests.conftest import small_charset
from train.codec import Codec

CODEC = Codec(small_charset(), space=True)


def left(text: str, codec: Codec = CODEC) -> str:
    """The characters that it leaves, in the order of the classes."""
    mask = allowed_classes(text, codec)
    assert mask.dtype == np.bool_
    assert mask.shape == (codec.classes,)
    return "".join(char for char, kept in zip(codec.characters, mask) if kept)


@given(st.lists(st.sampled_from(CODEC.characters), min_size=1, max_size=30))
def test_characters_as_they_are_written(chars: list[str]) -> None:
    text = "".join(chars)
    if text.lower() not in ("ascii", "gbk", "big5", "gb2312"):
        assert set(left(text)) == set(text)


def test_order_repeats_and_unknown_characters_do_not_matter() -> None:
    assert left("3213☃") == "123"
    assert left("1 2") == "12 "


@pytest.mark.parametrize(
    ("name", "has", "lacks"),
    [("ascii", "aZ9~ ", "的，①"), ("gb2312", "a的，① ", "𠀋㐂龘"), ("gbk", "a的龘驫", "𠀋㐂"), ("big5", "a的龘", "𠀋这")],
)  # fmt: skip
def test_standards(name: str, has: str, lacks: str) -> None:
    for text in (name, name.upper()):
        found = left(text)
        assert set(has) <= set(found)
        assert not set(lacks) & set(found)


def test_gb2312_over_all_characters(full_charset: Charset) -> None:
    han = [char for char in left("gb2312", Codec(full_charset)) if "\u4e00" <= char <= "\u9fff"]
    assert len(han) == 6763


@pytest.mark.parametrize("text", ["0123\n456", "﻿0123\r\n456\r\n", "0123456\n6543210\n"])
def test_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "digits.txt"
    path.write_bytes(text.encode())
    assert allowed_characters(str(path)) == "0123456"
    assert left(str(path)) == "0123456"
    plain = path.rename(tmp_path / "digits")  # whose letters nobody wants to read either
    assert allowed_characters(str(plain)) == "0123456"


def test_the_space_needs_a_class() -> None:
    assert left("a ", CODEC) == "a "
    assert left("a ", Codec(small_charset())) == "a"


@pytest.mark.parametrize("text", ["", "☃", "\n", "gb18030☃"[-1]])
def test_nothing_left_is_a_mistake(text: str) -> None:
    with pytest.raises(UserError, match="read none of these characters"):
        allowed_classes(text, CODEC)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"words\.txt cannot be read as UTF-8"):
        allowed_classes(str(path), CODEC)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Its name is not taken for the characters to read."""
    with pytest.raises(UserError, match=r"digit\.txt does not exist"):
        allowed_classes(str(tmp_path / "digit.txt"), CODEC)


def test_what_only_looks_like_a_file_is_characters() -> None:
    """Also where a file system would refuse the name."""
    assert set(left("a.b")) == set("a.b")
    assert set(left("0123." * 100)) == set("0123.")
    assert set(left("a/\0.b1")) == set("a/.b1")
