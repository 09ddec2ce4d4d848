"""The charset: files good and bad, classes, groups, folding, and that the packaged file is what the rule builds."""

from __future__ import annotations

import hashlib
import pickle
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen import charset as module
from gen.charset import (
    GROUPS,
    PACKAGED,
    Charset,
    describe,
    fold,
    group_of,
    is_frequent_big5,
    is_gb2312_hanzi,
    is_ideograph,
    load_charset,
    script_of,
)
from gen.errors import UserError
from tools import build_charset

PACKAGED_SHA256 = "bc3f3af0721cc1c038b79d6a21eb4acccc375c68bcf74d919cb37d95c4ce5534"


@pytest.fixture
def words(tmp_path: Path) -> Path:
    return tmp_path / "words.txt"


def load_bytes(path: Path, data: bytes) -> Charset:
    path.write_bytes(data)
    return load_charset(path)


def message(path: Path, data: bytes) -> str:
    with pytest.raises(UserError) as caught:
        load_bytes(path, data)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_the_packaged_charset() -> None:
    charset = load_charset(None)
    assert len(charset) == 30_656
    assert charset.sha256 == PACKAGED_SHA256 == hashlib.sha256(PACKAGED.read_bytes()).hexdigest()
    assert charset.decode([1]) == "!"
    counts = {group: sum(group_of(char) == group for char in charset.chars) for group in GROUPS}
    assert counts["ascii"] == 94
    assert counts["gb2312-1"] == 3_755
    assert counts["gb2312-2"] == 3_008
    assert counts["ext-a"] == 6_582
    assert counts["plane-2"] == 1_682
    assert sum(counts.values()) - counts["ascii"] - counts["symbol"] == 29_201


@pytest.mark.parametrize(("codec", "size"), [("gb2312", 6_763), ("gbk", 20_923), ("big5", 13_000)])
def test_it_holds_all_hanzi_of_the_old_standards(codec: str, size: int) -> None:
    hanzi = set()
    for lead in range(0x81, 0xFF):
        for trail in range(0x40, 0xFF):
            char = bytes((lead, trail)).decode(codec, "ignore")
            if len(char) == 1 and "CJK" in unicodedata.name(char, "") and "IDEOGRAPH" in unicodedata.name(char):
                hanzi.add(char)
    hanzi = {char for char in hanzi if unicodedata.category(char) == "Lo"}  # not the marks such as U+303E
    assert len(hanzi) >= size
    assert hanzi <= set(load_charset(None).chars)


