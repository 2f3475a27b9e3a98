"""Takes the pictures of the README from what really runs: `ullage demo --serve`, its page in a
browser, and `ullage top`.

`python -m deploy.pictures [FOLDER]`. Needs Playwright and a Chromium; without them only the
dashboard's picture is taken.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

from supervisor.cli.client import Client
from supervisor.top.app import Top
from supervisor.top.look import Look
from supervisor.top.watch import Lost, Watch

FOLDER = Path(__file__).with_name("pictures")
SPEED = 5
STORY = 33.0  # seconds of the story after which much is to be seen
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# Textual's pictures have their font fetched from elsewhere; any monospaced one will do.
FONTS = re.compile(r"@font-face \{.*?\}", re.DOTALL)
SIZE = {"width": 1280, "height": 1000}


@contextmanager
def demo() -> Iterator[str]:
    """The address of a demo that is well under way."""
    command = [sys.executable, "-m", "supervisor", "demo", "--serve", "--port", "0"]
    with subprocess.Popen(
        [*command, "--speed", str(SPEED)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            if found is None:
                raise RuntimeError("the demo did not start")
            sleep(STORY / SPEED)
            yield found[0]
        finally:
            process.terminate()


def page(url: str, folder: Path) -> list[Path]:
    """The page by day and by night. None where there is no browser."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        browser = None
    if browser is None:
        print("no browser, or no Playwright: the page is not pictured", file=sys.stderr)
        return []
    taken = []
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, chromium_sandbox=False)
        for scheme in ("light", "dark"):
            shown = chromium.new_page(viewport=SIZE, color_scheme=scheme)  # type: ignore[arg-type]
            shown.goto(url)
            shown.wait_for_selector("main:not([aria-busy])")
            shown.wait_for_selector("canvas")
            taken.append(folder / f"page-{scheme}.png")
            shown.screenshot(path=taken[-1])
        chromium.close()
    return taken


async def top(url: str, folder: Path) -> Path:
    """The dashboard, in a terminal of 100 columns."""
    client = Client(url)
    first = Watch(client, 1.0, lambda _: None).look()
    if isinstance(first, Lost):
        raise first.error
    dashboard = Top(client, first, every=1.0, look=Look(True, True), theme="textual-dark")
    async with dashboard.run_test(size=(100, 30)) as pilot:
        await pilot.pause(2.0)
        picture = folder / "top.svg"
        drawn = dashboard.export_screenshot(title="ullage top")
        picture.write_text(FONTS.sub("", drawn))
    return picture


def main(words: list[str]) -> int:
    folder = Path(words[0]) if words else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with demo() as url:
        taken = [*page(url, folder), asyncio.run(top(url, folder))]
    for each in taken:
        print(each)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
