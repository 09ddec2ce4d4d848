"""Further looks: what is moved and averaged, which lines pay for it, and that the packaged weights read better."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gen.charset import fold
from gen.errors import UserError
from gen.sample import Recipe, render
from gen.stream import DIRECTIONS, Stream
from infer import Recognizer
from infer.backend import Backend, Frames, open_backend
from infer.decode import Found
from infer.looks import HALF, LOOKS, MOVES, SURE, Mean, look_again, moved, unsure
from infer.recognizer import EXACT, PACKAGED
from infer.torch_backend import TorchBackend
from tests.test_infer_decode import frames_of

Floats = NDArray[np.float32]


class Counting:
    """A backend that notes how many lines it is given each time."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.calls = backend, list[int]()

    def __getattr__(self, name: str) -> object:
        return getattr(self.backend, name)

    def run(self, images: NDArray[np.uint8], allowed: NDArray[np.bool_] | None) -> Frames:
        self.calls.append(len(images))
        return self.backend.run(images, allowed)


@pytest.mark.parametrize(("along", "across"), [(2, 1), (2, -1), (-1, 1), (0, 0), (-3, 2)])
def test_contents_move_and_edges_are_repeated(along: int, across: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 1, 32, 50), np.uint8)
    found = moved(images, along, across)
    for y, x in np.ndindex(32, 50):
        from_y, from_x = min(max(0, y - across), 31), min(max(0, x - along), 49)
        assert (found[:, 0, y, x] == images[:, 0, from_y, from_x]).all()


def test_moves_come_in_pairs_of_half_a_frame_at_most() -> None:
    assert all(abs(along) < HALF or along == HALF for along, _ in MOVES)
    assert len(set(MOVES)) == len(MOVES) == max(LOOKS) - 1
    for looks in LOOKS:
        assert sum(across for _, across in MOVES[: looks - 1]) == 0  # no look is on one side only


