"""Engines that are asked: which of them, and whose answer counts."""

from __future__ import annotations

import asyncio
from typing import Any

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines.base import EngineDown, EngineModel, Identity
from supervisor.roster import Roster


class Asked:
    """An engine whose answers a test gives, in the order of the questions."""

    kind, url = "llamacpp", "http://127.0.0.1:1"
    abilities = frozenset({Ability.LIST})

    def __init__(self, id: str) -> None:
        self.id = EngineId(id)
        self.waits: list[asyncio.Future[Any]] = []

    async def identify(self) -> Identity:
        return Identity("b1")

    async def list(self) -> tuple[EngineModel, ...]:
        self.waits.append(asyncio.get_running_loop().create_future())
        found: tuple[EngineModel, ...] = await self.waits[-1]
        return found

    async def asked(self, times: int) -> None:
        while len(self.waits) < times:
            await asyncio.sleep(0)


LISTED = (EngineModel(ModelId("m"), State.LOADED),)


def roster(*engines: Asked) -> Roster:
    found: Any = {e.id: e for e in engines}
    times = iter(range(1000))
    return Roster(found, clock=lambda: next(times))


def test_of_two_answers_that_crossed_the_one_asked_for_later_counts() -> None:
    async def story() -> None:
        engine = Asked("e")
        of = roster(engine)
        first = asyncio.create_task(of.ask())
        await engine.asked(1)
        second = asyncio.create_task(of.ask())
        await engine.asked(2)
        engine.waits[1].set_exception(EngineDown(engine.id, "GET /models", "Connection refused"))
        assert not (await second)[engine.id].up
        engine.waits[0].set_result(LISTED)  # before it went away
        assert not (await first)[engine.id].up
        assert not of.last()[engine.id].up
        assert of.models(engine.id) == ()

    asyncio.run(story())


def test_where_only_one_is_asked_the_others_count_as_they_were_seen_last() -> None:
    async def story() -> None:
        one, other = Asked("one"), Asked("other")
        of = roster(one, other)
        first = asyncio.create_task(of.ask({one.id}))
        await asyncio.gather(one.asked(1), other.asked(1))  # of whom nobody knows anything yet
        one.waits[0].set_result(LISTED)
        other.waits[0].set_result(LISTED)
        assert [state.up for state in (await first).values()] == [True, True]
        second = asyncio.create_task(of.ask({other.id}))
        await other.asked(2)
        other.waits[1].set_result(())
        states = await second
        assert list(states) == [one.id, other.id]
        assert (of.models(one.id), of.models(other.id)) == (LISTED, ())
        assert await of.ask(()) == states
        assert (len(one.waits), len(other.waits)) == (1, 2)

    asyncio.run(story())


def test_who_is_not_asked_any_more_is_forgotten() -> None:
    async def story() -> None:
        engine = Asked("e")
        of = roster(engine)
        told = asyncio.create_task(of.ask())
        await engine.asked(1)
        engine.waits[0].set_result(LISTED)
        await told
        assert set(of.health) == {engine.id}
        del of.engines[engine.id]
        assert await of.ask() == {}
        assert (of.health, of.models(engine.id)) == ({}, ())

    asyncio.run(story())
