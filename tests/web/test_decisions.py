"""Decisions, page by page and by what they are about."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from .fakes import API, EPOCH, World, get, play, running, site

QWEN = "ollama/qwen3:8b"


async def three(http: httpx.AsyncClient) -> list[str]:
    """An unload that was done, one of a busy model, a load; their ids, the newest first."""
    bodies: list[tuple[str, Any]] = [
        ("evict", {"models": ["qwen3:8b"]}),
        ("evict", {"models": ["llama3:70b"], "wait": False}),
        ("load", {"model": "gemma3:4b"}),
    ]
    ids = [
        (await http.post(f"{API}/{path}", json=body)).json()["decision"]["id"]
        for path, body in bodies
    ]
    return ids[::-1]


async def asked(http: httpx.AsyncClient, **query: Any) -> list[str]:
    found = (await http.get(f"{API}/decisions", params=query)).json()["decisions"]
    return [d["id"] for d in found]


def test_decisions_are_found_by_what_they_are_about() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        load, busy, gone = await three(http)
        assert await asked(http) == [load, busy, gone]
        assert await asked(http, trigger="demand") == [load]
        assert await asked(http, trigger="operator") == [busy, gone]
        assert await asked(http, result="done") == [load, gone]
        assert await asked(http, result="failed") == []
        assert await asked(http, result="done", trigger="operator") == [gone]
        assert await asked(http, model="gemma3:4b") == [load]
        assert await asked(http, engine="ollama") == [load, busy, gone]
        assert await asked(http, engine="llamacpp", trigger="operator") == []
        assert await asked(http, after=gone) == [load, busy]
        assert await asked(http, before=load) == [busy, gone]
        assert await asked(http, after=gone, before=load) == [busy]
        assert await asked(http, since=EPOCH) == [load, busy, gone]
        assert await asked(http, since=EPOCH + 1) == []
        assert await asked(http, until=EPOCH - 1) == []

    play(story)


def test_pages_follow_one_another_to_the_end() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        ids = await three(http)
        told: list[str] = []
        before: dict[str, str] = {}
        for _ in range(3):
            query = {"limit": "1", **before}
            page = (await http.get(f"{API}/decisions", params=query)).json()
            told += [d["id"] for d in page["decisions"]]
            before = {"before": page["next"]}
        assert told == ids
        assert page["next"] is None

    play(story)


def test_one_decision_is_told_also_in_words() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        id = (await three(http))[-1]
        found = (await http.get(f"{API}/decisions/{id}")).json()
        assert (found["decision"]["id"], found["decision"]["running"]) == (id, False)
        assert found["sentences"][0] == f"{id}: asked to unload {QWEN}"

    play(story)


def test_a_filter_that_means_nobody_is_a_typo() -> None:
    reply = get(f"{API}/decisions?engine=olama")
    assert (reply.status_code, reply.json()["closest"][0]) == (404, "ollama")
    assert get(f"{API}/decisions?engine=llamacpp").status_code == 200


def test_an_engine_that_is_gone_has_a_past() -> None:
    async def run() -> None:
        world = World()
        async with running(site(world)) as http:
            await three(http)
            world.engines = world.engines[1:]
            assert await asked(http, engine="ollama", result="failed") == []

    asyncio.run(run())


@pytest.mark.parametrize(
    ("query", "mistakes"),
    [
        ("trigger=demnd", ["did you mean demand?"]),
        ("result=don", ["did you mean done?"]),
        ("before=12", ['a decision is called as "d-000012"']),
        ("since=yesterday", ["since: a number from 0 to "]),
        ("since=nan", ["since: "]),
        ("until=-1", ["until: "]),
        ("model=", ["model: "]),
        ("limt=3&before=x", ["did you mean limit?", "before: "]),
        ("result=done&result=failed", ["result is given twice"]),
    ],
)
def test_every_mistake_of_a_query_is_told_with_what_is_near(query: str, mistakes: Any) -> None:
    reply = get(f"{API}/decisions?{query}")
    assert reply.status_code == 422
    found = reply.json()["errors"]
    assert len(found) == len(mistakes), found
    assert all(any(m in f for f in found) for m in mistakes), found
