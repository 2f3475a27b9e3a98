"""Who changed what, on the page: asked for when it is opened, by whoever may see it."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import httpx
import pytest

from supervisor.config.entrusted import OPERATE, Entrusted, included
from supervisor.web.trail import PATH

from .stage import Stage
from .test_page import TOKEN, complaints

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=window.hit=1>\u202etxt"
SUMMARY = "#audit > details > summary"
ENTRY = "#audit li summary"


def post(stage: Stage, path: str, **body: object) -> int:
    return httpx.post(f"{stage.url}api/v1/{path}", json=body).status_code


def asked(page: Any) -> list[str]:
    """From now on, what the page asks of the audit trail."""
    found: list[str] = []
    page.on("request", lambda r: found.append(r.url) if PATH in r.url else None)
    return found


def test_what_is_changed_is_listed_as_it_happens_once_the_list_is_open(
    stage: Stage, visits: Any
) -> None:
    visit = visits(stage)
    calls = asked(visit.page)
    page = visit.open()
    assert post(stage, "pin", model="ollama/qwen3:8b") == 200
    page.wait_for_selector(".pin:visible")
    assert calls == [], "nobody has opened it"
    page.click(SUMMARY)
    page.wait_for_selector(f"{ENTRY}:has-text('local: post_pin'):has-text('done')")
    assert post(stage, "evict", models=["llama3:70b"], wait=False, force=True) == 200
    page.wait_for_selector(f"{ENTRY}:has-text('local: post_evict')")
    assert "post_evict" in page.inner_text(f"{ENTRY} >> nth=0"), "the latest first"
    page.click(f"{ENTRY} >> nth=0")
    page.wait_for_selector("#audit .told code:has-text('\"force\": true')")
    assert "from 127.0.0.1, answered with 200" in page.inner_text("#audit details[open] .told")
    page.click("#audit button:has-text('What was decided: d-000001')")
    page.wait_for_selector("dialog li:has-text('llama3:70b')")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.click(SUMMARY)  # closed again
    page.wait_for_selector(ENTRY, state="hidden")
    before = len(calls)
    assert post(stage, "unpin", model="ollama/qwen3:8b") == 200
    page.wait_for_selector(".pin:visible", state="detached")
    assert len(calls) == before


def test_who_is_refused_is_one_entry_that_counts(stage: Stage, visits: Any) -> None:
    page = visits(stage).open()
    page.click(SUMMARY)
    page.wait_for_selector("#audit :text('Nobody has changed anything.'):visible")
    for _ in range(3):
        headers = {"Origin": "https://evil.example"}
        reply = httpx.post(f"{stage.url}api/v1/pause", json={}, headers=headers)
        assert reply.status_code == 403
    assert post(stage, "pause") == 200  # of which the page hears
    page.wait_for_selector("#facts .badge:text-is('paused')")
    page.wait_for_selector(f"{ENTRY}:has-text('refused, 3 times')")
    assert page.locator(ENTRY).count() == 2
    page.locator(f"{ENTRY}:has-text('refused')").click()
    page.wait_for_selector("#audit .told:has-text('answered with 403, the first time at')")


def test_the_latest_are_shown_and_the_older_ones_when_they_are_asked_for(
    stage: Stage, visits: Any
) -> None:
    for _ in range(13):
        assert post(stage, "pin", model="ollama/qwen3:8b") == 200
        assert post(stage, "unpin", model="ollama/qwen3:8b") == 200
    page = visits(stage).open()
    page.click(SUMMARY)
    page.wait_for_selector(f"{ENTRY} >> nth=19")
    assert page.locator(ENTRY).count() == 20
    page.click("#audit button:text-is('Older ones')")
    page.wait_for_selector(f"{ENTRY} >> nth=25")
    assert not page.is_visible("#audit button:text-is('Older ones')")
    assert post(stage, "pin", model="ollama/qwen3:8b") == 200
    page.wait_for_selector(f"{ENTRY} >> nth=26")
    assert not page.is_visible("#audit button:text-is('Older ones')")


def test_what_somebody_asks_for_is_text_and_fits_a_phone(stage: Stage, visits: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-core is not installed")
    assert post(stage, "pin", model=HOSTILE) == 404
    assert post(stage, "pin", model="x" * 300) == 404
    assert post(stage, "evict", models=["ollama/qwen3:8b"], wait=False) == 200
    phone = {"width": 320, "height": 640}
    page = visits(stage, color_scheme="light", reduced_motion="reduce", viewport=phone).open()
    page.click(SUMMARY)
    page.wait_for_selector(f"{ENTRY} >> nth=2")
    page.evaluate("document.querySelectorAll('#audit details').forEach((d) => (d.open = true))")
    assert page.locator("img").count() == 1, "our own sign"
    assert page.evaluate("window.hit === undefined")
    assert "onerror" in page.inner_text("#audit")
    assert "\u202e" not in page.inner_text("#audit")
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    page.evaluate(axe.AXE_SCRIPT)
    for theme in ("light", "dark"):
        page.select_option("#theme", theme)
        assert complaints(page) == [], theme


def test_whoever_may_not_see_it_is_told_so_and_nobody_is_asked(visits: Any) -> None:
    known = Entrusted("desk", sha256(TOKEN.encode()).digest(), included((OPERATE,)))
    stage = Stage(entrusted=(known,))
    stage.start()
    try:
        page = visits(stage).page
        calls = asked(page)
        page.goto(stage.url)
        page.wait_for_selector("dialog input")
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("#standing[data-is=live]")
        page.click("#settings > details > summary")
        page.wait_for_selector(
            "#settings [data-needs=admin][data-denied]:not([hidden])"
        )  # it knows who it is
        page.click(SUMMARY)
        page.wait_for_selector("#audit :text('This needs admin, and the token desk has operate.')")
        assert calls == []
    finally:
        stage.stop()
        stage.close()
