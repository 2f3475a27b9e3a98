"""The daemon as it is built: alerts over its real socket, on its real journal, over a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from collectors.owner import Owner
from supervisor.app import App, build
from supervisor.config.config import load
from supervisor.engines import ENGINES
from tests.scenarios.house import Ram

CONFIG = """
detect = false
[listen]
port = 0
[gateway]
enabled = false
[alerts.actions.hush]
action = "pause"
match = { alertname = "Low" }
below = "100%"
"""
ALERT = {
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "Low"},
            "startsAt": "2026-11-21T01:34:36.785Z",
            "fingerprint": "f",
        }
    ]
}


@asynccontextmanager
async def daemon(folder: Path) -> AsyncIterator[tuple[App, httpx.AsyncClient]]:
    file = folder / "ullage.toml"
    file.write_text(CONFIG)
    environ = {"STATE_DIRECTORY": str(folder / "state")}
    app = build(load(file, environ, {}, kinds=frozenset(ENGINES)), owners=[Owner(Ram())])
    await app.start()
    try:
        while app.loop.snapshot is None:
            await app.loop.changed()
        async with httpx.AsyncClient(base_url=app.server.addresses[0], trust_env=False) as http:
            yield app, http
    finally:
        await app.stop()


async def known(app: App, http: httpx.AsyncClient) -> list[dict[str, Any]]:
    """All alerts, once it is known what became of each."""
    if under_way := [w.task for w in app.alerting._work.values() if w.task is not None]:
        await asyncio.wait(under_way)
    rows: list[dict[str, Any]] = (await http.get("/api/v1/alerts")).json()["alerts"]
    return rows


def test_what_was_received_and_what_holds_is_so_for_the_next_daemon(tmp_path: Path) -> None:
    async def story() -> None:
        async with daemon(tmp_path) as (app, http):
            assert (await http.post("/api/v1/alerts", json=ALERT)).status_code == 202
            (row,) = before = await known(app, http)
            assert (row["outcome"], row["by"]) == ("held", "local")
            assert app.loop.keeping.alert_holds.all
            (event,) = (await http.get("/api/v1/events?kinds=alert")).json()["events"]
            assert {**event, "id": event["alert"]} == {**row, "kind": "alert", "alert": row["id"]}
            found = await http.get("/api/v1/decisions?trigger=alert")
            assert [d["id"] for d in found.json()["decisions"]] == [row["decision"]]
        async with daemon(tmp_path) as (app, http):
            assert app.loop.keeping.alert_holds.all
            assert await known(app, http) == before
            again = await http.post("/api/v1/alerts", json=ALERT)
            assert again.json()["alerts"][0]["outcome"] == "duplicate"
            over = {"alerts": [{**ALERT["alerts"][0], "status": "resolved"}]}
            await http.post("/api/v1/alerts", json=over)
            assert [r["outcome"] for r in await known(app, http)] == ["resolved", "held"]
            state = (await http.get("/api/v1/state")).json()["alerts"]
            assert (state["holds"], state["firing"]) == ([], 0)

    asyncio.run(asyncio.wait_for(story(), 60))


def test_what_alerts_may_do_is_as_the_file_says_without_a_new_start(tmp_path: Path) -> None:
    async def story() -> None:
        async with daemon(tmp_path) as (app, http):
            file = tmp_path / "ullage.toml"
            more = 'limit = "2/1m"\nhold_for = "1h"\ndry_run = true\n[alerts.actions.other]'
            file.write_text(CONFIG.replace("[alerts.actions.hush]", f"[alerts]\n{more}"))
            told = await http.post("/api/v1/config/reload", json={})
            assert told.status_code == 200, told.text
            assert told.json()["restart"] == []
            assert {"alerts.limit", "alerts.dry_run"} <= set(told.json()["changed"])
            await http.post("/api/v1/alerts", json=ALERT)
            (row,) = await known(app, http)
            assert (row["action"], row["outcome"]) == ("other", "dry_run")
            assert (await http.get("/api/v1/alerts")).json()["limit"] == "2/1m"
            assert app.alerting.ledger.lasts == 3600
            file.write_text(CONFIG.replace("pause", "pase"))
            refused = await http.post("/api/v1/config/reload", json={})
            assert refused.status_code == 422
            assert [a.name for a in app.alerting.config.actions] == ["other"]

    asyncio.run(asyncio.wait_for(story(), 60))