def test_the_rule_rebuilds_the_packaged_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built = tmp_path / "built.txt"
    assert build_charset.main(["--check"]) == 0
    assert build_charset.main(["-o", str(built)]) == 0
    assert built.read_bytes() == PACKAGED.read_bytes()
    built.write_bytes(built.read_bytes()[:-4])
    assert build_charset.main(["--check", "-o", str(built)]) == 1
    assert "differs" in capsys.readouterr().out
    assert build_charset.main(["-o", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize(
    "data",
    [
        "一\n二\n𠀀\n".encode(),
        "一\n二\n𠀀".encode(),
        "一\r\n二\r\n𠀀\r\n".encode(),
        "一\r\n二\r\n𠀀".encode(),
        b"\xef\xbb\xbf" + "一\r\n二\r\n𠀀\r\n".encode(),
        b"\xef\xbb\xbf" + "一\n二\n𠀀\n".encode(),
    ],
)
def test_line_endings_and_byte_order_mark_are_no_content(words: Path, data: bytes) -> None:
    charset = load_bytes(words, data)
    assert charset.chars == "一二𠀀"
    assert charset == Charset("一二𠀀")
    assert charset.sha256 == hashlib.sha256("一\n二\n𠀀\n".encode()).hexdigest()


def test_nothing_else_is_stripped(words: Path) -> None:
    odd = " \u3000\t\x85\u2028\x1c\x0b\ue000\r\u00a0"
    assert load_bytes(words, ("\n".join(odd) + "\n").encode()).chars == odd
    assert load_bytes(words, " \r\n\u3000\r\n".encode()).chars == " \u3000"


def test_duplicates_are_named_with_their_lines(words: Path) -> None:
    text = message(words, "一\n二\n三\n二\n一\n".encode())
    assert "2 duplicate lines" in text
    assert "'二' (U+4E8C) in lines 2 and 4" in text
    assert "'一' (U+4E00) in lines 1 and 5" in text
    many = message(words, ("一\n" * 10).encode())
    assert "9 duplicate lines" in many
    assert "4 more" in many


def test_an_empty_line_is_named(words: Path) -> None:
    assert "empty line, line 2" in message(words, "一\n\n二\n".encode())
    assert "empty line, line 3" in message(words, "一\r\n二\r\n\r\n".encode())
    assert "empty line, line 3" in message(words, "一\n二\n\n".encode())


def test_other_encodings_are_refused(words: Path) -> None:
    text = message(words, b"a\nb\n" + "字\n".encode("gbk"))
    assert "not UTF-8" in text
    assert "line 3" in text
    assert "not UTF-8" in message(words, "一\n".encode("utf-16"))


def test_two_characters_on_a_line_are_refused(words: Path) -> None:
    assert "line 2" in message(words, "一\n二三\n".encode())
    assert "3000 characters" in message(words, ("一" * 3000).encode())
    assert "line 1 " in message(words, b"a\rb\r")  # line endings of old Macs are none


def test_an_empty_file_is_refused(words: Path) -> None:
    assert "is empty" in message(words, b"")
    assert "is empty" in message(words, b"\xef\xbb\xbf")


def test_size_limit(words: Path) -> None:
    chars = [chr(code) for code in range(0x10000, 0x10000 + 100_001)]
    assert len(load_bytes(words, "\n".join(chars[:-1]).encode())) == 100_000
    assert len(load_bytes(words, "\r\n".join(chars[:-1]).encode())) == 100_000
    assert "at most 100000" in message(words, "\n".join(chars).encode())
    assert "larger than" in message(words, b"x" * 700_000)


def test_unreadable_paths_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.txt", tmp_path):
        with pytest.raises(UserError, match="cannot read the charset") as caught:
            load_charset(path)
        assert str(path) in str(caught.value)


def test_unknown_characters_and_classes_are_user_errors() -> None:
    charset = Charset("一二")
    with pytest.raises(UserError, match="U\\+4E09"):
        charset.encode("一三")
    for number in (0, -1, 3):
        with pytest.raises(UserError, match=f"class {number} "):
            charset.decode([number])


@given(st.text(st.sampled_from(load_charset(None).chars)))
def test_encode_and_decode_are_inverse(text: str) -> None:
    charset = load_charset(None)
    classes = charset.encode(text)
    assert all(1 <= number <= len(charset) for number in classes)
    assert charset.decode(classes) == text


@given(st.lists(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\ufeff"), min_size=1, unique=True))
def test_any_characters_survive_a_file(tmp_path_factory: pytest.TempPathFactory, chars: list[str]) -> None:
    path = tmp_path_factory.mktemp("charset") / "words.txt"
    charset = load_bytes(path, ("\n".join(chars) + "\n").encode())
    assert charset.chars == "".join(chars)
    assert charset.decode(charset.encode(charset.chars)) == charset.chars
    assert pickle.loads(pickle.dumps(charset)) == charset


@pytest.mark.parametrize(
    ("char", "group"),
    [
        ("a", "ascii"),
        (" ", "ascii"),
        ("。", "symbol"),
        ("〇", "symbol"),
        ("Ａ", "symbol"),
        ("啊", "gb2312-1"),
        ("座", "gb2312-1"),
        ("亍", "gb2312-2"),
        ("齄", "gb2312-2"),
        ("龍", "uro"),
        ("\ufa0e", "uro"),
        ("㐀", "ext-a"),
        ("𠀋", "plane-2"),
        ("\ue000", "symbol"),
    ],
)
def test_groups(char: str, group: str) -> None:
    assert group_of(char) == group
    assert is_gb2312_hanzi(char) == group.startswith("gb2312")


def test_standards_are_those_of_the_codecs(full_charset: Charset) -> None:
    def row(char: str, codec: str) -> int:
        try:
            return char.encode(codec)[0]
        except UnicodeEncodeError:
            return 0

    for char in filter(is_ideograph, full_charset.chars):
        simplified, traditional = row(char, "gb2312") > 0, row(char, "big5") >= 0xA4  # before it are symbols
        if simplified:
            assert group_of(char) == ("gb2312-1" if row(char, "gb2312") < 0xA0 + 56 else "gb2312-2")
        assert is_gb2312_hanzi(char) == simplified
        assert is_frequent_big5(char) == (0xA4 <= row(char, "big5") <= 0xC6)
        expected = "" if simplified == traditional else "simplified" if simplified else "traditional"
        assert script_of(char) == expected
    assert [script_of(char) for char in "们們人㐀,"] == ["simplified", "traditional", "", "", ""]


def test_fold_is_the_table_and_nothing_more() -> None:
    assert fold("Ｃ，︵①㈠ｱ︰") == "C,(①㈠ア‥"
    rows = [row.split("\t") for row in module.LOOKALIKE.read_text(encoding="utf-8").splitlines()[1:]]
    assert len(rows) == 216
    chars = load_charset(None).chars
    changed = {char: fold(char) for char in map(chr, range(0x30000)) if fold(char) != char}
    assert changed == {char: base for char, base, _ in rows}
    assert all(fold(base) == base for base in changed.values())
    assert set(changed) <= set(chars)


def test_describe() -> None:
    assert describe("字") == "'字' (U+5B57)"
    assert describe("\u3000") == "'\\u3000' (U+3000)"
