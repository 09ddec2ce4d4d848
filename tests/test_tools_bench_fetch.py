"""The bench of fetching, on small files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from servers import find_nginx

from tools import bench_fetch


def test_all_ways_fetch_all_bytes(tmp_path: Path) -> None:
    find_nginx()
    root, own = tmp_path / "root", tmp_path / "nginx"
    root.mkdir()
    own.mkdir()
    shards = bench_fetch.make_shards(root, 3, bench_fetch.BLOCK_BYTES + 1000)
    assert [len(blocks) for _, blocks in shards] == [2, 2, 2]
    with bench_fetch.nginx(root, own) as url:
        for connections in bench_fetch.CONNECTIONS:
            folder = tmp_path / str(connections)
            folder.mkdir()
            bench_fetch.curl_and_check(url, shards, connections, folder)
            for name, _ in shards:
                assert (folder / f"{name}.tar").read_bytes() == (root / f"{name}.tar").read_bytes()
            bench_fetch.ours(url, shards, connections, folder)
            fetched = [path for path in (folder / "cache").glob("??/*") if not path.name.startswith(".")]
            assert sum(path.stat().st_size for path in fetched) == 3 * (bench_fetch.BLOCK_BYTES + 1000)


def test_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    find_nginx()
    file = tmp_path / "figures.json"
    assert bench_fetch.main(["--shards", "2", "--megabytes", "0.5", "--rounds", "1", "--json", str(file)]) == 0
    figures = json.loads(file.read_text(encoding="utf-8"))
    for way in bench_fetch.WAYS:
        assert figures[way].keys() == {"1", "8"}
        assert all(value > 0 for each in figures[way].values() for value in each.values())
    assert "curl, then sha256sum" in capsys.readouterr().out


def test_without_nginx(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    assert bench_fetch.main([]) == 2
    assert "nginx is not installed, and this bench needs it: apt-get install nginx-light" in capsys.readouterr().err


def test_what_cannot_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    for flags, told in (
        (["--shards", "0"], "--shards 0: give at least 1"),
        (["--megabytes", "nan"], "--megabytes nan: give at least 0.1"),
        (["--megabytes", "inf"], "--megabytes inf: give at most 10,000"),
    ):
        assert bench_fetch.main(flags) == 2
        assert told in capsys.readouterr().err
