"""The service from its start to its end: weights, keys and characters it is given, what it refuses, and how it stops."""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from infer_weights import make_weights
from service import COLUMN, LINE, PNG, b64, encode, grey_form, model, raw_request, receive, send_form, service

from gen.charset import Charset
from infer import Recognizer, server
from train.crnn import Crnn


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.getbasetemp())


def test_key(weights: Path, tmp_path: Path) -> None:
    with service(tmp_path, "-l", str(weights), CRNN_API_KEY="open sesame, 芝麻\n") as served:
        for path in ("/", "/web/app.js", "/healthz", "/readyz", "/metrics", "/openapi.json"):
            assert served.get(path).status == 200
        assert served.get("/openapi.json").json["paths"]["/crnn"]["post"]["responses"]["401"]
        right = served.post(fields={"file": ("a", PNG)}, headers={"Authorization": "Bearer open sesame, 芝麻".encode()})
        assert right.status == 200
        for given in (None, "Bearer wrong", "Bearer", "open sesame", "Basic b3Blbg==", "Bearer \xe9"):
            headers = {"Authorization": given.encode("latin-1")} if given else {}
            answer = served.post(fields={"file": ("a", PNG)}, headers=headers)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "Authorization: Bearer KEY" in answer.json["detail"]
        assert served.post("/crnn/batch", body="x").status == 401
    with service(tmp_path, "-l", str(weights), "--api-key", "k-1", CRNN_API_KEY="another") as served:
        assert served.post(fields={"file": ("a", PNG)}, headers={"Authorization": "Bearer k-1"}).status == 200
        assert served.post(fields={"file": ("a", PNG)}, headers={"Authorization": "Bearer another"}).status == 401


def test_weights_of_a_training_run_for_one_direction(tmp_path: Path) -> None:
    make_weights(tmp_path / "h.pt", directions=("horizontal",))
    expected = Recognizer.load(tmp_path / "h.pt").read([LINE])[0].text
    with service(tmp_path, "-l", str(tmp_path / "h.pt")) as served:
        assert served.upload(PNG).text == expected
        if "horizontal and vertical" in served.log.read_text():  # the packaged weights read the other one
            assert served.upload(encode(COLUMN)).json["direction"] == "vertical"
        else:
            answer = served.upload(PNG, direction="vertical")
            assert answer.status == 422
            assert "no weights for vertical lines" in answer.json["detail"]


def test_older_checkpoints(tmp_path: Path) -> None:
    charset = Charset("天地人一二三四五六七")
    (tmp_path / "words.txt").write_text("\n".join(charset.chars) + "\n", encoding="utf-8")
    for number, direction in enumerate(("horizontal", "vertical")):
        torch.manual_seed(number)
        net = Crnn(len(charset), direction)
        with torch.no_grad():
            net.transcript.weight.mul_(40)
        values = {"model": net.state_dict(), "args": argparse.Namespace(direction=direction), "epoch": 1}
        torch.save(values, tmp_path / f"{direction}.pth")
    files = {direction: tmp_path / f"{direction}.pth" for direction in ("horizontal", "vertical")}
    read = Recognizer.load(**files, charset=charset).read([LINE, COLUMN])
    assert all(reading.text for reading in read)
    flags = ("-l", str(files["horizontal"]), "-v", str(files["vertical"]), "-d", "cpu", "--charset")
    with service(tmp_path, *flags, str(tmp_path / "words.txt")) as served:
        answers = [send_form(served, grey_form(pixels)) for pixels in (LINE, COLUMN)]
    assert [answer.text for answer in answers] == [reading.text for reading in read]
    assert [answer.json["direction"] for answer in answers] == ["horizontal", "vertical"]


