"""Wishes whose client does not wait: a place to look, and what is found there."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from supervisor.door import Door, NotReady
from supervisor.web.background import Errand, Errands

from .fakes import API, FakeEngine, World, play, running, site

QWEN, GEMMA = "ollama/qwen3:8b", "ollama/gemma3:4b"


class SlowEngine(FakeEngine):
    """Unloads when its gate is opened."""

    async def unload(self, model: str) -> None:
        self.world.begun.set()
        await self.world.gate.wait()
        await super().unload(model)


class SlowWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.begun, self.gate = asyncio.Event(), asyncio.Event()

    def engine(self, id: str) -> FakeEngine:
        return SlowEngine(self, id)


async def ended(http: httpx.AsyncClient, where: str) -> Any:
    while (found := (await http.get(where)).json())["state"] in ("waiting", "running"):
        await asyncio.sleep(0)
    return found


def test_a_wish_in_the_background_is_accepted_at_once_and_told_of_later() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        body = {"models": ["qwen3:8b"], "background": True}
        reply = await http.post(f"{API}/unload", json=body)
        assert reply.status_code == 202
        where = reply.headers["location"]
        assert where == f"{API}/operations/{reply.json()['operation']}"
        found = await ended(http, where)
        assert (found["state"], found["wish"], found["problem"]) == ("done", "unload", None)
        assert found["decision"] == found["answer"]["decision"]["id"]
        assert found["answer"]["ok"] is True
        assert found["answer"]["decision"]["actions"][0]["model"] == QWEN

    play(story)


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        ("evict", {"free": "8GiB"}, "decision"),
        ("load", {"model": "gemma3:4b"}, "decision"),
        ("leases", {"model": "gemma3:4b"}, "lease"),
        ("leases", {"model": "gemma3:4b", "wait": False}, "lease"),
        ("reservations", {"size": "1GiB"}, "reservation"),
    ],
)
def test_every_wish_can_be_in_the_background(path: str, body: Any, key: str) -> None:
    async def story(http: httpx.AsyncClient) -> None:
        reply = await http.post(f"{API}/{path}", json=body | {"background": True})
        assert reply.status_code == 202
        found = await ended(http, reply.headers["location"])
        assert (found["state"], found["answer"]["ok"]) == ("done", True)
        assert found["answer"][key] is not None
        assert found["decision"] is not None

    play(story)


def test_it_waits_then_runs_and_a_client_that_hangs_up_changes_nothing() -> None:
    async def run() -> None:
        world = SlowWorld()
        made = site(world)
        async with running(made) as http:
            transport = http._transport  # the same application
            async with httpx.AsyncClient(transport=transport, base_url=http.base_url) as other:
                body = {"models": ["qwen3:8b"], "background": True}
                first = (await other.post(f"{API}/evict", json=body)).headers["location"]
            assert (await http.get(first)).json()["state"] == "waiting"
            await world.begun.wait()
            found = (await http.get(first)).json()
            assert (found["state"], found["answer"]) == ("running", None)
            assert found["decision"] is not None
            # The same pools are being worked on: this one is not decided yet.
            second = await http.post(f"{API}/evict", json={"free": "6.5GiB", "background": True})
            assert (await http.get(second.headers["location"])).json()["state"] == "waiting"
            world.gate.set()
            assert (await ended(http, first))["state"] == "done"
            assert not any(r.ref.model == "qwen3:8b" for r in world.residents)
            assert (await ended(http, second.headers["location"]))["state"] == "done"

    asyncio.run(run())


def test_another_daemon_s_wishes_are_called_otherwise() -> None:
    """Or a page that asks across a restart would be told what became of somebody else's."""

    async def nothing(door: Door) -> None:
        return

    async def one() -> str:
        errands = Errands(site(World()).door)
        errand = await errands._send("load", nothing, lambda _: ({}, 200))
        await asyncio.gather(*errands._tasks)
        return errand.id

    assert len({asyncio.run(one()) for _ in range(5)}) == 5


def test_what_can_be_refused_at_once_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.web.background.token_hex", lambda size: "run")

    async def story(http: httpx.AsyncClient) -> None:
        unknown = await http.post(f"{API}/load", json={"model": "qwen3:8", "background": True})
        assert (unknown.status_code, unknown.json()["closest"][0]) == (404, "qwen3:8b")
        await http.post(f"{API}/drain", json={"engine": "ollama"})
        drained = {"model": "gemma3:4b", "background": True}
        assert (await http.post(f"{API}/load", json=drained)).status_code == 409
        nothing = await http.get(f"{API}/operations/o-run-000001")
        assert (nothing.status_code, nothing.json()["what"]) == (404, "operation")

    play(story)


def test_what_does_not_fit_has_failed_with_its_answer() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        body = {"free": "23GiB", "wait": False, "background": True}
        reply = await http.post(f"{API}/evict", json=body)
        found = await ended(http, reply.headers["location"])
        assert (found["state"], found["answer"]["ok"]) == ("failed", False)
        assert found["answer"]["decision"]["unmet"]

    play(story)


def test_what_turns_out_impossible_later_has_failed_with_its_problem() -> None:
    async def run() -> Errand:
        errands = Errands(site(World()).door)

        async def ask(door: Door) -> None:
            await asyncio.sleep(0)
            raise NotReady("the first sample is not in yet")

        errand = await errands._send("load", ask, lambda _: ({}, 200))
        await asyncio.gather(*errands._tasks)
        return errand

    errand = asyncio.run(run())
    assert errand.state == "failed"
    assert errand.row["problem"]["status"] == 503


def test_the_last_ones_are_remembered_and_those_under_way_are_never_forgotten() -> None:
    async def run() -> None:
        gate = asyncio.Event()
        errands = Errands(site(World()).door, most=3)

        async def at_once(door: Door) -> None:
            await asyncio.sleep(0)

        async def later(door: Door) -> None:
            await gate.wait()

        def tell(_: None) -> tuple[dict[str, Any], int]:
            return {"ok": True}, 200

        slow = await errands._send("load", later, tell)
        quick = [await errands._send("load", at_once, tell) for _ in range(3)]
        assert errands.get(slow.id) is slow
        assert errands.get(quick[0].id) is None
        for _ in range(2):
            await errands._send("load", later, tell)
        with pytest.raises(NotReady, match="3 wishes are under way already"):
            await errands._send("load", at_once, tell)
        assert len(errands.ids) == 3
        gate.set()
        await asyncio.gather(*errands._tasks)
        assert slow.state == "done"

    asyncio.run(run())
