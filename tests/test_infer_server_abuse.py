"""The service under attack: slow clients, many, those that leave, large and false requests. It stays up and correct."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
from service import Service, b64, encode, model, picture, raw_request, receive, service

from infer import Recognizer

PICTURES = [picture(seed, 32, 160) for seed in range(20)]
FILES = [encode(pixels) for pixels in PICTURES]
HEAD = b"POST /crnn HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
LIMIT = 200_000  # bytes of a body


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def texts(weights: Path) -> list[str]:
    found = [reading.text for reading in Recognizer.load(weights).read(PICTURES)]
    assert len(set(found)) == len(found)
    return found


@pytest.fixture
def served(weights: Path, tmp_path: Path) -> Iterator[Service]:
    """A service that gives slow clients two seconds, many times what an answer takes on a busy machine."""
    limits = ("--timeout", "2", "--max-body", str(LIMIT), "--workers", "2")
    with service(tmp_path, "-l", str(weights), "-v", str(weights), *limits) as running:
        yield running


def assert_works(served: Service, texts: list[str]) -> None:
    for file, text in zip(FILES, texts):
        answer = served.upload(file)
        assert (answer.status, answer.text) == (200, text)
    assert served.get("/readyz").status == 200


def as_request(number: int) -> bytes:
    return raw_request(json.dumps({"img": b64(FILES[number])}).encode(), "application/json")


def test_slow_clients_are_cut_off(served: Service, texts: list[str]) -> None:
    """They send their head, their body, or the head of a second request a byte at a time, or do not take answers."""
    body = as_request(0).partition(b"\r\n\r\n")[2]
    second = as_request(1).replace(b"Connection: close\r\n", b"")
    starts = {
        "nothing": b"",
        "head": HEAD,
        "body": HEAD + b"Content-Length: 1000\r\n\r\n",
        "chunked body": HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
        "second head": second + HEAD,
        "refused body": HEAD + b"Content-Length: %d\r\n\r\n" % (LIMIT + 1),
    }
    drops = {"head": b"X", "chunked body": b"1\r\nx\r\n", "second head": b"X"}
    clients: list[tuple[str, socket.socket]] = [(kind, served.connect()) for kind in starts for _ in range(10)]
    ended: Counter[str] = Counter()
    for kind, client in clients:
        client.sendall(starts[kind])
        client.settimeout(0.01)
    try:
        while clients:  # until the service has ended all of them
            assert_works(served, texts[:2])
            for kind, client in list(clients):
                try:
                    if kind != "nothing":
                        client.sendall(drops.get(kind, body[:1]))
                    while client.recv(1 << 16):
                        pass
                except TimeoutError:
                    continue
                except OSError:
                    pass
                clients.remove((kind, client))
                client.close()
                ended[kind] += 1
    finally:
        for _, client in clients:
            client.close()
    assert ended == dict.fromkeys(starts, 10)
    assert served.metric('crnn_requests_total{path="/crnn",status="408"}') == 20
    assert served.metric('crnn_requests_total{path="/crnn",status="413"}') == 10
    assert served.metric("crnn_requests_active") == 0
    assert_works(served, texts)


def test_clients_that_do_not_take_their_answers(served: Service, texts: list[str]) -> None:
    clients = [served.connect() for _ in range(20)]
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0.2)
        try:
            while True:
                client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        except OSError:  # it takes no more of them, or has had enough
            client.settimeout(60)
    assert_works(served, texts)
    for client in clients:
        receive(client)  # which ends
        client.close()
    assert_works(served, texts)


def test_a_thousand_at_once(weights: Path, texts: list[str], tmp_path: Path) -> None:
    count, tries = 1000, 2
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 500)), hard))

    async def client(port: int, number: int) -> tuple[int, bool]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(as_request(number % len(FILES)))
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        status = int(answer.split(maxsplit=2)[1])
        head, _, body = answer.partition(b"\r\n\r\n")
        if status == 200:
            return status, json.loads(body)["text"] == texts[number % len(FILES)]
        return status, status == 429 and b"retry-after: " in head and b"try again" in body

    async def all_clients(port: int) -> list[tuple[int, bool]]:
        return await asyncio.gather(*(client(port, number) for number in range(count)))

    try:
        with service(tmp_path, "-l", str(weights), "-v", str(weights), "--queue", "100") as served:
            for _ in range(tries):
                answers = asyncio.run(all_clients(served.port))
                assert all(right for _, right in answers), Counter(answers)
                assert sum(status == 200 for status, _ in answers) >= 100
                assert_works(served, texts)
            assert served.metric("crnn_images_waiting") == 0
            assert served.metric("process_open_fds") < 100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_crowd_of_silent_clients(weights: Path, texts: list[str], tmp_path: Path) -> None:
    """They lose their places to those that ask, in the order in which they came."""
    few = 300  # files, of which most are left for connections
    command = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({few}, {few})); "
        "from infer import server; sys.exit(server.main(sys.argv[1:]))"
    )
    flags = ("-l", str(weights), "-v", str(weights))
    with service(tmp_path, *flags, program=("-c", command)) as served, ExitStack() as stack:
        asking = stack.enter_context(served.connect())
        asking.sendall(as_request(0)[:-1])
        crowd = [stack.enter_context(served.connect()) for _ in range(2 * few)]
        assert_works(served, texts[:3])
        assert receive(crowd[0]) == b""
        asking.sendall(as_request(0)[-1:])
        assert receive(asking).startswith(b"HTTP/1.1 200 ")
        crowd[-1].sendall(as_request(1))
        assert receive(crowd[-1]).startswith(b"HTTP/1.1 200 ")
        assert_works(served, texts[:3])


def test_clients_that_leave_early(weights: Path, texts: list[str], tmp_path: Path) -> None:
    with service(tmp_path, "-l", str(weights), "-v", str(weights), "--workers", "2") as served:
        leave_early(served)
        assert_works(served, texts)  # late: a thread that reads what nobody waits for reads it to its end
        assert served.metric('crnn_requests_total{path="/crnn/batch",status="499"}') > 0


def leave_early(served: Service) -> None:
    long = encode(np.tile(PICTURES[7], (1, 125)))
    batch = json.dumps({"images": [{"img": b64(long)}]}).encode()
    for k in range(200):
        request = (as_request(k % 20), raw_request(batch, "application/json", "/crnn/batch"))[k % 2]
        with served.connect() as client:
            client.sendall(request if k % 4 < 3 else request[: len(request) // 2])
            if k % 3 == 0:  # with a reset
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    while served.metric("crnn_requests_active"):
        pass
    assert served.metric("crnn_images_waiting") == 0


def test_what_takes_too_long(weights: Path, texts: list[str], tmp_path: Path) -> None:
    images = [{"img": b64(encode(np.tile(PICTURES[k], (1, 50))))} for k in range(10)]
    body = json.dumps({"images": images * 25})
    flags = ("--timeout", "0.5", "--queue", "300", "--workers", "1")
    with service(tmp_path, "-l", str(weights), "-v", str(weights), *flags) as served:
        answer = served.post("/crnn/batch", body=body, headers={"Content-Type": "application/json"})
        assert answer.status == 504
        assert answer.json == {"detail": "it was not read within 0.5 s"}
        while served.metric("crnn_requests_active"):
            pass
        assert served.metric("crnn_images_waiting") == 0
        for file, text in zip(FILES, texts):
            while (answer := served.upload(file)).status == 504:  # the batch under way is finished first
                pass
            assert (answer.status, answer.text) == (200, text)
        assert served.get("/readyz").status == 200


def test_large_bodies_together(weights: Path, texts: list[str], tmp_path: Path) -> None:
    """Each is allowed, but all of them would fill the memory: it holds 16, and small ones besides."""
    with (
        service(tmp_path, "-l", str(weights), "-v", str(weights), "--max-body", str(LIMIT)) as served,
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(served.connect()) for _ in range(30)]
        for client in clients:
            client.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % LIMIT + b"[" * (LIMIT - 1))
        while served.metric("crnn_requests_active") > 16:  # the others were refused before they had sent all
            pass
        assert_works(served, texts[:3])
        for client in clients:
            with suppress(OSError):
                client.sendall(b"[")
        answers = Counter(receive(client)[9:12] for client in clients)
        assert answers == {b"429": 14, b"422": 16}
        assert_works(served, texts)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large(served: Service, texts: list[str], chunked: bool) -> None:
    """A client that sends all before it listens is told; one that never ends is cut off."""
    parts = [b"x" * 50_000] * 8
    answer = served.post(body=iter(parts) if chunked else b"".join(parts), headers={"Content-Type": "application/json"})
    assert answer.status == 413
    with served.connect() as client:
        client.sendall(HEAD + b"Content-Length: 99999999999\r\n\r\n")
        with suppress(OSError):
            while True:
                client.sendall(b"x" * 100_000)
    with served.connect() as client:  # such a client need not send anything
        client.sendall(HEAD + b"Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 413 ")
    assert_works(served, texts)


def test_no_http(served: Service, texts: list[str]) -> None:
    for data in (
        b"\x16\x03\x01\x02\x00\x01" * 50,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100_000,
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % k for k in range(20_000)),
        HEAD + b"Content-Length: -5\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ):
        with served.connect() as client:
            try:
                client.sendall(data)
            except OSError:
                continue
            assert receive(client)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 422", b"HTTP/1.1 408", b"HTTP/1.1 200", b""), (
                data
            )
    assert_works(served, texts)


def test_names_of_files_do_nothing(served: Service, texts: list[str]) -> None:
    def files() -> list[str]:
        return sorted(os.listdir(served.log.parent)) + sorted(os.listdir(f"/proc/{served.process.pid}/cwd"))

    before = files()
    for name in (
        "../../../../etc/passwd",
        "/etc/passwd",
        "..\\..\\x",
        "a\x00b",
        "%2e%2e%2fx",
        "~root/x",
        "x" * 900,
        "|ls",
        "",
    ):
        head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        body = head + FILES[0] + b"\r\n--b--\r\n"
        answer = served.post(body=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
        assert (answer.status, answer.text) == (200, texts[0]), name
    assert files() == before


@pytest.mark.parametrize("count", [800, pytest.param(20_000, marks=pytest.mark.long)])
def test_memory_does_not_grow(weights: Path, tmp_path: Path, count: int) -> None:
    requests = [json.dumps({"img": b64(encode(picture(k, 32, 100 + 37 * k)))}).encode() for k in range(20)]
    bad = json.dumps({"img": b64(b"x" * 50_000)}).encode()

    def send(served: Service, count: int) -> None:
        for k in range(count):
            body = requests[k % 20] if k % 5 else bad
            answer = served.post(body=body, headers={"Content-Type": "application/json"})
            assert answer.status == (200 if k % 5 else 422)
            if k % 50 == 0:
                with served.connect() as client:
                    client.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 50_000)

    with service(tmp_path, "-l", str(weights), "-v", str(weights)) as served:
        send(served, 300)
        before = served.memory()
        send(served, count)
        grown = served.memory() - before
    assert grown < 8 << 20, f"{grown:,} bytes more after {count:,} requests"
