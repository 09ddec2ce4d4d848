"""What a stage's hard lines are made of: the table of what is alike, the same on all machines."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from gen.alike import NEAR, read_near
from gen.charset import Charset
from train.codec import Codec
from train.config import Crnn as CrnnConfig
from train.config import Lite as LiteConfig
from train.config import Stage
from train.dist import World
from train.given import Given
from train.hard import Hard, alike_text, class_rows, find_hard
from train.image import ImageSpec
from train.model import Net, build
from train.rendered import Ingredients

CHARS = "一二三天文字人大，,0O"
ALONE = World(0, 1, 0, 1, torch.device("cpu"))
GIVEN = Given(("gen:gen-classic",), None, Ingredients())


def net(codec: Codec) -> Net:
    torch.manual_seed(3)
    return build(LiteConfig(widths=(8, 8, 8, 8), depths=(0, 0, 0, 0), dim=8), codec.classes)


def find(stage: Stage, out: Path, again: bool = False, seed: int = 3) -> Hard:
    torch.manual_seed(seed)
    codec = Codec(Charset(CHARS))
    made = build(LiteConfig(widths=(8, 8, 8, 8), depths=(0, 0, 0, 0), dim=8), codec.classes)
    return find_hard(stage, made, codec, GIVEN, ImageSpec(room=0), out, again, ALONE)


@pytest.mark.parametrize("space", [False, True])
def test_a_line_names_the_nearest_that_do_not_fold_into_the_same(space: bool) -> None:
    codec = Codec(Charset(CHARS), space)
    rows = torch.randn(codec.classes, 5, generator=torch.Generator().manual_seed(1))
    rows[CHARS.index("，")] = rows[CHARS.index(",")] * 3 + 0.01  # they fold, however near
    rows[CHARS.index("O")] = rows[CHARS.index("0")] * 2 + 0.01
    lines = alike_text(rows, codec).split("\n")
    assert [line[:1] for line in lines] == [*CHARS, ""]
    for first, line in zip(CHARS, lines):
        cosine = torch.cosine_similarity(rows[CHARS.index(first)][None], rows[: len(CHARS)])
        wanted = sorted((char for char in CHARS if char != first), key=lambda char: -cosine[CHARS.index(char)])
        wanted = [char for char in wanted if {char, first} != {"，", ","}]
        assert line[1:] == "".join(wanted[:NEAR])
    assert lines[CHARS.index("O")][1] == "0"


def test_rows_of_both_networks() -> None:
    lite, crnn = net(Codec(Charset(CHARS))), build(CrnnConfig("crnn"), 3)
    assert class_rows(lite).shape == (len(CHARS), 8)
    assert class_rows(crnn).shape == (3, 512)
    assert torch.equal(class_rows(crnn), crnn.transcript.weight[1:])  # type: ignore[union-attr, index]


def test_what_is_there_is_used_again(tmp_path: Path) -> None:
    stage, out = Stage(name="near", lines=1, alike=0.5), tmp_path / "run"
    found = find(stage, out)
    assert found == Hard(None, out / "alike-near.txt")
    assert [path.name for path in out.iterdir()] == ["alike-near.txt"]
    first = (out / "alike-near.txt").read_text(encoding="utf-8")
    find(stage, out, seed=4)  # a later leg of the same stage: its lines stay what they are
    assert (out / "alike-near.txt").read_text(encoding="utf-8") == first
    find(stage, out, again=True, seed=4)
    assert (out / "alike-near.txt").read_text(encoding="utf-8") != first
    assert find(Stage(name="plain", lines=1), tmp_path / "other") == Hard()
    assert not (tmp_path / "other").exists()


class Several(World):
    """One of two processes in threads, each on a machine of its own."""

    meeting = threading.Barrier(2, timeout=20)
    told: ClassVar[dict[int, Any]] = {}

    def gather(self, value: Any) -> list[Any]:
        self.told[self.rank] = value
        self.meeting.wait()
        found = [self.told[rank] for rank in range(2)]
        self.meeting.wait()
        return found

    def worst(self, status: int) -> int:
        return max(self.gather(int(status)))


def test_machines_agree_on_the_table(tmp_path: Path) -> None:
    codec, stage = Codec(Charset(CHARS)), Stage(name="near", lines=1, alike=0.5)

    def one(rank: int, again: bool) -> str:
        torch.set_num_threads(1)
        made, out = nets[rank], tmp_path / str(rank)
        world = Several(rank, 2, 0, 1, torch.device("cpu"))
        path = find_hard(stage, made, codec, GIVEN, ImageSpec(room=0), out, again, world).alike
        assert path is not None
        return path.read_text(encoding="utf-8")

    def both(again: bool) -> list[str]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda rank: one(rank, again), range(2)))

    nets = [net(codec), net(codec)]
    torch.nn.init.normal_(nets[1].get_parameter("matrix"))  # what the first one holds counts
    first = both(True)
    assert first == [alike_text(class_rows(nets[0]), codec)] * 2
    torch.nn.init.normal_(nets[0].get_parameter("matrix"))
    (tmp_path / "0" / "alike-near.txt").unlink()  # its machine is a new one, and the stage goes on
    assert both(False) == first
    (tmp_path / "0" / "alike-near.txt").unlink()
    (tmp_path / "1" / "alike-near.txt").unlink()
    assert both(False) == [alike_text(class_rows(nets[0]), codec)] * 2 != first


def test_a_charset_of_one_has_no_look_alikes(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text(alike_text(torch.ones(1, 4), Codec(Charset("一"))), encoding="utf-8")
    assert (read_near(path, Charset("一")) == -1).all()
