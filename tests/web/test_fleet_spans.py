"""What a fleet is told of models that span hosts, and how their parts are held."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from collectors.reading import gib
from supervisor.core.policy import Amount, ModelPolicy
from supervisor.core.snapshot import Installed
from supervisor.fleet.hosts import HostId, Part
from supervisor.fleet.words import read_offer, read_word
from supervisor.web.server import Site
from tests.builders import ref

from .fakes import API, GPU, POLICY, World, running, site
from .fleeting import FLEET, GEMMA, OFFERS, Gated, accept, ended, offer

LEADS = Part("gemma3:4b", GEMMA, True, 2, (HostId("gpu2"),))
HOLDS = Part("big:400b", GEMMA)


def play(story: Any, part: Part, world: World | None = None, memory: float = 0.0) -> Any:
    """Of a host that has this part."""
    amount = Amount(size=gib(memory)) if memory else None
    own = {part.model: ModelPolicy(memory=amount, part=True, spans=part.leads)}

    async def run() -> Any:
        made = site(world or World(), fleet=replace(FLEET, spans=(part,)))
        async with running(made) as http:
            policy = replace(POLICY, models={**POLICY.models, **own})
            made.loop.policy = made.loop.keeping.configured(policy)
            return await story(http, made)

    return asyncio.run(run())


def test_a_word_says_which_parts_there_are() -> None:
    async def story(http: httpx.AsyncClient, made: Site) -> Any:
        return (await http.get(f"{API}/fleet/word")).json()

    assert read_word(play(story, LEADS)).parts == (LEADS,)
    assert read_word(play(story, HOLDS)).parts == (HOLDS,)


def test_a_leader_is_not_loaded_alone_and_by_the_fleet_it_is() -> None:
    world = Gated()

    async def story(http: httpx.AsyncClient, made: Site) -> None:
        for path in ("load", "leases"):
            reply = await http.post(f"{API}/{path}", json={"model": "gemma3:4b"})
            assert reply.status_code == 409
            said = "spans hosts: `ullage fleet place gemma3:4b` loads all of it"
            assert said in reply.json()["detail"]
        assert world.loads == []
        found = await ended(http, await accept(http, (await offer(http))["id"]))
        assert found["answer"]["ok"]

    play(story, LEADS, world)
    assert world.loads == ["gemma3:4b"]


def test_a_part_takes_what_the_operator_says_though_less_is_known_of_it() -> None:
    async def story(http: httpx.AsyncClient, made: Site) -> Any:
        return await offer(http)

    def takes(part: Part, memory: float) -> int:
        found = read_offer(play(story, part, memory=memory))
        return sum(s.size for s in found.takes if s.pool == GPU)

    assert takes(HOLDS, 5) == gib(5)
    little = takes(HOLDS, 0)
    assert takes(HOLDS, 0.5) == gib(0.5)  # the operator's word, of what was never loaded
    assert 0 < little < gib(5)


def test_room_is_made_for_all_that_a_part_will_take() -> None:
    world = Gated()
    world.gate.set()
    world.installed.append(Installed(ref("part"), gib(1)))

    async def story(http: httpx.AsyncClient, made: Site) -> None:
        reply = await http.post(OFFERS, json={"model": "ollama/part"})
        assert reply.json()["leaves"] == ["ollama/qwen3:8b"]
        await ended(http, await accept(http, reply.json()["id"]))

    play(story, Part("big:400b", "ollama/part"), world, memory=10)
    assert ref("qwen3:8b") not in {r.ref for r in world.residents}
    assert world.loads == ["part"]


@pytest.mark.parametrize(("model", "status"), [("qwen3:8b", 201), ("gemma3:4b", 409)])
def test_a_lease_that_is_to_load_nothing_is_had_on_what_is_there_alone(
    model: str, status: int
) -> None:
    world = Gated()

    async def story(http: httpx.AsyncClient, made: Site) -> None:
        body = {"model": model, "client": "span x", "ttl": 60, "there": True}
        reply = await http.post(f"{API}/leases", json=body)
        assert reply.status_code == status, reply.text
        leases = (await http.get(f"{API}/leases")).json()["leases"]
        assert len(leases) == (status == 201)
        if status == 409:
            assert "is not there" in reply.json()["detail"]

    play(story, HOLDS, world)
    assert world.loads == []
