"""The service as users see it: the forms of requests, answers, mistakes, figures, its page."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image
from service import (
    COLUMN,
    FORM,
    LINE,
    PNG,
    Answer,
    Service,
    b64,
    by_requests,
    encode,
    grey_form,
    model,
    picture,
    receive,
    send_form,
    send_json,
    service,
)

from infer import Recognizer
from infer.recognizer import Direction

DIRECTIONS: tuple[Direction, ...] = ("auto", "horizontal", "vertical")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def served(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    limits = ("--max-body", "300k", "--max-pixels", "2M", "--queue", "20", "--workers", "2")
    with service(tmp_path_factory.mktemp("served"), "-l", str(weights), "-v", str(weights), *limits) as running:
        yield running


@pytest.fixture(scope="module")
def recognizer(weights: Path) -> Recognizer:
    return Recognizer.load(weights)


FORMS: dict[str, Callable[[Service], Answer]] = {
    "form of grey bytes": lambda served: send_form(served, grey_form(LINE)),
    "form, shape in one": lambda served: send_form(served, urlencode({"img": b64(LINE), "shape": "32,200"})),
    "form of a file": lambda served: send_form(served, urlencode({"img": b64(PNG)})),
    "form, plus signs as they are": lambda served: send_form(served, f"img={b64(PNG)}"),
    "json of a file": lambda served: send_json(served, {"img": b64(PNG)}),
    "json of a file, broken into lines": lambda served: send_json(served, {"img": base64.encodebytes(PNG).decode()}),
    "json of a data URL": lambda served: send_json(served, {"img": f"data:image/png;base64,{b64(PNG)}"}),
    "json of grey bytes": lambda served: send_json(served, {"img": b64(LINE), "shape": [32, 200]}),
    "file": lambda served: served.upload(PNG),
    "file of grey bytes": lambda served: served.post(
        fields=[("shape", "32"), ("shape", "200"), ("img", ("x", LINE.tobytes()))]
    ),
    "text in parts": lambda served: served.post(fields={"img": b64(PNG)}),
    "form as requests sends it": lambda served: by_requests(
        served, data={"img": base64.encodebytes(LINE.tobytes()), "shape": LINE.shape}
    ),
    "json as requests sends it": lambda served: by_requests(served, json={"img": b64(PNG)}),
    "file as requests sends it": lambda served: by_requests(served, files={"file": PNG}),
    "type in capitals": lambda served: served.post(
        body=json.dumps({"img": b64(PNG)}), headers={"Content-Type": "Application/JSON"}
    ),
    "everything named": lambda served: send_form(served, grey_form(LINE, direction="horizontal")),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms_of_requests(served: Service, recognizer: Recognizer, form: Callable[[Service], Answer]) -> None:
    expected = recognizer.read([LINE])[0]
    assert len(expected.text) > 5
    answer = form(served)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert answer.body.startswith(b'{"text":')
    assert answer.text == expected.text
    assert [char["text"] for char in answer.json["chars"]] == list(expected.text)
    assert answer.json["direction"] == "horizontal"
    assert answer.json["score"] == pytest.approx(expected.score, abs=1e-3)
    assert answer.json["min_score"] == pytest.approx(expected.lowest, abs=1e-3)


def test_direction(served: Service, recognizer: Recognizer) -> None:
    for pixels, direction in ((LINE, "horizontal"), (COLUMN, "vertical")):
        for named in DIRECTIONS:
            expected = recognizer.read([pixels], named)[0]
            assert expected.direction == (direction if named == "auto" else named)
            for answer in (
                served.upload(encode(pixels), direction=named),
                send_form(served, grey_form(pixels, direction=named)),
                send_json(served, {"img": b64(encode(pixels)), "direction": named}),
            ):
                assert answer.text == expected.text
                assert answer.json["direction"] == expected.direction


@pytest.mark.parametrize("path", ["/crnn", "/crnn/batch"])
def test_a_query_is_not_ignored(served: Service, path: str) -> None:
    answer = send_json(served, {"img": b64(PNG)}, f"{path}?direction=vertical")
    assert answer.status == 422
    assert "belongs in the body" in answer.json["detail"]


def test_several_images(served: Service, recognizer: Recognizer) -> None:
    pictures = [picture(k, 32, 100 + 30 * k) for k in range(8)]
    texts = [reading.text for reading in recognizer.read(pictures)]
    assert len(set(texts)) == len(texts)
    answer = served.upload(*map(encode, pictures), path="/crnn/batch")
    assert [result["text"] for result in answer.json["results"]] == texts
    images = [{"img": b64(pixels), "shape": list(pixels.shape)} for pixels in pictures]
    images[2] = {"img": "%"}
    images[4] = {"img": b64(b"nothing")}
    images[6]["direction"] = "vertical"
    answer = send_json(served, {"images": images}, "/crnn/batch")
    assert answer.status == 200
    results = answer.json["results"]
    assert [results[k]["text"] for k in (0, 1, 3, 5, 7)] == [texts[k] for k in (0, 1, 3, 5, 7)]
    assert results[6]["text"] == recognizer.read([pictures[6]], "vertical")[0].text
    assert list(results[2]) == list(results[4]) == ["detail"]
    assert "base64" in results[2]["detail"]
    assert "no image" in results[4]["detail"]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


BOMB = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)) + PNG[33:]
PARTS = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n%s\r\n--b--\r\n' % PNG


def typed(kind: str | None, body: bytes, **headers: str) -> Callable[[Service], Answer]:
    return lambda served: served.post(body=body, headers={**({"Content-Type": kind} if kind else {}), **headers})


def as_json(value: object, path: str = "/crnn") -> Callable[[Service], Answer]:
    return lambda served: send_json(served, value, path)


def as_form(body: str) -> Callable[[Service], Answer]:
    return lambda served: send_form(served, body)


def as_file(data: bytes, **fields: str) -> Callable[[Service], Answer]:
    return lambda served: served.upload(data, **fields)


BAD: dict[str, tuple[Callable[[Service], Answer], int, str]] = {
    "not an image": (as_file(b"hello" * 100), 422, "no image of a known format"),
    "a program's format": (as_file(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 32\n"), 422, "no image of a known"),
    "truncated": (as_file(PNG[: len(PNG) // 2]), 422, "damaged or cut off"),
    "no bytes": (as_file(b""), 422, "is empty, 0 bytes"),
    "header bomb": (as_file(BOMB), 422, "too many pixels|more than the 2,000,000 allowed"),
    "too many pixels": (as_file(encode(Image.new("1", (2001, 1000)))), 422, "more than the 2,000,000 allowed"),
    "endless line": (as_file(encode(Image.new("L", (9000, 8)))), 422, "more than 1,024 times"),
    "tiny": (as_file(encode(Image.new("L", (3, 40)))), 422, "is 3x40 px; a line has at least 4 px"),
    "broken base64": (as_json({"img": "abc"}), 422, "img is not base64"),
    "strange base64": (as_json({"img": "字" * 8}), 422, "img is not base64"),
    "base64 of no bytes": (as_json({"img": ""}), 422, "is empty, 0 bytes"),
    "shape of another size": (as_json({"img": b64(LINE), "shape": [32, 201]}), 422, "6,432 bytes of grey, but 6,400"),
    "negative shape": (as_json({"img": b64(LINE), "shape": [-32, -200]}), 422, "shape.0: .*greater than or equal to 1"),
    "huge shape": (as_json({"img": b64(LINE), "shape": [10**30, 1]}), 422, "shape.0: "),
    "shape of three": (as_form(grey_form(LINE) + "&shape=1"), 422, "shape: "),
    "shape of words": (as_form(urlencode({"img": b64(LINE), "shape": "a,b"})), 422, "shape.0: .*integer"),
    "shape of text": (as_json({"img": b64(LINE), "shape": "32,200"}), 422, "shape: "),
    "shape of halves": (as_json({"img": b64(LINE), "shape": [32.5, 200]}), 422, "shape.0: "),
    "no image": (as_json({"shape": [32, 200]}), 422, "img: Field required"),
    "no image in a form": (as_form("shape=32&shape=200"), 422, "img: Field required"),
    "no file": (lambda served: served.post(fields={"direction": "auto"}), 422, "img: Field required"),
    "img is a number": (as_json({"img": 5}), 422, "img: .*string"),
    "unknown field": (as_json({"img": b64(PNG), "directon": "auto"}), 422, "directon: "),
    "unknown direction": (as_file(PNG, direction="up"), 422, "direction: .*'auto', 'horizontal' or 'vertical'"),
    "field twice": (as_form("img=a&img=b"), 422, "img: given more than once"),
    "too many fields": (as_form("&".join(f"a{k}=" for k in range(50))), 422, "more than 16 fields"),
    "letters in a form": (as_form("img=\xff"), 422, "img is not base64: it has other characters"),
    "bytes in a form": (as_form("img=%FF"), 422, "no form fields"),
    "two files": (lambda served: served.upload(PNG, PNG), 422, "more than 1 files"),
    "no json": (typed("application/json", b"{"), 422, "Invalid JSON"),
    "no bytes of json": (typed("application/json", b""), 422, "Invalid JSON"),
    "deep json": (typed("application/json", b"[" * 100_000), 422, "Invalid JSON"),
    "json of another kind": (typed("application/json", b"[1]"), 422, "object"),
    "no boundary": (typed("multipart/form-data", PART), 422, "no boundary"),
    "another boundary": (typed("multipart/form-data; boundary=c", PART), 422, "no multipart form"),
    "parts cut off": (typed(PARTS, PART[:-20]), 422, "no multipart form"),
    "part without a name": (typed(PARTS, PART.replace(b'name="file"; ', b"")), 422, "no multipart form"),
    "wrong type": (typed("text/plain", b"hello"), 415, "'text/plain' is none of application/json"),
    "type of the image": (typed("image/png", PNG), 415, "'image/png' is none of"),
    "no type": (typed(None, PNG), 415, "'' is none of"),
    "form for several": (lambda served: served.post("/crnn/batch", body="a=1", headers={"Content-Type": FORM}), 415, "is none"),
    "compressed": (typed("application/json", b"x", **{"Content-Encoding": "gzip"}), 415, "not compressed"),
    "too large": (as_file(b"x" * 300_000), 413, "larger than the 300,000 bytes allowed"),
    "none of several": (as_json({"images": []}, "/crnn/batch"), 422, "images: .*at least 1"),
    "too many": (as_json({"images": [{"img": ""}] * 21}, "/crnn/batch"), 422, "21 images are more than the 20"),
    "very many values": (typed("application/json", b"{%s}" % b",".join(b'"%d":1' % k for k in range(9999))), 422, "far more values"),
    "too many files": (lambda served: served.upload(*[b"x"] * 21, path="/crnn/batch"), 422, "more than 20 files"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_told(served: Service, name: str) -> None:
    request, status, words = BAD[name]
    answer = request(served)
    assert answer.status == status, answer.body
    assert list(answer.json) == ["detail"]
    assert re.search(words, answer.json["detail"]), answer.json
    assert "\n" not in answer.json["detail"]
    assert len(answer.body) < 700  # it does not repeat what was sent
    assert served.upload(PNG).status == 200


def test_methods_and_paths(served: Service) -> None:
    assert served.get("/crnn").status == 405
    assert served.get("/crnn").headers["allow"] == "POST"
    for path in (
        "/docs",
        "/redoc",
        "/nothing",
        "/web/nothing.js",
        "/web/../app.py",
        "/web/%2e%2e/app.py",
        "/web/..%2fapp.py",
    ):
        connection = served.connect()
        with connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            assert receive(connection).startswith(b"HTTP/1.1 404 "), path


@pytest.mark.parametrize("kind", ["GIF", "CMYK", "16 bit", "RGBA", "WEBP", "TIFF"])
def test_kinds_of_images(served: Service, recognizer: Recognizer, kind: str) -> None:
    image = Image.fromarray(LINE)
    data = {
        "GIF": lambda: encode(image, "GIF", save_all=True, append_images=[Image.new("L", image.size)]),
        "CMYK": lambda: encode(image.convert("CMYK"), "JPEG"),
        "16 bit": lambda: encode(LINE.astype(np.uint16) * 257),
        "RGBA": lambda: encode(image.convert("RGBA")),
        "WEBP": lambda: encode(image.convert("RGB"), "WEBP", lossless=True),
        "TIFF": lambda: encode(image, "TIFF"),
    }[kind]()
    assert served.upload(data).text == recognizer.read([data])[0].text


def test_figures(served: Service) -> None:
    def total(path: str, status: int) -> float:
        return served.metric(f'crnn_requests_total{{path="{path}",status="{status}"}}')

    kinds = [("/crnn", 200), ("/crnn", 422), ("/crnn/batch", 200), ("other", 404)]
    before = [total(*kind) for kind in kinds]
    images = [served.metric(f'crnn_images_total{{outcome="{outcome}"}}') for outcome in ("read", "refused")]
    seconds = served.metric('crnn_request_seconds_count{path="/crnn"}')
    served.upload(PNG)
    served.upload(b"x")
    served.upload(PNG, b"x", PNG, path="/crnn/batch")
    for k in range(3):
        served.get(f"/nothing/{k}")
    assert [total(*kind) for kind in kinds] == [before[0] + 1, before[1] + 1, before[2] + 1, before[3] + 3]
    after = [served.metric(f'crnn_images_total{{outcome="{outcome}"}}') for outcome in ("read", "refused")]
    assert after == [images[0] + 3, images[1] + 2]
    assert served.metric('crnn_request_seconds_count{path="/crnn"}') == seconds + 2
    assert served.metric("crnn_images_waiting") == 0
    text = served.get("/metrics")
    assert text.headers["content-type"].startswith("text/plain")
    assert "nothing/" not in text.body.decode()
    assert served.metric("process_resident_memory_bytes") > 1e7


def test_page_and_headers(served: Service) -> None:
    answer = served.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    linked = re.findall(r'(?:src|href)="([^"]+)"', answer.body.decode())
    assert {"web/app.js", "web/style.css", "web/icon.svg"} <= {*linked}
    answers = [answer, *(served.get(f"/{path}") for path in linked), served.get("/nothing"), served.upload(PNG)]
    for each in answers:
        assert each.status == (404 if each is answers[-2] else 200)
        assert "default-src 'none'" in each.headers["content-security-policy"]
        assert each.headers["x-content-type-options"] == "nosniff"
        assert "server" not in each.headers


def test_onnx_needs_no_torch(served: Service) -> None:
    served.upload(PNG)
    maps = Path(f"/proc/{served.process.pid}/maps").read_text()
    assert "onnxruntime" in maps
    assert "torch" not in maps
