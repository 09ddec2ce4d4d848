"""Shards on servers as they are out there: S3 by a real implementation of its protocol, HTTPS with certificates."""

from __future__ import annotations

import os
import pickle
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs
import torch
import trustme
from s3 import s3_server
from served import N, read
from servers import Faulty
from shard_set import CHARS
from train_runs import CONFIG, assert_equal, flags

from gen.errors import UserError
from train.cli import main
from train.codec import Codec
from train.data import loader
from train.image import ImageSpec
from train.plan import Plan
from train.shards import BadShard, open_source, open_sources

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


def trained(folder: Path, name: str, data: str, *more: str) -> Path:
    """Three steps on some data; the last checkpoint."""
    config = CONFIG.replace("loss: frames, ", "").replace("workers: 0", "workers: 1")
    charset = folder / "shards.txt"
    charset.write_text("\n".join(CHARS.chars) + "\n", encoding="utf-8")
    arguments = flags(folder, name, data, config)
    assert main([*arguments, "--charset", str(charset), "--steps", "3", *more]) == 0
    return folder / name / "last.pt"


@pytest.fixture(scope="module")
def bucket(root: Path) -> Iterator[str]:
    """A bucket that holds the set; its URL. Keys and the server's address are in the environment, as users have them."""
    with s3_server() as (port, patch):
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        files = s3fs.S3FileSystem()
        files.mkdir("lines")
        files.put(str(root), "lines/some/set", recursive=True)
        yield "s3://lines/some/set"


def test_s3_gives_the_bytes_of_the_disk(bucket: str, truth: list[bytes], tmp_path: Path) -> None:
    assert read(f"{bucket}/horizontal", tmp_path)[1] == truth
    with pytest.raises(UserError, match=r"s3://lines/nowhere/manifest\.json: there is no such file"):
        open_sources("s3://lines/nowhere", "train", tmp_path)


def test_s3_trains_as_the_disk_does(bucket: str, root: Path, tmp_path: Path) -> None:
    remote = open_source(f"{bucket}/horizontal", "train", tmp_path / "cache")
    local = open_source(f"{root}/horizontal", "train")
    plans = [Plan([source], [1], seed=1, batch=12) for source in (remote, local)]
    codec = Codec(CHARS)
    both = [loader([source], plan, 0, 1, 0, 9, codec, ImageSpec(), 1) for source, plan in zip((remote, local), plans)]
    for ours, theirs in zip(*both):
        assert torch.equal(ours.images, theirs.images)
        assert (ours.texts, ours.ids.tolist()) == (theirs.texts, theirs.ids.tolist())
    cached = trained(tmp_path, "s3", bucket, "--cache", str(tmp_path / "another"))
    assert_equal(cached, trained(tmp_path, "disk", str(root)))


def certified(authority: trustme.CA, host: str) -> ssl.SSLContext:
    """What a server needs that calls itself ``host``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


def test_https_with_a_certificate_of_ones_own(
    root: Path, truth: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with Faulty(root, tls=certified(authority, "127.0.0.1")) as server:
        assert server.url.startswith("https://")
        source, records = read(f"{server.url}/horizontal", tmp_path / "cache")
        assert records == truth
        copy = pickle.loads(pickle.dumps(source))  # with connections of its own, which the authority does not vouch for
        monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
        for path in (tmp_path / "cache").glob("??/*"):
            path.unlink()
        with pytest.raises(BadShard, match="the certificate is refused"):
            copy.records(range(N))


@pytest.mark.parametrize(
    ("trusted", "host", "reason"),
    [(False, "127.0.0.1", "unable to get local issuer certificate"), (True, "example.org", "IP address mismatch")],
)
def test_a_certificate_that_is_refused_is_told_in_a_line(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    trusted: bool, host: str, reason: str,
) -> None:  # fmt: skip
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem") if trusted else os.devnull)
    with Faulty(root, tls=certified(authority, host)) as server:
        assert main(flags(tmp_path, data=f"{server.url}/horizontal")) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"python -m train: {server.url}/horizontal/manifest.json: the certificate is refused, ")
        assert reason in told
        assert "SSL_CERT_FILE" in told
        assert told.count("\n") == 1
        assert server.requests == []
