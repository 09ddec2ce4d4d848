"""What --data names: places and weights, one charset for all, shorter lines, and labels that cannot be learned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shard_set import CHARS, make_set
from train_sources import MemorySource, memory

from gen.charset import Charset
from gen.errors import UserError
from gen.fonts import Font
from gen.stream import DIRECTIONS
from train import given as module
from train.chosen import Chosen
from train.codec import Codec
from train.config import Lite as LiteConfig
from train.config import Stage
from train.dist import World
from train.given import Given, check_labels, common_charset, open_stage, parse_place, without_bad
from train.model import Net, build
from train.rendered import Ingredients, RenderedSource
from train.setting import Leg, check_legs
from train.shards import BadShard
from train.source import Ints, Item, Source

ALONE = World(0, 1, 0, 1, torch.device("cpu"))
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both directions: 60 and 40 lines, and some for validation."""
    folder = tmp_path_factory.mktemp("given")
    make_set(folder, {"train": 60, "val": 12}, "horizontal")
    make_set(folder, {"train": 40, "val": 12}, "vertical")
    return folder


@pytest.fixture
def drawn(pip_fonts: tuple[Font, ...], cache: Path, monkeypatch: pytest.MonkeyPatch) -> Ingredients:
    monkeypatch.setenv("CRNN_SHARDS_CACHE", str(cache))
    return Ingredients(CHARS, tuple(str(font.path) for font in pip_fonts))


@pytest.mark.parametrize(
    ("text", "place", "weight"),
    [
        ("shards/h", "shards/h", 1),
        ("shards/h=0.8", "shards/h", 0.8),
        ("shards/h=3", "shards/h", 3),
        ("gen:configs/gen-default.yaml=1e-2", "gen:configs/gen-default.yaml", 0.01),
        ("runs/lr=high/shards", "runs/lr=high/shards", 1),  # belongs to the name
        ("runs/lr=1/shards", "runs/lr=1/shards", 1),
        ("runs/lr=1=0.5", "runs/lr=1", 0.5),
        ("http://host/shards?key=abc", "http://host/shards?key=abc", 1),
    ],
)
def test_places_and_weights(text: str, place: str, weight: float) -> None:
    assert parse_place(text) == (place, weight)


@pytest.mark.parametrize("text", ["", "=0.5", "h=0", "h=-1", "h=nan", "h=inf"])
def test_weights_are_positive(text: str) -> None:
    with pytest.raises(UserError, match=r"write it as PLACE or PLACE=WEIGHT") as caught:
        parse_place(text)
    assert f"--data {text}:" in str(caught.value)


def test_directions_share_a_places_weight_by_their_sizes(shards: Path, drawn: Ingredients) -> None:
    given = Given((f"{shards}=3", f"{shards}/vertical=1"), ingredients=drawn)
    sources, weights = given.open("train", add=["gen:gen-default=0.5"])
    assert [source.direction for source in sources] == ["horizontal", "vertical", "vertical", *DIRECTIONS]
    assert weights == pytest.approx([w / 1.5 for w in (0.45, 0.3, 0.25, 0.25, 0.25)])
    assert sum(weights) == pytest.approx(1)
    assert [int(source.blocks.sum()) for source in sources[:3] if source.blocks is not None] == [60, 40, 40]
    validation, _ = given.open("val")
    assert [int(source.blocks.sum()) for source in validation if source.blocks is not None] == [12, 12, 12]


def test_one_direction_is_taken_out(shards: Path, drawn: Ingredients) -> None:
    given = Given((str(shards), "gen:gen-default"), "vertical", drawn)
    sources, weights = given.open("train")
    assert [source.direction for source in sources] == ["vertical", "vertical"]
    assert weights == [0.5, 0.5]
    with pytest.raises(UserError, match=r"/horizontal holds horizontal lines, not vertical ones: give the other --dir"):
        Given((f"{shards}/horizontal",), "vertical").open("train")


def test_excluded_shards_are_left_out(shards: Path) -> None:
    place = f"{shards}/horizontal"
    (source,), _ = Given((place,), excluded=((place, "train-000001"), ("elsewhere", "train-000000"))).open("train")
    assert source.blocks is not None
    assert source.blocks.sum() == 40


def test_a_runs_charset_and_direction_settle_what_is_drawn(drawn: Ingredients) -> None:
    given = Given(("shards=0.5", "gen:gen-classic=2"), None, replace(drawn, charset=None))
    assert given.recipe == "gen:gen-classic"
    assert Given(("shards",)).recipe == "gen:gen-default"
    settled = given.settled(CHARS, ["vertical"])
    assert settled.direction == "vertical"
    assert settled.ingredients == drawn
    assert given.settled(CHARS, DIRECTIONS).direction is None


def source(chars: str, name: str) -> MemorySource:
    return MemorySource(np.array([5]), name, charset=Charset(chars))