def test_allow(weights: Path, tmp_path: Path) -> None:
    with service(tmp_path, "--weight-path-horizontal", str(weights), "--allow", "的一是", "--workers", "1") as served:
        text = served.upload(PNG).text
    assert text
    assert {*text} <= {*"的一是"}


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the command says when it does not start: one line, with exit code 2."""

    def run(*flags: str) -> str:
        assert server.main(flags) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith("python -m infer.server: ")
        assert told.err.count("\n") == 1, told.err
        return told.err

    return run


def test_what_prevents_a_start(
    weights: Path, tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no.pt does not exist" in refused("-l", str(tmp_path / "no.pt"), "--port", "0")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    assert "junk.onnx" in refused("-v", str(tmp_path / "junk.onnx"), "--port", "0")
    make_weights(tmp_path / "h.pt", directions=("horizontal",))
    values = {"model": Crnn(1, "horizontal").state_dict()}
    torch.save(values, tmp_path / "older.pth")
    assert "--charset" in refused("-l", str(tmp_path / "older.pth"), "--port", "0")
    assert "not vertical ones" in refused("-v", str(tmp_path / "h.pt"), "--port", "0")
    assert "--port" in refused("--port", "99999")
    assert "--port" in refused("--port", "x")
    assert "--host 192.0.2.1 --port 0: Cannot assign" in refused("--host", "192.0.2.1", "--port", "0")
    assert "--queue" in refused("--queue", "0")
    assert "--micro-batch" in refused("--micro-batch", "0")
    assert "--max-body" in refused("--max-body", "1.5")
    assert "--timeout" in refused("--timeout", "0")
    assert "--timeout" in refused("--timeout", "nan")
    assert "--workers" in refused("--workers", "-1")
    assert "-d" in refused("-d", "tpu")
    assert "is empty" in refused("--api-key", "")
    assert "none of these characters" in refused("-l", str(weights), "--allow", "☃", "--port", "0")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert f"--port {port}: Address already in use; end what" in refused("--port", port, "-l", str(weights))
    monkeypatch.setenv("CRNN_API_KEY", " ")
    assert "is empty" in refused("-l", str(weights))
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install '.[serve]'" in refused("-l", str(weights))


@pytest.mark.parametrize("name", ["evil.pth", "evil.pt", "evil.onnx"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_program_in_weights_does_not_run(
    tmp_path: Path, name: str, zipped: bool, refused: Callable[..., str]
) -> None:
    path, mark = tmp_path / name, tmp_path / "owned"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (mark,)

    torch.save({"model": {"transcript.weight": Payload()}}, path, _use_new_zipfile_serialization=zipped)
    words = tmp_path / "words.txt"
    words.write_text("天\n", encoding="utf-8")
    assert name in refused("-l", str(path), "--charset", str(words), "--port", "0")
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # it would have


def test_what_was_asked_is_answered_before_the_end(weights: Path, tmp_path: Path) -> None:
    body = encode(LINE)
    whole = raw_request(json.dumps({"img": b64(body)}).encode(), "application/json")
    with service(tmp_path, "-l", str(weights), "-v", str(weights)) as served, served.connect() as open_request:
        assert served.get("/readyz").status == 200
        open_request.sendall(whole[:-1])
        while served.metric("crnn_requests_active") < 1:
            pass
        served.process.send_signal(signal.SIGTERM)
        while (answer := served.get("/readyz")).status == 200:
            pass
        assert answer.status == 503
        assert answer.json == {"detail": "the service is about to end"}
        assert served.get("/healthz").status == 200
        refused = served.upload(body)
        assert refused.status == 503
        assert refused.headers["retry-after"]
        assert served.process.poll() is None
        open_request.sendall(whole[-1:])
        answered = receive(open_request)
        assert answered.startswith(b"HTTP/1.1 200 ")
        assert json.loads(answered.partition(b"\r\n\r\n")[2])["text"] == Recognizer.load(weights).read([LINE])[0].text
        assert served.process.wait(30) == 0


def test_asked_twice_it_ends_at_once(weights: Path, tmp_path: Path) -> None:
    request = raw_request(b"[" * 10, "application/json")
    with service(tmp_path, "-l", str(weights), code=128 + signal.SIGTERM) as served, served.connect() as client:
        client.sendall(request[:-1])
        while served.metric("crnn_requests_active") < 1:
            pass
        served.process.send_signal(signal.SIGTERM)
        while served.get("/readyz").status == 200:
            pass
        served.process.send_signal(signal.SIGTERM)
        assert receive(client) == b""
    assert served.log.read_text().endswith("\npython -m infer.server: stopped\n")
