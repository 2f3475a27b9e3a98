"""Who changes what through the API, and who is refused: each request and its entry."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Any

import httpx
import pytest

from supervisor.config.config import load
from supervisor.config.entrusted import WRITE, Entrusted, included
from supervisor.overrides import Overrides
from supervisor.web.audited import READS, REPEATED
from supervisor.web.callers import Callers
from supervisor.web.server import Site, application
from supervisor.web.table import operations
from tests.configs import KINDS
from tests.web.fakes import API, URL, World, client, running, site

TOKEN, OTHER = "a-token-for-everything", "a-token-for-alerts"
SENT = {"authorization": f"Bearer {TOKEN}"}


def of(token: str | None = None, **rest: Any) -> Site:
    made = site(World(), token=token, **rest)
    config = load(None, {}, {}, kinds=KINDS, places=[])
    overrides = Overrides(config, made.loop, made.loop.journal.shelves["overrides"])
    return replace(made, overrides=overrides)


async def entries(http: Any, **asked: Any) -> list[dict[str, Any]]:
    reply = await http.get(f"{API}/audit", params=asked)
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["entries"]
    return found


def play(story: Any, made: Site | None = None) -> Any:
    async def run() -> Any:
        made_ = made or of()
        async with running(made_) as http:
            http.headers.update(SENT if made_.callers._token() is not None else {})
            return await story(http)

    return asyncio.run(run())


def test_a_change_is_noted_with_who_and_what_came_of_it():
    async def story(http: Any) -> None:
        reply = await http.post(f"{API}/evict", json={"models": ["llama3:70b"], "wait": False})
        id = reply.json()["decision"]["id"]
        (row,) = await entries(http)
        assert (row["who"], row["via"], row["address"]) == ("local", "api", "127.0.0.1")
        assert (row["what"], row["status"], row["result"]) == ("post_evict", 200, "done")
        assert json.loads(row["wish"]) == {"models": ["llama3:70b"], "wait": False}
        assert row["decisions"] == [id]
        assert reply.json()["decision"]["by"] == "local"
        told = (await http.get(f"{API}/decisions/{id}")).json()["decision"]
        assert told["by"] == "local"

    play(story)


def test_the_entry_is_there_while_it_is_under_way_and_also_if_nobody_waits():
    async def story(http: Any) -> None:
        reply = await http.post(f"{API}/load", json={"model": "gemma3:4b", "background": True})
        assert reply.status_code == 202
        (row,) = await entries(http)
        assert row["status"] == 202
        while not (row := (await entries(http))[0])["decisions"]:
            await asyncio.sleep(0)
        assert row["decisions"] == ["d-000001"]

    play(story)


def test_what_cannot_be_done_is_noted_with_the_reason():
    async def story(http: Any) -> None:
        reply = await http.post(f"{API}/pin", json={"model": "nobody"})
        assert reply.status_code == 404
        (row,) = await entries(http)
        assert (row["what"], row["status"], row["result"]) == ("post_pin", 404, "failed")
        assert row["why"] == reply.json()["detail"]

    play(story)


def test_a_mistake_of_ours_is_noted_as_one_and_whoever_hangs_up_as_such(
    monkeypatch: pytest.MonkeyPatch,
):
    begun = asyncio.Event()

    async def breaks(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    async def hangs(*_: Any, **__: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    async def story() -> list[str]:
        made = of()
        async with running(made) as http:
            monkeypatch.setattr(type(made.door), "pin", breaks)
            monkeypatch.setattr(type(made.door), "unpin", hangs)
            body = {"model": "qwen3:8b"}
            with suppress(ZeroDivisionError):
                await http.post(f"{API}/pin", json=body)
            asked = asyncio.create_task(http.post(f"{API}/unpin", json=body))
            await begun.wait()
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            return [(e["what"], e["status"], e["result"], e["why"]) for e in await entries(http)]

    assert asyncio.run(story()) == [
        ("post_unpin", 500, "failed", "it was cut short"),
        ("post_pin", 500, "failed", "internal error: ZeroDivisionError"),
    ]


def test_what_changes_nothing_is_not_noted():
    async def story(http: Any) -> None:
        for path in ("state", "decisions", "audit", "why?model=llama3:70b"):
            assert (await http.get(f"{API}/{path}")).status_code == 200
        assert (await http.post(f"{API}/plan", json={"evict": ["llama3:70b"]})).status_code == 200
        dry = {"value": "true", "dry_run": True}
        assert (await http.put(f"{API}/settings/prefetch", json=dry)).status_code == 200
        assert (await http.post(f"{API}/pin", json={"modell": "x"})).status_code == 422
        assert await entries(http) == []

    play(story)


def test_settings_say_which_and_what_but_no_secret():
    async def story(http: Any) -> None:
        await http.put(f"{API}/settings/prefetch", json={"value": "true"})
        secret = {"value": "hunter2-hunter2-hunter2"}
        for key in ("listen.token", "engines.llama.key", "nonsense"):
            assert (await http.put(f"{API}/settings/{key}", json=secret)).status_code == 422
        await http.delete(f"{API}/settings/prefetch")
        rows = await entries(http)
        assert [(r["what"], r["target"], r["status"]) for r in rows] == [
            ("delete_settings_by_key", "prefetch", 200),
            ("put_settings_by_key", "nonsense", 422),
            ("put_settings_by_key", "engines.llama.key", 422),
            ("put_settings_by_key", "listen.token", 422),
            ("put_settings_by_key", "prefetch", 200),
        ]
        assert "hunter2" not in json.dumps(rows)
        assert json.loads(rows[4]["wish"]) == {"value": "true"}

    play(story)


def test_a_page_of_ours_is_told_from_a_program():
    async def story(http: Any) -> None:
        page = {"sec-fetch-site": "same-origin"}
        await http.post(f"{API}/pin", json={"model": "llama3:70b"}, headers=page)
        await http.post(f"{API}/unpin", json={"model": "llama3:70b"})
        assert [row["via"] for row in await entries(http)] == ["api", "page"]

    play(story)


def test_renewals_of_a_lease_are_one_entry():
    async def story(http: Any) -> None:
        lease = {"model": "llama3:70b", "client": "me", "ttl": "1m"}
        id = (await http.post(f"{API}/leases", json=lease)).json()["lease"]["id"]
        for _ in range(5):
            reply = await http.post(f"{API}/leases/{id}/renew", json={})
            assert reply.status_code == 200, reply.text
        rows = await entries(http)
        assert [(r["what"], r["target"], r["times"]) for r in rows] == [
            ("post_leases_by_id_renew", id, 5),
            ("post_leases", None, 1),
        ]

    play(story)


def test_who_is_refused_is_counted_by_where_it_comes_from():
    made = of(TOKEN)
    am = Entrusted("am", sha256(OTHER.encode()).digest(), included((WRITE,)), None)
    made = replace(made, callers=Callers(lambda: TOKEN, lambda: (am,)))

    async def story(http: Any) -> None:
        peer: Any = httpx.ASGITransport(application(made), client=("192.0.2.7", 5))
        async with httpx.AsyncClient(transport=peer, base_url=URL) as stranger:
            for _ in range(30):
                assert (await stranger.post(f"{API}/evict", json={"all": True})).status_code == 401
                assert (await stranger.get(f"{API}/state")).status_code == 401
            own = {"authorization": f"Bearer {OTHER}"}
            assert (await stranger.get(f"{API}/state", headers=own)).status_code == 403
            wrong = {"host": "evil.example"}
            assert (await stranger.get(f"{API}/state", headers=wrong)).status_code == 421
        rows = await entries(http)
        assert [(r["status"], r["times"], r["result"]) for r in rows] == [
            (421, 1, "refused"),
            (403, 1, "refused"),
            (401, 60, "refused"),
        ]
        assert {row["address"] for row in rows} == {"192.0.2.7"}
        assert rows[2]["what"] == f"POST {API}/evict"
        assert "am has" in rows[1]["why"]
        assert OTHER not in json.dumps(rows)

    play(story, made)


def test_pages_of_entries_and_whose_they_are():
    async def story(http: Any) -> None:
        for _ in range(3):
            await http.post(f"{API}/pin", json={"model": "llama3:70b"})
            await http.post(f"{API}/unpin", json={"model": "llama3:70b"})
        first = (await http.get(f"{API}/audit?limit=4")).json()
        assert [r["id"] for r in first["entries"]] == [f"a-{n:06}" for n in (6, 5, 4, 3)]
        rest = (await http.get(f"{API}/audit?limit=4&before={first['next']}")).json()
        assert [r["id"] for r in rest["entries"]] == ["a-000002", "a-000001"]
        assert rest["next"] is None
        assert await entries(http, who="ci") == []
        assert len(await entries(http, who="local")) == 6

    play(story)


def test_only_who_may_do_everything_reads_it():
    made = of(TOKEN)

    async def story(http: Any) -> None:
        async with client(made) as stranger:
            assert (await stranger.get(f"{API}/audit")).status_code == 401

    play(story, made)


@pytest.mark.parametrize("operation", operations(of()), ids=lambda o: o.id)
def test_every_operation_that_is_posted_is_one_of_three_kinds(operation):
    """A new one is noted, unless it is said here that it changes nothing or repeats itself."""
    known = {o.id for o in operations(of())}
    assert known >= READS
    assert known >= REPEATED
    if operation.method == "GET":
        assert operation.id not in READS | REPEATED
