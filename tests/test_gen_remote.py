"""Sets on object storage: a real S3 server behind a proxy that fails, stalls and cuts; nothing half written is seen.

python -m pytest tests/test_gen_remote.py
"""

from __future__ import annotations

import json
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import fsspec
import pytest
import s3fs
from between import Between
from s3 import s3_server
from shard_set import in_process
from small_set import Inline, command, contents, flags, source, start, task

from gen import cli, estimate
from gen.patience import Persistence
from gen.remote import RemoteStore
from gen.shard import run_task
from gen.store import open_store
from tools import verify
from train.shards import open_source

N = ["--n", "200", "--shard-size", "100", "--seed", "3", "--direction", "horizontal"]
Fault = Callable[[str, str, int], str]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where the S3 server listens. Keys are in the environment, as users have them."""
    with s3_server() as (port, _):
        yield port


class Bucket:
    """A new bucket, seen as it is on the server."""

    def __init__(self, port: int, name: str) -> None:
        self.client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
        self.name, self.url = name, f"s3://{name}/some/set"
        self.client.create_bucket(Bucket=name)

    def files(self) -> dict[str, bytes]:
        """Everything in it, by the name below the set."""
        found = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        read = {each["Key"]: self.client.get_object(Bucket=self.name, Key=each["Key"])["Body"].read() for each in found}
        return {key.removeprefix("some/set/"): data for key, data in read.items()}

    def uploads(self) -> list[object]:
        """Multipart uploads that were begun and not ended."""
        return list(self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", []))


@pytest.fixture
def bucket(port: int, request: pytest.FixtureRequest) -> Bucket:
    return Bucket(port, "b" + "".join(char for char in request.node.name.lower() if char.isalnum())[-50:])


@pytest.fixture
def spoil(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Fault], Between]]:
    """Puts a proxy before the server, which then is the one that the environment names."""
    opened: list[Between] = []
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    # Only our own patience is tried here, and silence is short.
    options = {"config_kwargs": {"read_timeout": 2, "retries": {"total_max_attempts": 1}}}
    monkeypatch.setenv("FSSPEC_S3", json.dumps(options))
    monkeypatch.setitem(fsspec.config.conf, "s3", options)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()

    def put(fault: Fault) -> Between:
        opened.append(Between(port, fault).__enter__())
        monkeypatch.setenv("AWS_ENDPOINT_URL", opened[-1].url)
        s3fs.S3FileSystem.clear_instance_cache()
        return opened[-1]

    yield put
    for each in opened:
        each.__exit__()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run into a directory."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        assert command(folder, patch)(*N) == 0
    return contents(folder / "out")


class Looking:
    """Looks at a bucket all the time; what was ever seen that is not as it is in the end."""

    def __init__(self, bucket: Bucket, whole: dict[str, bytes]) -> None:
        self._bucket, self._whole = bucket, whole
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.wrong: list[str] = []
        self.looks = 0

    def __enter__(self) -> Looking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.2):
            files = self._bucket.files()
            self.looks += 1
            self.wrong += [name for name, data in files.items() if self._whole.get(name) != data]
            self.wrong += [
                f"{name} before its tar"
                for name in files
                if name.endswith(".json") and "-" in name and name.replace(".json", ".tar") not in files
            ]


def many_faults(method: str, path: str, before: int) -> str:
    """Every upload goes wrong at first, each in another way, that of a tar twice; so do some other requests."""
    number = sum(map(ord, path.partition("?")[0]))
    if method == "PUT" and before < 1 + path.endswith(".tar"):
        return ("cut", "503", "lost", "500")[(number + before) % 4]
    if method == "PUT" and path.endswith("train-000001.tar") and before == 2:
        return "silent"
    return "500" if not before and number % 4 == 0 else ""


def test_a_bad_network_costs_time_and_nothing_else(
    bucket: Bucket, spoil: Callable[[Fault], Between], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    between = spoil(many_faults)
    with Looking(bucket, whole) as looking:
        process = start(["--out", bucket.url, *flags(tmp_path), *N])
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert f"in {bucket.url}: 4 shards" in out
    assert {"cut", "503", "lost", "500", "silent"} <= set(between.spoiled)
    assert bucket.files() == whole
    assert looking.wrong == []
    assert looking.looks > 3
    assert bucket.uploads() == []


def test_killed_and_started_again_gives_the_same_bytes(
    bucket: Bucket, spoil: Callable[[Fault], Between], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    between = spoil(lambda method, path, before: "")
    arguments = ["--out", bucket.url, *flags(tmp_path), *N, "--workers", "1"]
    with Looking(bucket, whole) as looking:
        process = start(arguments)
        while process.poll() is None and sum(name.endswith(".tar") for name in bucket.files()) < 2:
            time.sleep(0.2)
        process.kill()
        process.communicate()
        kept = {name for name in bucket.files() if name.endswith(".json") and "-" in name}
        between.fault = lambda method, path, before: (
            "500" if method == "PUT" and path[10:].endswith(tuple(kept)) else ""
        )
        process = start(arguments)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err  # what was there was not made again
    assert bucket.files() == whole
    assert looking.wrong == []


def test_the_set_is_verified_grown_and_read_for_training(
    bucket: Bucket, spoil: Callable[[Fault], Between], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], whole: dict[str, bytes],
) -> None:  # fmt: skip
    spoil(lambda method, path, before: "500" if method == "GET" and not before else "")
    monkeypatch.setattr(estimate, "_SECONDS", 0.005)
    monkeypatch.setattr(cli, "LocalEngine", Inline)
    arguments = ["--out", f"{bucket.url}/", *flags(tmp_path), *N]
    assert cli.main([*arguments, "--dry-run"]) == 0
    assert "0 are done" in capsys.readouterr().out
    assert bucket.files() == {}
    assert cli.main([*arguments, "--n", "130"]) == 0
    assert cli.main([*arguments, "--slice", "0/2"]) == 0
    assert "still to be made" in capsys.readouterr().out
    assert "horizontal/manifest.json" not in bucket.files()
    assert cli.main([*arguments, "--slice", "1/2"]) == 0
    assert bucket.files() == whole
    assert cli.main(["--out", bucket.url, "--finish"]) == 0
    for name, data in whole.items():
        (tmp_path / "disk" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "disk" / name).write_bytes(data)
    remote = open_source(f"{bucket.url}/horizontal", "train", tmp_path / "cache")
    assert remote.records(range(200)) == open_source(f"{tmp_path}/disk/horizontal", "train").records(range(200))
    in_process(monkeypatch, verify)
    capsys.readouterr()
    assert verify.main([bucket.url]) == 0
    assert "Checked 400 images in 4 shards" in capsys.readouterr().out
    bucket.client.put_object(Bucket=bucket.name, Key="some/set/horizontal/train-000001.tar", Body=b"something else")
    assert verify.main([f"{bucket.url}/horizontal"]) == 1
    assert "BAD horizontal/train-000001: the tar has 14 bytes" in capsys.readouterr().err


def test_slices_do_not_replace_a_set_without_locks(
    bucket: Bucket, spoil: Callable[[Fault], Between], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    spoil(lambda method, path, before: "")
    monkeypatch.setattr(estimate, "_SECONDS", 0.005)
    monkeypatch.setattr(cli, "LocalEngine", Inline)
    arguments = ["--out", bucket.url, *flags(tmp_path), "--n", "60", "--direction", "vertical"]
    assert cli.main(arguments) == 0
    before = bucket.files()
    capsys.readouterr()
    assert cli.main([*arguments, "--seed", "4", "--overwrite", "--slice", "0/2"]) == 2
    assert "cannot be replaced by slices" in capsys.readouterr().err
    assert bucket.files() == before
    assert cli.main([*arguments, "--seed", "4", "--overwrite"]) == 0
    assert bucket.files().keys() == before.keys()
    assert bucket.files() != before


@pytest.mark.parametrize("fault", ["503", "cut", "silent"])
def test_a_server_that_stays_bad_is_told_with_the_address(
    bucket: Bucket, spoil: Callable[[Fault], Between], fault: str
) -> None:
    spoil(lambda method, path, before: fault if method == "PUT" else "")
    store = RemoteStore(bucket.url, Persistence(answer=20 if fault == "503" else 1.5, slowest=1e7, tries=2, pause=0.01))
    with pytest.raises(OSError, match=rf"^{bucket.url}/horizontal/train-000000\.tar: ") as caught:
        run_task(source(), task(9), store)
    assert "\n" not in str(caught.value)
    assert bucket.files() == {}


@pytest.mark.parametrize(
    ("environment", "place", "told"),
    [
        (
            {},
            "s3://not-a-bucket/x",
            "s3://not-a-bucket/x/recipe.json: The specified bucket does not exist; check --out",
        ),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            "s3://b/x",
            "Unable to locate credentials; check --out",
        ),
    ],
)
def test_what_is_wrong_with_a_bucket_is_told_in_a_line(
    spoil: Callable[[Fault], Between], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], environment: dict[str, str], place: str, told: str,
) -> None:  # fmt: skip
    spoil(lambda method, path, before: "")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(estimate, "_SECONDS", 0.005)
    monkeypatch.setattr(cli, "LocalEngine", Inline)
    assert cli.main(["--out", place, *flags(tmp_path), "--n", "20"]) == 2
    message = capsys.readouterr().err
    assert told in message
    assert message.count("\n") == 1


def test_a_full_disk_for_drafts_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda prefix: open("/dev/full", "wb"))  # noqa: SIM115
    with pytest.raises(OSError, match=r"No space left on device in .*, where shards wait for their upload; set TMPDIR"):
        run_task(source(), task(200), RemoteStore("memory://somewhere"))


def test_where_a_growing_file_is_seen_it_grows_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, bytes]
) -> None:
    """fsspec's memory shows a file from its first byte on, as sftp does."""
    files = fsspec.filesystem("memory")
    opened: list[str] = []
    plain = type(files)._open

    def noted(self: object, path: str, mode: str = "rb", *more: object, **options: object) -> object:
        opened.extend([path] if "w" in mode else [])
        return plain(self, path, mode, *more, **options)

    monkeypatch.setattr(type(files), "_open", noted)
    monkeypatch.setattr(estimate, "_SECONDS", 0.005)
    monkeypatch.setattr(cli, "LocalEngine", Inline)
    assert cli.main(["--out", "memory://some/set", *flags(tmp_path), *N]) == 0
    assert {path.removeprefix("/some/set/"): files.cat_file(path) for path in files.find("/some/set")} == whole
    assert len(opened) >= len(whole)
    assert all(path.rpartition("/")[2].startswith(".") for path in opened)
    files.pipe_file("/some/set/horizontal/.train-000000.tar.0123456789abcdef.tmp", b"left by a killed worker")
    assert cli.main(["--out", "memory://some/set", *flags(tmp_path), *N]) == 0
    assert len(files.find("/some/set")) == len(whole)
    assert cli.main(["--out", "memory://some/set", *flags(tmp_path), "--n", "20", "--seed", "4", "--overwrite"]) == 0


