"""New characters on top of trained weights: only their rows move, whatever happens on the way."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from small_set import CHARS
from train_runs import CONFIG, assert_equal, flags, state

from gen.charset import Charset
from gen.errors import UserError
from train.checkpoint import Weights, load, load_weights
from train.cli import main
from train.codec import Codec
from train.config import Crnn, load_config
from train.image import ImageSpec
from train.model import build
from train.origin import Origin, find_origin

FIRST = "\n".join(line for line in CONFIG.splitlines() if "name: full" not in line)
NEW = FIRST.replace("{name: glyphs, lines: 72, batch: 12, loss: frames", "{name: new, lines: 72, batch: 12, learn: new")
ADDED = 3


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that lack the last characters."""
    folder = tmp_path_factory.mktemp("base")
    arguments = flags(folder, config=FIRST)
    (folder / "charset.txt").write_text("\n".join(CHARS[:-ADDED]) + "\n", encoding="utf-8")
    assert main([*arguments, "--set", "data.val=0"]) == 0
    return folder / "run/weights.pt"


def test_only_the_rows_of_new_characters_move(base: Path, tmp_path: Path) -> None:
    more = ["--init", str(base), "--set", "data.val=0"]
    assert main([*flags(tmp_path, "whole", config=NEW), *more]) == 0
    before, after = state(base), state(tmp_path / "whole/last.pt")
    for name, tensor in before.items():
        found = after[name]
        if name == ".net.matrix":
            assert torch.equal(found[:-ADDED], tensor.float())
        elif name.startswith(".net."):
            assert torch.equal(found, tensor.to(found.dtype)), name
    assert main([*flags(tmp_path, "parts", config=NEW), *more, "--steps", "2"]) == 0
    early = state(tmp_path / "parts/last.pt")[".net.matrix"][-ADDED:]
    assert (early != after[".net.matrix"][-ADDED:]).any(1).all()
    assert main([*flags(tmp_path, "parts", config=NEW), *more]) == 0
    assert_equal(tmp_path / "parts/last.pt", tmp_path / "whole/last.pt")


