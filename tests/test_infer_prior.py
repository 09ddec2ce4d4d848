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

from gen.charset import Charset, load_charset
from gen.errors import UserError
from infer import Recognizer
from infer.backend import Frames
from infer.decode import decode
from infer.prior import COMMONEST, POWER, Prior, frequency, open_prior
from train.codec import Codec

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "infer" / "samples"
CODEC = Codec(load_charset(None))
FEW = Codec(Charset("的一是不了。°，·口囗㐀㐁㐂㐃㐄㐅㐆㐇㐈㐌㐖㐜㐡㐤㐨㐩㐫"))
NUMBER = {char: number for number, char in enumerate(CODEC.characters)}


def frames(*chars: dict[str, float]) -> Frames:
    """Frames next to one another in one line; what is missing of 1 is spread over all classes."""
    chances = np.zeros((len(chars), CODEC.classes), np.float32)
    for row, values in zip(chances, chars):
        row += (1 - sum(values.values())) / CODEC.classes
        for char, chance in values.items():
            row[NUMBER[char]] += chance
    return Frames(np.zeros(len(chars), np.int64), np.arange(len(chars)), chances)


def read(which: str, *chars: dict[str, float]) -> str:
    found = decode(frames(*chars), np.array([len(chars)]), open_prior(CODEC, which))  # type: ignore[arg-type]
    return "".join(CODEC.characters[each.number] for each in found[0])


STOP = {"°": 0.6, "。": 0.4}


def test_a_text_ends_with_a_full_stop() -> None:
    text = [{char: 0.99} for char in "的是不"]
    assert read("none", *text, STOP) == "的是不°"
    assert read("auto", *text, STOP) == read("text", *text, STOP) == "的是不。"


def test_lines_of_rare_characters_are_left_as_they_were_seen() -> None:
    rare = [{char: 0.99} for char in "㐀㐁㐂㐃㐄㐅㐆"]
    assert read("auto", *rare, STOP) == read("none", *rare, STOP) == "㐀㐁㐂㐃㐄㐅㐆°"
    assert read("text", *rare, STOP) == "㐀㐁㐂㐃㐄㐅㐆。"


def test_what_the_network_is_sure_of_stays() -> None:
    assert read("text", {"的": 0.99}, {"°": 0.999}, {"囗": 0.97}) == "的°囗"


def test_what_becomes_alike_is_one_character() -> None:
    """The network took the two halves of a full stop for two signs; behind a blank it is another one."""
    wanted = np.array([2])
    prior = open_prior(CODEC, "text")
    (found,) = decode(frames({"。": 0.7, "°": 0.3}, STOP), wanted, prior)
    assert [CODEC.characters[each.number] for each in found] == ["。"]
    assert found[0].middle == 1
    assert found[0].chance > 0.9
    apart = frames({"。": 0.7, "°": 0.3}, STOP)
    apart.frame[1] = 2
    assert len(decode(apart, np.array([3]), prior)[0]) == 2


@given(st.integers(0, 2**32), st.sampled_from([0.3, 1, 3]))
def test_only_where_nothing_can_change_there_is_no_second_look(seed: int, hesitation: float) -> None:
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.full(FEW.classes, 0.02 * hesitation), 20).astype(np.float32)
    best = chances.argmax(axis=1)
    found = Prior(FEW, "text").again(chances, np.arange(20), best, np.zeros(20, np.int64))
    for number, row in enumerate(chances):
        often = np.array([frequency(char) for char in FEW.characters]) ** POWER
        expected = row * often / (row * often).sum()
        if number in found:
            np.testing.assert_allclose(found[number], expected, rtol=1e-3, atol=1e-6)
        else:
            assert expected.argmax() == best[number]


def test_frequencies_are_those_of_text() -> None:
    order = "，的：x门【㐨"
    assert [frequency(char) for char in order] == sorted((frequency(char) for char in order), reverse=True)
    assert frequency("。") > 1000 * frequency("°")
    assert frequency("說") > frequency("靐")
    every = load_charset(None).chars
    assert set(COMMONEST) <= set(every)
    assert len(set(COMMONEST)) == len(COMMONEST)
    assert 0.5e6 < sum(map(frequency, every)) < 2e6  # of a million


@pytest.mark.parametrize("which", ["auto", "text"])
def test_a_line_without_characters(which: str) -> None:
    nothing = Frames(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, CODEC.classes), np.float32))
    assert decode(nothing, np.array([3, 4]), open_prior(CODEC, which)) == [[], []]  # type: ignore[arg-type]


def test_a_recogniser_has_the_prior_it_was_told() -> None:
    """Of the packaged weights, which take 日 in this image for 曰."""
    for which, day in (("none", "曰"), ("auto", "日")):
        (reading,) = Recognizer.load(prior=which).read([SAMPLES / "vertical-7.png"])  # type: ignore[arg-type]
        assert reading.text == f"本品含维生素C，每{day}1～2片"
        assert "日" in {reading.chars[9].text, *(other for other, _ in reading.chars[9].alternatives)}
    with pytest.raises(UserError, match="prior 'novel' is none of auto, text, none"):
        Recognizer.load(prior="novel")  # type: ignore[arg-type]


def test_the_command_line() -> None:
    for which, day in (("none", "曰"), ("text", "日")):
        done = subprocess.run(
            [sys.executable, "-m", "infer", "--prior", which, str(SAMPLES / "vertical-7.png"), "--format", "txt"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout == f"本品含维生素C，每{day}1～2片\n"
