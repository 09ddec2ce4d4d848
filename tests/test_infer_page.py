"""The page of the service in a real browser."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser, browser
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from service import Service, encode, model, picture, service

from infer import Recognizer

ROW, COLUMN = picture(3, 32, 240), picture(4, 240, 32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def served(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    flags = ("-l", str(weights), "-v", str(weights), "--max-body", "200k")
    with service(tmp_path_factory.mktemp("served"), *flags) as running:
        yield running


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def page(window: Browser, served: Service) -> Iterator[Browser]:
    """The page, freshly opened on a desktop; it must not have asked other hosts, nor complained."""
    window.screen(1100, 800)
    window.requests()
    window.driver.get(served.url)
    yield window
    asked = [url for url in window.requests() if not url.startswith(("data:", "blob:"))]
    assert asked
    assert all(url.startswith(f"{served.url}/") for url in asked), asked
    complaints = [entry["message"] for entry in window.log()]
    assert all("the server responded with a status of 4" in text for text in complaints), complaints


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    contents = {
        "row.png": encode(ROW), "column.png": encode(COLUMN), "other.jpg": encode(picture(5, 64, 500), "JPEG"),
        "scan.tif": encode(ROW, "TIFF"), "notes.png": b"hello", "large.png": b"x" * 300_000,
    }  # fmt: skip
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in contents}


@pytest.fixture(scope="module")
def recognizer(weights: Path) -> Recognizer:
    return Recognizer.load(weights)


def lines(page: Browser, count: int) -> list[Any]:
    """The lines of the page, once there are so many."""
    return page.until(lambda: found if len(found := page.all("#lines > li")) == count else [])


def text(line: Any) -> str:
    return "".join(char.get_attribute("textContent") for char in line.find_elements("css selector", ".char"))


def status(page: Browser) -> str:
    return str(page.one("#status").text)


def test_a_dropped_file(page: Browser, files: dict[str, Path], recognizer: Recognizer) -> None:
    page.drop(".place", files["row.png"])
    expected = recognizer.read([ROW])[0]
    (line,) = lines(page, 1)
    assert text(line) == expected.text
    assert line.find_element("css selector", ".name").text == "row.png"
    assert page.run("return arguments[0].querySelector('img').naturalWidth", line) == 240
    page.until(lambda: status(page) == "1 line read")
    assert page.run("return document.body.className") == ""  # nothing is being dragged any more


def test_dropped_anywhere_several_in_their_order(page: Browser, files: dict[str, Path]) -> None:
    page.drop("h1", files["row.png"])
    lines(page, 1)
    page.drop("h1", files["other.jpg"], files["scan.tif"], files["column.png"])
    found = lines(page, 4)
    names = [line.find_element("css selector", ".name").text for line in found]
    assert names == ["other.jpg", "scan.tif", "column.png", "row.png"]
    assert text(found[1]) == text(found[3])  # it cannot be shown, but read
    assert not found[1].find_elements("css selector", "img")
    page.one("#clear").click()
    assert not page.all("#lines > li")
    assert not page.one("#all").is_displayed()


def test_chosen_files(page: Browser, files: dict[str, Path], recognizer: Recognizer) -> None:
    page.one("#files").send_keys(f"{files['row.png']}\n{files['other.jpg']}")
    first, second = lines(page, 2)
    assert text(first) == recognizer.read([ROW])[0].text
    assert text(second) == recognizer.read([files["other.jpg"]])[0].text
    page.one("#files").send_keys(str(files["row.png"]))  # the same once more
    lines(page, 3)


PUT = """
const done = arguments[arguments.length - 1];
const bytes = Uint8Array.from(atob(arguments[0]), (char) => char.charCodeAt(0));
const items = { [arguments[1]]: new Blob([bytes], { type: arguments[1] }) };
navigator.clipboard.write([new ClipboardItem(items)]).then(() => done(""), (error) => done(String(error)));
"""


def copy_and_paste(page: Browser, served: Service, data: bytes, kind: str) -> None:
    """Put something into the clipboard as another program would, and press Ctrl-V."""
    permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    page.tell("Browser.grantPermissions", origin=served.url, permissions=permissions)
    assert page.driver.execute_async_script(PUT, base64.b64encode(data).decode(), kind) == ""
    ActionChains(page.driver).key_down(Keys.CONTROL).send_keys("v").key_up(Keys.CONTROL).perform()


def test_a_pasted_image(page: Browser, served: Service, recognizer: Recognizer) -> None:
    copy_and_paste(page, served, encode(ROW), "image/png")
    (line,) = lines(page, 1)
    assert text(line) == recognizer.read([ROW])[0].text
    assert line.find_element("css selector", ".name").text == "pasted image"
    copy_and_paste(page, served, b"words", "text/plain")
    page.until(lambda: status(page).startswith("That was no image file."))
    lines(page, 1)


def test_a_wrong_file(page: Browser, files: dict[str, Path]) -> None:
    page.drop(".place", files["notes.png"], files["large.png"], files["row.png"])
    wrong, large, right = lines(page, 3)
    assert "wrong" in wrong.get_attribute("class")
    assert "This could not be read." in wrong.text
    assert "no image of a known format" in wrong.text
    assert "This file is too large." in large.text
    assert "200,000 bytes" in large.text
    assert text(right)
    page.until(lambda: status(page) == "1 line read; 2 images could not be read")
    assert not wrong.find_element("css selector", ".copy").is_displayed()


def test_a_file_that_went_away(page: Browser, tmp_path: Path) -> None:
    file = tmp_path / "gone.png"
    file.write_bytes(encode(ROW))
    page.drop(".place", file)
    (line,) = lines(page, 1)
    assert text(line)
    file.unlink()
    line.find_element("css selector", ".turn").click()
    page.until(lambda: "This file cannot be opened." in line.text)
    page.log()  # where the browser says so as well


def test_a_vertical_line(page: Browser, files: dict[str, Path], recognizer: Recognizer) -> None:
    page.drop(".place", files["column.png"])
    (line,) = lines(page, 1)
    assert line.get_attribute("class") == "line vertical"
    expected = recognizer.read([COLUMN])[0]
    assert expected.direction == "vertical"
    assert text(line) == expected.text
    chars = line.find_elements("css selector", ".char")
    tops = [char.rect["y"] for char in chars]
    assert tops == sorted(tops)  # it is set from the top down
    assert len({char.rect["x"] // 4 for char in chars}) == 1
    image = line.find_element("css selector", "img").rect
    assert image["height"] > 3 * image["width"]


def test_the_switch_of_directions(page: Browser, files: dict[str, Path], recognizer: Recognizer) -> None:
    page.one("[value=vertical]").send_keys(Keys.SPACE)
    page.drop(".place", files["row.png"])
    (line,) = lines(page, 1)
    vertical, horizontal = (recognizer.read([ROW], way)[0].text for way in ("vertical", "horizontal"))  # type: ignore[call-overload]
    assert vertical != horizontal
    assert text(line) == vertical
    turn = line.find_element("css selector", ".turn")
    assert turn.text == "Read as horizontal"
    turn.click()
    page.until(lambda: text(line) == horizontal)
    assert line.get_attribute("class") == "line horizontal"
    page.one("[value=vertical]").send_keys(Keys.ARROW_LEFT)
    assert page.run("return document.querySelector('[name=direction]:checked').value") == "horizontal"


def test_characters_by_keyboard_and_pointer(page: Browser, files: dict[str, Path], recognizer: Recognizer) -> None:
    expected = recognizer.read([ROW])[0]
    page.drop(".place", files["row.png"])
    (line,) = lines(page, 1)
    detail = line.find_element("css selector", ".detail")
    chars = line.find_elements("css selector", ".char")
    summary = detail.text
    assert "sure" in summary
    doubts = [float(page.run("return arguments[0].style.getPropertyValue('--unsure')", char)) for char in chars]
    assert doubts == pytest.approx([1 - char.score for char in expected.chars], abs=2e-3)
    tints = [char.value_of_css_property("background-color") for char in chars]
    assert len(set(tints)) > 1

    def shown() -> list[str]:
        return [part.text for part in detail.find_elements("css selector", "b")]

    def wanted(number: int) -> list[str]:
        char = expected.chars[number]
        return [char.text, *(other for other, _ in char.alternatives)]

    last = len(chars) - 1
    other = next(k for k in range(last) if wanted(k) != wanted(0))
    stops = [char.get_attribute("tabindex") for char in chars]
    assert stops == ["0", *["-1"] * last]  # one stop of the tab key for the line
    page.one("#clear").send_keys(Keys.TAB)
    for key, number in ((None, 0), (Keys.ARROW_RIGHT, 1), (Keys.END, last), (Keys.ARROW_RIGHT, last), (Keys.HOME, 0)):
        if key:
            page.driver.switch_to.active_element.send_keys(key)
        assert page.driver.switch_to.active_element == chars[number]
        assert shown() == wanted(number)
        label = chars[number].get_attribute("aria-label")
        assert label.startswith(f"{expected.chars[number].text}, ")
        assert "%" in label
        mark, image = line.find_element("css selector", "figure i").rect, line.find_element("css selector", "img").rect
        assert mark["x"] - image["x"] == pytest.approx(expected.chars[number].at / 240 * image["width"], abs=2)
    ActionChains(page.driver).move_to_element(chars[other]).perform()
    assert shown() == wanted(other)
    ActionChains(page.driver).move_to_element(page.one("h1")).perform()
    assert shown() == wanted(0)  # back to what has the focus
    page.one("h1").click()
    assert detail.text == summary


def test_copying(page: Browser, served: Service, files: dict[str, Path], recognizer: Recognizer) -> None:
    page.tell("Browser.grantPermissions", origin=served.url, permissions=["clipboardReadWrite"])
    page.drop(".place", files["row.png"], files["column.png"])
    first, _ = lines(page, 2)
    read = [reading.text for reading in recognizer.read([ROW, COLUMN])]

    def clipboard() -> str:
        script = "const done = arguments[0]; navigator.clipboard.readText().then(done, (error) => done(String(error)))"
        return str(page.driver.execute_async_script(script))

    button = first.find_element("css selector", ".copy")
    wide = button.rect["width"]
    button.click()
    page.until(lambda: button.text == "Copied")
    assert button.rect["width"] == pytest.approx(wide, abs=0.5)
    assert clipboard() == read[0]
    page.one("#copy-all").click()
    page.until(lambda: clipboard() == "\n".join(read))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_sizes_and_schemes(page: Browser, files: dict[str, Path], width: int, scheme: str) -> None:
    """Nothing is cut off or moves; the colours are the scheme's, and can be told apart."""
    page.screen(width, 740, scheme)
    page.driver.refresh()
    page.run("""
        window.moved = 0;
        new PerformanceObserver((list) => { for (const entry of list.getEntries()) window.moved += entry.value; })
          .observe({ type: "layout-shift", buffered: true });
    """)
    page.drop(".place", files["column.png"], files["other.jpg"])
    lines(page, 2)
    page.until(lambda: status(page) == "2 lines read")
    for char in page.all("li .char:first-child") + page.all("li .char:last-child"):
        height = page.run("return document.body.scrollHeight")
        page.run("arguments[0].focus({ preventScroll: true })", char)
        assert page.run("return document.body.scrollHeight") == height
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.run("return window.moved") < 0.01
    pixels = np.asarray(Image.open(io.BytesIO(page.picture())).convert("L"))
    assert pixels.shape == (740, width)
    assert (np.median(pixels) > 200) == (scheme == "light")
    assert np.ptp(pixels) > 180
    ratio = page.run("""
        const light = (text) => {
          const [r, g, b] = text.match(/[\\d.]+/g).map((v) => v / 255).map((v) => v > 0.04045 ? ((v + 0.055) / 1.055) ** 2.4 : v / 12.92);
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const page = light(getComputedStyle(document.body).backgroundColor);
        return [...document.querySelectorAll("h1, .call, .hint, label, legend, button, .detail, .name, #status")].map((node) => {
          const ink = light(getComputedStyle(node).color);
          return (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05);
        });
    """)
    assert min(ratio) >= 4.5  # WCAG 2.2, 1.4.3


