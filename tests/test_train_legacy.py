"""Checkpoints of the older project: both formats of file, where the direction comes from, and files that are wrong."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from gen.charset import Charset
from gen.errors import UserError
from gen.stream import DIRECTIONS
from train.checkpoint import load_weights
from train.crnn import Crnn
from train.legacy import load_legacy

CHARSET = Charset("天地人一二三")
FORMATS = {"zip": True, "before it": False}
torch.set_num_threads(1)


def values(direction: str | None = "vertical", **changes: Any) -> dict[str, Any]:
    """What the older project saves, optimizer and all."""
    torch.manual_seed(3)
    net = Crnn(len(CHARSET), direction or "vertical")
    small = {"state": {0: {"step": 5, "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
    args = argparse.Namespace(batch_size=64, lr=0.001, gpu=None)
    if direction:
        args.direction = direction
    return {"model": net.state_dict(), "optimizer": small, "epoch": 7, "args": args, **changes}


def save(path: Path, what: object, zipped: bool = True) -> Path:
    torch.save(what, path, _use_new_zipfile_serialization=zipped)
    return path


def refusal(path: Path, charset: Charset = CHARSET, direction: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_legacy(path, charset, direction)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("zipped", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_both_formats_load(tmp_path: Path, zipped: bool, direction: str) -> None:
    saved = values(direction)
    path = save(tmp_path / "checkpoint.pth", saved, zipped)
    for weights in (load_legacy(path, CHARSET), load_weights(path, CHARSET)):
        assert isinstance(weights.net, Crnn)
        assert weights.net.direction == direction
        assert weights.directions == (direction,)
        assert not weights.net.training
        assert weights.codec.charset is CHARSET
        assert not weights.codec.space
        assert not weights.image.trim
        assert weights.about["epoch"] == 7
        for name, tensor in weights.net.state_dict().items():
            assert torch.equal(tensor, saved["model"][name]), name
    with torch.inference_mode():
        assert weights.net.best(torch.zeros(1, 1, 32, 64))[0].shape == (1, weights.net.frames(64))


@pytest.mark.parametrize(
    ("asked", "said", "name", "found"),
    [
        ("vertical", "horizontal", "horizontal.pth", "vertical"),
        (None, "horizontal", "vertical.pth", "horizontal"),
        (None, None, "CRNN_vertical_7.pth", "vertical"),
        (None, None, "checkpoint.pth", None),
        (None, None, "vertical_not_horizontal.pth", None),
        (None, "diagonal", "checkpoint.pth", None),
    ],
)
def test_where_the_direction_comes_from(
    tmp_path: Path, asked: str | None, said: str | None, name: str, found: str | None
) -> None:
    path = save(tmp_path / name, values(said))
    if found:
        assert load_legacy(path, CHARSET, asked).directions == (found,)
    else:
        assert "--direction" in refusal(path, CHARSET, asked)


def test_a_folder_of_the_other_direction_says_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "vertical"
    folder.mkdir()
    assert "--direction" in refusal(save(folder / "checkpoint.pth", values(None)))


def test_a_checkpoint_without_arguments_loads(tmp_path: Path) -> None:
    saved = values()
    del saved["args"], saved["epoch"]
    assert load_legacy(save(tmp_path / "f.pth", saved), CHARSET, "horizontal").directions == ("horizontal",)


def test_the_charset_must_fit(tmp_path: Path) -> None:
    path = save(tmp_path / "f.pth", values())
    text = refusal(path, Charset("天地人"))
    assert re.search(r"7 classes.* 6 characters.* has 3 ", text)
    assert Charset("天地人").sha256[:12] in text
    with pytest.raises(UserError, match="--charset"):
        load_weights(path)


def test_tensors_that_are_not_those_of_the_networks_are_named(tmp_path: Path) -> None:
    saved = values()
    weight = saved["model"].pop("rnn2.weight_hh_l0")
    assert "rnn2.weight_hh_l0 is missing in the file" in refusal(save(tmp_path / "f.pth", saved))
    saved["model"]["rnn2.weight_hh_l0"] = weight.T
    assert "rnn2.weight_hh_l0 is 256x768 in the file and 768x256" in refusal(save(tmp_path / "f.pth", saved))
    saved["model"]["rnn2.weight_hh_l0"] = weight
    saved["model"]["extra"] = torch.ones(3)
    assert "extra is 3 in the file and missing" in refusal(save(tmp_path / "f.pth", saved))


@pytest.mark.parametrize("what", [{"model": 5}, {"state_dict": {}}, [1, 2], torch.ones(2)])
def test_other_things_that_torch_saves(tmp_path: Path, what: object) -> None:
    assert "is no checkpoint" in refusal(save(tmp_path / "f.pth", what))


class Payload:
    """Makes a directory when it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", FORMATS.values(), ids=FORMATS)
def test_what_a_file_wants_to_run_does_not_run(tmp_path: Path, zipped: bool) -> None:
    trace = tmp_path / "trace"
    path = save(tmp_path / "f.pth", values(args=Payload(trace)), zipped)
    assert not trace.exists()
    assert re.search("wants to use posix.mkdir", refusal(path))
    with pytest.raises(UserError, match="not run"):
        load_weights(path, CHARSET)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # it is one that works


@pytest.mark.parametrize("zipped", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_file_cut_short_is_refused(tmp_path: Path, zipped: bool, share: float) -> None:
    path = save(tmp_path / "f.pth", values(), zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refusal(path)


def test_what_is_not_there_or_no_checkpoint_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "f.pth")
    assert "directory" in refusal(tmp_path)
    text = tmp_path / "f.txt"
    text.write_text("天\n地\n", encoding="utf-8")
    refusal(text)
