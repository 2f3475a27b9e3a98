"""Limits, watchdogs and patience, over two engines of different kinds, by the loop as it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from collectors.reading import RAM, Seconds, gib
from supervisor.core.policy import Amount, ModelPolicy, Policy, PoolPolicy, Watchdog
from supervisor.core.rank import RANKINGS
from supervisor.core.record import Mode
from supervisor.core.snapshot import Reservation, Share, Source, State
from tests.engines.fake import FakeLlamaRouter, FakeOllama
from tests.scenarios.house import House, house

pytestmark = pytest.mark.slow

# Nothing is short of memory here, but where a test says so.
ROOMY = Policy(
    pools={RAM: PoolPolicy(reserve=Amount(size=gib(1)))},
    ranking=RANKINGS["lru"],  # that one and no other goes is what is told here
)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


async def at_work(home: House, server: Any, *models: str) -> None:
    """Each of these serves a request now, one second after the other."""
    for model in models:
        server.worked[model] += 1
        home.children.cpu[server.pids[model]] = home.clock.now
        await home.tick(1)


def last(home: House) -> dict[str, Any]:
    found: dict[str, Any] = home.decisions()[-1]
    return found


def test_the_least_recently_used_goes_whichever_engine_holds_it() -> None:
    async def story() -> None:
        llama, ollama = FakeLlamaRouter(["a", "b"]), FakeOllama(["x", "y"])
        ollama.pids = {"x": 8001, "y": 8002}
        async with llama, ollama:
            for server, model in ((llama, "a"), (llama, "b"), (ollama, "x")):
                server.take(model)
            policy = replace(ROOMY, max_active=3)
            async with house({"llama": llama, "ollama": ollama}, policy=policy) as home:
                await home.tick(times=10)
                await at_work(home, ollama, "x")
                await at_work(home, llama, "b", "a")
                await home.tick(times=10)
                assert home.decisions() == []
                ollama.take("y")  # a client loads a fourth behind our back
                await home.tick()
                await home.settle()
                assert (llama.loaded, ollama.loaded) == (["a", "b"], ["y"])
                assert last(home)["trigger"] == "limit"
                await home.tick(times=10)
                assert len(home.decisions()) == 1

    run(story())


def test_single_model_mode_keeps_the_newcomer_and_whoever_is_pinned() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b", "kept"]) as llama:
            llama.take("a")
            llama.take("kept")
            policy = replace(ROOMY, single=True, models={"kept": ModelPolicy(pinned=True)})
            async with house({"llama": llama}, policy=policy) as home:
                await home.tick(times=10)
                llama.take("b")
                await home.tick()
                await home.settle()
                assert llama.loaded == ["kept", "b"]

    run(story())


def test_an_idle_model_leaves_after_its_timeout_and_a_used_one_stays() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as llama:
            llama.take("a")
            llama.take("b")
            watchdog = Watchdog(True, Seconds(60), False, Seconds(1))
            async with house({"llama": llama}, policy=replace(ROOMY, watchdog=watchdog)) as home:
                for _ in range(7):
                    await home.tick(times=9)
                    await at_work(home, llama, "b")
                await home.settle()
                assert llama.loaded == ["b"]
                assert last(home)["trigger"] == "idle"
                assert "idle for longer than its timeout of 60 s" in last(home)["cause"]

    run(story())


def test_a_request_that_comes_just_before_the_unload_saves_the_model() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as llama:
            llama.take("a")
            watchdog = Watchdog(True, Seconds(60), False, Seconds(1))
            async with house({"llama": llama}, policy=replace(ROOMY, watchdog=watchdog)) as home:
                await home.tick()
                real = home.executor.sample

                async def a_request_arrives() -> Any:
                    llama.busy["a"] = 1
                    return await real()

                home.executor.sample = a_request_arrives
                await home.tick(61)
                await home.settle()
                assert llama.loaded == ["a"]
                (outcome,) = last(home)["outcomes"]
                assert outcome["result"] == "skipped"

    run(story())


def test_a_stuck_model_is_unloaded_though_busy_and_one_that_rests_is_not() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["stuck", "well"]) as llama:
            llama.take("stuck")
            llama.take("well")
            watchdog = Watchdog(False, Seconds(1), True, Seconds(300))
            async with house({"llama": llama}, policy=replace(ROOMY, watchdog=watchdog)) as home:
                await home.tick()
                llama.busy["stuck"] = 1
                home.children.cpu[llama.pids["stuck"]] = 50.0
                for turn in range(32):
                    llama.busy["well"] = turn % 2
                    home.children.cpu[llama.pids["well"]] = 50.0 * (turn + 1)
                    await home.tick(10)
                await home.settle()
                assert llama.loaded == ["well"]
                assert last(home)["trigger"] == "busy"

    run(story())


def test_while_everybody_is_busy_it_asks_again_thirty_times_then_says_so_and_stops() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as llama:
            llama.take("a")
            llama.take("b")
            async with house({"llama": llama}, policy=replace(ROOMY, max_active=1)) as home:
                llama.busy["a"] = llama.busy["b"] = 1
                await home.tick(times=30)
                assert home.decisions() == []
                await home.tick(times=30)
                (gave_up,) = home.decisions()  # once, and not again
                assert "everybody who could go was busy, 30 tries long: gave up" in gave_up["cause"]
                assert gave_up["actions"] == []
                llama.busy["b"] = 0
                await home.tick(times=6)
                await home.settle()
                assert llama.loaded == ["a"]  # but who falls idle later still goes

    run(story())


def test_with_force_a_busy_model_goes_at_once() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as llama:
            llama.take("a")
            llama.take("b")
            policy = replace(ROOMY, max_active=1, force_when_busy=True)
            async with house({"llama": llama}, policy=policy) as home:
                llama.busy["a"] = llama.busy["b"] = 1
                await home.tick()
                await home.settle()
                assert len(llama.loaded) == 1

    run(story())


def test_a_load_reserves_its_bytes_before_the_engine_is_asked() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"], sizes={"b": 4 << 30}) as llama:
            llama.take("a")
            llama.slow_loads = True
            async with house({"llama": llama}, policy=ROOMY) as home:
                home.children.anonymous[llama.pids["b"]] = gib(2)
                await home.tick()
                already = await home.door.load("a")
                assert already.decision.plan.actions == ()
                b = home.door.resolve("b")
                home.journal.remember(b, (Share(RAM, gib(4)),))
                loading = asyncio.create_task(home.door.load("b"))
                while not llama.loading:
                    await asyncio.sleep(0)
                (reserved,) = home.loop.reservations
                assert reserved == Reservation(b, (Share(RAM, gib(4), Source.LEARNED),))
                found = (await home.tick()).resident(b)
                assert found is not None
                assert found.state is State.LOADING
                llama.finish("b")
                carried = await loading
                assert [o.result.value for o in carried.outcomes] == ["done"]
                assert home.loop.reservations == ()

    run(story())


def test_in_advise_mode_the_same_advice_is_given_once() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as llama:
            llama.take("a")
            llama.take("b")
            policy = replace(ROOMY, max_active=1)
            async with house({"llama": llama}, policy=policy, mode=Mode.ADVISE) as home:
                await home.tick(times=20)
                await home.settle()
                (advice,) = home.decisions()
                assert [o["result"] for o in advice["outcomes"]] == ["skipped"]
                assert llama.loaded == ["a", "b"]

    run(story())


def test_in_observe_mode_nothing_is_planned_though_it_is_seen() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as llama:
            llama.take("a")
            llama.take("b")
            policy = replace(ROOMY, max_active=1)
            async with house({"llama": llama}, policy=policy, mode=Mode.OBSERVE) as home:
                await home.tick(times=20)
                assert home.decisions() == []
                assert ("over_limit", "host") in home.findings()

    run(story())


def test_a_hanging_engine_is_late_once_and_delays_nobody_after_that() -> None:
    async def story() -> None:
        llama, ollama = FakeLlamaRouter(["a"]), FakeOllama(["x"])
        async with llama, ollama:
            llama.take("a")
            ollama.take("x")
            async with house({"llama": llama, "ollama": ollama}, policy=ROOMY) as home:
                home.sampler.roster.call_timeout = Seconds(0.2)
                await home.tick()
                ollama.fault = "hang"
                snapshot = await home.tick()
                states = {r.model: r.state for r in snapshot.residents}
                assert states == {"a": State.LOADED, "x": State.UNKNOWN}
                asked = len(llama.requests)
                await home.tick(times=50)
                assert len([c for c, _ in llama.requests[asked:] if c == "GET /models"]) == 50
                ollama.fault = None
                for _ in range(500):
                    snapshot = await home.tick(0.1)
                    if State.UNKNOWN not in {r.state for r in snapshot.residents}:
                        break
                assert {r.state for r in snapshot.residents} == {State.LOADED}

    run(story())
