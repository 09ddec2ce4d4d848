"""A real browser without a window, for tests of pages."""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver

from tools import screen_page

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)
Found = TypeVar("Found")


def find_browser() -> tuple[str, str]:
    """Chromium and its driver. Where they are missing the test is skipped, but fails in CI."""
    program = screen_page.find_browser()
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        words = "no browser was found: apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(words)
        raise AssertionError
    return program, driver


class Browser:
    """One window. ``driver`` is selenium's."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def tell(self, method: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(method, parameters)

    def run(self, script: str, *values: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *values)

    def one(self, selector: str) -> Any:
        """The first element of a CSS selector."""
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        """All elements of a CSS selector."""
        return self.driver.find_elements("css selector", selector)

    def until(self, condition: Callable[[], Found]) -> Found:
        """Wait until a condition holds; what it gave."""
        end = time.monotonic() + 30
        while not (found := condition()):
            assert time.monotonic() < end, self.run("return document.body.innerText")
            time.sleep(0.02)
        return found

    def screen(self, width: int, height: int, scheme: str = "light") -> None:
        """Be a screen of that size, px, that prefers light or dark."""
        self.tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def drop(self, selector: str, *files: Path) -> None:
        """Drop files on an element, as from a file manager."""
        box = self.run(
            "const b = document.querySelector(arguments[0]).getBoundingClientRect(); return [b.x, b.y]", selector
        )
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.tell("Input.dispatchDragEvent", type=kind, x=box[0] + 20, y=box[1] + 20, data=data)

    def picture(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self.tell("Page.captureScreenshot")["data"])

    def log(self) -> list[dict[str, Any]]:
        """What was written to the console since the last call."""
        return list(self.driver.get_log("browser"))

    def requests(self) -> list[str]:
        """URLs that were asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@contextmanager
def browser(folder: Path, language: str = "en-US") -> Iterator[Browser]:
    """A browser of a person of that language; its files are in ``folder``."""
    program, driver = find_browser()
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={folder / 'profile'}")
    options.add_argument(f"--lang={language}")
    options.add_experimental_option("prefs", {"intl.accept_languages": language})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    window = webdriver.Chrome(options=options, service=Driver(driver))
    try:
        opened = Browser(window)
        opened.tell("Emulation.setFocusEmulationEnabled", enabled=True)  # the clipboard is for pages in focus only
        yield opened
    finally:
        window.quit()