@pytest.mark.parametrize("stride", [4, 8])
def test_each_look_is_moved_by_parts_of_a_frame(stride: int) -> None:
    images = np.random.default_rng(2).integers(0, 256, (1, 1, 32, 48), np.uint8)
    seen: list[NDArray[np.uint8]] = []

    def run(line: NDArray[np.uint8]) -> Frames:
        seen.append(line)
        return frames_of(np.zeros((1, 48 // stride, 3), np.float32))

    look_again(run, images, run(images), 5, stride)
    half, quarter = stride // 2, stride // 4
    expected = [moved(images, *by) for by in ((0, 0), (half, 1), (half, -1), (quarter, -1), (-quarter, 1))]
    assert [line.tolist() for line in seen] == [line.tolist() for line in expected]


@settings(max_examples=200)
@given(st.sampled_from(LOOKS), st.integers(1, 3), st.integers(1, 8), st.integers(1, 5), st.integers(0, 2**32))
def test_the_mean_is_over_what_sees_a_character(looks: int, lines: int, steps: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.exp(6 * rng.random((looks, lines, steps, 1 + classes)))
    seen = (scores / scores.sum(axis=3, keepdims=True)).astype(np.float32)
    best = seen.argmax(axis=3)
    first, *others = [frames_of(each) for each in seen]
    mean, moves = Mean(first), rng.integers(0, 2, looks - 1).astype(bool).tolist()
    for other, between in zip(others, moves):
        mean.add(other, between)
    found = mean.frames()
    expected = best[0].nonzero()
    assert (found.line.tolist(), found.frame.tolist()) == (expected[0].tolist(), expected[1].tolist())
    for line, frame, chances in zip(found.line, found.frame, found.chances):
        views = [seen[0, line, frame]]
        for look, between in enumerate(moves, 1):
            for at in (frame, frame + 1) if between else (frame,):  # half a frame earlier
                if at == steps or not (which := best[look, line, at]):
                    continue
                beside = best[0, line, at - 1 if at == frame else at] if between and 0 < at < steps else 0
                if which == best[0, line, frame] or which != beside:
                    views.append(seen[look, line, at])
        np.testing.assert_allclose(chances, np.mean(views, axis=0)[1:], rtol=1e-5)


def test_touching_characters_stay_two() -> None:
    first = np.array([[[0.1, 0.5, 0.4], [0.1, 0.1, 0.8]]], np.float32)  # a, b
    other = np.array([[[0.9, 0.1, 0.0], [0.0, 0.1, 0.9]]], np.float32)  # b lies between them
    mean = Mean(frames_of(first))
    for _ in range(2):
        mean.add(frames_of(other), between=True)
    assert mean.frames().chances.argmax(axis=1).tolist() == [0, 1]


def test_a_line_is_unsure_when_one_of_its_characters_is() -> None:
    def line(*chances: float) -> list[Found]:
        return [Found(0, chance, 0.0, ()) for chance in chances]

    lines = [line(0.9, SURE), line(0.9, SURE - 0.01, 0.9), [], line(0.1), line(1.0)]
    assert unsure(lines).tolist() == [1, 3]


def drawn(
    small: Callable[..., Recipe], count: int, direction: str = "horizontal"
) -> tuple[list[NDArray[np.uint8]], list[str]]:
    recipe, stream = small("gen-default", ["image.format=png"]), Stream(11, direction, "val")
    samples = [render(recipe, stream, number) for number in range(count)]
    return [sample.pixels for sample in samples], [sample.text for sample in samples]


def test_only_lines_that_are_not_sure_are_read_again(small: Callable[..., Recipe]) -> None:
    images, _ = drawn(small, 40)
    backend = Counting(open_backend(PACKAGED))
    first = Recognizer({"horizontal": backend}, prior="none", looks=1)  # type: ignore[dict-item]
    once = first.read(images)
    doubtful = [reading.lowest < SURE for reading in once]
    assert 0 < sum(doubtful) < 40
    assert sum(backend.calls) == 40
    for looks in LOOKS[1:]:
        backend.calls.clear()
        again = Recognizer({"horizontal": backend}, prior="none", looks=looks)  # type: ignore[dict-item]
        found = again.read(images)
        assert sum(backend.calls) == 40 + (looks - 1) * sum(doubtful)
        assert [a == b for a, b in zip(found, once)] == [not doubt for doubt in doubtful]
        assert [again.read([image])[0].text for image in images] == [reading.text for reading in found]


def test_more_is_read_right(small: Callable[..., Recipe]) -> None:
    lines = {direction: drawn(small, 1200, direction) for direction in DIRECTIONS}

    def right(looks: int) -> int:
        """Of 2,400 lines, look-alikes taken as equal."""
        recognizer, count = Recognizer.load(prior="none", looks=looks), 0
        for direction, (images, texts) in lines.items():
            readings = recognizer.read(images, direction)  # type: ignore[arg-type]
            count += sum(fold(reading.text) == fold(text.replace(" ", "")) for reading, text in zip(readings, texts))
        return count

    once, thrice = right(1), right(3)
    assert thrice > once > 1200


def test_torch_looks_as_onnx_does(small: Callable[..., Recipe]) -> None:
    images, _ = drawn(small, 60)
    onnx = Recognizer.load(EXACT, prior="none").read(images)
    torch = Recognizer({"horizontal": TorchBackend(EXACT, "cpu")}, prior="none").read(images)
    assert [reading.text for reading in torch] == [reading.text for reading in onnx]
    once = Recognizer.load(EXACT, prior="none", looks=1).read(images)
    assert [reading.text for reading in once] != [reading.text for reading in onnx]


def test_characters_that_may_not_be_read_stay_out(small: Callable[..., Recipe]) -> None:
    images, _ = drawn(small, 20)
    for reading in Recognizer.load(prior="none", allow="0123456789").read(images):
        assert set(reading.text) <= set("0123456789")


def test_other_numbers_of_looks_are_refused() -> None:
    with pytest.raises(UserError, match=r"looks 2 is none of 1, 3, 5"):
        Recognizer.load(looks=2)
