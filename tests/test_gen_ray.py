"""A real Ray cluster of two nodes on this machine: workers, a node and the driver die, and not a byte differs.

python -m pytest tests/test_gen_ray.py
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import s3fs
from s3 import s3_server
from small_set import CHARS, contents, drafts, font_files, recipe, source, start, task

from gen import cli, node
from gen.charset import Charset
from gen.contract import RECIPE
from gen.dataset import Held
from gen.errors import UserError
from gen.paths import cache_dir
from gen.ray_engine import RayEngine
from gen.store import LocalStore, publish
from gen.summary import Progress

N = ["--n", "10k", "--shard-size", "500", "--seed", "3"]
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


class TwoNodes:
    """A cluster in processes of its own; each node has a cache folder of its own."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self.folder, self._count = folder, 0
        self._cluster = Cluster(shutdown_at_exit=False)
        self.head, self.other = self.add(), self.add()

    def add(self) -> Any:
        """One more node."""
        cache = self.folder / f"cache{self._count}"
        self._count += 1
        env = {"CRNN_SHARDS_CACHE": str(cache), "NUMBA_CACHE_DIR": str(cache_dir() / "numba")}
        return self._cluster.add_node(
            num_cpus=1, object_store_memory=80 << 20, include_dashboard=False, env_vars=env, dashboard_port=0
        )

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def working(self) -> list[int]:
        """Processes that make a shard at the moment."""
        nodes = {self.head, self.other}
        raylets = {info.process.pid for each in nodes for info in each.all_processes.get("raylet", [])}
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                parent = int(path.with_name("stat").read_text().rsplit(")", 1)[1].split()[1])
                if parent in raylets and path.read_bytes().startswith(b"ray::make"):
                    found.append(int(path.parent.name))
        return found

    def kill(self, node: Any) -> None:
        """The node is gone, without a word."""
        self._cluster.remove_node(node, allow_graceful=False)

    def end(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of an S3 server, known to every process started from now on; its URL."""
    with s3_server() as (port, patch):
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("lines")
        yield "s3://lines"
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def cluster(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_health_check_period_ms", "500")  # a node that does not answer is dead soon
        patch.setenv("RAY_health_check_failure_threshold", "2")
        patch.setenv("RAY_enable_metrics_collection", "0")
        found = TwoNodes(tmp_path_factory.mktemp("nodes"))
        yield found
        found.end()


def flags(folder: Path, *more: str) -> list[str]:
    charset = folder / "charset.txt"
    charset.write_text("\n".join(CHARS) + "\n", encoding="utf-8")
    return ["--out", str(folder / "out"), "--charset", str(charset), "--fonts", *font_files(), *N, *more]


def ray_flags(folder: Path, cluster: TwoNodes) -> list[str]:
    return flags(folder, "--engine", "ray", "--address", cluster.address)


def until(process: subprocess.Popen[str], out: Path, shards: int) -> None:
    """Wait for so many finished shards, or the end of the process."""
    while process.poll() is None and len(list(out.glob("*/*-*.json"))) < shards:
        time.sleep(0.01)


def ended(process: subprocess.Popen[str]) -> str:
    """What it told when it went well."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert err == ""
    return out


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files that the local engine makes."""
    folder = tmp_path_factory.mktemp("whole")
    ended(start(flags(folder)))
    return contents(folder / "out")


def test_two_nodes_make_the_bytes_of_one_machine_though_a_worker_is_killed(
    cluster: TwoNodes, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    process = start(ray_flags(tmp_path, cluster))
    until(process, tmp_path / "out", 2)
    while not (crew := cluster.working()):  # between two shards
        assert process.poll() is None
    os.kill(crew[0], signal.SIGKILL)
    told = ended(process)
    assert "Made 10,400 images" in told
    assert contents(tmp_path / "out") == whole
    assert drafts(tmp_path / "out") == []
    for cache in ("cache0", "cache1"):  # drawn on both nodes, before the first shard
        assert list((cluster.folder / cache / "atlas").iterdir())
    assert "Nothing to do" in ended(start(ray_flags(tmp_path, cluster)))


def test_the_driver_is_killed_and_started_again(cluster: TwoNodes, tmp_path: Path, whole: dict[str, bytes]) -> None:
    process = start(ray_flags(tmp_path, cluster))
    until(process, tmp_path / "out", 3)
    assert process.poll() is None
    process.kill()
    process.communicate()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/*-*.json")}
    ended(start(ray_flags(tmp_path, cluster)))
    assert contents(tmp_path / "out") == whole
    assert drafts(tmp_path / "out") == []
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # what was done is not done again


def test_stopping_ends_the_tasks_and_says_how_to_go_on(cluster: TwoNodes, tmp_path: Path) -> None:
    process = start([*ray_flags(tmp_path, cluster), "--n", "1M"])
    until(process, tmp_path / "out", 1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert err.count("\n") == 1, err
    assert "the same command goes on from there" in err
    assert drafts(tmp_path / "out") == []
    assert cluster.working() == []


def test_a_node_dies_and_another_joins(cluster: TwoNodes, tmp_path: Path, whole: dict[str, bytes]) -> None:
    process = start(ray_flags(tmp_path, cluster))
    until(process, tmp_path / "out", 2)
    cluster.kill(cluster.other)
    assert process.poll() is None
    cluster.other = cluster.add()
    told = ended(process)
    assert "Made 10,400 images" in told
    assert contents(tmp_path / "out") == whole
    assert drafts(tmp_path / "out") == []


@pytest.mark.long
def test_what_a_node_cannot_write_is_told_in_a_line(cluster: TwoNodes, tmp_path: Path) -> None:
    (tmp_path / "out/vertical/train-000001.tar").mkdir(parents=True)  # no file can take that name
    _, err = (process := start([*ray_flags(tmp_path, cluster), "--n", "3000"])).communicate(timeout=300)
    assert process.returncode == 2
    assert err.startswith(
        f"python -m gen: shard vertical/train-000001 could not be written in {tmp_path}/out: Is a directory;"
    )
    assert err.count("\n") == 1
    assert drafts(tmp_path / "out") == []


@pytest.mark.long
def test_what_a_node_lacks_is_told_in_a_line(cluster: TwoNodes, tmp_path: Path) -> None:
    """The driver has a font in a folder that it alone can see: one that goes when the run has begun."""
    font = tmp_path / "fonts/Away.otf"
    font.parent.mkdir()
    font.write_bytes(Path(font_files()[0]).read_bytes() + b"\0")  # a stranger to the catalogue
    arguments = ray_flags(tmp_path, cluster)
    arguments[arguments.index("--fonts") + 1] = str(font)
    process = start(arguments)
    while process.poll() is None and not (tmp_path / "out" / RECIPE).exists():
        time.sleep(0.001)
    font.rename(font.with_name("Gone.otf"))
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert err.startswith(f"python -m gen: on {os.uname().nodename}: the font Away (Away.otf, ")
    assert "is missing: run python -m tools.fetch_fonts there" in err
    assert err.count("\n") == 1


@pytest.mark.long
def test_a_cluster_writes_to_object_storage(
    cluster: TwoNodes, bucket: str, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = f"{bucket}/some/set"
    process = start([*ray_flags(tmp_path, cluster), "--out", out])
    while not (crew := cluster.working()):
        assert process.poll() is None
    os.kill(crew[0], signal.SIGKILL)
    assert f"Made 10,400 images (10,000 train + 400 val, horizontal and vertical) in {out}" in ended(process)
    files = s3fs.S3FileSystem()
    assert {path.removeprefix("lines/some/set/"): files.cat_file(path) for path in files.find("lines")} == whole


@pytest.mark.parametrize(
    ("address", "told"),
    [("127.0.0.1:1", "[Errno 111] Connection refused"), ("nowhere", "Invalid address format: nowhere")],
)
def test_a_wrong_address_is_told(tmp_path: Path, address: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        RayEngine(address).run(source(), [task(5)], LocalStore(str(tmp_path)), Progress([]))
    assert str(caught.value).startswith(f"--address {address}: {told}; start a cluster with ray start --head")


def test_an_address_is_for_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(flags(tmp_path, "--address", "auto")) == 2
    assert "--address auto is that of a Ray cluster: give --engine ray, too" in capsys.readouterr().err


def test_without_ray_a_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main(flags(tmp_path, "--engine", "ray")) == 2
    assert capsys.readouterr().err == (
        "python -m gen: --engine ray needs Ray: pip install 'crnn-shards[ray]', on every machine\n"
    )


def job(folder: Path) -> node.Job:
    """The small recipe, for a folder that is ready for it."""
    parts, store = recipe().identity_parts(), LocalStore(str(folder))
    counts = {"horizontal": {"train": 20, "val": 0}}
    publish(store.create(RECIPE), Held(parts, CHARS, Charset(CHARS).sha256, "jpg", 20, counts).to_json())
    return node.Job(source(), store, parts, True)


@pytest.fixture(autouse=True)
def _unprepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "_ready", {})


def test_a_machine_makes_a_shard(tmp_path: Path) -> None:
    found = node.make(job(tmp_path), task(20))
    assert not isinstance(found, UserError)
    assert found.count == 20


def test_a_machine_that_would_make_other_bytes_says_why(tmp_path: Path) -> None:
    whole = job(tmp_path / "set")
    font = replace(source().fonts[0], path=tmp_path / "away.otf", sha256="0" * 64)
    lacking = replace(whole, source=replace(source(), fonts=(font,)))
    parts = json.loads(json.dumps(whole.parts))
    parts["renderer"]["numpy"] = "1.0"
    newer = replace(job(tmp_path / "newer"), parts=parts)
    held = Held(parts, CHARS, Charset(CHARS).sha256, "jpg", 20, {"horizontal": {"train": 20, "val": 0}})
    publish(newer.store.create(RECIPE), held.to_json())
    for wrong, told in (
        (lacking, "(away.otf, sha256 000000000000…) is missing: run python -m tools.fetch_fonts there"),
        (newer, "renderer.numpy is "),
        (replace(whole, store=LocalStore(str(tmp_path / "elsewhere"))), "is not the folder that it is where the run"),
    ):
        found = node.make(wrong, task(20))
        assert isinstance(found, UserError)
        assert str(found).startswith(f"on {os.uname().nodename}: ")
        assert told in str(found)
    assert sorted(contents(tmp_path)) == ["newer/recipe.json", "set/recipe.json"]


def test_a_font_of_the_catalogue_is_found_where_the_machine_has_it(tmp_path: Path) -> None:
    moved = tuple(replace(font, path=tmp_path / font.path.name) for font in source().fonts)
    whole = job(tmp_path)
    assert node.prepare(replace(whole, source=replace(source(), fonts=moved))).fonts == source().fonts
