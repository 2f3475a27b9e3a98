"""Alerts over HTTP: as Alertmanager, Grafana and others send them, and as they are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from collectors.reading import Seconds
from supervisor.alerting import Alerting
from supervisor.config.alerted import ActionConfig, Kind
from supervisor.core.policy import Amount
from supervisor.web.callers import Callers
from supervisor.web.server import Site
from tests.alerting.post import action, config

from .fakes import API, GPU, NOW, World, client, early, running, site

AT = f"{API}/alerts"
ROOM = action(Kind.EVICT, "make-room", below=Amount(fraction=0.5), match={"alertname": "Low"})
FIRED = "2026-11-21T01:34:36.785Z"

# As Alertmanager 0.25 really sends it, with the fields that 0.32 and 0.34 have added.
SENT = {
    "receiver": "ullage",
    "status": "firing",
    "version": "4",
    "truncatedAlerts": 0,
    "groupKey": '{}:{alertname="Low", instance="127.0.0.1:18080"}',
    "groupLabels": {"alertname": "Low"},
    "commonLabels": {"alertname": "Low"},
    "commonAnnotations": {"summary": "VRAM 95.83% used"},
    "routeLabels": {},
    "externalURL": "http://vm:19093",
    "notification_reason": "first notification",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "Low", "pool": GPU, "severity": "warning", "job": "ullage"},
            "annotations": {"summary": "VRAM 95.83% used"},
            "startsAt": FIRED,
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://vm:19090/graph?g0.expr=x",
            "fingerprint": "8ba3fc07523a9211",
        }
    ],
}
# As Grafana's own alerting sends it.
GRAFANA = {
    "receiver": "ullage",
    "status": "firing",
    "orgId": 1,
    "version": "1",
    "title": "[FIRING:1] Low",
    "state": "alerting",
    "message": "**Firing**",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "Low", "grafana_folder": "GPU"},
            "annotations": {},
            "startsAt": "2026-11-21T02:34:36+01:00",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "?orgId=1",
            "fingerprint": "c6eadffa33fcdf37",
            "silenceURL": "x",
            "dashboardURL": "",
            "panelURL": "",
            "values": {"B": 44.0},
            "valueString": "[ var='B' ]",
            "imageURL": "",
        }
    ],
}

Story = Callable[[httpx.AsyncClient, Site], Awaitable[Any]]


def play(story: Story, *actions: ActionConfig, world: World | None = None, **more: Any) -> Any:
    async def run() -> Any:
        made = site(world or World(), **more)
        made = replace(made, alerting=Alerting(config(*(actions or (ROOM,))), made.door, made.feed))
        async with running(made) as http:
            try:
                return await story(http, made)
            finally:
                await made.alerting.stop()

    return asyncio.run(run())


async def settled(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    """All alerts, once it is known what became of each."""
    for _ in range(200):
        rows: list[dict[str, Any]] = (await http.get(AT)).json()["alerts"]
        if all(row["outcome"] is not None for row in rows):
            return rows
        await asyncio.sleep(0)
    raise AssertionError(rows)


def one(**more: Any) -> dict[str, Any]:
    return {"alerts": [{"status": "firing", "startsAt": FIRED, "fingerprint": "f", **more}]}


def test_alertmanager_s_webhook_is_answered_at_once_and_acted_on() -> None:
    async def story(http: httpx.AsyncClient, _: Site) -> Any:
        first = await http.post(AT, json=SENT)
        return first, await settled(http), await http.post(AT, json=SENT), await http.get(AT)

    first, (row,), again, after = play(story)
    assert first.status_code == 202
    assert first.json() == {
        "accepted": 1,
        "alerts": [
            {
                "fingerprint": "8ba3fc07523a9211",
                "name": "Low",
                "status": "firing",
                "outcome": "accepted",
            }
        ],
    }
    assert (row["outcome"], row["action"], row["target"]) == ("done", "make-room", GPU)
    assert row["detail"].startswith("ollama/qwen3:8b left, ")
    assert (row["name"], row["by"]) == ("Low", "local")
    assert row["starts_at"] == 1795224876.785
    assert row["labels"]["severity"] == "warning"
    assert row["decision"].startswith("d-")
    assert again.json()["accepted"] == 0
    assert again.json()["alerts"][0]["outcome"] == "duplicate"
    counts = after.json()["counts"]
    assert (counts["done"], counts["duplicate"], counts["failed"]) == (1, 1, 0)
    assert after.json()["limit"] == "6/10m"


def test_grafana_s_webhook_means_the_same() -> None:
    async def story(http: httpx.AsyncClient, _: Site) -> Any:
        return await http.post(AT, json=GRAFANA), await settled(http)

    reply, (row,) = play(story)
    assert (reply.status_code, row["outcome"]) == (202, "done")
    assert row["starts_at"] == 1795224876.0


def test_a_group_has_alerts_that_fire_and_alerts_that_have_resolved() -> None:
    async def story(http: httpx.AsyncClient, _: Site) -> Any:
        both = one()["alerts"] + one(status="resolved", fingerprint="g")["alerts"]
        return await http.post(AT, json={"status": "firing", "alerts": both}), await settled(http)

    reply, rows = play(story)
    assert reply.json()["accepted"] == 2
    assert {(r["fingerprint"], r["outcome"]) for r in rows} == {
        ("f", "no_action"),
        ("g", "resolved"),
    }
    assert {r["name"] for r in rows} == {"without a name"}


WRONG = [
    ({}, "alerts: is missing"),
    ({"alerts": {}}, "alerts: "),
    (one(startsAt="yesterday"), 'alerts.0.startsAt: a moment is written as "2027-06-30T12:00:00Z"'),
    (one(startsAt=1790000000), "alerts.0.startsAt: a moment is written as"),
    (one(status="pending"), "alerts.0.status: "),
    (one(fingerprint=""), "alerts.0.fingerprint: "),
    (one(labels={"a": 1}), "alerts.0.labels.a: "),
    ({"alerts": one()["alerts"] * 1001}, "alerts: "),
]


@pytest.mark.parametrize(("body", "why"), WRONG, ids=lambda word: str(word)[:40])
def test_what_would_be_wrong_the_next_time_is_refused_for_good(body: Any, why: str) -> None:
    async def story(http: httpx.AsyncClient, at: Site) -> Any:
        return await http.post(AT, json=body), list(at.alerting.ledger)

    reply, rows = play(story)
    assert (reply.status_code, rows) == (422, [])
    assert any(mistake.startswith(why) for mistake in reply.json()["errors"]), reply.json()


def test_a_delivery_is_no_larger_than_a_mebibyte_and_is_json() -> None:
    async def story(http: httpx.AsyncClient, _: Site) -> Any:
        large = {"alerts": one(labels={"x": "y" * 1024**2})["alerts"]}
        return [
            (await http.post(AT, json=large)).status_code,
            (
                await http.post(AT, content=b"<x/>", headers={"content-type": "text/xml"})
            ).status_code,
            (
                await http.post(AT, content=b"{", headers={"content-type": "application/json"})
            ).status_code,
        ]

    assert play(story) == [413, 415, 422]


def test_what_helps_to_send_again_is_told_with_a_time() -> None:
    reply = asyncio.run(_early())
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
    assert reply.json()["detail"] == "the first sample is not in yet"


async def _early() -> httpx.Response:
    made = site(World())
    made = replace(made, alerting=Alerting(config(ROOM), made.door, made.feed))
    async with client(made) as http:
        return await http.post(AT, json=SENT)


def test_a_pool_that_cannot_be_read_is_a_reason_to_send_it_again() -> None:
    async def story(http: httpx.AsyncClient, at: Site) -> Any:
        assert at.loop.snapshot is not None
        seen = at.loop.snapshot
        rest = tuple(p for p in seen.pools if p.id != GPU)
        at.loop.snapshot = replace(seen, pools=rest, blind={GPU: "the driver hangs"})
        first = await http.post(AT, json=SENT)
        at.loop.snapshot = seen
        return first, await http.post(AT, json=SENT), await settled(http)

    first, again, (row,) = play(story)
    assert first.status_code == 503
    assert "cannot be read just now: the driver hangs" in first.json()["detail"]
    assert (again.status_code, row["outcome"]) == (202, "done")


def test_a_sample_that_is_too_old_is_one_too() -> None:
    async def story(http: httpx.AsyncClient, at: Site) -> Any:
        assert at.loop.snapshot is not None
        at.loop.snapshot = replace(at.loop.snapshot, taken_at=Seconds(NOW - 60))
        return await http.post(AT, json=SENT)

    reply = play(story)
    assert (reply.status_code, reply.json()["detail"]) == (
        503,
        "the latest sample is 60 s old, and says nothing of now",
    )


# -- who sends it


def test_who_sent_it_is_told_and_only_who_may_force_does() -> None:
    forced = one(labels={"alertname": "Low", "ullage_force": "true"})
    never = replace(ROOM, below=Amount(size=1))  # type: ignore[arg-type]

    async def story(http: httpx.AsyncClient, _: Site) -> Any:
        headers = {"authorization": "Bearer 0123456789abcdef"}
        plain = await http.post(AT, json=forced)
        await http.post(AT, json=forced, headers=headers)
        return plain.status_code, (await http.get(AT, headers=headers)).json()["alerts"]

    status, (row,) = play(story, never, callers=Callers(lambda: "0123456789abcdef"))
    assert (status, row["by"]) == (401, "token")

    async def local(http: httpx.AsyncClient, _: Site) -> Any:
        await http.post(AT, json=forced)
        return await settled(http)

    (row,) = play(local, never)
    assert (row["by"], row["outcome"]) == ("local", "disagreed")
    assert "local may not force it" in row["detail"]


# -- one alert of anybody else


def test_one_alert_of_anybody_else_means_the_same() -> None:
    async def story(http: httpx.AsyncClient, _: Site) -> Any:
        alert = {"status": "firing", "name": "Low", "labels": {"pool": GPU}}
        first = await http.post(f"{AT}/plain", json=alert)
        again = await http.post(f"{AT}/plain", json=alert)
        await settled(http)
        over = await http.post(f"{AT}/plain", json={**alert, "status": "resolved"})
        twice = await http.post(f"{AT}/plain", json={**alert, "status": "resolved"})
        replies = [first, again, over, twice]
        return [r.json()["alerts"][0]["outcome"] for r in replies], await settled(http)

    outcomes, rows = play(story)
    assert outcomes == ["accepted", "duplicate", "accepted", "duplicate"]
    assert [(r["status"], r["outcome"]) for r in rows] == [
        ("resolved", "resolved"),
        ("firing", "done"),
    ]
    assert len({r["starts_at"] for r in rows}) == 1


def test_what_names_itself_is_known_by_that() -> None:
    async def story(http: httpx.AsyncClient, _: Site) -> Any:
        alert = {"status": "firing", "name": "Low", "id": "disk 7", "starts_at": 1790000000}
        told = []
        for more in ({}, {"labels": {"x": "y"}}, {"id": "disk 8"}, {"starts_at": 1790000001}):
            reply = await http.post(f"{AT}/plain", json={**alert, **more})
            told.append(reply.json()["alerts"][0]["outcome"])
        return told, [r["fingerprint"] for r in await settled(http)]

    told, names = play(story)
    assert told == ["accepted", "duplicate", "accepted", "accepted"]
    assert names == ["disk 7", "disk 8", "disk 7"]


def test_a_mistake_in_it_is_refused_with_what_was_meant() -> None:
    async def story(http: httpx.AsyncClient, _: Site) -> Any:
        return await http.post(f"{AT}/plain", json={"status": "firing", "nme": "Low"})

    reply = play(story)
    assert reply.status_code == 422
    assert "nme: there is no such key; did you mean name?" in reply.json()["errors"]
    assert "name: is missing" in reply.json()["errors"]


# -- what is shown


def test_holds_are_told_with_their_end_and_the_state_has_all_of_it() -> None:
    hush = action(Kind.PAUSE, "hush", below=Amount(fraction=1.0), match={"alertname": "Low"})

    async def story(http: httpx.AsyncClient, _: Site) -> Any:
        await http.post(AT, json=SENT)
        rows = await settled(http)
        return rows, (await http.get(AT)).json(), (await http.get(f"{API}/state")).json()["alerts"]

    (row,), told, state = play(story, hush)
    (hold,) = told["holds"]
    assert (row["outcome"], hold["alert"], hold["kind"]) == ("held", "Low", "pause")
    assert (hold["action"], hold["target"]) == ("hush", GPU)
    assert hold["until"] - hold["since"] == 900
    assert state == {"firing": 1, "holds": [hold], "last": row}


def test_a_model_that_an_alert_keeps_is_told_among_the_pins_and_no_person_s_to_unpin() -> None:
    keep = action(Kind.PIN, "keep", models=("qwen3*",), match={"alertname": "Low"})

    async def story(http: httpx.AsyncClient, _: Site) -> Any:
        await http.post(AT, json=one(labels={"alertname": "Low"}))
        await settled(http)
        pins = (await http.get(f"{API}/pins")).json()["pins"]
        refused = await http.post(f"{API}/unpin", json={"model": "qwen3:8b"})
        ends = {"status": "resolved", "name": "Low", "id": "f"}
        await http.post(f"{AT}/plain", json=ends)
        await settled(http)
        return pins, refused, (await http.get(f"{API}/pins")).json()["pins"]

    pins, refused, after = play(story, keep)
    ((pin),) = pins
    assert (pin["model"], pin["source"]) == ("ollama/qwen3:8b", "the alert Low")
    assert refused.status_code == 409
    assert refused.json()["detail"].startswith("ollama/qwen3:8b is kept by the alert Low until it")
    assert after == []


def test_hostile_labels_are_cut_and_never_break_what_is_told() -> None:
    name = "\x1b[2J\n‮" + "x" * 5000
    labels = {f"label{i}": "y" * 4000 for i in range(90)} | {"pool": GPU} | {"alertname": name}

    async def story(http: httpx.AsyncClient, _: Site) -> Any:
        reply = await http.post(AT, json=one(labels=labels, fingerprint="f" * 500))
        return reply.json(), await settled(http), (await http.get(f"{API}/decisions")).json()

    told, (row,), decisions = play(story)
    assert len(row["name"]) == 200
    assert not [c for c in row["name"] if not c.isprintable()]
    assert (len(row["labels"]), row["labels"]["pool"]) == (64, GPU)
    assert max(len(text) for text in row["labels"].values()) == 200
    assert len(row["fingerprint"]) == 64
    assert len(json.dumps(row)) < 20_000
    assert "\n" not in decisions["decisions"][0]["cause"]
    assert told["alerts"][0]["name"] == row["name"]


def test_where_nobody_receives_alerts_there_are_none() -> None:
    reply = early(AT)
    assert reply.json()["alerts"] == []
    assert early(f"{API}/state").json()["alerts"] == {"firing": 0, "holds": [], "last": None}


def test_as_many_are_told_as_are_asked_for() -> None:
    async def story(http: httpx.AsyncClient, _: Site) -> Any:
        for i in range(5):
            await http.post(AT, json=one(fingerprint=str(i)))
        await settled(http)
        found = [(await http.get(AT, params={"limit": n})).json()["alerts"] for n in (2, 9)]
        wrong = await http.get(AT, params={"limt": 2})
        return [[r["fingerprint"] for r in rows] for rows in found], wrong

    found, wrong = play(story)
    assert found == [["4", "3"], ["4", "3", "2", "1", "0"]]
    assert "did you mean limit?" in wrong.json()["detail"]
