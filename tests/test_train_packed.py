"""A network becomes a model and a network again, and reads the same."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from gen.errors import UserError
from infer.export import export
from tests.infer_weights import make_weights
from train.checkpoint import Weights, load_weights
from train.lite import NECKS, Lite
from train.packed import Reader


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Weights, Path]:
    folder = tmp_path_factory.mktemp("packed")
    weights = make_weights(folder / "w.pt", space=True)
    export(weights, folder / "w.onnx")
    return weights, folder / "w.onnx"


@pytest.mark.parametrize(("stride", "neck"), list(product((4, 8), NECKS)))
def test_a_folded_network_computes_the_same(tmp_path: Path, stride: int, neck: str) -> None:
    net = make_weights(tmp_path / "w.pt", stride=stride, neck=neck).net
    assert isinstance(net, Lite)
    images = torch.randint(0, 256, (3, 1, 32, 160), dtype=torch.uint8)
    place, chances = Reader(net)(images, torch.zeros(len(net.matrix)))
    wanted = net.log_probs(images.float() / 127.5 - 1).exp()
    assert len(place) > 10
    torch.testing.assert_close(place, (wanted[..., 0] < 0.5).nonzero())
    torch.testing.assert_close(chances, wanted[place[:, 0], place[:, 1], 1:], atol=1e-4, rtol=1e-3)


def test_the_network_in_a_model_is_restored(packed: tuple[Weights, Path]) -> None:
    weights, path = packed
    again = load_weights(path)
    assert (again.codec, again.directions, again.image, again.about) == (
        weights.codec, weights.directions, weights.image, weights.about
    )  # fmt: skip
    old, new = weights.net.state_dict(), again.net.state_dict()
    assert old.keys() == new.keys()
    x = torch.rand(2, 1, 32, 128) * 2 - 1
    for training in (False, True):  # also with the normalisation of a batch: it can be trained further
        weights.net.train(training), again.net.train(training)
        for a, b in zip(weights.net(x), again.net(x)):
            torch.testing.assert_close(a, b, atol=0.02, rtol=0.01)
    weights.net.eval()


def test_packing_again_changes_next_to_nothing(packed: tuple[Weights, Path], tmp_path: Path) -> None:
    export(load_weights(packed[1]), tmp_path / "again.onnx")
    first, second = (onnx.load(path) for path in (packed[1], tmp_path / "again.onnx"))
    for a, b in zip(first.graph.initializer, second.graph.initializer):
        assert a.name == b.name
        left, right = (torch.from_numpy(onnx.numpy_helper.to_array(each).copy()).float() for each in (a, b))
        torch.testing.assert_close(left, right, atol=1e-3, rtol=2e-3)


def test_a_model_tells_nothing_of_the_machine_it_was_made_on(packed: tuple[Weights, Path]) -> None:
    data = packed[1].read_bytes()
    for trace in (str(Path.home()), str(Path(__file__).parent.parent), ".py"):
        assert trace.encode() not in data


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "no model"),
        (lambda data: b"no model at all", "no ONNX model"),
        (lambda data: data[: len(data) // 2], "damaged"),
        (lambda data: data.replace(b"crnn-shards 1", b"crnn-shards 9"), "no model that"),
    ],
)
def test_damaged_models_are_refused(packed: tuple[Weights, Path], tmp_path: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "bad.onnx"
    path.write_bytes(damage(packed[1].read_bytes()))
    with pytest.raises(UserError, match=message):
        load_weights(path)


def test_a_model_with_8_bit_numbers_only_reads(tmp_path: Path) -> None:
    export(make_weights(tmp_path / "w.pt"), tmp_path / "w.onnx", [np.full((1, 1, 32, 64), 99, np.uint8)])
    with pytest.raises(UserError, match="8-bit"):
        load_weights(tmp_path / "w.onnx")