def test_one_charset_for_all() -> None:
    large, small = source("天地人", "large"), source("人天", "small")
    assert common_charset([small, large], None) is large.charset
    assert common_charset([small], Charset("大人天")).chars == "大人天"
    other = source("大小口", "other")
    with pytest.raises(UserError) as caught:
        common_charset([large, other], None)
    text = str(caught.value)
    assert text.startswith(f"other has the charset {other.charset.sha256[:12]} with '大' (U+5927) and 2 more")
    assert large.charset.sha256[:12] in text
    assert "--charset FILE" in text
    with pytest.raises(UserError, match=r"^large .* with '地' \(U\+5730\) that the run's charset"):
        common_charset([small, large], Charset("天人"))


def test_a_stage_takes_what_it_wants(shards: Path, drawn: Ingredients) -> None:
    given = Given((f"{shards}/horizontal", "gen:gen-default"), "horizontal", drawn)
    stage = Stage(name="a", lines=1, longest=3, sets=("layout.sizes=[28]",))
    sources, weights = open_stage(given, stage)
    assert weights == pytest.approx([0.5, 0.5])
    assert isinstance(sources[0], Chosen)
    items = [source.read(range(10)) for source in sources]
    assert all(1 <= len(item.text) <= 3 for some in items for item in some)
    assert {item.size for item in items[1]} == {28}
    assert len({char for item in items[1] for char in item.text}) > 5


def test_look_alikes_are_in_drawn_lines_and_beside_shards(shards: Path, drawn: Ingredients, tmp_path: Path) -> None:
    table = tmp_path / "alike.txt"
    table.write_text("".join(char + "天" * 6 + "\n" for char in CHARS.chars if char != "天"), encoding="utf-8")
    stage = Stage(name="a", lines=1, alike=0.75)
    plain = Given(("gen:gen-default=0.6", "gen:gen-classic=0.4"), "horizontal", drawn)

    def share(sources: list[Source]) -> list[float]:
        texts = ["".join(item.text for item in source.read(range(60))) for source in sources]
        return [text.count("天") / len(text) for text in texts]

    sources, weights = open_stage(plain, stage, alike=table)
    assert weights == pytest.approx([0.6, 0.4])
    assert all(0.2 < part < 0.5 for part in share(sources))
    assert all(part < 0.12 for part in share(open_stage(plain, stage)[0]))
    sources, weights = open_stage(replace(plain, places=(f"{shards}/horizontal",)), stage, alike=table)
    assert weights == pytest.approx([0.25, 0.75])
    assert share(sources)[0] < 0.12
    assert 0.3 < share(sources)[1] < 0.6
    both = replace(plain, places=(f"{shards}/horizontal=0.5", "gen:gen-default=0.5"))
    assert open_stage(both, stage, alike=table)[1] == pytest.approx([0.5, 0.5])


def test_beside_text_alone_look_alikes_are_drawn_apart(drawn: Ingredients, tmp_path: Path) -> None:
    """What is written is never changed, so they are lines of the default recipe, as beside shards."""
    table, text = tmp_path / "alike.txt", tmp_path / "text.txt"
    table.write_text("".join(char + "天" * 6 + "\n" for char in CHARS.chars if char != "天"), encoding="utf-8")
    text.write_text("人大\n" * 50, encoding="utf-8")
    only = replace(drawn, corpus=(text,), sets=("corpus.uniform=0", "corpus.text=1"))
    stage = Stage(name="a", lines=1, alike=0.25)
    sources, weights = open_stage(Given(("gen:gen-classic",), "horizontal", only), stage, alike=table)
    assert weights == pytest.approx([0.75, 0.25])
    texts = ["".join(item.text for item in source.read(range(40))) for source in sources]
    assert set(texts[0]) == {"人", "大"}
    assert 0.3 < texts[1].count("天") / len(texts[1]) < 0.6
    written = Stage(name="a", lines=1, alike=0.25, sets=("corpus.balanced=0", "corpus.common=0", "corpus.text=1"))
    with pytest.raises(UserError, match=r"stage a: alike is 0\.25, and with its sets all drawn lines are text"):
        open_stage(Given(("gen:gen-default",), "horizontal", only), written, alike=table)


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"sets": ("layout.tight=0.5",)}, "stage a: .*gen-classic.*tight"),
        ({"longest": 200}, "stage a: .*corpus.length.below.0 201"),
        ({"add": ("nowhere/",)}, "stage a: .*nowhere"),
        ({"sets": ("corpus.uniform=-1",)}, "stage a: .*corpus.uniform -1"),
        ({"batch": 13}, "stage a: "),
    ],
)
def test_what_a_later_stage_cannot_do_is_refused_at_the_start(
    drawn: Ingredients, stage: dict[str, Any], words: str
) -> None:
    given = Given(("gen:gen-classic",), "horizontal", drawn)
    sources, _ = given.open("train")
    check_legs([Leg(0, Stage(name="a", lines=1), 0, 1, 12)], 12, 1, given, sources)
    late = Stage(name="a", lines=1, **stage)
    with pytest.raises(UserError, match=words):
        check_legs([Leg(1, late, 0, 1, late.batch or 12)], 12, 1, given, sources)


