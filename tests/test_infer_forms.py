"""Requests of any kind of bytes: an image, or words on what is wrong; never anything else."""

from __future__ import annotations

import base64
import json
from urllib.parse import parse_qsl, urlencode

import numpy as np
import pytest
from fastapi import HTTPException
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gen.errors import UserError
from infer.forms import FIELDS, JSON, PARTS, Given, _fields, parse_many, parse_one

KINDS = (JSON, FIELDS, f"{PARTS}; boundary=b", PARTS, f'{PARTS}; boundary="', "", ";", "a/b; charset=x", "\xff")
NAMES = st.sampled_from(["img", "shape", "direction", "file", "images", "x"])
VALUES = st.one_of(
    st.text(max_size=20), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.integers(-9, 9), max_size=3),
    st.sampled_from(["auto", "AAAA", "data:,AAAA", "1,3"]),
)  # fmt: skip
OBJECTS = st.dictionaries(NAMES, VALUES | st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=3), max_size=4)
PART = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
PIECES = [
    b"--b",
    b"\r\n",
    b"--b--\r\n",
    PART % (b"img", b"", b"AAAA"),
    PART % (b"f", b'; filename="f"', b"x"),
    b":",
    b'"',
]
BODIES = st.one_of(
    st.binary(max_size=60),
    OBJECTS.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(NAMES, VALUES, max_size=4).map(
        lambda value: urlencode(value, doseq=True, errors="replace").encode()
    ),
    st.lists(st.sampled_from(PIECES) | st.binary(max_size=9), max_size=8).map(b"".join),
)


def check(refusal: HTTPException) -> None:
    assert refusal.status_code in (415, 422)
    assert 0 < len(refusal.detail) < 600
    assert "\n" not in refusal.detail


LATIN = st.text(st.characters(max_codepoint=255), max_size=30)  # as headers are decoded
HEADERS = LATIN | LATIN.map((PARTS + ";").__add__) | LATIN.map((PARTS + "; boundary*0=").__add__)


@settings(max_examples=700)
@given(st.sampled_from(KINDS) | HEADERS, BODIES)
@example(JSON, b'{"img": "AAAA", "shape": [1, 3]}')
@example(f"{PARTS}; boundary=b", PART % (b"f", b'; filename="f"', b"x") + b"--b--\r\n")
@example(FIELDS, b"img=AAAA&shape=1&shape=3")
def test_any_request(kind: str, body: bytes) -> None:
    for parse in (lambda: [parse_one(kind, body)], lambda: parse_many(kind, body, 3)):
        try:
            items = parse()
        except HTTPException as refusal:
            check(refusal)
            continue
        assert 1 <= len(items) <= 3
        for item in items:
            assert isinstance(item, (Given, UserError))


@settings(max_examples=300)
@given(st.binary(max_size=400), st.sampled_from(["", "\n", "\r\n", " ", "\t"]), st.integers(1, 80))
def test_base64_with_any_line_breaks(data: bytes, between: str, every: int) -> None:
    text = base64.b64encode(data).decode()
    broken = between.join(text[k : k + every] for k in range(0, len(text), every))
    assert parse_one(JSON, json.dumps({"img": broken}).encode()) == Given(data, "auto")
    if between != " ":  # in a form it is a plus sign that was not escaped
        assert parse_one(FIELDS, urlencode({"img": broken}).encode()) == Given(data, "auto")
    assert parse_one(FIELDS, f"img={text}".encode()) == Given(data, "auto")


ESCAPED = st.lists(st.sampled_from(["%2F", "%2f", "%2B", "%3D", "%0D%0A", "%25", "%", "2", "+", "=", "%E5%AD%97"]))


@settings(max_examples=500)
@given(ESCAPED.map("".join))
@example("%252F")
def test_escapes_in_forms(value: str) -> None:
    """As the standard library understands them."""
    body = f"img={value}&shape={value}".encode()
    form = dict(parse_qsl(body.decode(), keep_blank_values=True))
    assert _fields(body).fields == [
        ("img", form["img"].replace(" ", "+")),
        ("shape", form["shape"]),
    ]


def test_escapes_without_end() -> None:
    """White is nothing but slashes, which are all escaped; other characters need not be."""
    white = urlencode({"img": base64.b64encode(b"\xff" * 60_000), "shape": 200}) + "&shape=300"
    assert white.count("%2F") == 80_000
    item = parse_one(FIELDS, white.encode())
    assert isinstance(item, Given)
    assert np.array_equal(item.image, np.full((200, 300), 255))  # type: ignore[arg-type]
    assert isinstance(parse_one(FIELDS, b"img=" + b"%41" * 1000), Given)
    for body in (b"img=" + b"%41" * 1001, b"%" * 2000):
        with pytest.raises(HTTPException) as refusal:
            parse_one(FIELDS, body)
        assert "more than 1,000 escaped characters" in refusal.value.detail


@pytest.mark.parametrize("shape", [(1, 12), (3, 4), (12, 1)])
def test_rows_of_grey_bytes(shape: tuple[int, int]) -> None:
    item = parse_one(JSON, json.dumps({"img": base64.b64encode(bytes(range(12))).decode(), "shape": shape}).encode())
    assert isinstance(item, Given)
    assert not isinstance(item.image, bytes)
    assert item.image.shape == shape
    assert item.image.ravel().tolist() == list(range(12))
