"""Offers that are accepted: loaded once, within their time, or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from collectors.reading import Seconds
from supervisor.fleet.hosts import HostId
from supervisor.offers import Offers
from supervisor.web.server import Site
from tests.builders import ref, resident

from .fakes import API, GPU, NOW, World
from .fleeting import Gated, accept, at, ended, offer, play


def test_what_was_offered_is_loaded_in_the_background_and_only_once() -> None:
    async def story(http: httpx.AsyncClient, made: Site) -> None:
        id = (await offer(http))["id"]
        found = await ended(http, await accept(http, id))
        assert (found["state"], found["answer"]["ok"]) == ("done", True)
        assert f"by the offer {id}" in found["answer"]["decision"]["cause"]
        again = await accept(http, id)
        assert (again.status_code, again.json()["code"]) == (409, "offer_taken")
        entries = made.loop.journal.audit.find(9)
        assert [e["status"] for e in entries] == [409, 202]

    world = Gated()
    play(story, world)
    assert world.loads == ["gemma3:4b"]


@pytest.mark.parametrize(("later", "status"), [(9.99, 202), (10.0, 410), (3600.0, 410)])
def test_an_offer_ends_by_the_hosts_own_clock(later: float, status: int) -> None:
    async def story(http: httpx.AsyncClient, made: Site) -> None:
        id = (await offer(http))["id"]
        at(made, NOW + later)
        made.loop.wall = lambda: 0.0  # whatever that says
        reply = await accept(http, id)
        assert reply.status_code == status
        if status == 410:
            assert reply.json()["code"] == "offer_over"
        else:
            await ended(http, reply)

    world = Gated()
    play(story, world)
    assert world.loads == (["gemma3:4b"] if status == 202 else [])


def test_what_another_daemon_offered_is_over() -> None:
    before = play(lambda http, _: offer(http))["id"]

    async def story(http: httpx.AsyncClient, made: Site) -> Any:
        mine = (await offer(http))["id"]
        assert mine != before
        return await accept(http, before)

    assert play(story).status_code == 410


def test_it_is_planned_anew_and_refused_where_it_does_not_fit_any_more() -> None:
    world = Gated()

    async def story(http: httpx.AsyncClient, made: Site) -> None:
        id = (await offer(http))["id"]
        world.hold(resident("llama3:70b", 21, pool=GPU, busy=3))
        made.loop.snapshot = replace(world.snapshot())
        reply = await accept(http, id)
        assert (reply.status_code, reply.json()["code"]) == (409, "no_longer_fits")
        assert "0 B can be reclaimed" in reply.json()["detail"]
        assert (await accept(http, id)).status_code == 410  # it is over then
        assert made.loop.journal.decisions(10) == []

    play(story, world)
    assert world.loads == []


def test_one_that_had_to_wait_until_its_time_was_over_never_begins() -> None:
    world = Gated()

    async def story(http: httpx.AsyncClient, made: Site) -> None:
        id = (await offer(http))["id"]
        unload = {"models": ["qwen3:8b"], "background": True}
        assert (await http.post(f"{API}/unload", json=unload)).status_code == 202
        await world.begun.wait()  # its pool is worked on: nothing else is decided there
        accepted = await accept(http, id)
        at(made, NOW + 10)
        world.gate.set()
        found = await ended(http, accepted)
        assert (found["state"], found["problem"]["code"]) == ("failed", "offer_over")

    play(story, world)
    assert world.loads == []


@pytest.mark.parametrize(("later", "tries"), [(0.0, 2), (10.0, 1)])
def test_one_that_did_not_fit_is_tried_once_more_only_within_its_time(
    later: float, tries: int
) -> None:
    world = Gated()
    world.gate.set()
    world.fails = ["cudaMalloc failed: out of memory"] * 2

    async def story(http: httpx.AsyncClient, made: Site) -> Any:
        world.before_failing = lambda: at(made, NOW + later)
        return await ended(http, await accept(http, (await offer(http))["id"]))

    assert play(story, world)["state"] == "failed"
    assert len(world.loads) == tries


def test_what_has_begun_is_told_of_before_it_is_seen() -> None:
    """Or whoever asks how it stands, once the offer is over, would hear that nothing came of it."""
    world = Gated()
    world.slow = True

    async def story(http: httpx.AsyncClient, made: Site) -> Any:
        accepted = await accept(http, (await offer(http))["id"])
        while not made.loop.runs:
            await asyncio.sleep(0)
        seen = made.loop.snapshot
        word = (await http.get(f"{API}/fleet/word")).json()
        assert made.loop.snapshot is seen
        world.gate.set()
        await ended(http, accepted)
        return {m["name"]: m["status"] for m in word["models"]}

    assert play(story, world)["gemma3:4b"] == "loading"


def test_a_model_that_is_leaving_stays_for_the_fleet() -> None:
    world = World()

    async def story(http: httpx.AsyncClient, made: Site) -> None:
        await http.post(f"{API}/unload", json={"models": ["llama3:70b"], "background": True})
        while not made.loop.keeping.farewells.all:
            await asyncio.sleep(0)
        told = await offer(http, "llama3:70b")
        assert (told["ready"], told["fits"]) == (False, True)
        await ended(http, await accept(http, told["id"]))
        assert not made.loop.keeping.farewells.all

    play(story, world)
    assert ref("llama3:70b") in {r.ref for r in world.residents}


def test_only_so_many_offers_are_remembered_and_the_oldest_goes() -> None:
    async def story(http: httpx.AsyncClient, made: Site) -> list[int]:
        ids = [(await offer(http, "qwen3:8b"))["id"] for _ in range(257)]
        first, second = await accept(http, ids[0]), await accept(http, ids[1])
        await ended(http, second)
        return [first.status_code, second.status_code]

    assert play(story) == [410, 202]


def test_offers_that_are_over_are_forgotten() -> None:
    async def story(http: httpx.AsyncClient, made: Site) -> None:
        offers = Offers(made.door, HostId("gpu1"), Seconds(10))
        for second in range(100):
            at(made, NOW + second)
            offers.offer("qwen3:8b")
        assert len(offers) == 10

    play(story)
