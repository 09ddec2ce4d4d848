"""Hard lines: what a network takes for what, and the text that is made of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from gen.charset import Charset, fold
from gen.fonts import Font
from gen.stream import DIRECTIONS
from train import confusions
from train.codec import Codec
from train.config import Lite as LiteConfig
from train.confusions import SEED, WRITTEN, _hard_lines, find_confusions, misread
from train.dist import World
from train.given import Given
from train.image import ImageSpec, normalise, prepare
from train.metrics import align
from train.model import Net, build
from train.rendered import Ingredients, RenderedSource

CHARS = "一二三天文字人大，,0O"
SHORT = ("layout.canvas=128", "corpus.length.low=2", "corpus.length.below=[5]")  # equally long: nothing is padded
ALONE = World(0, 1, 0, 1, torch.device("cpu"))
torch.set_num_threads(1)


@pytest.fixture
def given(pip_fonts: tuple[Font, ...], cache: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    """Places with weights, as on the command line; the charset is the data's, not among the ingredients."""
    monkeypatch.setenv("CRNN_SHARDS_CACHE", str(cache))
    monkeypatch.setattr(confusions, "LOOKED_AT", 120)
    ingredients = Ingredients(fonts=tuple(str(font.path) for font in pip_fonts), sets=SHORT)
    return Given(("shards/h=0.5", "gen:gen-classic=0.25"), None, ingredients)


def reader(codec: Codec, gate: float = -1.0) -> Net:
    """A network nobody trained, which reads everything as some character, or (``gate`` 9) nothing."""
    torch.manual_seed(3)
    net = build(LiteConfig(widths=(8, 8, 8, 8), depths=(0, 1, 0, 0), dim=8), codec.classes).eval()
    torch.nn.init.constant_(net.gate.bias, gate)  # type: ignore[arg-type]
    torch.nn.init.zeros_(net.feature.bias)  # type: ignore[arg-type]
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    net.train()(torch.rand(8, 1, 32, 128) * 2 - 1)  # sets the norms, without which frames are all alike
    return net.eval()


def test_misread_characters_are_counted(given: Given) -> None:
    codec = Codec(Charset(CHARS))
    net = reader(codec)
    expected: Counter[tuple[str, str]] = Counter()
    texts = set()
    for direction in DIRECTIONS:
        ingredients = Ingredients(codec.charset, given.ingredients.fonts, (), SHORT, SEED)
        for item in RenderedSource.from_spec("gen:gen-classic", direction, "train", ingredients).read(range(60)):
            x = normalise(torch.from_numpy(prepare(item.pixels, direction, ImageSpec(room=0)))[None, None].float())
            with torch.inference_mode():
                text = codec.read(net.best(x)[0][0].tolist())
            expected.update(pair for pair in align(item.text, text) if "" not in pair)
            texts.add(text)
    assert len(texts) > 3
    same = [pair for pair in expected if fold(pair[0]) == fold(pair[1])]
    assert len(same) > 3
    for pair in same:
        del expected[pair]
    assert misread(net, codec, given, ImageSpec(room=0), ALONE) == expected
    one = misread(net, codec, Given(given.places, "vertical", given.ingredients), ImageSpec(room=0), ALONE)
    assert one != expected


def test_hard_lines_are_made_of_pairs() -> None:
    pairs = Counter({("己", "已"): 400, ("未", "末"): 100, ("土", "士"): 1})
    text = _hard_lines(pairs, CHARS)
    assert text == _hard_lines(Counter(dict(reversed(pairs.items()))), CHARS)
    lines = text.split("\n")
    assert lines.pop() == ""
    assert len(lines) == WRITTEN
    assert {len(line) for line in lines} == {4, 5, 6, 7}
    assert set(text) == set("己已未末土士\n")
    twins = {"己": "已", "未": "末", "土": "士"}
    for line in lines[:500]:
        rest = line[1:] if line[0] == line[1] else line
        words = [rest[k : k + 2] for k in range(0, len(rest), 2)]
        assert all(word in ("己已", "未末", "土士") for word in words[:-1])
        assert words[-1] in [a + b for a, b in twins.items()] + [b + a for a, b in twins.items()]
    first = Counter(line[0] for line in lines if len(line) == 6)
    assert first["己"] / first["未"] == pytest.approx(2, rel=0.15)  # the root of how often they were misread
    assert first["未"] / first["土"] == pytest.approx(10, rel=0.4)
    doubled = sum(line[0] == line[1] for line in lines) / WRITTEN
    assert doubled == pytest.approx(0.3, abs=0.02)


def test_the_file_is_a_text_to_draw_from(given: Given, tmp_path: Path) -> None:
    codec, path = Codec(Charset(CHARS)), tmp_path / "run" / "hard.txt"
    count = find_confusions(reader(codec), codec, given, ImageSpec(room=0), path, ALONE)
    assert count == len(misread(reader(codec), codec, given, ImageSpec(room=0), ALONE)) > 3
    assert [file.name for file in path.parent.iterdir()] == ["hard.txt"]
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") == WRITTEN
    only = ("corpus.uniform=0", "corpus.text=1")
    ingredients = Ingredients(codec.charset, given.ingredients.fonts, (path,), SHORT + only)
    source = RenderedSource.from_spec("gen:gen-classic", "horizontal", "train", ingredients)
    drawn = [item.text for item in source.read(range(20))]
    assert all(line in text for line in drawn)
    assert len(set(drawn)) > 5


def test_nothing_misread(given: Given, tmp_path: Path) -> None:
    """A network that reads all, or nothing at all: the stage goes on with plain characters."""
    codec, path = Codec(Charset(CHARS)), tmp_path / "hard.txt"
    assert find_confusions(reader(codec, 9.0), codec, given, ImageSpec(room=0), path, ALONE) == 0
    assert path.read_text(encoding="utf-8").split() == list(CHARS)


def test_without_rendered_lines_the_default_recipe_is_read(given: Given) -> None:
    codec = Codec(Charset(CHARS), space=True)
    ingredients = Ingredients(fonts=given.ingredients.fonts)
    pairs = misread(reader(codec), codec, Given(("shards/h",), "horizontal", ingredients), ImageSpec(room=0), ALONE)
    assert pairs
    assert {char for pair in pairs for char in pair} <= set(CHARS)