def test_everything_has_a_name(page: Browser, files: dict[str, Path]) -> None:
    page.drop(".place", files["row.png"])
    lines(page, 1)
    tree = page.tell("Accessibility.getFullAXTree")["nodes"]
    for node in tree:
        role = node.get("role", {}).get("value")
        if not node["ignored"] and role in ("button", "image", "radio", "textbox", "list", "RootWebArea"):
            assert node["name"]["value"], node


def test_in_chinese(served: Service, files: dict[str, Path], tmp_path: Path) -> None:
    with browser(tmp_path, "zh-CN") as page:
        page.screen(360, 740)
        page.driver.get(served.url)
        assert page.run("return document.documentElement.lang") == "zh-Hans"
        assert page.one("h1").text == "识别中文文本行"
        page.drop(".place", files["row.png"], files["notes.png"])
        lines(page, 2)
        page.until(lambda: status(page) == "已识别 1 行；1 张图片无法识别")
        left = page.run("return document.body.innerText")
        assert not [word for word in ("Drop", "Copy", "Direction", "Read as", "sure") if word in left]


def test_a_key_is_asked_for_once(window: Browser, weights: Path, files: dict[str, Path], tmp_path: Path) -> None:
    with service(tmp_path, "-l", str(weights), "-v", str(weights), "--api-key", "sesame") as served:
        window.driver.get(served.url)
        assert not window.one("#door").is_displayed()
        window.drop(".place", files["row.png"], files["other.jpg"])
        window.until(lambda: window.one("#door").is_displayed())
        for key in ("wrong", "sesame"):
            window.until(lambda: window.one("#door").is_displayed())
            window.one("#key").send_keys(key, Keys.ENTER)
        lines(window, 2)
        window.driver.refresh()
        window.drop(".place", files["row.png"])
        lines(window, 1)
        assert not window.one("#door").is_displayed()
    window.drop(".place", files["row.png"])  # nobody is there any more
    lines(window, 2)
    assert "The server does not answer." in window.all("#lines > li")[0].text