def test_lines_that_come_again_are_told(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--init", str(base), "--set", "data.val=0", "--steps", "1"]
    for name, seed, told in (("again", "1", True), ("other", "2", False)):
        arguments = flags(tmp_path, name, config=FIRST)
        (tmp_path / "charset.txt").write_text("\n".join(CHARS[:-ADDED]) + "\n", encoding="utf-8")
        assert main([*arguments, *more, "--seed", seed]) == 0
        assert ("--seed 2 draws others" in capsys.readouterr().err) is told


def test_without_new_characters_there_is_nothing_to_learn(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = flags(tmp_path, config=NEW)
    (tmp_path / "charset.txt").write_text("\n".join(CHARS[:-ADDED]) + "\n", encoding="utf-8")
    assert main([*arguments, "--init", str(base)]) == 2
    assert "stage new learns new classes only (learn: new), and there is none" in capsys.readouterr().err


def test_a_share_of_the_first_parameters_is_kept(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = FIRST.replace("{negatives: 30}", "{negatives: 30, keep_origin: 0.5}")
    more = ["--init", str(base), "--set", "data.val=0"]
    assert main([*flags(tmp_path, "whole", config=config), *more]) == 0
    assert main([*flags(tmp_path, "parts", config=config), *more, "--steps", "3"]) == 0
    assert main([*flags(tmp_path, "parts", config=config), *more]) == 0
    assert_equal(tmp_path / "parts/last.pt", tmp_path / "whole/last.pt")
    before, ended, written = state(base), state(tmp_path / "whole/last.pt"), state(tmp_path / "parts/weights.pt")
    for name, tensor in before.items():
        if name.endswith("running_mean"):
            middle = (tensor.float() + ended[name.replace(".net.", ".ema.")]) / 2
            torch.testing.assert_close(written[name].float(), middle, rtol=1e-3, atol=1e-3)
    nets = [load_weights(tmp_path / "whole" / name).net.state_dict() for name in ("last.pt", "weights.pt")]
    for name, tensor in nets[0].items():  # a checkpoint reads as what is written of it
        torch.testing.assert_close(tensor, nets[1][name], rtol=1e-3, atol=1e-3)
    assert main(flags(tmp_path, "none", config=config)) == 2
    assert "learning.keep_origin is about the parameters of --init" in capsys.readouterr().err
    assert main([*flags(tmp_path, "late", config=FIRST), *more, "--steps", "1"]) == 0
    assert main([*flags(tmp_path, "late", config=FIRST), *more, "--set", "learning.keep_origin=0.5"]) == 2
    assert "has not kept what the run began with" in capsys.readouterr().err


@pytest.mark.parametrize("said", [[], ["--set", "model.widths=[8, 8, 16, 24]"]])
def test_the_network_is_that_of_the_weights_where_nothing_else_is_said(
    base: Path, tmp_path: Path, said: list[str]
) -> None:
    config = "\n".join(line for line in FIRST.splitlines() if not line.startswith("model:"))
    more = ["--init", str(base), "--set", "data.val=0", "--steps", "1", *said]
    assert main([*flags(tmp_path, config=config), *more]) == 0
    before, after = (load(path)["model"] for path in (base, tmp_path / "run/last.pt"))
    assert after == {**before, **({"widths": [8, 8, 16, 24]} if said else {})}


def test_a_run_goes_on_in_its_network_whatever_became_of_the_weights(base: Path, tmp_path: Path) -> None:
    config = "\n".join(line for line in FIRST.splitlines() if not line.startswith("model:"))
    shutil.copy(base, tmp_path / "w.pt")
    more = ["--init", str(tmp_path / "w.pt"), "--set", "data.val=0", "--steps"]
    assert main([*flags(tmp_path, config=config), *more, "1"]) == 0
    (tmp_path / "w.pt").unlink()
    assert main([*flags(tmp_path, config=config), *more, "2"]) == 0
    assert main([*flags(tmp_path, config=config), "--set", "data.val=0", "--steps", "3"]) == 0
    assert load(tmp_path / "run/last.pt")["step"] == 3
    (tmp_path / "run/last.pt").write_bytes(b"damaged")
    assert main([*flags(tmp_path, config=config), "--set", "data.val=0", "--steps", "4"]) == 0
    assert load(tmp_path / "run/last.pt")["step"] == 4


def test_what_the_network_is_taken_from_is_told() -> None:
    """Where it is to blame."""
    origin = Origin(Path("runs/older/last.pt"), {"model": {"kind": "crnn"}})
    for name, sets in (("train-gpu", []), ("train-tune", ["model.depths=[0,1,2,2]"])):
        with pytest.raises(UserError, match=r"\(the network is the crnn of runs/older/last\.pt\)$"):
            origin.configure(partial(load_config, name, sets))
    with pytest.raises(UserError, match=r"did you mean keep\.every\?$"):
        origin.configure(partial(load_config, "train-tune", ["keep.evry=3"]))
    assert origin.configure(partial(load_config, "train-tune", [])).model == Crnn(kind="crnn")


def test_a_network_of_the_older_kind_is_taken_over_too(tmp_path: Path) -> None:
    codec = Codec(Charset("天地人"), space=True)
    net = build(Crnn(kind="crnn", direction="vertical", space=True), codec.classes)
    weights = Weights(net, codec, ("vertical",), ImageSpec(), {})
    origin = find_origin(tmp_path, "w.pt", lambda path: weights)
    assert origin.model == Crnn(kind="crnn", direction="vertical", space=True)
    assert origin.path == Path("w.pt")


def test_damaged_weights_are_told_before_data_are_opened(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "w.pt"
    damaged.write_bytes(base.read_bytes()[:-1] + b"!")
    assert main([*flags(tmp_path, data="nowhere"), "--init", str(damaged)]) == 2
    assert f"{damaged} is damaged" in capsys.readouterr().err