def test_a_set_without_short_lines_is_refused_at_the_start(drawn: Ingredients) -> None:
    source, stage = Narrow(np.full(2, 10)), Stage(name="a", lines=1, longest=7)
    with pytest.raises(UserError, match="stage a: memory has no line of at most 7 characters"):
        check_legs(
            [Leg(0, stage, 0, 1, 12)], 12, 1, Given(("shards",), "horizontal", replace(drawn, charset=None)), [source]
        )


@dataclass
class Narrow(MemorySource):
    """Lines of eight characters, some of which have no room for them."""

    narrow: range = range(0)
    width: int = 4

    def widths(self, ids: Ints) -> Ints:
        return np.where(np.isin(ids, self.narrow), self.width, 200)

    def lengths(self, ids: Ints) -> Ints:
        return np.full(len(ids), 8)

    def item(self, number: int) -> Item:
        text = self.charset.chars[0] * 8 if number in self.narrow else self.charset.chars[:8]
        width = int(self.widths(np.array([number]))[0])
        return Item(f"{number}", np.zeros((32, width), np.uint8), text, np.zeros((8, 4), np.int32))


@pytest.fixture(scope="module")
def net() -> Net:
    return build(LiteConfig(widths=(4, 4, 4, 4), depths=(0, 0, 0, 0), dim=8), 30)


@pytest.mark.parametrize(
    ("narrow", "width", "refused"),
    [
        (range(500, 521), 4, True),  # the index alone tells, wherever they are
        (range(500, 520), 4, False),  # one in a thousand
        (range(0, 20_000, 60), 56, True),  # eight equal characters need fifteen frames of 4 px: reading tells
        (range(0, 20_000, 60), 60, False),
    ],
)
def test_more_than_one_in_a_thousand_is_refused(net: Net, narrow: range, width: int, refused: bool) -> None:
    source = Narrow(np.full(20, 1000), narrow=narrow, width=width)
    if refused:
        with pytest.raises(UserError, match=r"^memory: \d+ of \d+ lines .*0\.1 %: take a network with more frames"):
            check_labels([memory(50), source], Codec(source.charset), net, True)
    else:
        notes = check_labels([memory(50), source], Codec(source.charset), net, True)
        assert bool(notes) == (width == 4)  # told, but not refused
        assert all("teach nothing" in note for note in notes)


def test_labels_are_looked_at_in_few_blocks(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block of a server is a download: to look at 2,000 of ten million lines must not cost thousands."""
    monkeypatch.setattr(module, "LOOKED_AT", 300)
    source = memory(30_000, 100)
    read: list[int] = []
    monkeypatch.setattr(source, "read", lambda ids: read.extend(ids) or [source.item(number) for number in ids])
    check_labels([source], Codec(source.charset), net, True)
    blocks = {number // 100 for number in read}
    assert len(set(read)) == len(read) >= 280
    assert len(blocks) <= 20
    assert max(blocks) - min(blocks) > 250  # from all over the set


def test_what_cannot_be_learned_is_said(net: Net, drawn: Ingredients) -> None:
    source = memory(40)
    with pytest.raises(UserError, match="memory holds no line: generate some"):
        check_labels([source, memory(0)], Codec(source.charset), net, False)
    with pytest.raises(UserError, match="not in the charset of 2 characters"):
        check_labels([source], Codec(Charset("天地")), net, False)
    bare = MemorySource(np.array([5]))
    bare.item = lambda number: replace(source.item(number), boxes=None)  # type: ignore[method-assign]
    check_labels([bare], Codec(source.charset), net, False)
    with pytest.raises(UserError, match=r"memory has no boxes, which the loss frames needs: .*loss ctc"):
        check_labels([bare], Codec(source.charset), net, True)
    check_labels([RenderedSource.from_spec("gen:", "vertical", ingredients=drawn)], Codec(CHARS), net, True)


def test_bad_shards_are_left_out_up_to_a_number() -> None:
    given, bad = Given(("a",)), BadShard("a", "train-000001", "its bytes differ")
    assert without_bad(given, None, 0, ALONE) is None
    with pytest.raises(UserError, match=r"shard train-000001 of a: its bytes differ.*--skip-bad-shards"):
        without_bad(given, bad, 0, ALONE)
    less = without_bad(given, bad, 1, ALONE)
    assert less is not None
    assert less.excluded == (("a", "train-000001"),)
    with pytest.raises(UserError, match="train-000002"):
        without_bad(less, BadShard("a", "train-000002", "gone"), 1, ALONE)
    with pytest.raises(UserError, match=r"^something else$"):
        without_bad(given, UserError("something else"), 5, ALONE)
