"""The table of what is alike, the same on all machines."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from gen.alike import NEAR, read_near
from gen.charset import Charset
from train.alike import alike_text, class_rows, find_alike
from train.codec import Codec
from train.config import Crnn as CrnnConfig
from train.config import Lite as LiteConfig
from train.dist import World
from train.model import Net, build

CHARS = "一二三天文字人大，,0O"
ALONE = World(0, 1, 0, 1, torch.device("cpu"))


def net(codec: Codec, seed: int = 3) -> Net:
    torch.manual_seed(seed)
    return build(LiteConfig(widths=(8, 8, 8, 8), depths=(0, 0, 0, 0), dim=8), codec.classes)


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
    codec, path = Codec(Charset(CHARS)), tmp_path / "run" / "alike.txt"
    find_alike(net(codec), codec, path, False, ALONE)
    assert [file.name for file in path.parent.iterdir()] == ["alike.txt"]
    first = path.read_text(encoding="utf-8")
    assert first == alike_text(class_rows(net(codec)), codec)
    find_alike(net(codec, 4), codec, path, False, ALONE)  # a later leg of the same stage: its lines stay what they are
    assert path.read_text(encoding="utf-8") == first
    find_alike(net(codec, 4), codec, path, True, ALONE)
    assert path.read_text(encoding="utf-8") != first


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
    codec = Codec(Charset(CHARS))
    paths = [tmp_path / str(rank) / "alike.txt" for rank in range(2)]

    def one(rank: int, again: bool) -> str:
        torch.set_num_threads(1)
        find_alike(nets[rank], codec, paths[rank], again, Several(rank, 2, 0, 1, torch.device("cpu")))
        return paths[rank].read_text(encoding="utf-8")

    def both(again: bool) -> list[str]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda rank: one(rank, again), range(2)))

    nets = [net(codec), net(codec)]
    torch.nn.init.normal_(nets[1].get_parameter("matrix"))  # what the first one holds counts
    first = both(True)
    assert first == [alike_text(class_rows(nets[0]), codec)] * 2
    torch.nn.init.normal_(nets[0].get_parameter("matrix"))
    paths[0].unlink()  # its machine is a new one, and the stage goes on
    assert both(False) == first
    paths[0].unlink()
    paths[1].unlink()
    assert both(False) == [alike_text(class_rows(nets[0]), codec)] * 2 != first


def test_a_charset_of_one_has_no_look_alikes(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text(alike_text(torch.ones(1, 4), Codec(Charset("一"))), encoding="utf-8")
    assert (read_near(path, Charset("一")) == -1).all()
