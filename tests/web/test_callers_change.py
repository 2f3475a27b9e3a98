"""Tokens while the daemon runs: they come and go, two are good at once, and their use is told."""

from __future__ import annotations

import asyncio
import json
import logging
from hashlib import sha256
from typing import Any

from starlette.datastructures import Headers

from supervisor.app import build
from supervisor.config.config import load
from supervisor.config.entrusted import WRITE
from supervisor.web.callers import SAID_AGAIN, Callers
from tests.configs import KINDS
from tests.rereading import House, told
from tests.web.fakes import World, client, running, site
from tests.web.test_callers import ALERTS, FORCED, KNOWN, MAIN, NOW, OLD, POSTS, asked, callers
from tests.web.test_guard import HERE, US

# -- tokens come and go


def stanza(name: str, secret: str) -> str:
    digest = sha256(secret.encode()).hexdigest()
    return f'[listen.tokens.{name}]\nsha256 = "{digest}"\nscopes = ["{WRITE}"]\n'


def test_tokens_that_come_into_the_file_count_at_once_and_those_that_leave_it_no_more(tmp_path):
    async def story(house: House) -> None:
        by = Callers(lambda: None, lambda: house.overrides.current.tokens, wall=lambda: NOW)

        def status(secret: str | None) -> int:
            scope = {"type": "http", "method": "POST", "path": POSTS[0], "client": US}
            scope |= {"server": HERE, "headers": []}
            if secret is not None:
                scope["headers"] = [(b"authorization", f"Bearer {secret}".encode())]
            found = by.identify(scope, Headers(scope=scope), WRITE)
            return getattr(found, "status", 200)

        assert (status(None), status(ALERTS)) == (200, 200)  # there are none: this machine may
        house.write(stanza("am", ALERTS))
        found = await house.reloading.now("asked")
        assert [d.key for d in found.restart] == []
        assert "listen.tokens.am.scopes" in {d.key for d in found.changed}
        assert (status(None), status(ALERTS), status(FORCED)) == (401, 200, 401)
        assert house.rows["listen.tokens.am.sha256"][0] == "set"
        assert house.rows["listen.tokens.am.scopes"][0] == WRITE
        house.write(stanza("am", ALERTS) + stanza("next", FORCED))  # both, for as long as it takes
        await house.reloading.now("asked")
        assert (status(ALERTS), status(FORCED)) == (200, 200)
        assert [row["name"] for row in by.rows] == ["am", "next"]
        house.write(stanza("next", FORCED) + 'scopes = "no list"')
        await house.refused()
        assert (status(ALERTS), status(FORCED)) == (200, 200)  # as before
        house.write(stanza("next", FORCED))
        await house.reloading.now("asked")
        assert (status(ALERTS), status(FORCED)) == (401, 200)
        assert "listen.tokens.am.sha256" not in house.rows
        assert [row["name"] for row in by.rows] == ["next"]

    told(tmp_path, story)


def test_one_that_was_there_at_the_start_and_has_left_is_shown_no_more(tmp_path):
    async def story(house: House) -> None:
        assert house.rows["listen.tokens.am.scopes"][0] == WRITE
        house.write("")
        found = await house.reloading.now("asked")
        assert found.restart == ()
        assert not [key for key in house.rows if "tokens" in key]

    told(tmp_path, story, stanza("am", ALERTS))


def test_the_daemon_asks_what_is_in_force_and_not_what_it_was_started_with(tmp_path):
    file = tmp_path / "ullage.toml"
    file.write_text(f'state_dir = "{tmp_path}"\n')
    config = load(file, {}, {}, kinds=KINDS)
    app = build(config, owners=())
    by = app.server._site.callers
    assert by.rows == []
    file.write_text(f'state_dir = "{tmp_path}"\n{stanza("am", ALERTS)}')
    app.overrides.current = config.reread()
    assert [row["name"] for row in by.rows] == ["am"]
    asyncio.run(app.client.aclose())


# -- what is told of them


def test_of_each_token_it_is_known_how_often_it_was_used_and_when():
    by = callers()
    assert next((r["name"], r["requests"], r["used_at"]) for r in by.rows) == ("am", 0, None)
    asked("POST", POSTS[0], ALERTS, by)
    asked("POST", POSTS[1], ALERTS, by)
    asked("GET", "/api/v1/state", ALERTS, by)  # which it may not
    asked("POST", POSTS[0], OLD, by)  # which it may no more
    rows = {row["name"]: row for row in by.rows}
    assert rows["am"] == {"name": "am", "scopes": [WRITE], "expires": None, "requests": 2,
                          "used_at": NOW}  # fmt: skip
    assert (rows["old"]["requests"], rows["old"]["expires"]) == (0, NOW)
    assert by.refused == {"scope": 1, "expired": 1}
    assert by.state == {"tokens": by.rows, "refused": {"scope": 1, "expired": 1},
                        "alert_refused_at": NOW}  # fmt: skip


def test_that_an_alert_was_refused_is_told_and_what_else_was_refused_is_not_taken_for_one():
    by = callers(MAIN)
    asked("GET", "/api/v1/state", ALERTS, by)
    asked("GET", "/api/v1/state", "wrong", by)
    assert by.state["refused"] == {"scope": 1, "unknown": 1}
    assert by.state["alert_refused_at"] is None
    asked("POST", POSTS[1], None, by)
    assert by.state["alert_refused_at"] == NOW


def test_the_state_says_who_sends_alerts():
    async def run() -> Any:
        made = site(World(), callers=callers())
        async with running(made), client(made) as http:
            return (await http.get("/api/v1/state")).json()["callers"]

    told = asyncio.run(run())
    assert [row["name"] for row in told["tokens"]] == ["am", "boss", "old"]
    assert sha256(ALERTS.encode()).hexdigest() not in json.dumps(told)


def test_what_a_sender_of_alerts_is_refused_is_in_the_log_and_not_for_each_try(caplog):
    """An Alertmanager shows nobody what it is answered, and does not ask again after a 401."""
    clock = [0.0]
    by = Callers(lambda: None, lambda: KNOWN, wall=lambda: NOW, clock=lambda: clock[0])
    caplog.set_level(logging.WARNING, "ullage.web")
    for _ in range(5):
        asked("POST", POSTS[0], "a-wrong-secret", by)
        asked("POST", "/api/v1/evict", "a-wrong-secret", by)
    assert [r.getMessage() for r in caplog.records] == [
        "an alert is refused: this token is not known here"
    ]
    asked("GET", "/api/v1/state", ALERTS, by)  # no alert is lost by that
    assert len(caplog.records) == 1
    asked("POST", POSTS[0], None, by)
    asked("POST", POSTS[0], OLD, by)
    assert len(caplog.records) == 3
    clock[0] = SAID_AGAIN
    asked("POST", POSTS[0], "a-wrong-secret", by)
    assert len(caplog.records) == 4
    assert "a-wrong-secret" not in caplog.text
    assert by.refused == {"unknown": 6, "none": 1, "expired": 1, "scope": 1}
