"""Shards over HTTP: the same samples as from the disk, or the name of the shard; never a hang, never a wrong byte."""

from __future__ import annotations

import hashlib
import pickle
import time
import zlib
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served import QUICK, N, read
from servers import Faulty, nginx

from gen.contract import MANIFEST, Block
from gen.errors import UserError
from tools.nginx import free_port
from train.cache import RemotePlace, remote_place
from train.fetch import open_server
from train.patience import Attempts, Patience, within
from train.place import Unusable
from train.shards import BadShard, ShardSource, open_source, open_sources

pytestmark = pytest.mark.usefixtures("quick")


def hurry(source: ShardSource, total: float = 1) -> None:
    assert isinstance(source._place, RemotePlace)
    source._place.server.patience = Patience(connect=0.2, silence=0.3, total=total, tries=3, pause=0.01)


def drafts(cache: Path) -> list[Path]:
    return list(cache.rglob("*.tmp"))


def logged(folder: Path) -> str:
    """The access log of nginx once it has come to rest: a request is noted after its answer is sent."""
    text, last = (folder / "access.log").read_text(), ""
    while text != last:
        time.sleep(0.3)
        last, text = text, (folder / "access.log").read_text()
    return text


def test_nginx_gives_the_bytes_of_the_disk(root: Path, truth: list[bytes], tmp_path: Path) -> None:
    with nginx(root, tmp_path / "nginx", "rewrite ^/old/(.*)$ /horizontal/$1 redirect;") as url:
        source, records = read(f"{url}/horizontal/", tmp_path / "cache")
        assert records == truth
        assert source.name == f"{url}/horizontal/"
        requests = logged(tmp_path / "nginx").count("train-")
        assert requests == len(source.blocks) + 4  # each block and each sidecar once
        again, records = read(f"{url}/horizontal", tmp_path / "cache")
        assert records == truth
        copy: ShardSource = pickle.loads(pickle.dumps(again))
        order = np.random.default_rng(1).permutation(N)
        assert copy.records(order) == [truth[k] for k in order]
        assert [each.direction for each in open_sources(url, "val", tmp_path / "cache")] == ["horizontal"]
        assert logged(tmp_path / "nginx").count("/train-") == requests
        assert read(f"{url}/old", tmp_path / "another")[1] == truth
        with pytest.raises(UserError, match=rf"{url}/train/{MANIFEST}: the server answers 404"):
            open_sources(f"{url}/train", "train", tmp_path / "cache")


def test_nginx_without_ranges_sends_each_tar_once(root: Path, truth: list[bytes], tmp_path: Path) -> None:
    with nginx(root, tmp_path / "nginx", "max_ranges 0;") as url:
        source, records = read(f"{url}/horizontal", tmp_path / "cache")
        assert records == truth
        log = logged(tmp_path / "nginx")
        assert len(source.blocks) > 8
        whole = [
            f'GET /horizontal/train-00000{k}.tar HTTP/1.1" 200 {(root / f"horizontal/train-00000{k}.tar").stat().st_size} '
            for k in range(4)
        ]
        counts = [log.count(line) for line in whole]
        assert counts[1:] == [1, 1, 1]
        assert 1 <= counts[0] <= 3  # before it is known two answers are broken off, which may have been sent whole


# How often an answer is spoilt before the right one comes. A body that breaks off is continued from there.
PASSING = [
    *((fault, 1) for fault in ("stall", "silent", "hang up", "flip", "drip header", "short")),
    *((fault, 2) for fault in ("cut", "500", "503", "429", "flip")),
    ("cut", 10**9),
    ("short", 10**9),
]


