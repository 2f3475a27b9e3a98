"""The fleet on the page: there where this host is in one, as its agent knows the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from collectors.reading import gib
from supervisor.fleet.hosts import Presence
from supervisor.neighbours import Neighbours
from tests.web.measured import glance, neighbours

from .stage import Stage
from .test_page import complaints

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=window.hit=1>\u202etxt"


def staged(found: Neighbours | None) -> Iterator[Stage]:
    made = Stage(neighbours=found)
    made.start()
    yield made
    made.stop()
    made.close()


@pytest.fixture
def fleet() -> Iterator[Stage]:
    hosts = (
        glance("gpu1", promised=gib(3)),
        glance("gpu2", Presence.LOST, 70.0),
        glance(HOSTILE, Presence.DRAINED, rests=HOSTILE),
    )
    yield from staged(neighbours(*hosts, trouble=(HOSTILE,)))


@pytest.fixture
def alone() -> Iterator[Stage]:
    yield from staged(None)


def test_without_a_fleet_nothing_is_said_of_one(alone: Stage, visits: Any) -> None:
    page = visits(alone).open()
    page.wait_for_selector("#models table")
    assert not page.is_visible("#fleet")
    assert "Fleet" not in page.inner_text("main")


def test_each_host_is_shown_with_headroom_beside_what_is_promised(
    fleet: Stage, visits: Any
) -> None:
    page = visits(fleet).open()
    page.wait_for_selector("#fleet td:has-text('gpu1')")
    assert "This host is gpu1, of 3 hosts; by ray. 1 promise" in page.inner_text("#fleet .place")
    first = page.inner_text("#fleet tbody tr:has-text('gpu1')")
    assert "8 GiB" in first
    assert "3 GiB" in first
    assert "✕ lost" in page.inner_text("#fleet tbody tr:has-text('gpu2')")
    assert "1m1" in page.inner_text("#fleet tbody tr:has-text('gpu2')")
    assert page.locator("#fleet tbody tr").count() == 3


def test_what_hosts_say_is_text_and_fits_a_phone(fleet: Stage, visits: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-core is not installed")
    phone = {"width": 320, "height": 640}
    page = visits(fleet, viewport=phone).open()
    page.wait_for_selector("#fleet td:has-text('onerror')")
    assert page.locator("img").count() == 1, "our own sign"
    assert page.evaluate("window.hit === undefined")
    assert "\u202e" not in page.inner_text("#fleet")
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    page.evaluate(axe.AXE_SCRIPT)
    assert complaints(page) == []


def test_an_agent_that_does_not_answer_is_said_to_be_one(fleet: Stage, visits: Any) -> None:
    assert fleet.neighbours is not None
    fleet.neighbours.seen, fleet.neighbours.fault = None, "the agent at /x: no answer within 2 s"
    page = visits(fleet).open()
    page.wait_for_selector("#fleet .troubles :text('no answer within 2 s')")
    assert not page.is_visible("#fleet table")
