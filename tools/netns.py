"""Hosts that are network namespaces of this machine: each has a link of a set rate to one switch, which can be cut.

    python -m tools.netns --hosts 2 --rate 1gbit

Every link is a pair of virtual interfaces with a token bucket (``tc tbf``) at both ends; the switch is a bridge in a
namespace of its own, so that nothing of the machine itself changes. What was made is removed at the end; what a killed
process left is removed by the next. Needs Linux, root, `ip` and `tc`.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path

from gen import command
from gen.errors import UserError
from tools.programs import find_program

INTERFACE = "eth0"  # of every host
_PREFIX = "crnn-shards"
_NETWORK = "10.77.0"  # the namespaces are alone with it
_NAMES = Path("/run/netns")
_BURST = 256 * 1024  # bytes at once, at least: several packets of the largest size that virtual interfaces pass on
_BURST_TIME = 0.0005  # seconds of the rate at once, at least
_QUEUE = 0.02  # seconds that a packet may wait for its turn; then it is dropped, and TCP slows down
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_RATE = re.compile(r"([1-9][0-9]{0,3})([kmg])bit")
_UNITS = {"k": 1e3, "m": 1e6, "g": 1e9}


@dataclass(frozen=True)
class Host:
    """A namespace with an address."""

    name: str
    address: str
    port: str  # the switch's end of its link
    switch: str

    def command(self, *words: str) -> list[str]:
        """A command to be run on it."""
        return [_program("ip"), "netns", "exec", self.name, *words]

    def enter(self) -> None:
        """Move this process to it, for good; before it starts threads."""
        with (_NAMES / self.name).open("rb") as file:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(file.fileno(), _NEW_NETWORK):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(_NAMES / self.name))

    def sent(self) -> int:
        """Bytes that left through its link until now."""
        path = f"/sys/class/net/{INTERFACE}/statistics/tx_bytes"
        return int(_call(*self.command("cat", path)))

    def cut(self) -> None:
        """Pull the cable."""
        _ip("-n", self.switch, "link", "set", self.port, "down")

    def restore(self) -> None:
        """Plug it in again."""
        _ip("-n", self.switch, "link", "set", self.port, "up")


def sent_here() -> int:
    """As `Host.sent`, of the host to which this process has moved."""
    for line in Path("/proc/self/net/dev").read_text(encoding="ascii").splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == INTERFACE:
            return int(numbers.split()[8])
    raise OSError(f"this process has no interface {INTERFACE}")


def why_not() -> str:
    """Why there can be no such hosts here, in words; empty if there can."""
    try:
        with network(1, "1gbit"):
            return ""
    except UserError as error:
        return str(error)


def parse_rate(text: str) -> float:
    """Bits a second. Raises `UserError`."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise UserError(f"{text!r} is no rate: give one as 100mbit, 1gbit or 10gbit")
    return int(match[1]) * _UNITS[match[2]]


@contextmanager
def network(hosts: int, rate: str) -> Iterator[tuple[Host, ...]]:
    """So many hosts at one switch, each link at a rate as ``1gbit``. Raises `UserError` where that cannot be."""
    parse_rate(rate)
    if not 1 <= hosts <= 200:
        raise UserError(f"{hosts} hosts: from 1 to 200 can be made")
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise UserError("hosts made of network namespaces need Linux and root: run this as root, by sudo for example")
    _remove_stale()
    names = (f"{_PREFIX}-{os.getpid()}-{number}" for number in count())  # a process may have several networks
    switch = next(name for name in names if not (_NAMES / name).exists())
    found = tuple(Host(f"{switch}-{k}", f"{_NETWORK}.{k + 1}", f"port{k}", switch) for k in range(hosts))
    try:
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "name", "switch", "type", "bridge")
        _ip("-n", switch, "link", "set", "dev", "switch", "up")
        for host in found:
            _add(host, rate)
        yield found
    finally:
        for name in [host.name for host in found] + [switch]:
            _remove(name)