@pytest.mark.parametrize(("fault", "times"), PASSING)
def test_what_passes_does_no_harm(root: Path, truth: list[bytes], tmp_path: Path, fault: str, times: int) -> None:
    left = iter(range(times))

    def spoil(path: str, before: int) -> str:
        return fault if path.endswith("1.tar") and next(left, None) is not None else ""

    with Faulty(root, spoil) as server:
        source = open_source(f"{server.url}/horizontal", "train", tmp_path)
        hurry(source, 10)
        assert source.records(range(N)) == truth
        assert server.count("1.tar") > source._shard_of.count(1)
    assert drafts(tmp_path) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("stall", "not complete after 1 s|timed out"),
        ("silent", "timed out"),
        ("hang up", "closed connection"),
        ("drip", "not complete after 1 s"),
        ("drip header", "no answer within"),
        ("flip", "sha256"),
        ("shifted", "bytes from 5 on, and not from 0"),
        ("500", "500 Internal Server Error, 3 times"),
        ("403", "403 Forbidden"),
        ("404", "404 Not Found"),
        ("416", "416"),
    ],
)
def test_what_stays_names_the_shard(root: Path, truth: list[bytes], tmp_path: Path, fault: str, words: str) -> None:
    with Faulty(root, lambda path, before: fault if path.endswith("1.tar") else "") as server:
        source = open_source(f"{server.url}/horizontal", "train", tmp_path)
        hurry(source)
        begin = time.monotonic()
        with pytest.raises(BadShard, match=words) as caught:
            source.records(range(N))
        assert time.monotonic() - begin < 4
        assert caught.value.shard == "train-000001"
        assert f"{server.url}/horizontal/train-000001.tar" in str(caught.value)
        rest = open_source(source.name, "train", tmp_path, exclude={(source.name, "train-000001")})
        assert rest.records(range(50)) == truth[:20] + truth[40:]
    assert drafts(tmp_path) == []


def test_a_server_that_ignores_ranges_now_and_then_is_read_in_whole(
    root: Path, truth: list[bytes], tmp_path: Path
) -> None:
    def spoil(path: str, before: int) -> str:
        return "no range" if path.endswith(".tar") else ""

    with Faulty(root, spoil) as server:
        assert read(f"{server.url}/horizontal", tmp_path)[1] == truth
        assert server.count(".tar") == 4 + 2  # the very first block, and the answer that told
        assert read(f"{server.url}/horizontal", tmp_path)[1] == truth
        small = open_source(f"{server.url}/horizontal", "train", tmp_path / "small", 50_000)
        with pytest.raises(UserError, match=r"larger than the whole cache .*: raise data\.cache_gb") as caught:
            small.records(range(N))
        assert not isinstance(caught.value, BadShard)


def test_a_whole_tar_that_breaks_off_goes_on_and_a_wrong_one_is_named(
    root: Path, truth: list[bytes], tmp_path: Path
) -> None:
    tar = (root / "horizontal/train-000002.tar").read_bytes()

    def spoil(path: str, before: int) -> str:
        return "no range" if before or not path.endswith("2.tar") else "cut"

    with Faulty(root, spoil) as server:
        place = remote_place(f"{server.url}/horizontal", tmp_path, 1 << 30, QUICK)
        place._whole = True
        block = Block(2560, 1024, 1, 1, hashlib.sha256(tar[2560:3584]).hexdigest())
        assert place.open("train-000002", block).read(0, 1024) == tar[2560:3584]
        with pytest.raises(Unusable, match="sha256"):
            place.open("train-000002", Block(0, 1024, 0, 1, "0" * 64))
        assert place.open("train-000002", block).read(24, 1000) == tar[2584:3584]


FAULTS = ["", "", "cut", "short", "flip", "500", "hang up", "no range", "shifted"]


@settings(deadline=None, max_examples=6)
@given(st.randoms(use_true_random=False))
def test_any_mixture_of_passing_faults_does_no_harm(
    root: Path, truth: list[bytes], tmp_path_factory: pytest.TempPathFactory, random: Random
) -> None:
    plan = [[random.choice(FAULTS) for _ in range(7)] for _ in range(2)]  # the first two answers to equal requests

    def spoil(path: str, before: int) -> str:
        return plan[before][zlib.crc32(path.encode()) % 7] if before < 2 and not path.endswith(MANIFEST) else ""

    cache = tmp_path_factory.mktemp("cache")
    with Faulty(root, spoil) as server:
        assert read(f"{server.url}/horizontal", cache)[1] == truth
    assert drafts(cache) == []


