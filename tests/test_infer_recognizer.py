"""The recogniser: the same answers for any company, order, batch size and number of threads."""

from __future__ import annotations

import json
import resource
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from rapidfuzz.distance import Levenshtein

from gen.errors import UserError
from gen.sample import Recipe, render
from gen.stream import Stream
from infer import ImageError, Reading, Recognizer
from infer.export import export
from infer.recognizer import EXACT, LONGEST, PACKAGED
from tests.infer_weights import make_weights
from train.checkpoint import load_weights
from train.image import pad_batch
from train.reading import read_lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of random numbers: m.onnx and m.pt, and t.onnx, which wants margins cut off."""
    folder = tmp_path_factory.mktemp("weights")
    export(make_weights(folder / "m.pt"), folder / "m.onnx")
    export(make_weights(folder / "t.pt", trim=True), folder / "t.onnx")
    return folder


@pytest.fixture(scope="module")
def recognizer(folder: Path) -> Recognizer:
    return Recognizer.load(folder / "m.onnx")


def mixed(count: int, seed: int = 0) -> list[np.ndarray]:
    """Noise of many shapes, rows and columns."""
    rng = np.random.default_rng(seed)
    shapes = [(32, int(width)) if k % 3 else (int(width), 32) for k, width in enumerate(rng.integers(20, 500, count))]
    return [rng.integers(0, 256, shape, np.uint8) for shape in shapes]


def test_nothing_is_nothing(recognizer: Recognizer) -> None:
    assert recognizer.read([]) == []


def test_a_line_reads_the_same_in_any_company(folder: Path, recognizer: Recognizer) -> None:
    images = mixed(60)
    alone = [recognizer.read([image])[0] for image in images]
    assert len({reading.text for reading in alone}) > 50
    for options in ({"batch_size": 1}, {"batch_size": 7}, {"workers": 3}):
        with_others = Recognizer.load(folder / "m.onnx", **options)  # type: ignore[arg-type]
        for a, b in zip(alone, with_others.read(images)):
            assert (a.text, a.direction) == (b.text, b.direction)
            np.testing.assert_allclose([c.score for c in a.chars], [c.score for c in b.chars], atol=1e-5)


def test_eight_threads_get_the_answers_of_one(recognizer: Recognizer) -> None:
    images = mixed(500, seed=1)
    one = [recognizer.read([image])[0] for image in images]
    start = threading.Barrier(8)

    def read(shift: int) -> list[Reading]:
        start.wait()
        return [recognizer.read([images[(k + 61 * shift) % 500]])[0] for k in range(500)]

    with ThreadPoolExecutor(8) as pool:
        for shift, found in enumerate(pool.map(read, range(8))):
            assert [found[(k - 61 * shift) % 500] for k in range(500)] == one


def test_memory_does_not_grow(recognizer: Recognizer) -> None:
    images = mixed(100, seed=2)
    for image in images * 2:
        recognizer.read([image])
    before = resident()
    for _ in range(200):
        recognizer.read(images)
    assert resident() < before + 64


def resident() -> float:
    """MiB of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def agreeing(recognizer: Recognizer, path: Path, lines: list[np.ndarray]) -> int:
    """How many horizontal lines say the same here and where training measures its accuracy."""
    weights = load_weights(path)
    texts = [""] * len(lines)
    for chosen, found in read_lines(weights.net, weights.codec, lines, weights.image.room, 16):
        for number, text in zip(chosen, found):
            texts[number] = text
    return sum(reading.text == text for reading, text in zip(recognizer.read(lines, "horizontal"), texts))


def test_it_reads_what_training_measures(folder: Path) -> None:
    recognizer = Recognizer.load(folder / "m.onnx", looks=1)
    lines = [image for image in mixed(60, seed=3) if image.shape[0] == 32]
    # In noise some gates are so near to zero that the last bit decides.
    assert agreeing(recognizer, folder / "m.onnx", lines) >= 0.8 * len(lines)


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.long)])
def test_the_packaged_weights_read_the_same_with_torch(small: Callable[..., Recipe], count: int) -> None:
    recipe, stream = small("gen-default", ["image.format=png"]), Stream(5, "horizontal", "val")
    lines = [render(recipe, stream, number).pixels for number in range(count)]
    recognizer = Recognizer.load(EXACT, prior="none", looks=1)
    backend = recognizer.backends["horizontal"]
    backend.image = replace(backend.image, trim=False)  # type: ignore[misc]  # training reads lines whole
    assert agreeing(recognizer, EXACT, lines) == count


def test_the_packaged_weights_read_nearly_the_same_in_8_bits(small: Callable[..., Recipe]) -> None:
    recipe, stream = small("gen-default", ["image.format=png"]), Stream(5, "vertical", "val")
    lines = [render(recipe, stream, number).pixels for number in range(60)]
    whole, ours = ([each.text for each in Recognizer.load(path).read(lines, "vertical")] for path in (EXACT, None))
    assert whole != ours  # they are not the same file
    changed = sum(Levenshtein.distance(a, b) for a, b in zip(whole, ours))
    assert changed < 0.05 * sum(map(len, whole))


def test_lines_too_long_for_their_height(recognizer: Recognizer) -> None:
    line = np.full((40, 35 * LONGEST), 255, np.uint8)
    line[10:30, ::8] = 0  # so low that it would be enlarged, if it were not so long
    assert recognizer.read([line])[0].direction == "horizontal"
    with pytest.raises(ImageError, match="35,840 px long and 30 px high, more than 1,024 times"):
        recognizer.read([line[5:35]])


