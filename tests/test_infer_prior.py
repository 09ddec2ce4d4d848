"""What is likely in text tips the scales where the network hesitates, in lines that are text, and nowhere else.

pytest tests/test_infer_prior.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from service import service

from gen.charset import Charset, load_charset, script_of
from gen.errors import UserError
from infer import Recognizer
from infer.backend import Frames
from infer.context import END, UNKNOWN, attraction, kind_of
from infer.decode import decode
from infer.prior import COMMONEST, POWER, SLIGHT, SURE, UNSEEN, Prior, frequency, open_prior
from train.codec import Codec

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "infer" / "samples"
CODEC = Codec(load_charset(None))
FEW = Codec(Charset("的一是不了。°，·口囗㐀㐁㐂㐃㐄㐅㐆㐇㐈㐌㐖㐜㐡㐤㐨㐩㐫"))
PRIOR = open_prior(CODEC, "auto")


def frames(*lines: list[dict[str, float]], codec: Codec = CODEC) -> Frames:
    """Frames next to one another, of one line or of several; what is missing of 1 is blank."""
    place = [(line, frame) for line, chars in enumerate(lines) for frame, char in enumerate(chars) if char]
    chances = np.zeros((len(place), codec.classes), np.float32)
    for row, (line, frame) in zip(chances, place):
        for char, chance in lines[line][frame].items():
            row[codec.characters.index(char)] = chance
    return Frames(*np.array(place, np.int64).reshape(-1, 2).T, chances)


def read(which: str, *lines: list[dict[str, float]], own: int = 99) -> list[str]:
    """What lines say of which the first ``own`` frames are their own."""
    counts = np.array([min(own, len(line)) for line in lines])
    found = decode(frames(*lines), counts, open_prior(CODEC, which))  # type: ignore[arg-type]
    return ["".join(CODEC.characters[each.number] for each in line) for line in found]


def sure(text: str) -> list[dict[str, float]]:
    return [{char: 0.99} for char in text]


def spread(line: list[dict[str, float]]) -> list[dict[str, float]]:
    """With a blank frame before each character."""
    return [frame for char in line for frame in ({}, char)]


STOP = {"°": 0.6, "。": 0.3}
ALONE = np.zeros(1, bool)


def test_a_text_ends_with_a_full_stop() -> None:
    line = [*sure("的是不了"), STOP]
    assert read("none", line) == ["的是不了°"]
    assert read("auto", line) == read("text", line) == ["的是不了。"]


@pytest.mark.parametrize(
    "other",
    [
        "㐀㐁㐂㐃㐄㐅㐆",
        "龘靐齉爩",
        "的了㐀㐁㐂㐃㐄",
        "不了",
        "A1B2C3D4",
        "20261326",
        "",
        "ab",
        "abcDEFGH",
        "a3f0bcd9e1f",
    ],
)
def test_lines_that_are_no_text_are_left_as_they_were_seen(other: str) -> None:
    line = [*sure(other), STOP]
    assert read("auto", line) == read("none", line) == [f"{other}°"]
    assert read("text", line) == [f"{other}。"]


@pytest.mark.parametrize("which", ["auto", "text"])
@pytest.mark.parametrize("other", ["㐀㐁㐂㐃㐄㐅㐆", "", "的是不了"])
def test_unless_it_is_sure_small_ideographs_are_no_annotations(which: str, other: str) -> None:
    for char, read_as in (({"㆖": 0.5, "上": 0.4}, "上"), ({"㆖": 0.95, "上": 0.05}, "㆖"), ({"㆖": 0.8}, "㆖")):
        assert read(which, [*sure(other), char]) == [other + read_as]
        assert read("none", [*sure(other), char]) == [f"{other}㆖"]


def test_words_are_text() -> None:
    for word, which in (("pytn", "o"), ("PYTN", "O"), ("pyABCD", "O")):
        line = spread([*sure(word[:3]), {"O": 0.5, "o": 0.4}, *sure(word[3:])])
        assert read("auto", line) == [word[:3] + which + word[3:]]


def test_a_line_is_read_alike_whatever_it_is_read_with() -> None:
    text, other = [*sure("的是不了"), STOP], [*sure("㐀㐁㐂㐃㐄㐅㐆㐇㐈㐌㐖㐜㐡㐤"), STOP]
    alone = read("auto", text) + read("auto", other)
    assert alone == ["的是不了。", "㐀㐁㐂㐃㐄㐅㐆㐇㐈㐌㐖㐜㐡㐤°"]
    assert read("auto", text, other) == alone
    assert read("auto", other, text, text) == [alone[1], alone[0], alone[0]]


def test_frames_behind_a_line_do_not_count() -> None:
    assert read("auto", [*sure("㐀㐁㐂㐃"), STOP, *sure("的是不了在有的是不了")], own=5) == ["㐀㐁㐂㐃°"]
    assert read("auto", [*sure("的是不了"), STOP, *sure("㐀㐁㐂㐃㐄㐅㐆㐇㐈")], own=5) == ["的是不了。"]


def test_what_the_network_is_sure_of_stays() -> None:
    assert read("text", [*sure("的"), {"°": 0.93, "。": 0.07}, *sure("囗")]) == ["的°囗"]


def test_letters_and_digits_are_alike() -> None:
    line = [*sure("的是不了"), {"O": 0.4, "0": 0.35, "o": 0.2}, {"I": 0.4, "1": 0.3, "l": 0.2}]
    assert read("text", line) == ["的是不了OI"]


def test_what_becomes_alike_is_one_character() -> None:
    """The network took the two halves of a full stop for two signs; behind a blank it is another one."""
    prior = open_prior(CODEC, "text")
    for halves in ([{"。": 0.7, "°": 0.3}, STOP], [STOP, {"。": 0.7, "°": 0.3}]):
        (found,) = decode(frames(halves), np.array([2]), prior)
        assert [CODEC.characters[each.number] for each in found] == ["。"]
        assert found[0].middle == 1
        seen = frames(halves).chances
        assert prior is not None
        rows = prior.again(seen, np.arange(2), seen.argmax(axis=1), np.zeros(2, np.int64), np.array([False, True]))
        assert found[0].chance == max(row.max() for row in rows.values())
        apart = frames(halves)
        apart.frame[1] = 2
        assert len(decode(apart, np.array([3]), prior)[0]) == 2


def test_other_readings_are_those_of_text() -> None:
    ((*_, stop),) = decode(frames([*sure("的是不了"), {"°": 0.5, "。": 0.3, "口": 0.1}]), np.array([5]), PRIOR)
    assert CODEC.characters[stop.number] == "。"
    assert [CODEC.characters[number] for number, _ in stop.others] == ["°", "口"]
    assert stop.chance + sum(chance for _, chance in stop.others) == pytest.approx(0.9)  # the rest is blank


def test_what_may_be_anything_stays_unsure() -> None:
    seen = np.full((1, CODEC.classes), 0.7 / CODEC.classes, np.float32)
    seen[0, CODEC.characters.index("我")] = 0.3
    rows = Prior(CODEC, "text").again(seen, np.zeros(1, np.int64), seen.argmax(axis=1), np.zeros(1, np.int64), ALONE)
    assert rows[0].max() == rows[0].sum() == pytest.approx(0.3, rel=1e-3)


def test_a_small_alphabet_tells_enough() -> None:
    allowed = np.zeros(CODEC.classes, bool)
    allowed[:500] = True
    assert open_prior(CODEC, "auto", allowed) is None
    assert open_prior(FEW, "auto") is None
    assert open_prior(CODEC, "text", allowed) is not None
    assert open_prior(CODEC, "auto", ~allowed) is not None


@pytest.mark.parametrize(
    ("before", "doubtful", "after", "expected"),
    [
        ("老板娘", {"—": 0.5, "一": 0.3}, "边收钱", "一"),
        ("老板娘—", {"―": 0.5, "—": 0.3, "一": 0.02}, "边收钱", "—"),
        ("不是第", {"一": 0.4, "—": 0.4}, "次", "一"),
        ("用命令pyth", {"O": 0.5, "o": 0.3, "0": 0.2}, "n运行", "o"),
        ("用命令PYTH", {"o": 0.4, "O": 0.3, "0": 0.3}, "N运行", "O"),
        ("电话号码是28", {"O": 0.4, "0": 0.3, "o": 0.2}, "17", "0"),
        ("这是我的书", {",": 0.5, "，": 0.3}, "不是你的", "，"),
        ("我們把書", {"带": 0.5, "帶": 0.4}, "來給老師", "帶"),
        ("我们把书", {"帶": 0.5, "带": 0.4}, "来给老师", "带"),
        ("的是", {"帶": 0.5, "带": 0.4}, "了不", "帶"),
        ("我們的是", {"带": 0.5, "帶": 0.4}, "了不", "帶"),
        ("卡尔", {"·": 0.5, "，": 0.05}, "马克思是不是", "·"),
        ("他说—", {"―": 0.5, "—": 0.3, "一": 0.02}, "我们走的", "—"),
        ("二", {"〇": 0.5, "O": 0.2, "0": 0.2}, "二六年的时候", "〇"),
    ],
)
def test_neighbours_and_script_tell(before: str, doubtful: dict[str, float], after: str, expected: str) -> None:
    assert read("auto", spread([*sure(before), doubtful, *sure(after)])) == [before + expected + after]


def test_a_second_look_takes_what_the_first_one_found() -> None:
    line = spread([*sure("不是第的28"), {"O": 0.5, "0": 0.4}, {"l": 0.5, "1": 0.4}])
    assert read("auto", line) == ["不是第的2801"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infer.prior.ROUNDS", 1)
        assert read("auto", line) == ["不是第的280l"]


@given(st.integers(0, 2**32), st.sampled_from([0.3, 1, 3]))
def test_what_is_not_sure_is_weighed_by_all_three(seed: int, hesitation: float) -> None:
    """As the formula says it, a character at a time."""
    rng = np.random.default_rng(seed)
    codec = Codec(Charset("的一了。，°·帶带來来—abAB01Я㐀㐁"))
    chars = codec.characters
    chances = rng.dirichlet(np.full(codec.classes, 0.03 * hesitation), 20).astype(np.float32)
    best, line, touching = chances.argmax(axis=1), np.sort(rng.integers(0, 3, 20)), rng.random(20) < 0.2
    found = Prior(codec, "text").again(chances, np.arange(20), best, line, touching)
    assert set(found) == set(np.flatnonzero(chances.max(axis=1) < SURE).tolist())
    table, often = attraction(), np.array([frequency(char) for char in chars])
    now = [chars[k] for k in best]
    for _ in range(2):
        rows = {}
        for place in found:
            row = np.where(chances[place] > SLIGHT, chances[place], 0) * often**POWER
            others = [k for k in np.flatnonzero(line == line[place]) if k != place]
            before, after = (kind_of(now[place + step]) if place + step in others else END for step in (-1, 1))
            before = UNKNOWN if touching[place] and place - 1 in others else before
            after = UNKNOWN if place + 1 in others and touching[place + 1] else after
            scripts = [script_of(now[k]) for k in others]
            for number, char in enumerate(chars):
                row[number] *= (table[before, kind_of(char)] * table[kind_of(char), after]) ** POWER
                if script := script_of(char):
                    both = len([each for each in scripts if each]) + 2 * UNSEEN
                    row[number] *= (2 * (scripts.count(script) + UNSEEN) / both) ** POWER
            rows[place] = row * chances[place][chances[place] > SLIGHT].sum() / row.sum()
        now = [chars[rows[k].argmax()] if k in rows else now[k] for k in range(20)]
    for place, row in rows.items():
        np.testing.assert_allclose(found[place], row, rtol=1e-3, atol=1e-6)


def test_frequencies_are_those_of_text() -> None:
    order = "，的：x门°【"
    assert [frequency(char) for char in order] == sorted((frequency(char) for char in order), reverse=True)
    assert len(set(map(frequency, "azAZ09.-"))) == 1
    assert frequency("說") > frequency("櫃") == frequency("柜") > frequency("靐") == frequency("㐀") > frequency("Я")
    assert set(COMMONEST) <= set(load_charset(None).chars)
    assert len(set(COMMONEST)) == len(COMMONEST)


@pytest.mark.parametrize("which", ["auto", "text"])
def test_a_line_without_characters(which: str) -> None:
    nothing = Frames(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, CODEC.classes), np.float32))
    assert decode(nothing, np.array([3, 4]), open_prior(CODEC, which)) == [[], []]  # type: ignore[arg-type]


# A line that is read otherwise with the prior.
LIKELY = SAMPLES / "horizontal-screen-0.png", {"none": "查看全部评论（128条)", "auto": "查看全部评论（128条）"}


def test_a_recogniser_has_the_prior_it_was_told() -> None:
    for which, text in LIKELY[1].items():
        assert Recognizer.load(prior=which, looks=1).read([LIKELY[0]])[0].text == text  # type: ignore[arg-type]
    with pytest.raises(UserError, match="prior 'novel' is none of auto, text, none"):
        Recognizer.load(prior="novel")  # type: ignore[arg-type]


def test_the_command_line() -> None:
    for which, text in LIKELY[1].items():
        done = subprocess.run(
            [sys.executable, "-m", "infer", "--prior", which, "--looks", "1", str(LIKELY[0]), "--format", "txt"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout == f"{text}\n"


def test_the_service(tmp_path: Path) -> None:
    for which, text in LIKELY[1].items():
        (tmp_path / which).mkdir()
        with service(tmp_path / which, "--prior", which, "--looks", "1", "--workers", "1") as served:
            assert served.upload(LIKELY[0].read_bytes()).text == text
