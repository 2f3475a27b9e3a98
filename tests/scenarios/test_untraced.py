"""An engine whose process may not be looked for: told, and found by whoever started it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from collectors.reading import gib
from supervisor.core.snapshot import EngineId, Source
from supervisor.doctor import HOW_TO_TRACE, UNTRACED
from tests.engines.fakes.tei import FakeTei
from tests.scenarios.house import House, house

TEI = EngineId("tei")


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 30))


class Service:
    """The unit that it runs in, as systemd tells."""

    def __init__(self, server: FakeTei) -> None:
        self.server = server

    async def pid(self) -> int | None:
        return self.server.pids[self.server.loaded[0]]


async def told(home: House) -> list[tuple[str, str]]:
    return [(a.what, a.remedy) for a in await home.door.advice() if a.about == TEI]


def blindfold(home: House) -> None:
    attribution = home.sampler.attribution
    attribution.processes = replace(attribution.processes, listener=lambda port: None, tells=True)


def test_an_engine_whose_process_is_not_found_is_told_of_and_holds_nothing() -> None:
    async def story() -> None:
        async with FakeTei() as server, house({TEI: server}) as home:
            home.children.anonymous = {server.pids[server.loaded[0]]: gib(3)}
            blindfold(home)
            snapshot = await home.tick()
            assert [r.size for r in snapshot.residents] == [0]
            assert await told(home) == [(UNTRACED, HOW_TO_TRACE)]

    run(story)


def test_its_unit_tells_its_process_and_what_it_holds_is_known() -> None:
    async def story() -> None:
        async with FakeTei() as server, house({TEI: server}) as home:
            home.children.anonymous = {server.pids[server.loaded[0]]: gib(3)}
            blindfold(home)
            home.sampler.mains.services = {TEI: Service(server)}
            await home.tick(times=3)  # seen to be unknown, asked, answered
            (resident,) = (await home.tick()).residents
            assert resident.size == gib(3)
            assert {s.source for s in resident.shares} == {Source.MEASURED}
            assert await told(home) == []

    run(story)