def test_directions(recognizer: Recognizer) -> None:
    row = mixed(2, seed=5)[1][:, :90]
    column = np.ascontiguousarray(np.rot90(row, -1))  # its start at the top
    assert recognizer.read([row])[0].direction == "horizontal"
    assert recognizer.read([np.tile(column, (2, 1))])[0].direction == "vertical"
    as_row, as_column = recognizer.read([row], "horizontal")[0], recognizer.read([column], "vertical")[0]
    assert as_row.text == as_column.text
    assert [char.at for char in as_row.chars] == [char.at for char in as_column.chars]
    square = mixed(2, seed=6)[1][:, :32]
    both = [recognizer.read([square], way)[0] for way in ("horizontal", "vertical")]  # type: ignore[arg-type]
    assert recognizer.read([square])[0].score == max(each.score for each in both)


def test_places_are_those_of_the_image(folder: Path) -> None:
    image = mixed(2, seed=7)[1][:, :200]
    plain = Recognizer.load(folder / "m.onnx").read([image])[0]
    assert all(0 < char.at < 200 for char in plain.chars)
    assert sorted(char.at for char in plain.chars) == [char.at for char in plain.chars]
    larger = cv2.resize(image, (600, 96), interpolation=cv2.INTER_NEAREST)  # shrunk again, it is what it was
    again = Recognizer.load(folder / "m.onnx").read([larger])[0]
    assert again.text == plain.text
    np.testing.assert_allclose([char.at for char in again.chars], [3 * char.at for char in plain.chars])


def test_wide_margins_are_cut_off_where_the_weights_want_it(folder: Path) -> None:
    line = np.full((32, 300), 255, np.uint8)
    cv2.putText(line, "HELLO", (10, 26), cv2.FONT_HERSHEY_DUPLEX, 1.0, 0, 2)
    page = np.full((300, 2000), 255, np.uint8)
    page[100:132, 700:1000] = line
    found = Recognizer.load(folder / "t.onnx").read([page])[0]
    assert found.chars
    assert all(650 < char.at < 1000 for char in found.chars)


def test_only_allowed_characters_are_read(folder: Path) -> None:
    images = mixed(20, seed=8)
    free = Recognizer.load(folder / "m.onnx").read(images)
    only = Recognizer.load(folder / "m.onnx", allow="0123456789").read(images)
    assert set("".join(reading.text for reading in only)) <= set("0123456789")
    assert set("".join(reading.text for reading in free)) - set("0123456789")
    with pytest.raises(UserError, match="none of these"):
        Recognizer.load(folder / "m.onnx", allow="\u0e01")


def test_one_bad_image_does_not_hide_the_others(tmp_path: Path, recognizer: Recognizer) -> None:
    Image.fromarray(mixed(2)[1]).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    images = [tmp_path / "a.png", tmp_path / "b.png", str(tmp_path / "a.png")]
    good, bad, again = recognizer.read(images, errors="return")
    assert isinstance(bad, ImageError)
    assert good == again
    with pytest.raises(ImageError, match=r"b\.png"):
        recognizer.read(images)


def test_a_reading_as_json(recognizer: Recognizer) -> None:
    reading = recognizer.read(mixed(1))[0]
    values = json.loads(json.dumps(reading.to_dict(), ensure_ascii=False))
    assert next(iter(values)) == "text"
    assert values["text"] == reading.text == "".join(char["text"] for char in values["chars"])
    assert 0 <= values["min_score"] <= values["score"] <= 1
    for char in reading.chars:
        chances = [chance for _, chance in char.alternatives]
        assert chances == sorted(chances, reverse=True)
        assert char.text not in dict(char.alternatives)


def test_weights_of_one_direction(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(make_weights(tmp_path / "h.pt", directions=("horizontal",)), tmp_path / "h.onnx")
    with pytest.raises(UserError, match="horizontal lines, not vertical"):
        Recognizer.load(vertical=tmp_path / "h.onnx")
    monkeypatch.setattr("infer.recognizer.PACKAGED", folder / "m.onnx")
    both = Recognizer.load(tmp_path / "h.onnx")
    assert set(both.backends) == {"horizontal", "vertical"}
    monkeypatch.setattr("infer.recognizer.PACKAGED", tmp_path / "none.onnx")
    one = Recognizer.load(horizontal=tmp_path / "h.onnx")
    with pytest.raises(UserError, match="no weights for vertical"):
        one.read(mixed(2), "vertical")
    with pytest.raises(UserError, match="no weights"):
        Recognizer.load()
    with pytest.raises(UserError, match="none of auto"):
        one.read(mixed(2), "diagonal")  # type: ignore[arg-type]


def test_a_file_for_both_directions_is_opened_once() -> None:
    backends = Recognizer.load(horizontal=PACKAGED, vertical=PACKAGED).backends
    assert backends["horizontal"] is backends["vertical"]


def test_unknown_weights(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    for name, message in (("none.onnx", "does not exist"), ("bad.onnx", "no model")):
        with pytest.raises(UserError, match=message):
            Recognizer.load(tmp_path / name)
    with pytest.raises(UserError, match="none of cpu, cuda"):
        Recognizer.load(tmp_path / "bad.onnx", device="tpu")


def test_padding_says_nothing(recognizer: Recognizer) -> None:
    """What is read does not reach into the paper that fills a batch up."""
    image = mixed(2, seed=9)[1][:, :65]
    images, widths = pad_batch([image])
    assert (images.shape[3], widths.tolist()) == (96, [65])
    assert all(char.at < 65 for char in recognizer.read([image])[0].chars)
