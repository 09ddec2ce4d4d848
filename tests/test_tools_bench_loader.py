"""The loader's benchmark runs, end to end and small, and compares what is equal."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import shard_set
import torch

from tools import bench_loader
from tools.bench_loader import batches, open_bench

# webdataset leaves the tar open that it was reading when nobody asks on.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    gc.collect()  # while the warnings of it are ignored


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shard_set.make_set(tmp_path_factory.mktemp("shards"), {"train": 120}, shard_size=60)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_every_way_is_measured(shards: Path, tmp_path: Path, workers: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--data", str(shards), "--workers", workers, "--batch", "24", "--samples", "96", "--rounds", "1"]
    assert bench_loader.main([*flags, "--json", str(tmp_path / "b.json")]) == 0
    found = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    assert found["lines"] == 96
    assert list(found["batches"]) == list(bench_loader.BATCHES)
    assert list(found["records"]) == list(bench_loader.RECORDS)
    for part in (found["batches"], found["records"]):
        assert part["stock"]["ratio"] == 1
        assert all(figures["rate"] > 0 for figures in part.values())
        assert part["ours"]["ratio"] == part["ours"]["rate"] / part["stock"]["rate"]
    assert all(0 < figures["padding"] < 1 and 0 < figures["wait"] < 1 for figures in found["batches"].values())
    lines = capsys.readouterr().out.splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) == 2 + 3 + 2 + 3
    assert f"{found['batches']['ours']['rate']:,.0f}" in tables[2]


def test_both_sides_do_the_same_work(shards: Path) -> None:
    bench = open_bench(str(shards), 24, 0, 96)
    lines: dict[str, dict[str, tuple[list[int], list[float], np.ndarray]]] = {}
    for way in bench_loader.BATCHES:
        lines[way] = {}
        found = batches(bench, way)
        for _ in range(30):
            batch = next(found)
            labels, centres = batch.labels.split(batch.lengths.tolist()), batch.centres.split(batch.lengths.tolist())
            for row, text in enumerate(batch.texts):
                pixels = batch.images[row, 0, :, : int(batch.widths[row])].numpy()
                lines[way][text] = labels[row].tolist(), centres[row].tolist(), pixels
    texts = {shard_set.line("horizontal", "train", index).text for index in range(120)}
    for way, found_lines in lines.items():
        assert len(found_lines) > 0.9 * len(texts)
        for text in found_lines.keys() & lines["ours"].keys():
            if sum(shard_set.line("horizontal", "train", index).text == text for index in range(120)) > 1:
                continue  # two lines say the same
            ours, theirs = lines["ours"][text], found_lines[text]
            assert ours[:2] == theirs[:2], way
            assert np.abs(ours[2].astype(int) - theirs[2]).max() <= 3  # JPEG decoders round differently


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data", "no/such"], "no/such"),
        (["--data", "http://localhost/x"], "only shards on a disk"),
        (["--workers", "3"], "needs a shard for each worker, and .* has 2"),
        (["--batch", "100"], "batch of 100"),
        (["--samples", "many"], "--samples many"),
        (["--rounds", "0"], "--rounds 0"),
        (["--json", "no/such/b.json"], "no/such does not exist"),
    ],
)
def test_mistakes_are_told_in_a_line(
    shards: Path, flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench_loader.main(["--data", str(shards), *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m tools.bench_loader: ")
    assert error.count("\n") == 1
    assert re.search(words, error)
