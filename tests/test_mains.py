"""The main processes of engines whose unit or container is named: asked aside, and rarely."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from supervisor import mains as module
from supervisor.core.snapshot import EngineId
from supervisor.engines.base import EngineDown
from supervisor.mains import INTERVAL, Mains

A, B = EngineId("a"), EngineId("b")


class Service:
    """It says these, one after the other."""

    def __init__(self, *said: int | Exception | None) -> None:
        self.said, self.asked = list(said), 0

    async def pid(self) -> int | None:
        self.asked += 1
        answer = self.said.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Hangs(Service):
    async def pid(self) -> int | None:
        self.asked += 1
        await asyncio.Event().wait()
        raise AssertionError


class World:
    def __init__(self, **services: Service) -> None:
        self.now = 0.0
        named = {EngineId(name): service for name, service in services.items()}
        self.mains = Mains(named, lambda: self.now)

    async def ask(self, *engines: EngineId) -> dict[EngineId, int]:
        """What is known once all that was asked has been answered."""
        self.mains.of(engines)
        await asyncio.gather(*self.mains._open.values())
        return dict(self.mains.of(engines))


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


def test_it_is_asked_aside_and_told_the_next_time() -> None:
    async def story() -> None:
        world = World(a=Service(40))
        assert world.mains.of([A, B]) == {}, "nobody has waited"
        assert await world.ask(A, B) == {A: 40}

    run(story)


def test_it_is_asked_again_after_a_while_and_not_each_time() -> None:
    async def story() -> None:
        service = Service(40, 41, None)
        world = World(a=service)
        for _ in range(3):
            assert await world.ask(A) == {A: 40}
        world.now += INTERVAL
        assert await world.ask(A) == {A: 41}
        world.now += INTERVAL
        assert await world.ask(A) == {}, "it runs no longer"
        assert service.asked == 3

    run(story)


def test_whoever_was_found_meanwhile_is_asked_anew_when_it_is_lost() -> None:
    """A pid of before may be somebody else's by then."""

    async def story() -> None:
        world = World(a=Service(40, 41))
        assert await world.ask(A) == {A: 40}
        assert await world.ask() == {}
        assert world.mains.of([A]) == {}
        assert await world.ask(A) == {A: 41}

    run(story)


@pytest.mark.parametrize("error", [EngineDown("a", "status", "no bus"), KeyError("x")])
def test_one_that_cannot_be_asked_costs_nobody_elses_answer(error: Exception) -> None:
    async def story() -> None:
        assert await World(a=Service(error), b=Service(50)).ask(A, B) == {B: 50}

    run(story)


def test_one_that_hangs_is_asked_once_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        hangs = Hangs()
        world = World(a=hangs, b=Service(50))
        world.mains.of([A])
        await asyncio.sleep(0)  # it has begun
        world.now += INTERVAL
        world.mains.of([A])
        assert hangs.asked == 1
        await world.mains.close()
        monkeypatch.setattr(module, "CALL_TIMEOUT", 0.0)
        world.now += INTERVAL
        assert await world.ask(A, B) == {B: 50}
        assert hangs.asked == 2

    run(story)


def test_at_the_end_nothing_is_left_open() -> None:
    async def story() -> None:
        world = World(a=Hangs())
        world.mains.of([A])
        await world.mains.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(story)