def test_a_file_url_is_a_directory(tmp_path: Path) -> None:
    assert str(open_store(f"file://{tmp_path}")) == str(tmp_path)
    assert (
        str(open_store("sftp://me:secret@host/x") if False else RemoteStore("sftp://me:secret@host/x"))
        == "sftp://host/x"
    )


@pytest.mark.long
def test_a_large_shard_goes_in_parts_and_is_seen_at_the_end(bucket: Bucket, spoil: Callable[[Fault], Between]) -> None:
    data = random.Random(1).randbytes(120 << 20)
    between = spoil(lambda method, path, before: "cut" if "partNumber=2" in path and not before else "")
    store = RemoteStore(bucket.url, Persistence(tries=3, pause=0.01))
    with Looking(bucket, {"large.tar": data}) as looking, store.create("large.tar") as draft:
        draft.write(data)
        draft.publish()
    assert between.spoiled == {"cut": 1}
    assert bucket.files() == {"large.tar": data}
    assert looking.wrong == []
    assert bucket.uploads() == []
    between.fault = lambda method, path, before: "500" if "partNumber=3" in path else ""
    with store.create("other.tar") as draft:
        draft.write(data)
        with pytest.raises(OSError, match=r"some/set/other\.tar: "):
            draft.publish()
    assert bucket.files() == {"large.tar": data}
    assert bucket.uploads() == []
