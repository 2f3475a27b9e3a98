"""A pause, in which nothing is done but what is asked for; and engines that are drained."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from collectors.reading import RAM, Bytes, Seconds, gib
from supervisor.core import explain
from supervisor.core.halt import Halt
from supervisor.core.plan import Load
from supervisor.core.policy import EVERY_ENGINE, Policy, Retention, Watchdog
from supervisor.core.record import Result
from supervisor.core.snapshot import EngineId, Share
from supervisor.door import DoorError
from supervisor.events import ClaimsChanged
from supervisor.journal.journal import Journal
from tests.builders import ref
from tests.engines.fake import FakeLlamaRouter
from tests.scenarios.house import House, Ram, house

pytestmark = pytest.mark.slow

A, B = ref("a", "llama"), ref("b", "llama")
LLAMA = EngineId("llama")
IDLE = Policy(watchdog=Watchdog(True, Seconds(60), False, Seconds(300)))


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 30))


async def pause(home: House, period: float | None = None) -> None:
    ends = None if period is None else Seconds(home.clock.now + period)
    home.loop.keeping.pausing.set_pause(ends)
    home.loop.post(ClaimsChanged())


async def go_on(home: House) -> None:
    home.loop.keeping.pausing.end_pause()
    home.loop.post(ClaimsChanged())


async def drain(
    home: House, engine: str = "llama", period: float | None = None, *, unload: bool = True
) -> None:
    ends = None if period is None else Seconds(home.clock.now + period)
    home.loop.keeping.pausing.drain(EngineId(engine), Halt(ends, unload))
    home.loop.post(ClaimsChanged())


async def passes(home: House, seconds: float, times: int = 4) -> None:
    await home.tick(seconds / times, times)
    await home.settle()


def outcomes(home: House) -> list[tuple[str, str, str]]:
    found = (o for d in home.decisions() for o in d["outcomes"])
    return [(o["action"], o["model"], o["result"]) for o in found]


def why(home: House) -> list[str]:
    loop = home.loop
    assert loop.snapshot is not None
    return explain.why(A, *loop.keeping.as_claimed(loop.snapshot, loop.policy), [])


# -- a pause


def test_a_watchdog_that_is_due_in_a_pause_acts_when_it_is_over() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, policy=IDLE) as home:
                await home.tick()
                await pause(home)
                await passes(home, 200)
                assert server.loaded == ["a"]
                assert home.decisions() == []
                assert home.findings() == {("idle", "llama/a")}  # it is seen all the same
                await go_on(home)
                await passes(home, 1)
                assert server.loaded == []

    run(story)


def test_a_pause_ends_by_itself() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, policy=IDLE) as home:
                await home.tick()
                await pause(home, 300)
                await passes(home, 299)
                assert server.loaded == ["a"]
                assert why(home)[1] == (
                    "paused for 1.0 s more: only what is asked for is done; `ullage continue`"
                    " ends it"
                )
                await passes(home, 2)
                assert server.loaded == []
                assert home.loop.policy.pause is None

    run(story)


@pytest.mark.parametrize("period", [None, 5000])
def test_a_pause_is_in_force_before_the_first_decision_of_the_next_daemon(
    tmp_path: Path, period: float | None
) -> None:
    file = tmp_path / "journal.db"

    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, journal=Journal(file)) as home:
                await home.tick()
                await pause(home, period)
                await drain(home, period=period, unload=False)
            again = Journal(file)
            soon = Policy(retention=Retention.ON_DEMAND, watchdog=IDLE.watchdog)
            async with house({"llama": server}, policy=soon, journal=again, began=1200) as home:
                assert home.loop.policy.pause is not None
                await passes(home, 300)
                assert server.loaded == ["a"]
                assert home.loop.policy.drain_of(LLAMA) is not None

    run(story)


def test_nobody_goes_for_want_of_memory_in_a_pause_and_relief_begins_when_it_is_over() -> None:
    async def story() -> None:
        ram = Ram()
        async with FakeLlamaRouter(["a"], sizes={"a": gib(4)}) as server:
            server.take("a")
            async with house({"llama": server}, [ram]) as home:
                await home.tick(times=2)
                await pause(home)
                ram.free = gib(1)
                await passes(home, 60)
                assert server.loaded == ["a"]
                assert ("pressure", RAM) in home.findings()
                await go_on(home)
                await passes(home, 1)
                assert server.loaded == []

    run(story)


def test_a_pause_stops_what_was_decided_and_not_yet_begun() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}, policy=IDLE) as home:
                await home.tick()
                await home.tick(61)  # it is decided
                await pause(home)
                await home.settle()
                assert server.loaded == ["a"]
                (outcome,) = home.decisions()[-1]["outcomes"]
                assert outcome["result"] == "skipped"
                assert "it is a pause" in outcome["detail"]

    run(story)


def test_what_somebody_asks_for_is_done_in_a_pause() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            async with house({"llama": server}) as home:
                home.journal.remember(B, (Share(RAM, gib(1)),))
                await home.tick()
                await pause(home)
                await home.door.load("b")
                assert server.loaded == ["a", "b"]
                await home.door.evict(["b"])
                assert server.loaded == ["a"]
                server.busy["a"] = 1
                await home.tick()
                carried = await home.door.evict(["a"])
                assert carried.leaving == ((A, 1),)
                server.busy["a"] = 0
                await passes(home, 2)  # it was asked for: it is done although it is a pause
                assert server.loaded == []

    run(story)


def test_a_model_is_not_loaded_again_in_a_pause_by_a_wish_of_our_own() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            async with house({"llama": server}) as home:
                await home.tick()
                await pause(home)
                asked: list[str] = []

                def source(sight: Any) -> list[Any]:
                    asked.append("asked")
                    return []

                home.loop.proposals.sources.append(source)
                await home.tick()
                assert asked == []
                await go_on(home)
                await home.tick()
                assert asked == ["asked"]

    run(story)


# -- engines that are drained


def test_the_models_of_a_drained_engine_leave_as_soon_as_nobody_uses_them() -> None:
    async def story() -> None:
        ram = Ram()

        def takes(size: int) -> Callable[[str], None]:
            def change(model: str) -> None:
                ram.free = Bytes(ram.free - size)

            return change

        memory = {"on_load": takes(gib(1)), "on_unload": takes(-gib(1))}
        async with FakeLlamaRouter(["a", "b"], **memory) as server:
            server.take("a")
            server.take("b")
            async with house({"llama": server}, [ram]) as home:
                server.busy["a"] = 1
                await home.tick(times=3)
                await drain(home)
                await passes(home, 20)
                assert server.loaded == ["a"]
                server.busy["a"] = 0
                await passes(home, 2)
                assert server.loaded == []
                causes = [d["cause"] for d in home.decisions()]
                assert causes[0] == "llama is drained, and nobody uses llama/b any more"
                server.take("a")  # a client loads it behind our back
                await passes(home, 20)
                assert server.loaded == []

    run(story)


def test_models_stay_where_that_was_said_and_pinned_ones_always() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            server.take("b")
            async with house({"llama": server}) as home:
                await home.tick()
                await drain(home, unload=False)
                await passes(home, 20)
                assert server.loaded == ["a", "b"]
                await home.door.pin("a")
                await drain(home)
                await passes(home, 20)
                assert server.loaded == ["a"]

    run(story)


def test_a_drain_of_every_engine_is_one_of_each_and_ends_by_itself() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}) as home:
                home.journal.remember(A, (Share(RAM, gib(1)),))
                await home.tick()
                await drain(home, EVERY_ENGINE, 60)
                await passes(home, 30)
                assert server.loaded == []
                with pytest.raises(DoorError, match="llama is drained for 30 s more"):
                    await home.door.load("a")
                await passes(home, 31)
                await home.door.load("a")
                assert server.loaded == ["a"]

    run(story)


def test_nothing_is_loaded_into_a_drained_engine_by_anybody_and_it_is_said_what_to_do() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            async with house({"llama": server}) as home:
                for model in (A, B):
                    home.journal.remember(model, (Share(RAM, gib(1)),))
                await home.tick()
                await drain(home, unload=False)
                text = (
                    "llama/b is not loaded: llama is drained: it takes no requests and no loads;"
                    " `ullage undrain` ends it"
                )
                with pytest.raises(DoorError) as refused:
                    await home.door.load("b")
                assert str(refused.value) == text
                with pytest.raises(DoorError, match="llama is drained"):
                    home.door.plan_load("b")
                with pytest.raises(DoorError, match="llama/a cannot be leased: llama is drained"):
                    await home.claims.lease("a", "agent", Seconds(60))
                snapshot = await home.tick()
                expect = home.loop.witnesses.rules.together.expect
                assert expect(snapshot, home.loop.policy, B) is None
                assert server.loaded == ["a"]
                assert "llama is drained: it takes no requests and no loads" in why(home)[1]

    run(story)


def test_a_load_that_was_decided_before_the_drain_is_not_begun() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as server:
            async with house({"llama": server}) as home:
                home.journal.remember(B, (Share(RAM, gib(1)),))
                await home.tick()
                load = asyncio.create_task(home.door.load("b"))
                while not home.loop.runs:
                    await asyncio.sleep(0)
                await drain(home)
                carried = await load
                (outcome,) = carried.outcomes
                assert isinstance(outcome.action, Load)
                assert outcome.result is Result.SKIPPED
                assert outcome.detail == "its engine is drained"
                assert server.loaded == []

    run(story)


def test_a_drain_is_done_in_a_pause_for_somebody_has_asked_for_it() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}) as home:
                await home.tick()
                await pause(home)
                await drain(home)
                await passes(home, 2)
                assert server.loaded == []

    run(story)


def test_a_drain_that_is_taken_back_before_a_model_goes_keeps_it() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}) as home:
                await home.tick()
                await drain(home)
                await home.tick()  # it is decided
                assert home.loop.runs
                home.loop.keeping.pausing.end_drain(LLAMA)
                await home.settle()
                assert server.loaded == ["a"]
                assert outcomes(home) == [("evict", "llama/a", "skipped")]

    run(story)
