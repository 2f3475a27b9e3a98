"""What is done at the page is done once, and whoever does it keeps the place."""

from __future__ import annotations

from typing import Any

import pytest

from tests.journals import decision

from .stage import Stage
from .test_page import row

pytestmark = pytest.mark.slow

ACTIVE = "document.activeElement.getAttribute('aria-label')"


def test_a_key_that_is_held_is_taken_once(stage: Stage, visits: Any) -> None:
    page = visits(stage).open()
    page.wait_for_selector(row("ollama/qwen3:8b"))
    page.focus(row("ollama/qwen3:8b"))
    sent: list[str] = []
    page.on("request", lambda request: sent.append(f"{request.method} {request.url}"))
    for _ in range(20):  # each but the first is a repeat
        page.keyboard.down("p")
    page.keyboard.up("p")
    page.wait_for_selector("#said :text('ollama/qwen3:8b is pinned')")
    page.wait_for_selector(f"{row('ollama/qwen3:8b')} .pin:visible")
    assert len([each for each in sent if each.endswith("/pin")]) == 1
    assert stage.site.loop.keeping.pins.names == {"ollama/qwen3:8b"}


def test_a_button_that_becomes_another_keeps_the_focus(stage: Stage, visits: Any) -> None:
    page = visits(stage).open()
    page.focus("[aria-label='Pin ollama/qwen3:8b']")
    page.keyboard.press("Enter")
    page.wait_for_selector("[aria-label='Unpin ollama/qwen3:8b']")
    assert page.evaluate(ACTIVE) == "Unpin ollama/qwen3:8b"
    page.keyboard.press("Enter")
    page.wait_for_selector("[aria-label='Pin ollama/qwen3:8b']")
    assert page.evaluate(ACTIVE) == "Pin ollama/qwen3:8b"


def test_a_token_that_no_header_can_carry_is_asked_for_again(stage: Stage, visits: Any) -> None:
    visit = visits(stage)
    visit.page.add_init_script("sessionStorage.setItem('ullage-token', 'a\u200bb')")
    page = visit.open()
    page.wait_for_selector(row("ollama/qwen3:8b"))
    assert page.is_hidden("dialog")


def test_older_decisions_come_once_however_often_they_are_asked_for(
    stage: Stage, visits: Any
) -> None:
    for n in range(1, 41):
        stage.do(stage.site.loop.journal.record(decision(f"d-{n:06}")))
    page = visits(stage).open()
    page.wait_for_selector("#decisions li >> nth=14")
    page.dblclick("#decisions button:text-is('Older ones')")
    page.wait_for_selector("#decisions li >> nth=29")
    page.wait_for_timeout(300)
    assert page.evaluate("document.querySelectorAll('#decisions li').length") == 30
    page.click("#decisions button:text-is('Older ones')")
    page.wait_for_selector("#decisions li >> nth=39")
    assert page.evaluate("document.querySelectorAll('#decisions li').length") == 40
