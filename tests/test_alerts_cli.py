"""`ullage alerts`, and what else people see of alerts at a command line."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor import alert_words, web
from supervisor.alerting.alert import Outcome
from supervisor.cli import show, show_alerts
from supervisor.cli.bars import Screen
from supervisor.config.alerted import HELD
from tests.canned import ALERT, BUSY, HOLD, Daemon, running, ullage
from tests.web.fakes import World, client, site
from tests.web.fakes import running as at_work

ASSETS = Path(web.__file__).parent / "assets"
NOW = 1790000000.0
ON = Screen(100)
COUNTS = {outcome.value: 0 for outcome in Outcome}
NOTHING: dict[str, Any] = {"alerts": [], "holds": [], "counts": COUNTS, "limit": "6/10m"}


def alert(**others: Any) -> dict[str, Any]:
    return {**ALERT, **others}


SEVERAL = {
    "alerts": [
        alert(outcome=None, decision=None, detail=""),
        alert(at=NOW - 60),
        alert(outcome="disagreed", detail="14 GiB are free", decision="d-6", by="local"),
        alert(name="InstanceDown", action=None, target=None, outcome="no_action",
              detail="no action is configured for it", decision="d-5"),
        alert(outcome="unknown_target", target=None, detail="no pool\x1b[31m", decision=None),
        alert(status="resolved", outcome="resolved", detail=""),
    ],
    "holds": [HOLD, {**HOLD, "action": "keep", "kind": "reserve", "target": "4 GiB of ram"}],
    "counts": {**COUNTS, "done": 2, "duplicate": 5, "no_action": 2},
    "limit": "6/10m",
}  # fmt: skip

PAGE = r"""GPU-8f6f1c5e: no loads through the gateway while UllageHeadroomGone fires, 1m30s more at most
4 GiB of ram: kept free while UllageHeadroomGone fires, 1m30s more at most

UllageHeadroomLow fires  2026-09-21 14:13:20  from alertmanager
  make-room on GPU-8f6f1c5e: not acted on yet
UllageHeadroomLow fires  2026-09-21 14:12:20  from alertmanager
  make-room on GPU-8f6f1c5e: done: 1 model left (d-7)
UllageHeadroomLow fires  2026-09-21 14:13:20  from local
  make-room on GPU-8f6f1c5e: not acted on: 14 GiB are free (d-6)
InstanceDown fires  2026-09-21 14:13:20  from alertmanager
  no action is configured for it (d-5)