def test_typing_errors_are_told_at_once(tmp_path: Path) -> None:
    begin = time.monotonic()
    for url, words in (
        (f"http://127.0.0.1:{free_port()}/shards", "Connection refused; check the address"),
        ("http://no-such-host.invalid/shards", "no connection.*no-such-host"),
        ("http:///shards", "names no host"),
        ("http://host:80x/shards", "names no host"),
        ("http://[host/shards", "names no host"),
        ("http://127.0.0.1:99999/shards", "names no host"),
        ("nonsense://host/shards", "Protocol not known"),
    ):
        with pytest.raises(UserError, match=words):
            open_sources(url, "train", tmp_path)
    assert time.monotonic() - begin < 5


def test_a_server_that_goes_away_for_a_moment_is_waited_for(root: Path, truth: list[bytes], tmp_path: Path) -> None:
    with nginx(root, tmp_path / "nginx") as url:
        source = open_source(f"{url}/horizontal", "train", tmp_path / "cache")
    with pytest.raises(BadShard, match="Connection refused, 3 times"):
        source.records([0])


def test_signed_urls_and_passwords_are_used_and_not_shown(root: Path, truth: list[bytes], tmp_path: Path) -> None:
    with Faulty(root) as server:
        place = server.url.replace("//", "//me:se%20cret@") + "/horizontal?sig=private"
        source, records = read(place, tmp_path)
        assert records == truth
        assert source.name == f"{server.url}/horizontal"


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_fsspec_reads_what_it_knows(root: Path, truth: list[bytes], tmp_path: Path, kind: str) -> None:
    place = f"file://{root}/horizontal"
    if kind == "memory":
        import fsspec

        files = fsspec.filesystem("memory")
        files.put(str(root / "horizontal"), "/bucket/horizontal", recursive=True)
        place = "memory://bucket/horizontal"
    source, records = read(place, tmp_path)
    assert records == truth
    assert pickle.loads(pickle.dumps(source)).records([1]) == [truth[1]]
    assert len(open_sources(place.removesuffix("/horizontal"), "val", tmp_path)) == 1
    with pytest.raises(UserError, match="no such file"):
        open_sources(f"{place}/nowhere", "train", tmp_path)


def test_a_password_is_not_told(tmp_path: Path) -> None:
    server = open_server("ftp://me:secret@host/a/b", Patience())
    assert (server.url(), server.inside("c").url("d")) == ("ftp://host/a/b", "ftp://host/a/b/c/d")
    assert open_server("memory://bucket", Patience()).url("d") == "memory://bucket/d"


def test_fsspec_that_fails_or_hangs_names_the_shard(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    local = type(fsspec.filesystem("file"))
    source = open_source(f"file://{root}/horizontal", "train", tmp_path)
    hurry(source)
    for action, words in (
        (lambda *_, **__: time.sleep(20), "no answer within (1|0.999) s, and not complete after 1 s"),
        (lambda *_, **__: 1 / 0, "ZeroDivisionError: division by zero, 3 times"),
        (lambda *_, **__: b"short", "5 bytes are there instead of"),
    ):
        monkeypatch.setattr(local, "cat_file", action)
        with pytest.raises(BadShard, match=words):
            source.records([0])


def fail(attempts: Attempts, times: int) -> None:
    for _ in range(times):
        attempts.failed("reason")


def test_patience_ends() -> None:
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        within(0.05, lambda: time.sleep(5))
    assert within(1, lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        within(1, lambda: 1 // 0)
    attempts = Attempts("u", Patience(total=0.3, tries=100, pause=0.02))
    with pytest.raises(Unusable, match=r"u: reason, and not complete after 0\.3 s"):
        fail(attempts, 100)
    attempts = Attempts("u", Patience(total=0.3, tries=3, pause=0))
    for _ in range(5):
        fail(attempts, 2)
        attempts.progress()
    with pytest.raises(Unusable, match="u: reason, 3 times"):
        fail(attempts, 3)
    assert time.monotonic() - begin < 2
