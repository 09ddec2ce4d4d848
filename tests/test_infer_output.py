"""What is written for images, in every format, and files that are gone on with after an interruption."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.errors import UserError
from infer.formats import COLUMNS, FORMATS
from infer.images import ImageError
from infer.output import Output, opened
from infer.reading import Char, Reading

PARTS = (
    "a",
    "線",
    "\n",
    "\r",
    "\t",
    '"',
    "'",
    ",",
    "\\",
    "\\n",
    " ",
    "-",
    "=",
    "\udcff",
    "\udc80",
    "\u2028",
    ",label:",
    ".png",
)
names = st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("".join)
texts = st.text(st.sampled_from("天地人abc ,\t\"'\\=\u2028"), max_size=8)
Image = tuple[str, Reading | ImageError]


def read(text: str, score: float = 0.5) -> Reading:
    return Reading(text, "vertical", tuple(Char(char, score, 3.0, (("x", 0.25),)) for char in text))


images = st.lists(
    st.tuples(names, st.one_of(texts.map(read), texts.map(read), st.just(ImageError("is damaged")))), max_size=8
)


def record(style: str, name: str, result: Reading | ImageError) -> bytes:
    form = FORMATS[style]
    return form.failure(name, result) if isinstance(result, ImageError) else form.record(name, result)


def table(style: str, given: list[Image]) -> bytes:
    return FORMATS[style].header + b"".join(record(style, *image) for image in given)


@given(images)
def test_json(given: list[Image]) -> None:
    lines = table("jsonl", given).decode("utf-8").split("\n")  # without anything that is not UTF-8
    assert lines.pop() == ""
    found = [json.loads(line) for line in lines]
    assert found == [
        {"path": name, "error": result.reason} if isinstance(result, ImageError) else {"path": name, **result.to_dict()}
        for name, result in given
    ]


@given(images)
def test_tables(given: list[Image]) -> None:
    expected = [
        [name, r.text, "vertical", f"{r.score:.4f}", f"{r.lowest:.4f}"] for name, r in given if isinstance(r, Reading)
    ]
    whole = table("csv", given).decode("utf-8", "surrogateescape")
    assert list(csv.reader(io.StringIO(whole, newline=""))) == [list(COLUMNS), *expected]
    whole = table("tsv", given).decode("utf-8", "surrogateescape")
    rows = [line.split("\t") for line in whole.split("\n")]
    assert rows.pop() == [""]
    assert [[unescaped(cell) for cell in row] for row in rows] == [list(COLUMNS), *expected]


def unescaped(cell: str) -> str:
    """Letter by letter, since what stands behind a backslash may be one."""
    letters, found = iter(cell), ""
    for letter in letters:
        found += {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}[next(letters)] if letter == "\\" else letter
    return found


@given(images)
def test_a_line_for_each_image(given: list[Image]) -> None:
    readings = [(name, result) for name, result in given if isinstance(result, Reading)]
    demo = table("demo", given).split(b"\n")
    assert demo.pop() == b""
    assert demo == [
        b"image_path:%s,label:%s"
        % tuple(
            value.replace("\n", "\\n").replace("\r", "\\r").encode("utf-8", "surrogateescape")
            for value in (name, r.text)
        )
        for name, r in readings
    ]
    assert table("txt", given).decode().split("\n") == [
        *("" if isinstance(r, ImageError) else r.text for _, r in given),
        "",
    ]


def test_plain_names_are_written_as_the_older_demo_did() -> None:
    assert record("demo", "scans/a b.png", read("天,地")) == "image_path:scans/a b.png,label:天,地\n".encode()


def write(path: Path, style: str, given: list[Image], resume: bool = False, until: int | None = None) -> Output:
    """A run that reads what there is no record of; ``until``: it is stopped before that one of these images."""
    results = dict(given)
    with opened(str(path), FORMATS[style], resume) as output:
        for number, name in enumerate(output.left(iter([name for name, _ in given]))):
            if number == until:
                raise KeyboardInterrupt
            assert isinstance(name, str)
            output.write([record(style, name, results[name])])
    return output


@pytest.mark.parametrize("style", FORMATS)
@settings(max_examples=40)
@given(given=images, data=st.data())
def test_what_was_interrupted_is_gone_on_with(style: str, given: list[Image], data: st.DataObject) -> None:
    """Stopped anywhere, and killed in the middle of a record besides: at the end the file has what it has in one run,
    only that images without records come again."""
    if style == "demo":  # whose escapes are not escaped, for the sake of plain names
        given = [(name.replace("\\", "/"), result) for name, result in given]
    given = [(name, dict(given)[name]) for name, _ in given]  # a file named twice says the same twice
    expected = table(style, given)
    with tempfile.TemporaryDirectory() as folder:
        path, part = Path(folder, "out"), Path(folder, "out.part")
        done = data.draw(st.integers(0, len(given)))
        if done < len(given):
            with pytest.raises(KeyboardInterrupt):
                write(path, style, given, until=done)
            assert not path.exists()
        if part.exists():
            whole = part.read_bytes()
            assert whole == table(style, given[:done])
            part.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
        else:
            assert done == len(given) or not any(record(style, *image) for image in given[:done])
        for _ in range(2):  # where failures have records, they stand behind the others then
            output = write(path, style, given, resume=True)
            assert os.listdir(folder) == ["out"]
            assert sorted(path.read_bytes().splitlines()) == sorted(expected.splitlines())
            if style != "jsonl":
                assert path.read_bytes() == expected
        assert output.kept == sum(bool(style == "txt" or isinstance(result, Reading)) for _, result in given)


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    given: list[Image] = [("a", read("天")), ("b", ImageError("is damaged")), ("c", ImageError("is empty"))]
    (tmp_path / "out.part").write_bytes(table("jsonl", given))
    mended: list[Image] = [given[0], ("b", read("地")), given[2]]
    assert write(tmp_path / "out", "jsonl", mended, resume=True).kept == 1
    assert (tmp_path / "out").read_bytes() == table("jsonl", mended)
    assert os.listdir(tmp_path) == ["out"]


def test_an_image_named_twice_has_two_records(tmp_path: Path) -> None:
    given: list[Image] = [("a", read("天")), ("a", read("天")), ("b", read("地")), ("a", read("天"))]
    (tmp_path / "out.part").write_bytes(table("csv", given[:1]))
    write(tmp_path / "out", "csv", given, resume=True)
    assert (tmp_path / "out").read_bytes() == table("csv", given)


def test_a_complete_file_grows(tmp_path: Path) -> None:
    given: list[Image] = [("a", read("天")), ("b", read("地"))]
    write(tmp_path / "out", "demo", given[:1])
    assert write(tmp_path / "out", "demo", given, resume=True).kept == 1
    assert (tmp_path / "out").read_bytes() == table("demo", given)
    write(tmp_path / "out", "demo", given[1:])  # without --resume it begins anew
    assert (tmp_path / "out").read_bytes() == table("demo", given[1:])


def test_an_empty_table_has_its_header(tmp_path: Path) -> None:
    for style in FORMATS:
        write(tmp_path / style, style, [])
        assert (tmp_path / style).read_bytes() == FORMATS[style].header


def refusal(path: Path, style: str = "jsonl", resume: bool = False) -> str:
    with pytest.raises(UserError) as caught, opened(str(path), FORMATS[style], resume):
        pytest.fail("it was opened")
    return str(caught.value)


def test_what_an_interrupted_run_left_is_not_written_over(tmp_path: Path) -> None:
    part = tmp_path / "out.part"
    part.write_bytes(table("jsonl", [("a", read("天"))]))
    before = part.read_bytes()
    assert "--resume" in refusal(tmp_path / "out")
    for style in ("demo", "csv", "tsv"):
        assert "another --format" in refusal(tmp_path / "out", style, resume=True)
    part.write_bytes(b"\xff\xfe\n")
    for style in ("demo", "csv", "tsv", "jsonl"):
        assert "another --format" in refusal(tmp_path / "out", style, resume=True)
    part.write_bytes(before)
    assert os.listdir(tmp_path) == ["out.part"]


def test_a_finished_output_of_another_format_stays_alone(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(table("jsonl", [("a", read("天"))]))
    assert refusal(tmp_path / "out", "csv", resume=True).startswith(f"{tmp_path / 'out'} is of another --format")
    assert os.listdir(tmp_path) == ["out"]


def test_two_runs_do_not_write_to_one_file(tmp_path: Path) -> None:
    with opened(str(tmp_path / "out"), FORMATS["demo"], False) as output:
        output.write([b"image_path:a,label:b\n"])
        assert "another run writes to" in refusal(tmp_path / "out", "demo", resume=True)
        assert "--resume" in refusal(tmp_path / "out", "demo")
    assert (tmp_path / "out").read_bytes() == b"image_path:a,label:b\n"


def test_nothing_is_left_where_nothing_was_written(tmp_path: Path) -> None:
    with pytest.raises(UserError), opened(str(tmp_path / "out"), FORMATS["csv"], False):
        raise UserError("no weights")
    assert os.listdir(tmp_path) == []


def test_what_is_written_can_be_seen_at_once(tmp_path: Path) -> None:
    with opened(str(tmp_path / "out"), FORMATS["tsv"], False) as output:
        output.write([record("tsv", "a", read("天")), b"", record("tsv", "b", read("地"))])
        assert (tmp_path / "out.part").read_bytes() == table("tsv", [("a", read("天")), ("b", read("地"))])
