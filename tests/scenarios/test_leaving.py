"""Models that are told to go while they are in use, and leave when they no longer are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from collectors.reading import RAM, Seconds, gib
from supervisor.core.policy import (
    Policy,
    PoolPolicy,
)
from supervisor.core.snapshot import State
from supervisor.core.status import Status
from supervisor.events import ClockStepped
from supervisor.journal.journal import Journal
from supervisor.keeping.deadlines import Deadlines
from tests.builders import ref
from tests.engines.fake import FakeLlamaRouter
from tests.scenarios.house import House, Ram, house

pytestmark = pytest.mark.slow

A = ref("a", "llama")


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 30))


async def until_settled(home: House, seconds: float = 1.0, times: int = 1) -> None:
    await home.tick(seconds, times)
    await home.settle()


@asynccontextmanager
async def leaving() -> AsyncIterator[tuple[FakeLlamaRouter, House]]:
    """A model that works on a request was told to go."""
    async with FakeLlamaRouter(["a"]) as server:
        server.take("a")
        async with house({"llama": server}) as home:
            server.busy["a"] = 1
            await home.tick()
            await home.door.evict(["a"])
            yield server, home


def test_an_unload_of_a_model_in_use_is_told_at_once_and_ends_after_its_last_user(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "ullage.loop")

    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            server.take("b")
            async with house({"llama": server}) as home:
                server.busy["a"] = 2
                await home.tick()
                before = home.clock.now
                carried = await home.door.evict(["a", "b"])
                assert carried.leaving == ((A, 2),)
                assert [str(o.action.ref) for o in carried.outcomes] == ["llama/b"]
                assert home.clock.now - before < 6  # nobody was waited for
                await home.tick()
                found = home.claims.standing(A)
                assert (found.status, found.contexts) == (Status.LEAVING, 2)
                server.busy["a"] = 1
                await home.tick(times=60)
                assert home.claims.standing(A).contexts == 1
                assert server.loaded == ["a"]
                server.busy["a"] = 0
                await until_settled(home)
                assert server.loaded == []
                assert home.claims.standing(A).status is Status.LOCAL
                assert "unload llama/a: leaving (contexts=2)" in caplog.text
                assert "unload llama/a: freed (contexts=0)" in caplog.text
                assert "llama/b: freed" not in caplog.text

    run(story)


@pytest.mark.parametrize("how", ["pin", "load"])
def test_a_pin_or_a_wish_to_load_it_takes_an_unload_back(how: str) -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}) as home:
                home.children.anonymous[server.pids["a"]] = gib(2)
                server.busy["a"] = 1
                await home.tick()
                await home.door.evict(["a"])
                await home.tick()
                assert home.claims.standing(A).status is Status.LEAVING
                await (home.door.pin("a") if how == "pin" else home.door.load("a"))
                await home.tick()
                assert home.claims.standing(A).status is Status.LOADED
                server.busy["a"] = 0
                await until_settled(home, times=30)
                assert server.loaded == ["a"]

    run(story)


def test_who_is_freed_while_another_leaves_goes_by_a_decision_that_names_it() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            server.take("b")
            async with house({"llama": server}) as home:
                server.busy.update(a=1, b=1)
                await home.tick()
                await home.door.evict(["a", "b"])
                server.busy["a"] = 0
                await home.tick()  # that it goes is decided
                server.busy["b"] = 0  # seen by the look before it goes
                await home.settle()
                await until_settled(home, times=3)
                assert server.loaded == []
                for row in home.decisions():
                    decided = {a["model"] for a in row["actions"]}
                    assert {o["model"] for o in row["outcomes"]} <= decided, row

    run(story)


def test_a_pin_that_comes_as_the_last_user_has_gone_spares_it_still() -> None:
    async def story() -> None:
        async with leaving() as (server, home):
            server.busy["a"] = 0
            await home.tick()  # it is decided
            await home.door.pin("a")
            await home.settle()
            assert server.loaded == ["a"]
            (outcome,) = home.decisions()[-1]["outcomes"]
            assert "pinned" in outcome["detail"]

    run(story)


def test_what_is_to_leave_leaves_after_a_restart_too(tmp_path: Path) -> None:
    async def story() -> None:
        file = tmp_path / "journal.db"
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            server.busy["a"] = 1
            async with house({"llama": server}, journal=Journal(file)) as home:
                await home.tick()
                await home.door.evict(["a"])
            journal = Journal(file)
            async with house({"llama": server}, journal=journal, began=2000.0) as home:
                await home.tick(times=3)
                assert home.claims.standing(A).status is Status.LEAVING
                server.busy["a"] = 0
                await until_settled(home)
                assert server.loaded == []

    run(story)


def test_who_waits_for_nobody_leaves_those_in_use_alone_and_force_takes_them_at_once() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}) as home:
                server.busy["a"] = 1
                await home.tick()
                carried = await home.door.evict(["a"], wait=False)
                assert (carried.leaving, carried.outcomes) == ((), ())
                await home.tick()
                assert home.claims.standing(A).status is Status.LOADED
                await home.door.evict(["a"])
                await home.tick()
                await home.door.evict(["a"], force=True)
                assert server.loaded == []
                assert home.loop.keeping.farewells.all == frozenset()

    run(story)


def test_a_model_that_is_told_to_go_while_it_is_loading_goes_when_it_is_there() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.slow_loads = True
            async with house({"llama": server}) as home:
                await home.tick()
                server._want("a")
                snapshot = await home.tick()
                assert [r.state for r in snapshot.residents] == [State.LOADING]
                carried = await home.door.evict(["a"])
                assert carried.leaving == ((A, 0),)
                await until_settled(home, times=3)
                assert home.claims.standing(A).status is Status.LEAVING
                server.finish("a")
                await until_settled(home, times=2)
                assert server.loaded == []

    run(story)


def test_a_pool_that_is_short_is_not_helped_by_an_unload_that_has_been_put_off() -> None:
    async def story() -> None:
        ram = Ram()
        policy = Policy(pools={RAM: PoolPolicy()})
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            server.take("b")
            async with house({"llama": server}, [ram], policy) as home:
                for model in "ab":
                    home.children.anonymous[server.pids[model]] = gib(15)
                server.busy["a"] = 1
                await home.tick()
                await home.door.evict(["a"])
                ram.free = gib(1)
                await until_settled(home, times=2)
                assert server.loaded == ["a"]  # "b" went for it: "a" is still in use

    run(story)


def test_one_that_leaves_by_itself_meanwhile_has_left() -> None:
    async def story() -> None:
        async with leaving() as (server, home):
            server.drop("a")
            await home.tick()
            assert home.loop.keeping.farewells.all == frozenset()
            server.busy["a"] = 0
            server.take("a")  # somebody loads it again: that is not the one that was to go
            await until_settled(home, times=5)
            assert server.loaded == ["a"]

    run(story)


def test_of_an_engine_that_does_not_answer_nobody_knows_who_has_left() -> None:
    async def story() -> None:
        async with leaving() as (server, home):
            server.fault = "error"
            await home.tick(times=3)
            assert home.loop.keeping.farewells.all == {A}
            server.fault = None
            server.busy["a"] = 0
            await until_settled(home, times=3)
            assert server.loaded == []

    run(story)


def test_of_several_only_those_go_whose_users_have_gone() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            server.take("b")
            async with house({"llama": server}) as home:
                server.busy["a"] = server.busy["b"] = 1
                await home.tick()
                assert len((await home.door.evict_all()).leaving) == 2
                server.busy["a"] = 0
                await until_settled(home)
                assert server.loaded == ["b"]
                cause = home.decisions()[-1]["cause"]
                assert cause == "asked to unload llama/a, which nobody uses any more"

    run(story)


def test_when_the_wall_clock_is_set_what_is_written_down_follows() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}) as home:
                await home.tick()
                await home.door.pin("a", Seconds(3600))
                shelf = home.journal.shelves["pins"]
                (before,) = shelf.all().values()
                home.loop.keeping.deadlines = home.loop.keeping.pins.deadlines = Deadlines(
                    home.clock, lambda: 7.0, lambda: None
                )
                home.loop.post(ClockStepped(-5.0))
                await home.tick()
                (after,) = shelf.all().values()
                assert after["ends"]["unix"] < 7 + 3601 < before["ends"]["unix"]

    run(story)
