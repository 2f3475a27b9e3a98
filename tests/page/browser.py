"""A real Chromium for the tests of the page; they are skipped where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
PATIENCE = 60_000  # milliseconds


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser with a profile of its own, as Playwright starts it."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    with driver.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=FLAGS, chromium_sandbox=False)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page that is looked at. What its scripts complain of is in `wrong`."""

    def __init__(self, browser: Any, url: str, **how: Any) -> None:
        how = {"viewport": {"width": 1280, "height": 900}} | how
        self.context = browser.new_context(**how)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", self._heard)
        self.url = url

    def _heard(self, message: Any) -> None:
        """A refused or failed request is logged by the browser itself, and may be meant."""
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.wrong.append(message.text)

    def open(self) -> Any:
        """The page, once it shows a state and is live."""
        self.page.goto(self.url)
        self.page.wait_for_selector("main:not([aria-busy])")
        self.page.wait_for_selector("#standing[data-is=live]")
        return self.page

    def close(self) -> None:
        self.context.close()