UllageHeadroomLow fires  2026-09-21 14:13:20  from alertmanager
  make-room: not acted on: no pool\x1b[31m
UllageHeadroomLow is over  2026-09-21 14:13:20  from alertmanager
  make-room on GPU-8f6f1c5e: noted (d-7)

9 received since the start: 5 duplicate, 2 done, 2 no action; at most 6/10m act
"""  # noqa: E501


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with running() as found:
        monkeypatch.setenv("ULLAGE_URL", found.address)
        yield found


def test_the_page_says_of_each_what_became_of_it() -> None:
    assert show_alerts.page(SEVERAL, NOW, ON, UTC) == PAGE


def test_without_any_it_says_how_there_come_to_be_some(daemon: Daemon) -> None:
    daemon.say("/api/v1/alerts", NOTHING)
    out = ullage("alerts").stdout
    assert out.startswith("No alert has come in.")
    assert "`ullage token alertmanager --scope alerts:write`" in out
    assert "received" not in out


def test_as_many_are_asked_for_as_are_wanted(daemon: Daemon) -> None:
    text = daemon.say("/api/v1/alerts", SEVERAL)
    assert ullage("alerts", "-n", "5", "--json").stdout == f"{text}\n"
    assert daemon.asked[-1][:2] == ("GET", "/api/v1/alerts?limit=5")
    assert json.loads(text)["limit"] == "6/10m"
    assert ullage("alerts", "-n", "0").exit_code == 2
    out = ullage("alerts").stdout
    assert daemon.asked[-1][1] == "/api/v1/alerts?limit=20"
    assert "\x1b[31m" not in out
    assert "not acted on yet" in out


def test_an_older_daemon_has_none(daemon: Daemon) -> None:
    failed = ullage("alerts")
    assert failed.exit_code == 1
    assert "older than this command" in failed.stderr


def test_every_outcome_has_its_words_here_and_on_the_page() -> None:
    assert set(alert_words.OUTCOMES) == {outcome.value for outcome in Outcome}
    assert set(alert_words.OUTCOMES) >= alert_words.WRONG | set(alert_words._BEFORE)
    assert {kind.value for kind in HELD} == set(alert_words._HOLDS)
    text = (ASSETS / "alerts.js").read_text()
    table = re.search(r"const OUTCOMES = \{(.*?)\};", text, re.DOTALL)
    assert table is not None
    assert dict(re.findall(r'(\w+): "([^"]+)"', table[1])) == alert_words.OUTCOMES
    holds = re.search(r"const HOLDS = \{(.*?)\};", text)
    assert holds is not None
    assert dict(re.findall(r'(\w+): "([^"]+)"', holds[1])) == alert_words._HOLDS
    assert f'WAITING = "{alert_words.WAITING}"' in text


def test_an_outcome_of_another_version_is_shown_as_it_is() -> None:
    assert alert_words.became(alert(outcome="teleported")).startswith("teleported: 1 model left")


# -- status


def tail(**alerts: Any) -> str:
    known = {"firing": 0, "holds": [], "last": None, **alerts}
    page = show.status({**BUSY, "alerts": known}, Screen(200))
    return page[page.index("under way") :] if not alerts.get("holds") else page


def test_status_says_what_holds_and_what_the_last_one_was() -> None:
    page = tail(firing=2, holds=[HOLD], last=alert(at=NOW - 90))
    hold = "no loads through the gateway while UllageHeadroomGone fires, 1m30s more at most"
    assert f"{hold} (`ullage alerts`)" in page
    last = "UllageHeadroomLow fires, make-room on GPU-8f6f1c5e: done (d-7)"
    assert f"2 alerts fire; the last, 1m30s ago: {last}\n" in page


@pytest.mark.parametrize(
    ("firing", "age", "told"),
    [(1, 9000, "1 alert fires; "), (0, 60, "no alerts fire; "), (0, 3601, None), (3, 0, "3 al")],
)
def test_an_old_alert_is_no_news(firing: int, age: float, told: str | None) -> None:
    found = alert_words.in_short({"firing": firing, "last": alert(at=NOW - age)}, NOW)
    assert (found is None) == (told is None)
    assert told is None or (found or "").startswith(told)


def test_without_alerts_and_with_an_older_daemon_nothing_is_said_of_them() -> None:
    bare = show.status(BUSY, Screen(200))
    assert "alert" not in bare
    assert show.status({**BUSY, "alerts": {"firing": 0, "holds": [], "last": None}},
                       Screen(200)) == bare  # fmt: skip


def test_what_an_alert_says_cannot_move_the_terminal() -> None:
    evil = alert(name="\x1b[2J", detail="\r\x07", action="\x1b]0;x\x07")
    page = tail(firing=1, last=evil, holds=[{**HOLD, "alert": "\x1b[2J", "target": "\x07"}])
    drawn = show_alerts.page({**SEVERAL, "alerts": [evil]}, NOW, ON, UTC)
    for text in (page, drawn):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)


# -- the page without scripts


@pytest.mark.parametrize(
    ("holds", "words"),
    [([], "Held by alerts: none."), ([HOLD], "GPU-8f6f1c5e-7a42-4c1b-9d3e-2b1a0c9d8e7f: no loads")],
)
def test_the_plain_page_says_what_holds(holds: list[Any], words: str) -> None:
    alerting: Any = SimpleNamespace(state={"firing": 0, "holds": holds, "last": None})

    async def run() -> str:
        made = site(World(), alerting=alerting)
        async with at_work(made), client(made) as http:
            return (await http.get("/plain")).text

    assert words in asyncio.run(run())
