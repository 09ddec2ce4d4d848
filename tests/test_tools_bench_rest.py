"""The bench of the service: what it counts, and what it says when there is nothing to count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from service import encode, model, picture

from gen.errors import UserError
from tools import bench_rest
from tools.bench_rest import Load


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    weights = str(model(tmp_path_factory.getbasetemp()))
    return "-l", weights, "-v", weights


def test_clients_that_ask_and_wait(flags: tuple[str, ...]) -> None:
    files = [encode(picture(seed)) for seed in range(3)]
    with bench_rest.service(*flags) as port:
        for clients in (1, 5):
            load = bench_rest.measure(port, files, clients, 0.5)
            assert load.clients == clients
            assert 0 < load.p50 <= load.p99
            assert load.rate * load.p50 / 1000 < 1.5 * clients  # none asks before it was answered
        with pytest.raises(UserError, match=r"the service answered HTTP/1\.1 422"):
            bench_rest.measure(port, [b"hello"], 1, 0.5)
        with pytest.raises(UserError, match="--seconds 0 is too short"):
            bench_rest.measure(port, files, 1, 0)


def test_rounds() -> None:
    loads = [Load(8, 100, 10.0, 1.0, 9.0), Load(8, 50, 5.0, 3.0, 4.0), Load(8, 70, 7.0, 2.0, 5.0)]
    assert bench_rest.median(loads) == Load(8, 220, 7.0, 2.0, 5.0)


def test_a_table(
    flags: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_rest, "draw", lambda: [encode(picture(1))])
    file = tmp_path / "figures.json"
    given = ["--clients", "1", "2", "--seconds", "0.3", "--rounds", "1", "--json", str(file), "--", *flags]
    assert bench_rest.main(given) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| 1", "| 2"]
    assert {*json.loads(file.read_text())} == {"1", "2"}
    assert bench_rest.main(["--", "-l", "nothing.onnx"]) == 2
    assert "the service did not start: " in capsys.readouterr().err
