"""Images decoded ahead: in order, a bounded number of them, and whatever happens the thread ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from infer import ahead
from infer.ahead import Ahead
from infer.images import ImageError


def image(name: str) -> NDArray[np.uint8]:
    """As many pixels as the name says; a name of letters is no image."""
    if not name.isdecimal():
        raise ImageError("is no image", name)
    return np.zeros((1, int(name)), np.uint8)


names = st.lists(
    st.one_of(st.integers(1, 90).map(str), st.just("bad"), st.just(ImageError("is empty", "folder"))), max_size=40
)


@settings(max_examples=60)
@given(names, st.integers(1, 9))
def test_everything_comes_in_order_and_little_at_a_time(given: list[str | ImageError], most: int) -> None:
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead, "MOST_PIXELS", 100)
        with Ahead(iter(given), image, most) as chunks:
            for chunk in chunks:
                sizes = [0 if isinstance(each.image, ImageError) else each.image.size for each in chunk]
                assert 0 < len(chunk) <= most
                assert sum(sizes) <= 100
                found += chunk
    assert [each.name for each in found] == [name.name if isinstance(name, ImageError) else name for name in given]
    for name, each in zip(given, found):
        assert each.tried == isinstance(name, str)
        if name == "bad" or not each.tried:
            assert isinstance(each.image, ImageError)
        else:
            assert isinstance(each.image, np.ndarray)
            assert each.image.size == int(name)  # type: ignore[arg-type]


def test_an_image_may_be_larger_than_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "MOST_PIXELS", 10)
    with Ahead(iter(["5", "50", "5"]), image, 9) as chunks:
        assert [each.name for chunk in chunks for each in chunk] == ["5", "50", "5"]


def test_it_decodes_no_further_than_it_may() -> None:
    """With nobody to take them, ``most`` images wait, and one more may be on the way."""
    decoded, enough = [], threading.Event()

    def load(name: str) -> NDArray[np.uint8]:
        decoded.append(name)
        if len(decoded) == 4:
            enough.set()
        return image(name)

    with Ahead(map(str, range(1, 100)), load, 3) as chunks:
        assert enough.wait(60)
        assert len(next(iter(chunks))) == 3
    assert not chunks._thread.is_alive()
    assert len(decoded) <= 8


def test_the_first_image_does_not_wait_for_others() -> None:
    more = threading.Event()

    def slow() -> Iterator[str]:
        yield "1"
        assert more.wait(60)
        yield "2"

    with Ahead(slow(), image, 9) as chunks:
        each = iter(chunks)
        assert [loaded.name for loaded in next(each)] == ["1"]
        more.set()
        assert [loaded.name for loaded in next(each)] == ["2"]
        assert next(each, None) is None


def test_an_error_of_the_names_is_raised_behind_what_came_before() -> None:
    def broken() -> Iterator[str]:
        yield "1"
        raise OSError(5, "Input/output error")

    with Ahead(broken(), image, 9) as chunks:
        each = iter(chunks)
        assert [loaded.name for loaded in next(each)] == ["1"]
        with pytest.raises(OSError, match="Input/output"):
            next(each)
    assert not chunks._thread.is_alive()


def test_a_thread_that_waits_for_ever_holds_nobody_up() -> None:
    """Also not the end of the program: it is a daemon."""
    never = threading.Event()

    def stuck() -> Iterator[str]:
        never.wait()
        yield "1"

    with pytest.raises(KeyboardInterrupt), Ahead(stuck(), image, 9) as chunks:
        raise KeyboardInterrupt
    assert chunks._thread.daemon
    never.set()
    chunks._thread.join()
