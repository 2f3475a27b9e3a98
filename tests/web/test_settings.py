"""The settings over HTTP: shown, set, refused, taken back; and clients that move on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import httpx

from supervisor.config.config import load
from supervisor.core.policy import Policy, Switch
from supervisor.overrides import Overrides
from tests.builders import resident
from tests.configs import KINDS
from tests.web.fakes import API, GPU, World, post, running, site

Story = Callable[[httpx.AsyncClient, Any], Awaitable[None]]


def told(story: Story, policy: Policy | None = None) -> None:
    """`story` with a client, and the loop behind it, over a card with two idle models."""

    async def run() -> None:
        world = World()
        world.hold(resident("a", 4, pool=GPU, idle=99), resident("b", 4, pool=GPU, idle=9))
        made = site(world)
        config = load(None, {}, {}, kinds=KINDS, places=[])
        loop = made.loop
        if policy is not None:
            loop.policy = loop.keeping.configured(policy)
        own = Overrides(config, loop, loop.journal.shelves["overrides"])
        async with running(replace(made, overrides=own)) as http:
            await story(http, loop)

    asyncio.run(run())


async def put(http: httpx.AsyncClient, key: str, **body: object) -> httpx.Response:
    return await http.put(f"{API}/settings/{quote(key, safe='')}", json=body)


def test_all_settings_are_shown_with_whence_they_are_and_whether_they_can_be_set() -> None:
    async def story(http: httpx.AsyncClient, _: Any) -> None:
        answer = (await http.get(f"{API}/settings")).json()
        rows = {row["key"]: row for row in answer["settings"]}
        assert rows["max_active_backends"] == {
            "key": "max_active_backends",
            "value": "0",
            "source": "default",
            "settable": True,
        }
        assert rows["listen.port"]["settable"] is False
        assert answer["set_aside"] == {}
        one = await http.get(f"{API}/settings/watchdog.idle_timeout")
        assert one.json()["value"] == "15m"
        assert (await http.get(f"{API}/settings/nonsense")).status_code == 404

    told(story)


def test_a_limit_is_set_with_what_it_would_do_and_taken_back() -> None:
    async def story(http: httpx.AsyncClient, loop: Any) -> None:
        dry = await put(http, "single_model_mode", value=True, dry_run=True)
        assert dry.json() == {
            "key": "single_model_mode",
            "value": "true",
            "before": "false",
            "apply_now": False,
            "now": ["ollama/a"],
            "next_load": {"ollama": ["ollama/a", "ollama/b"]},
            "sentences": [
                "single_model_mode = true (it was false)",
                "who is loaded stays for now; applied at once, ollama/a would leave",
                "before another model of ollama loads, ollama/a and ollama/b leave",
            ],
            "dry_run": True,
        }
        assert not loop.policy.single
        assert (await put(http, "single_model_mode", value="on")).status_code == 200
        assert loop.policy.single
        rows = (await http.get(f"{API}/settings")).json()["settings"]
        assert ["single_active_backend", "true", "override"] in [
            [r["key"], r["value"], r["source"]] for r in rows
        ]
        back = await http.delete(f"{API}/settings/single_model_mode?apply_now=true")
        assert (back.status_code, back.json()["value"]) == (200, "false")
        assert not loop.policy.single
        gone = await http.delete(f"{API}/settings/single_model_mode")
        assert (gone.status_code, gone.json()["what"]) == (404, "override")

    told(story)


def test_names_with_slashes_and_dots_are_keys_and_values_may_be_numbers_and_lists() -> None:
    async def story(http: httpx.AsyncClient, loop: Any) -> None:
        assert (await put(http, 'models."ollama/a.b".priority', value=2)).status_code == 200
        assert (await put(http, "groups.g.models", value=["a", "b*"])).status_code == 200
        assert loop.policy.models["ollama/a.b"].priority == 2
        assert loop.policy.groups["g"].models == ("a", "b*")

    told(story)


def test_what_cannot_be_is_refused_with_every_mistake_and_nothing_changes() -> None:
    async def story(http: httpx.AsyncClient, loop: Any) -> None:
        for model in ("a", "b"):
            assert (await http.post(f"{API}/pin", json={"model": model})).status_code == 200
        await put(http, "max_active_backends", value=2)
        wrong = await put(http, "max_active_backends", value=1)
        assert wrong.status_code == 422
        assert wrong.json()["errors"] == [
            "max_active_backends: is 1, and ollama/a and ollama/b are pinned"
        ]
        assert loop.policy.max_active == 2
        assert (await put(http, "listen.port", value=1)).status_code == 422
        assert (await put(http, "mode", value="observe")).status_code == 422
        assert (await put(http, "max_active_backends")).status_code == 422
        assert (await put(http, "max_active_backends", value=1, now=True)).status_code == 422
        strange = await http.delete(f"{API}/settings/max_active_backends?apply_now=perhaps")
        assert strange.status_code == 422
        page = {"origin": "http://evil.example"}
        assert (
            await http.put(f"{API}/settings/max_active_backends", json={"value": 1}, headers=page)
        ).status_code == 403
        text = await http.put(f"{API}/settings/max_active_backends", content=b'{"value": 1}')
        assert text.status_code == 415

    told(story)


def test_a_pin_that_cannot_be_is_refused() -> None:
    async def story(http: httpx.AsyncClient, loop: Any) -> None:
        await put(http, "single_model_mode", value=True)
        assert (await http.post(f"{API}/pin", json={"model": "a"})).status_code == 200
        refused = await http.post(f"{API}/pin", json={"model": "b"})
        assert refused.status_code == 409
        assert "is for one model at a time" in refused.json()["detail"]
        assert not loop.policy.is_pinned(resident("b", 1).ref)

    told(story)


def test_without_overrides_nothing_can_be_set() -> None:
    assert post("/load", {"model": "qwen3:8b", "client": ""}).status_code == 422

    async def run() -> httpx.Response:
        async with running(site(World())) as http:
            return await http.get(f"{API}/settings")

    assert asyncio.run(run()).status_code == 409


def test_a_client_that_loads_another_model_leaves_its_last_one() -> None:
    async def story(http: httpx.AsyncClient, loop: Any) -> None:
        async def load(model: str) -> dict[str, Any]:
            body = {"model": model, "client": "agent"}
            found: dict[str, Any] = (await http.post(f"{API}/load", json=body)).json()
            return found["decision"]

        assert (await load("a"))["actions"] == []
        moved = await load("gemma3:4b")
        assert [(a["action"], a["model"]) for a in moved["actions"]] == [
            ("evict", "ollama/a"),
            ("load", "ollama/gemma3:4b"),
        ]

    told(story, replace(Policy(), unload_on_switch=Switch.ENGINE))
