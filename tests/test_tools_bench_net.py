"""The bench of the network between imitated hosts, and these hosts themselves. Needs root, ip and tc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from small_set import ROOT

from gen.errors import UserError
from tools import bench_net, netns
from tools.netns import network, throughput


@pytest.fixture(scope="module", autouse=True)
def possible() -> None:
    if why := netns.why_not():
        pytest.skip(f"no hosts can be imitated here: {why}")


def namespaces() -> list[str]:
    """Those of this process."""
    found = netns._NAMES.iterdir() if netns._NAMES.is_dir() else ()
    return [path.name for path in found if path.name.startswith(f"crnn-shards-{os.getpid()}-")]


def test_hosts_reach_each_other_at_the_rate_and_not_when_cut() -> None:
    with network(2, "100mbit") as (a, b):
        before = a.sent()
        assert throughput(a, b, 0.5) < 0.15  # Gb/s; a slow machine has less
        assert a.sent() - before > 1_000_000
        ping = a.command("bash", "-c", f"exec 3<>/dev/tcp/{b.address}/9")
        assert b"refused" in subprocess.run(ping, capture_output=True).stderr
        b.cut()
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run(ping, capture_output=True, timeout=1)
        b.restore()
        assert b"refused" in subprocess.run(ping, capture_output=True).stderr
        assert len(namespaces()) == 3
    assert namespaces() == []


def test_nothing_is_left_after_an_error() -> None:
    with pytest.raises(KeyboardInterrupt), network(2, "1gbit"):
        raise KeyboardInterrupt
    assert namespaces() == []


def test_a_network_may_end_before_one_that_was_made_later() -> None:
    with ExitStack() as first, network(1, "1gbit") as (host,):
        first.enter_context(network(1, "1gbit"))
        with ExitStack() as second:
            second.enter_context(network(1, "1gbit"))
            first.close()
            with network(1, "1gbit"):
                assert len(namespaces()) == 6
            assert host.sent() >= 0
    assert namespaces() == []


def test_what_a_killed_process_left_is_removed() -> None:
    code = "import os\nfrom tools.netns import network\nwith network(1, '1gbit'): os.kill(os.getpid(), 9)"
    killed = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    killed.wait()
    left = f"crnn-shards-{killed.pid}-0-0"
    assert (netns._NAMES / left).exists()
    with network(1, "1gbit"):
        assert not (netns._NAMES / left).exists()


@pytest.mark.parametrize("rate", ["fast", "0gbit", "1gbps"])
def test_no_rate(rate: str) -> None:
    with pytest.raises(UserError, match="is no rate: give one as 100mbit"), network(2, rate):
        pass


def test_without_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert bench_net.main([]) == 2
    assert "need Linux and root: run this as root" in capsys.readouterr().err


def test_without_tc(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    assert bench_net.main([]) == 2
    assert "ip is not installed, by which hosts are made: apt-get install iproute2" in capsys.readouterr().err


def test_what_cannot_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    for flags, told in (
        (["--hosts", "1"], "--hosts 1: give at least 2"),
        (["--step-ms", "0"], "--step-ms 0: give"),
        (["--every", "0"], "--every 0: give at least 1"),
    ):
        assert bench_net.main(flags) == 2
        assert told in capsys.readouterr().err


def test_two_hosts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.json"
    assert bench_net.main(["--rounds", "1", "--steps", "8", "--every", "8", "--json", str(file)]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert {"older", "allreduce", "compress", "local", "auto"} < found.keys()
    sent = {name: found[name]["bytes_per_step"] for name in bench_net.STRATEGIES}
    parameters = 4 * 4.89e6  # bytes; of two hosts each sends all of them
    assert sent["allreduce"] == pytest.approx(parameters, rel=0.05)
    assert sent["compress"] == pytest.approx(sent["allreduce"] / 2, rel=0.05)
    assert sent["local"] == pytest.approx(sent["compress"] / 8, rel=0.05)
    assert sent["older"] == pytest.approx(94.6e6 * 5 / 3, rel=0.05)  # a ring of six, in which two links are the network
    assert found["auto"]["picked"] in ("allreduce", "compress", "local")
    assert set(found["auto"]["predicted"]) == {"allreduce", "compress", "local"}
    assert 0 < found["older"]["scaling"] < found["auto"]["scaling"]
    assert "older: 94.6 MB, 3 processes a host, all-reduce" in capsys.readouterr().out
    assert namespaces() == []
