"""Alerts on the page: they come in over the API, are acted on, and are shown with what became."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import httpx
import pytest

from collectors.reading import gib
from supervisor.config.alerted import ActionConfig, AlertsConfig, Kind
from supervisor.config.entrusted import WRITE, Entrusted
from supervisor.core.policy import Amount

from .stage import Stage
from .test_page import TOKEN, complaints, row

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=window.hit=1>\u202etxt"
ACTIONS = (
    ActionConfig(
        "make-room",
        Kind.EVICT,
        {"alertname": "HeadroomLow"},
        models=("ollama/qwen3:8b",),
        below=Amount(size=gib(1000)),
    ),
    ActionConfig("keep-some", Kind.PIN, {"alertname": "Keep"}, models=("ollama/llama3:70b",)),
)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage(alerts=AlertsConfig(actions=ACTIONS)) as made:
        yield made


def send(stage: Stage, name: str, status: str = "firing", **labels: str) -> None:
    body = {"status": status, "name": name, "starts_at": 1790000000.0,
            "labels": {"alertname": name, **labels}}  # fmt: skip
    answer = httpx.post(f"{stage.url}api/v1/alerts/plain", json=body)
    assert answer.status_code == 202, answer.text


def test_an_alert_is_shown_with_what_became_of_it_and_what_was_decided(
    stage: Stage, visits: Any
) -> None:
    page = visits(stage).open()
    page.wait_for_selector("#alerts :text('No alert has come in.'):visible")
    send(stage, "HeadroomLow", severity="warning")
    page.wait_for_selector("#alerts summary:has-text('HeadroomLow fires'):has-text(': done')")
    page.wait_for_selector(row("ollama/qwen3:8b"), state="detached")
    assert "make-room on ollama/qwen3:8b: done" in page.inner_text("#alerts summary")
    page.click("#alerts summary")
    page.wait_for_selector("#alerts .told :text('ollama/qwen3:8b left')")
    page.wait_for_selector("#alerts .labels li:text-is('severity = warning')")
    assert "told by local" in page.inner_text("#alerts .told")
    page.click("#alerts button:has-text('What was decided')")
    page.wait_for_selector("dialog li:has-text('alert HeadroomLow')")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    focused = page.evaluate("document.activeElement.textContent")
    assert focused.startswith("What was decided"), "the focus goes back where it was"


def test_what_holds_is_shown_until_its_alert_resolves(stage: Stage, visits: Any) -> None:
    page = visits(stage).open()
    send(stage, "Keep")
    page.wait_for_selector("#alerts .holds li:has-text('pinned while Keep fires')")
    assert "more at most" in page.inner_text("#alerts .holds")
    send(stage, "Keep", "resolved")
    page.wait_for_selector("#alerts summary:has-text('Keep is over'):has-text('noted')")
    page.wait_for_selector("#alerts .holds", state="hidden")


def test_the_latest_are_shown_and_the_older_ones_when_they_are_asked_for(
    stage: Stage, visits: Any
) -> None:
    for i in range(8):
        send(stage, f"Other{i}")
    page = visits(stage).open()
    page.wait_for_selector("#alerts summary:has-text('Other7')")
    assert page.locator("#alerts summary").count() == 5
    page.click("#alerts button:text-is('Older ones')")
    page.wait_for_selector("#alerts summary >> nth=7")
    assert not page.is_visible("#alerts button:text-is('Older ones')")
    send(stage, "Other8")
    page.wait_for_selector("#alerts summary >> nth=8")


def test_without_events_alerts_are_seen_all_the_same(stage: Stage, visits: Any) -> None:
    visit = visits(stage)
    visit.page.route("**/api/v1/events", lambda route: route.fulfill(status=503, body="{}"))
    visit.page.goto(stage.url)
    visit.page.wait_for_selector("#standing[data-is=polling]")
    send(stage, "Other")
    visit.page.wait_for_selector("#alerts summary:has-text('no action is configured')")


def test_what_an_alert_says_is_text_and_fits_a_phone(stage: Stage, visits: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-core is not installed")
    send(stage, "Keep")
    send(stage, HOSTILE, **{HOSTILE: HOSTILE, "long": "x" * 150, "pool": HOSTILE})
    send(stage, "HeadroomLow", pool=HOSTILE)
    phone = {"width": 320, "height": 640}
    page = visits(stage, color_scheme="light", reduced_motion="reduce", viewport=phone).open()
    page.wait_for_selector("#alerts summary:has-text('it names what is not here')")
    page.wait_for_selector("#alerts .holds li")
    page.evaluate("document.querySelectorAll('#alerts details').forEach((d) => (d.open = true))")
    assert page.locator("img").count() == 1, "our own sign"
    assert page.evaluate("window.hit === undefined")
    assert "\\u{202e}" not in page.inner_text("#alerts .holds")
    assert "\u202e" not in page.inner_text("#alerts")
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    page.evaluate(axe.AXE_SCRIPT)
    for theme in ("light", "dark"):
        page.select_option("#theme", theme)
        assert complaints(page) == [], theme


def test_a_token_for_alerts_opens_no_page_and_another_can_be_typed(visits: Any) -> None:
    known = Entrusted("am", sha256(b"ullage-alertmanager").digest(), frozenset({WRITE}))
    stage = Stage(token=TOKEN, entrusted=(known,))
    stage.start()
    try:
        page = visits(stage).page
        page.goto(stage.url)
        for typed in ("ullage-alertmanager", TOKEN):
            page.wait_for_selector("dialog input")
            page.keyboard.type(typed)
            page.keyboard.press("Enter")
            page.wait_for_selector("dialog :text('That was not the token.')" if typed != TOKEN else
                                   row("ollama/qwen3:8b"))  # fmt: skip
        page.wait_for_selector("#standing[data-is=live]")
        assert page.locator("dialog").count() == 0
    finally:
        stage.stop()
        stage.close()
