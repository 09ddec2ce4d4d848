"""Evaluation through its command, against readings and figures worked out line by line."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_set
import torch
from hypothesis import given
from hypothesis import strategies as st
from train_sources import MemorySource

from gen.charset import Charset
from infer import recognizer
from train import checkpoint, evaluate
from train.codec import Codec
from train.config import Lite
from train.crnn import Crnn
from train.image import ImageSpec, normalise, prepare
from train.metrics import Tally
from train.model import Net, build
from train.page import percent
from train.rendered import Ingredients, RenderedSource
from train.shards import open_sources
from train.source import Item, Source

FEW = "一二三"
BOTH = ("horizontal", "vertical")
SHORT = ["corpus.length.low=1", "corpus.length.below=[3]", "layout.canvas=128"]
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classic lines of one or two of three characters, so that a network without training is right now and then; all
    are 128 px long, and padded to 160."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "charset.txt").write_text("\n".join(FEW) + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as monkeypatch:
        run = small_set.command(folder, monkeypatch)
        sets = [word for text in SHORT for word in ("--set", text)]
        assert run("--n", "20", "--config", "gen-classic", *sets) == 0
    return folder / "out"


def make_weights(path: Path, chars: str = FEW, directions: Sequence[str] = BOTH) -> Net:
    """A file of weights nobody trained, which reads everything as characters."""
    torch.manual_seed(11)
    config, codec = Lite(widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), dim=8), Codec(Charset(chars))
    net = build(config, codec.classes).eval()
    torch.nn.init.constant_(net.gate.bias, 0.0)  # type: ignore[arg-type]
    about = checkpoint.describe(config, codec, tuple(directions), ImageSpec())
    checkpoint.save(path, {**about, "net": net.state_dict(), "about": {}})
    return net


def expected(net: Net, sources: Sequence[Source], ids: Sequence[int], chars: str = FEW) -> list[tuple[Item, str]]:
    """The lines, and what the net reads in each when it is alone."""
    found = []
    for source in sources:
        for item in source.read(ids):
            line = prepare(item.pixels, source.direction, ImageSpec())
            assert line.shape == (32, 128)
            paper = int(np.sort(line, None)[line.size // 2 - 1])
            line = np.concatenate([line, np.full((32, 32), paper, np.uint8)], 1)
            with torch.inference_mode():
                frames = net.log_probs(normalise(torch.from_numpy(line)[None, None].float())).argmax(2)[0, :32].tolist()
            found.append((item, "".join(chars[best - 1] for best, _ in groupby(frames) if best)))
    return found


def check(found: dict[str, Any], lines: Sequence[tuple[Item, str]]) -> None:
    """The figures of a JSON against lines and readings."""
    tally = Tally()
    for item, reading in lines:
        tally.add(item.text, reading)
    right = sum(item.text == reading for item, reading in lines) / len(lines)
    assert found["lines"] == len(lines)
    assert found["line_accuracy"] == pytest.approx(right)
    assert found["char_accuracy"] == pytest.approx(tally.total.char_accuracy)
    counts = Counter(item.font for item, _ in lines)
    assert {name: score["lines"] for name, score in found["by_font"].items()} == counts


def test_lines_drawn_on_the_fly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = make_weights(tmp_path / "w.pt")
    fonts = small_set.font_files()
    flags = ["--weight-path", str(tmp_path / "w.pt"), "--data", "gen:eval-classic", "--num", "60", "--fonts", *fonts]
    flags += [word for text in SHORT for word in ("--set", text)]
    files = ["--json", str(tmp_path / "new" / "a.json"), "--html", str(tmp_path / "a.html")]
    assert evaluate.main([*flags, "--direction", "vertical", "--seed", "7", *files]) == 0
    found = json.loads((tmp_path / "new" / "a.json").read_bytes())
    ingredients = Ingredients(Charset(FEW), tuple(fonts), (), (*SHORT, "seed=7"))
    source = RenderedSource.from_spec("gen:eval-classic", "vertical", "val", ingredients)
    check(found, expected(net, [source], range(60)))
    assert 0 < found["line_accuracy"] < 1  # otherwise nothing was compared
    assert list(found["by_direction"]) == ["vertical"]
    assert found["identities"] == {"vertical": source.identity}
    assert set(found["by_size"]) <= {"18", "20", "25", "30"}
    assert found["unknown"] == {"characters": 0, "different": ""}
    printed = capsys.readouterr().out
    assert "gen:eval-classic, val" in printed
    assert percent(found["line_accuracy"]) in printed
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == round(60 * (1 - found["line_accuracy"]))

    assert evaluate.main([*flags, "--direction", "vertical", "--json", str(tmp_path / "b.json")]) == 0
    assert json.loads((tmp_path / "b.json").read_bytes())["by_font"] != found["by_font"]  # another seed, other lines


def test_shards_of_both_directions(tmp_path: Path, shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = make_weights(tmp_path / "w.pt")
    flags = ["--weight-path", str(tmp_path / "w.pt"), "--data", str(shards), "--json", str(tmp_path / "a.json")]
    assert evaluate.main([*flags, "--batch-size", "7"]) == 0
    found = json.loads((tmp_path / "a.json").read_bytes())
    check(found, expected(net, open_sources(str(shards), "val"), range(200)))
    assert 0 < found["line_accuracy"] < 1
    assert {name: score["lines"] for name, score in found["by_direction"].items()} == dict.fromkeys(BOTH, 200)
    assert "vertical" in capsys.readouterr().out

    assert evaluate.main([*flags, "--num", "9", "--direction", "vertical"]) == 0
    found = json.loads((tmp_path / "a.json").read_bytes())
    ids = np.linspace(0, 199, 9).astype(int).tolist()
    check(found, expected(net, open_sources(str(shards / "vertical"), "val"), ids))

    assert evaluate.main([*flags, "--num", "9", "--split", "train"]) == 0
    assert json.loads((tmp_path / "a.json").read_bytes())["by_direction"]["horizontal"]["lines"] == 9


def test_weights_for_one_direction_read_the_lines_of_that(
    tmp_path: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_weights(tmp_path / "w.pt", directions=("horizontal",))
    flags = ["--weight-path", str(tmp_path / "w.pt"), "--num", "5", "--json", str(tmp_path / "a.json")]
    assert evaluate.main([*flags, "--data", str(shards)]) == 0
    assert list(json.loads((tmp_path / "a.json").read_bytes())["by_direction"]) == ["horizontal"]
    assert "only the horizontal lines are read" in capsys.readouterr().err
    assert evaluate.main([*flags, "--data", str(shards / "vertical")]) == 2
    assert "reads horizontal lines" in capsys.readouterr().err
    assert evaluate.main([*flags, "--data", str(shards), "--direction", "vertical"]) == 2
    assert "not vertical" in capsys.readouterr().err


def test_characters_that_the_weights_lack_are_errors(
    tmp_path: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = make_weights(tmp_path / "w.pt", "一二十")
    flags = ["--weight-path", str(tmp_path / "w.pt"), "--data", str(shards / "horizontal")]
    assert evaluate.main([*flags, "--json", str(tmp_path / "a.json")]) == 0
    found = json.loads((tmp_path / "a.json").read_bytes())
    sources = open_sources(str(shards / "horizontal"), "val")
    check(found, expected(net, sources, range(200), "一二十"))
    assert 0 < found["line_accuracy"] < 1
    lacking = sum(item.text.count("三") for item in sources[0].read(range(200)))
    assert found["unknown"] == {"characters": lacking, "different": "三"}
    out, err = capsys.readouterr()
    assert Charset(FEW).sha256[:12] in err
    assert Charset("一二十").sha256[:12] in err
    assert f"{lacking} characters, 1 different ones" in out


def test_an_older_checkpoint(tmp_path: Path, shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(2)
    net = Crnn(3, "vertical").eval()
    torch.nn.init.normal_(net.transcript.bias, 0, 0.05)
    net.transcript.bias.data[0] = -1
    path, words = tmp_path / "older.pth", tmp_path / "words.txt"
    args = argparse.Namespace(direction="vertical")
    torch.save({"model": net.state_dict(), "args": args, "epoch": 1, "optimizer": {}}, path)
    words.write_text("\n".join(FEW) + "\n", encoding="utf-8")
    flags = ["--weight-path", str(path), "--data", str(shards), "--num", "12", "--json", str(tmp_path / "a.json")]
    assert evaluate.main([*flags, "--charset", str(words)]) == 0
    ids = np.linspace(0, 199, 12).astype(int).tolist()
    check(
        json.loads((tmp_path / "a.json").read_bytes()),
        expected(net, open_sources(str(shards / "vertical"), "val"), ids),
    )
    assert evaluate.main(flags) == 2
    assert "--charset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--weight-path", "DIR/none.pt"], "none.pt does not exist"),
        (["--data", "DIR/none"], "DIR/none"),
        (["--seed", "3"], "gen:CONFIG"),
        (["--set", "seed=3"], "gen:CONFIG"),
        (["--data", "gen:no-such"], "no-such"),
        (["--data", "gen:eval-classic", "--set", "corpus.lenght=3"], "corpus.length"),
        (["--num", "0"], "--num 0"),
        (["--batch-size", "x"], "--batch-size x"),
        (["--json", "DIR"], "--json DIR cannot be written"),
        (["--html", "DIR/w.pt/a.html"], "--html DIR/w.pt/a.html cannot be written"),
        (["--charset", "DIR/none.txt"], "none.txt"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    tmp_path: Path, shards: Path, capsys: pytest.CaptureFixture[str], change: list[str], says: str
) -> None:
    make_weights(tmp_path / "w.pt")
    flags = ["--weight-path", str(tmp_path / "w.pt"), "--data", str(shards / "vertical"), "--num", "3"]
    here = [word.replace("DIR", str(tmp_path)) for word in change]
    assert evaluate.main([*flags, *here]) == 2
    err = capsys.readouterr().err
    assert err.startswith("python -m train.evaluate: ")
    assert err.count("\n") == 1
    assert says.replace("DIR", str(tmp_path)) in err


def test_the_packaged_weights_are_judged_when_none_are_given(shards: Path, tmp_path: Path) -> None:
    assert evaluate.EXACT == recognizer.EXACT  # `train` may not ask `infer`
    flags = ["--data", str(shards), "--direction", "horizontal", "--num", "20", "--json", str(tmp_path / "a.json")]
    assert evaluate.main(flags) == 0
    assert evaluate.main([*flags[:-1], str(tmp_path / "b.json"), "--weight-path", str(evaluate.EXACT)]) == 0
    found, named = (json.loads((tmp_path / name).read_bytes()) for name in ("a.json", "b.json"))
    assert found["lines"] == 20
    assert found == {**named, "lines_per_s": found["lines_per_s"]}
    assert found["char_accuracy"] > 0.3  # one in 43 by chance; alone they take ㆒ for 一 here


def test_without_packaged_weights_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "EXACT", tmp_path / "lines.onnx")
    assert evaluate.main(["--data", "gen:eval-classic"]) == 2
    assert "--weight-path" in capsys.readouterr().err


def test_stopped_it_writes_nothing(
    tmp_path: Path, shards: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    make_weights(tmp_path / "w.pt")
    monkeypatch.setattr(evaluate, "read_lines", stop)
    flags = ["--weight-path", str(tmp_path / "w.pt"), "--data", str(shards)]
    assert evaluate.main([*flags, "--json", str(tmp_path / "a.json")]) == 130
    assert "stopped" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["w.pt"]


@given(st.lists(st.integers(0, 60), max_size=9), st.integers(1, 300))
def test_what_is_read_is_spread_over_all_blocks(blocks: list[int], num: int) -> None:
    source = MemorySource(np.array([0, 1, *blocks]))
    total = 1 + sum(blocks)
    ids = evaluate.choose(source, num)
    assert len(ids) == min(num, total)
    assert (np.diff(ids) > 0).all()
    assert ids[0] == 0
    assert ids[-1] == (total - 1 if num > 1 else 0)
    assert np.ptp(np.diff(ids)) <= 1 if len(ids) > 2 else True
    assert np.array_equal(evaluate.choose(source, None), np.arange(total))
    assert np.array_equal(evaluate.choose(MemorySource(), num), np.arange(num))


def test_blocks_are_asked_for_before_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_weights(tmp_path / "w.pt", "一二三四五六七八九十百千万上中下天地人口")
    monkeypatch.setattr(evaluate, "CHUNK", 4)
    source = MemorySource(np.array([3, 3, 3, 3]))
    found = evaluate.evaluate(checkpoint.load_weights(tmp_path / "w.pt"), [source], None, 2, "cpu")
    assert found.tally.total.lines == 12
    assert source.asked == [0, 1, 2, 1, 2, 3, 2, 3]


def test_only_the_worst_lines_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "WORST", 5)
    found, codec = evaluate.Evaluation(Tally()), Codec(Charset("ab"))
    pixels = np.zeros((2, 2), np.uint8)
    for number in range(100):
        wrong = number * 7 % 100  # each share of errors once
        found.add(Item(f"{number}", pixels, "a" * 100), "horizontal", "a" * (100 - wrong) + "b" * wrong, codec)
        assert len(found.worst) < 40
    assert [mistake.share for mistake in found.ranked()] == [0.99, 0.98, 0.97, 0.96, 0.95]