def _add(host: Host, rate: str) -> None:
    """A host and its link."""
    _ip("netns", "add", host.name)
    ends = ["name", host.port, "type", "veth", "peer", "name", INTERFACE, "netns", host.name]
    _ip("-n", host.switch, "link", "add", *ends)
    _ip("-n", host.switch, "link", "set", "dev", host.port, "master", "switch")
    _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", INTERFACE)
    for namespace, interface in ((host.switch, host.port), (host.name, INTERFACE), (host.name, "lo")):
        _ip("-n", namespace, "link", "set", "dev", interface, "up")
        if interface != "lo":
            burst = max(_BURST, round(parse_rate(rate) / 8 * _BURST_TIME))
            bucket = ["tbf", "rate", rate, "burst", f"{burst}b", "latency", f"{_QUEUE * 1000:.0f}ms"]
            _call(_program("tc"), "-n", namespace, "qdisc", "add", "dev", interface, "root", *bucket)


def _remove_stale() -> None:
    """What processes left that are no more."""
    for path in _NAMES.iterdir() if _NAMES.is_dir() else ():
        match = re.fullmatch(rf"{_PREFIX}-(\d+)(-\d+){{1,2}}", path.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            _remove(path.name)


def _remove(name: str) -> None:
    """A namespace, with its interfaces, if it is there."""
    if (_NAMES / name).exists():
        subprocess.run([_program("ip"), "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


def _program(name: str) -> str:
    return find_program(name, "iproute2", "by which hosts are made")


def _ip(*words: str) -> None:
    _call(_program("ip"), *words)


def _call(*words: str) -> str:
    """What a command prints. Raises `UserError` when it fails: in a container without the right to make networks."""
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        why = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise UserError(f"no network can be made here: {' '.join([Path(words[0]).name, *words[1:]])}: {why}")
    return done.stdout


def throughput(sender: Host, receiver: Host, seconds: float) -> float:
    """Gigabits of payload per second, by one TCP connection."""
    received: list[float] = []
    listening = threading.Event()

    def receive() -> None:
        receiver.enter()  # of this thread alone
        with socket.create_server((receiver.address, 5001)) as server:
            listening.set()
            with server.accept()[0] as connection:
                begin, count, buffer = time.perf_counter(), 0, bytearray(1 << 20)
                while size := connection.recv_into(buffer):
                    count += size
                received.append(count * 8e-9 / (time.perf_counter() - begin))

    def send() -> None:
        sender.enter()
        listening.wait(10)
        with socket.create_connection((receiver.address, 5001), 10) as connection:
            data, end = bytes(1 << 20), time.perf_counter() + seconds
            while time.perf_counter() < end:
                connection.sendall(data)

    threads = [threading.Thread(target=work, daemon=True) for work in (receive, send)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 30)
    if not received:
        raise UserError(f"no bytes come from {sender.address} to {receiver.address}")
    return received[0]


def run(options: argparse.Namespace) -> None:
    """Build it, and say what passes through a link."""
    if options.hosts < 2:
        raise UserError(f"--hosts {options.hosts}: give at least 2")
    if not 0.1 <= options.seconds <= 3600:
        raise UserError(f"--seconds {options.seconds:g}: give from 0.1 to 3,600")
    with network(options.hosts, options.rate) as hosts:
        for a, b in pairwise(hosts):
            before = a.sent()
            rate = throughput(a, b, options.seconds)
            print(f"{a.address} to {b.address}: {rate:.3f} Gb/s, {a.sent() - before:,} bytes in {options.seconds:g} s")


def main(argv: Sequence[str] | None = None) -> int:
    parser = command.Parser(prog="python -m tools.netns", description="What a link between imitated hosts carries.")
    parser.add_argument("--hosts", type=int, default=2, help="how many (2)")
    parser.add_argument("--rate", default="1gbit", help="of each link (1gbit)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of sending (2)")
    return command.run(parser, argv, run)


if __name__ == "__main__":
    sys.exit(main())
