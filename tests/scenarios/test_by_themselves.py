"""Models that leave by themselves, and those that are wanted back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from collectors.reading import RAM, gib
from supervisor.core.policy import Policy
from supervisor.core.snapshot import EngineId, Installed, Share
from supervisor.standing import who_is_due
from tests.builders import ref
from tests.engines.fake import FakeLlamaRouter, FakeOllama
from tests.scenarios.house import Ram, house

A = ref("a", "llama")


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 30))


def test_what_a_client_or_a_timer_unloads_is_written_down_and_not_taken_for_ours() -> None:
    async def story() -> None:
        async with FakeOllama(["a", "b"]) as server:
            server.take("a")
            server.take("b")
            async with house({"llama": server}) as home:
                await home.tick(times=9)
                server.drop("a")  # FakeOllama's keep-alives are long over
                await home.tick()
                await home.door.evict(["b"])
                await home.settle()
                (row,) = home.journal.departures(9)
                assert row["model"] == "llama/a"
                assert "keep-alive had run out" in row["why"]
                assert home.loop.witnesses.departures.counts == {"llama": 1}

    run(story)


def crashed(home: Any, due: bool) -> None:
    """Its engine says from now on that "a" ended by itself, and whether it wants it back."""
    engine = home.sampler.engines[EngineId("llama")]
    true_list = type(engine).list

    async def told() -> Any:
        models = await true_list(engine)
        return tuple(
            replace(m, trouble="ended with exit code 137", due=due) if m.state is None else m
            for m in models
        )

    engine.list = told


def test_a_model_whose_process_ended_is_loaded_again_when_its_engine_says_that_it_is_time() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}) as home:
                home.children.anonymous[server.pids["a"]] = gib(4)
                await home.tick(times=9)
                crashed(home, due=False)
                server.drop("a")
                await home.tick(times=3)
                assert server.calls("POST /models/load") == []
                assert home.journal.departures(9)[0]["why"] == "ended with exit code 137"
                crashed(home, due=True)
                await home.tick()
                await home.settle()
                assert server.loaded == ["a"]
                decision = home.decisions()[-1]
                assert "ended by itself, and is due again" in decision["cause"]
                assert decision["outcomes"][0]["result"] == "done"
                crashed(home, due=True)  # it says so, although it is there
                assert home.loop.snapshot is not None
                there = replace(home.loop.snapshot, installed=(Installed(A, due=True),))
                assert who_is_due(there) == frozenset()

    run(story)


def test_one_that_is_unloaded_while_it_waits_to_come_back_is_not_wanted_back() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}) as home:
                await home.tick(times=9)
                crashed(home, due=False)
                engine, told = home.sampler.engines[EngineId("llama")], []
                engine.forget = told.append
                await home.door.evict(["a"])  # while it is there its engine is told to unload it
                assert told == []
                await home.tick(times=3)
                await home.door.evict(["a"])
                assert told == ["a"]

    run(story)


def test_nobody_comes_back_by_itself_where_there_is_no_room_for_it() -> None:
    async def story() -> None:
        ram = Ram()
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("b")
            policy = Policy(pinned=frozenset({"b"}))
            async with house({"llama": server}, [ram], policy=policy) as home:
                home.journal.remember(A, (Share(RAM, gib(39)),))
                crashed(home, due=True)
                await home.tick(times=5)
                assert server.loaded == ["b"]
                assert len(home.decisions()) == 1, "it is said once"
                assert home.decisions()[0]["unmet"]

    run(story)
