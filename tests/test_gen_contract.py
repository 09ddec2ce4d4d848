"""Names, sidecars, manifests and identities."""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_set import ROOT

from gen.contract import (
    COLUMNS,
    DIRECTIONS,
    SPLITS,
    Block,
    Manifest,
    ShardEntry,
    Sidecar,
    pack_columns,
    sample_key,
    shard_name,
    unpack_columns,
)
from gen.identity import canonical, differences, identity_of

U2, U4 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
ROW = st.tuples(U4, U4, U2, U2, U2)


def sidecar(**changes: object) -> Sidecar:
    values = {
        "name": "train-000003",
        "direction": "vertical",
        "split": "train",
        "start": 150,
        "count": 2,
        "bytes": 10240,
        "sha256": "a" * 64,
        "identity": "b" * 64,
        "image": "jpg",
        "blocks": (Block(0, 4096, 0, 2, "c" * 64),),
        "samples": pack_columns([[2048, 2048], [300, 301], [320, 32], [32, 320], [5, 6]]),
    }
    return Sidecar(**{**values, **changes})  # type: ignore[arg-type]


def manifest() -> Manifest:
    entries = (ShardEntry("train-000000", 50, 1024, "a" * 64, "b" * 64), ShardEntry("train-000001", 7, 512, "c", "d"))
    parts = {"config": {"seed": 1}}
    return Manifest(
        "horizontal", identity_of(parts), parts, "一a\u3000", "e" * 64, "jpg", {"train": entries, "val": ()}
    )


@given(
    st.lists(st.integers(0, 10**12 - 1), min_size=2, unique=True), st.sampled_from(DIRECTIONS), st.sampled_from(SPLITS)
)
def test_keys_have_no_dot_and_sort_in_index_order(indices: list[int], direction: str, split: str) -> None:
    keys = [sample_key(direction, split, index) for index in sorted(indices)]
    assert keys == sorted(set(keys))
    assert all(re.fullmatch(r"[hv][tv]\d{12}", key) for key in keys)


def test_keys_of_directions_and_splits_never_meet() -> None:
    assert len({sample_key(direction, split, 7) for direction in DIRECTIONS for split in SPLITS}) == 4
    assert sample_key("horizontal", "train", 42) == "ht000000000042"
    assert shard_name("val", 3) == "val-000003"


@given(st.lists(ROW, max_size=40))
def test_columns_come_back(rows: list[tuple[int, ...]]) -> None:
    columns = [[row[k] for row in rows] for k in range(len(COLUMNS))]
    packed = json.loads(json.dumps(pack_columns(columns)))
    for (name, kind), column in zip(COLUMNS, columns):
        found = unpack_columns(packed, len(rows))[name]
        assert found.dtype == np.dtype(kind)
        assert found.tolist() == column
    more = unpack_columns(pack_columns([*columns, columns[0]]), len(rows))
    assert more["rarest"].tolist() == columns[0]
    assert [name for name, _ in packed["columns"]] == [name for name, _ in COLUMNS] == [*more][:-1]


def test_columns_refuse_what_does_not_fit() -> None:
    with pytest.raises(OverflowError):
        pack_columns([[1], [1], [70_000], [1], [1]])
    packed = pack_columns([[1], [1], [1], [1], [1]])
    with pytest.raises(ValueError, match="not 2 samples"):
        unpack_columns(packed, 2)
    short = base64.b64encode(zlib.compress(b"\0" * 12)).decode()
    with pytest.raises(ValueError, match="lack label"):
        unpack_columns({"columns": [list(column) for column in COLUMNS[:4]], "data": short}, 1)
    for broken in ({}, {**packed, "data": "%%%"}, {**packed, "data": "aGVsbG8="}, {**packed, "columns": [["a", "?!"]]}):
        with pytest.raises(ValueError, match="cannot be unpacked"):
            unpack_columns(broken, 1)


def test_sidecar_comes_back() -> None:
    assert Sidecar.parse(sidecar().to_json()) == sidecar()
    assert sidecar().columns()["width"].tolist() == [320, 32]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("sha256"), "missing or unknown"),
        (lambda values: values.update(extra=1), "missing or unknown"),
        (lambda values: values.update(format=2), "format 1"),
        (lambda values: values.update(count=-1), "count is -1"),
        (lambda values: values.update(start="0"), "start is '0'"),
        (lambda values: values.update(name=7), "name is 7"),
        (lambda values: values["blocks"][0].update(bytes=1.5), "bytes is 1.5"),
        (lambda values: values.update(blocks=[{}]), "missing or unknown"),
    ],
)
def test_a_wrong_sidecar_is_refused(change: object, message: str) -> None:
    values = json.loads(sidecar().to_json())
    change(values)  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        Sidecar.parse(json.dumps(values).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"null"])
def test_what_is_no_sidecar_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="sidecar is not"):
        Sidecar.parse(data)


def test_manifest_comes_back() -> None:
    data = manifest().to_json()
    assert Manifest.parse(data) == manifest()
    assert json.loads(data)["splits"]["train"]["samples"] == 57


def test_a_manifest_with_other_sums_is_refused() -> None:
    values = json.loads(manifest().to_json())
    values["splits"]["train"]["samples"] += 1
    with pytest.raises(ValueError, match="sums of train"):
        Manifest.parse(json.dumps(values).encode())
    del values["charset"]
    with pytest.raises(ValueError, match="missing or unknown"):
        Manifest.parse(json.dumps(values).encode())


def test_identity_does_not_depend_on_the_order_of_keys() -> None:
    assert identity_of({"a": 1, "b": {"c": 2, "d": "字"}}) == identity_of({"b": {"d": "字", "c": 2}, "a": 1})
    assert identity_of({"a": 1}) != identity_of({"a": 2})
    assert canonical({"b": 1, "a": "字"}) == '{"a":"字","b":1}'.encode()


def test_differences_name_the_keys_and_both_values() -> None:
    held = {"config": {"seed": 1, "same": 2}, "fonts": [{"name": "kai", "sha256": "x"}, {"name": "hei", "sha256": "y"}]}
    wanted = {"config": {"seed": 5, "same": 2}, "fonts": [{"name": "hei", "sha256": "z" * 60}], "new": True}
    text = differences(held, wanted)
    assert "config.seed is 1 there and 5 here" in text
    assert "fonts are 2 there and 1 here (only there: kai; only here: none)" in text
    assert "new is absent there and true here" in text
    assert "same" not in text
    many = differences({str(number): 0 for number in range(20)}, {str(number): 1 for number in range(20)})
    assert many.endswith("16 more differ")
    other = {"fonts": [{"name": "kai", "sha256": "x"}, {"name": "hei", "sha256": "z" * 60}]}
    assert 'fonts.hei.sha256 is "y" there and "zzz' in differences(held, {**held, **other})


def test_the_format_page_names_every_field() -> None:
    page = (ROOT / "shards" / "README.md").read_text(encoding="utf-8")
    for holder in (Sidecar, Block, ShardEntry):
        for field in fields(holder):
            assert f"`{field.name}`" in page, field.name
    for name, kind in COLUMNS:
        assert f"`{name}`" in page
        assert kind in page
    for field in json.loads(manifest().to_json()):
        assert f"`{field}`" in page, field
