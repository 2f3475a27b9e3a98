"""Engines that are gone, stuck, or read by an adapter with a bug: nobody else pays for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from collectors.reading import RAM, Seconds, gib
from supervisor import scout as scouting
from supervisor.core.afresh import spared
from supervisor.core.plan import plan
from supervisor.core.policy import Policy
from supervisor.core.snapshot import EngineId, Share, State
from supervisor.demo.engines import Fault
from supervisor.demo.machine import GPU0
from supervisor.engines import ENGINES
from supervisor.engines.base import CALL_TIMEOUT, EngineModel
from supervisor.events import EnginesFound, Pressed, Tick
from supervisor.scout import Scout
from tests.builders import NO_RESERVE, demand, engine, machine, ref, resident
from tests.engines.fake import FakeLlamaRouter
from tests.engines.fakes.lmstudio import FakeLMStudio
from tests.engines.fakes.sglang import FakeSgLang
from tests.engines.fakes.vllm import FakeVllm
from tests.scenarios.gate import gate, models, story
from tests.scenarios.house import Ram, house


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 30))


def states(snapshot: Any) -> dict[str, State]:
    return {r.model: r.state for r in snapshot.residents}


def test_models_whose_process_ended_with_their_engine_are_gone_and_the_others_unknown() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            server.take("b")
            async with house({"llama": server}) as home:
                home.children.anonymous = {server.pids["a"]: gib(3), server.pids["b"]: gib(2)}
                snapshot = await home.tick()
                assert {r.model: r.size for r in snapshot.residents} == {"a": gib(3), "b": gib(2)}
                await server.stop()
                assert states(await home.tick()) == {"a": State.UNKNOWN, "b": State.UNKNOWN}
                server.loaded.remove("a")  # its process; the engine cannot say so any more
                snapshot = await home.tick()
                assert states(snapshot) == {"b": State.UNKNOWN}
                assert {i.ref.model for i in snapshot.installed} == {"a", "b"}
                server.loaded.append("a")
                await server.start()
                for _ in range(50):
                    snapshot = await home.tick(0.1)
                    if State.UNKNOWN not in states(snapshot).values():
                        break
                assert states(snapshot) == {"a": State.LOADED, "b": State.LOADED}

    run(story)


@pytest.mark.parametrize(
    ("refuses", "ended", "state"),
    [
        (True, True, None),
        (True, False, State.UNKNOWN),
        (False, True, State.UNKNOWN),
    ],
)
def test_models_that_name_no_process_are_gone_once_their_engine_was_quit(
    refuses: bool, ended: bool, state: State | None
) -> None:
    async def story() -> None:
        async with FakeLMStudio(["a"]) as studio, FakeLlamaRouter(["b"]) as well:
            studio.take("a")
            policy = Policy(max_active=1)
            async with house({"studio": studio, "well": well}, policy=policy) as home:
                home.children.listening[studio.port] = 4000
                assert states(await home.tick()) == {"a": State.LOADED}
                if refuses:
                    await studio.stop()
                studio.fault = "garbage"
                if ended:
                    del home.children.listening[studio.port]
                for _ in range(3):
                    snapshot = await home.tick()
                assert states(snapshot).get("a") is state
                home.journal.remember(ref("b", "well"), (Share(RAM, gib(1)),))
                await home.door.load("b", wait=False)
                assert well.loaded == (["b"] if state is None else [])

    run(story)


def test_nobody_has_to_leave_because_an_engine_that_is_silent_had_models_too() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as silent, FakeLlamaRouter(["c"]) as well:
            silent.take("a")
            silent.take("b")
            policy = Policy(max_active=2)
            async with house({"silent": silent, "well": well}, policy=policy) as home:
                await home.tick()
                await silent.stop()
                await home.tick()
                well.take("c")
                await home.tick(times=10)
                await home.settle()
                assert well.loaded == ["c"]
                assert home.decisions() == []

    run(story)


def test_nobody_is_unloaded_by_a_command_to_load_what_its_engine_cannot() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as silent, FakeLlamaRouter(["c"]) as well:
            well.take("c")
            policy = Policy(max_active=1)
            async with house({"silent": silent, "well": well}, policy=policy) as home:
                home.journal.remember(ref("a", "silent"), (Share(RAM, gib(1)),))
                await home.tick()
                await silent.stop()
                await home.tick()
                carried = await home.door.load("a", wait=False)
                (barred,) = carried.decision.plan.barred
                assert barred.why == "nothing can be loaded: silent does not answer"
                assert well.loaded == ["c"]
                await silent.start()
                await home.tick(times=3)
                assert (await home.door.load("a", wait=False)).decision.plan.works
                assert (silent.loaded, well.loaded) == (["a"], [])

    run(story)


def test_who_was_to_go_for_a_model_of_an_engine_that_went_down_is_told_why_it_stayed() -> None:
    snapshot = machine(resident("old", 8), free=4)
    decided = plan(snapshot, NO_RESERVE, demand("new", 8))
    assert [e.ref.model for e in decided.evictions] == ["old"]
    down = replace(snapshot, engines=(engine("ollama", "connection refused"),))
    fresh = plan(down, NO_RESERVE, demand("new", 8))
    why = "spared after all: nothing can be loaded: ollama does not answer"
    assert spared(decided, fresh) == {ref("old"): why}


def test_an_engine_that_went_up_and_down_between_two_looks_is_down() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}) as home:
                await home.tick()
                server.fault = "garbage"
                await home.tick()
                server.fault = None
                while (await home.tick(0.1)).engines[0].fault is not None:
                    pass
                server.fault = "garbage"
                for _ in range(3):
                    (engine,) = (await home.tick()).engines
                    assert not engine.up

    run(story)


def test_a_bug_in_one_adapter_costs_that_engine_and_no_other() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as broken, FakeLlamaRouter(["b"]) as well:
            broken.take("a")
            well.take("b")
            async with house({"broken": broken, "well": well}) as home:
                await home.tick()
                adapter = home.sampler.engines[EngineId("broken")]

                async def bug(*_: object) -> tuple[EngineModel, ...]:
                    raise KeyError("data")

                adapter.list = bug  # type: ignore[method-assign]
                snapshot = await home.tick()
                assert states(snapshot) == {"a": State.UNKNOWN, "b": State.LOADED}
                assert snapshot.engines[0].fault == "cannot be read: KeyError: 'data'"
                assert home.loop.counts.failed_samples == 0

    run(story)


def test_a_bug_in_asking_what_a_model_does_costs_that_answer_alone() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}) as home:

                async def bug(*_: object) -> object:
                    raise IndexError

                home.sampler.engines[EngineId("llama")].activity = bug  # type: ignore
                (resident,) = (await home.tick()).residents
                assert (resident.state, resident.in_flight) == (State.LOADED, None)

    run(story)


def test_an_urgent_look_waits_for_no_engine_and_forgets_none() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            async with house({"llama": server}) as home:
                home.children.anonymous = {server.pids["a"]: gib(3)}
                before = await home.tick()
                server.fault = "hang"
                home.sampler.roster.call_timeout = Seconds(60)
                async with asyncio.timeout(30):
                    after = await home.sampler.sample(urgent=True)
                assert after.residents == before.residents
                assert after.engines == before.engines

    run(story)


@pytest.mark.slow
def test_relief_is_decided_upon_an_alarm_while_an_engine_keeps_everybody_waiting() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server, FakeLlamaRouter(["b"]) as slow:
            server.take("a")
            ram = Ram()
            async with house({"llama": server, "slow": slow}, [ram]) as home:
                home.children.anonymous = {server.pids["a"]: gib(8)}
                ram.free = gib(7)  # below the reserve of 12 %, and not below half of it
                await home.tick()
                slow.fault = "hang"
                home.sampler.roster.call_timeout = Seconds(60)
                home.loop.post(Tick(home.clock.now))  # hangs with the engine
                home.loop.post(Pressed())
                while not home.journal.decisions(10):
                    await home.loop.changed()
                [decision] = home.journal.decisions(10)
                assert decision["trigger"] == "relief"

    run(story)


def test_an_engine_that_answers_nonsense_is_degraded_and_one_that_does_not_answer_is_down() -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            policy = Policy(max_active=1)
            async with house({"llama": server}, policy=policy) as home:
                (engine,) = (await home.tick()).engines
                assert (engine.up, engine.degraded) == (True, False)
                server.take("b")
                for fault in ("garbage", "error", "redirect"):
                    server.fault = fault
                    for _ in range(20):
                        (engine,) = (await home.tick()).engines
                    assert (engine.up, engine.degraded) == (False, True), fault
                    assert states(home.loop.snapshot) == {"a": State.UNKNOWN}
                assert server.loaded == ["a", "b"], "nobody is unloaded for it"
                await server.stop()
                for _ in range(20):
                    (engine,) = (await home.tick()).engines
                assert (engine.up, engine.degraded) == (False, False)

    run(story)


def test_a_port_that_changes_hands_is_the_engines_that_answers_there_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        async with FakeVllm(["a"]) as first, FakeSgLang(["b"]) as second, house({}) as home:
            monkeypatch.setattr(scouting, "usual", lambda: [first.url])
            sampler = home.sampler
            scout = Scout(home.client, (), True, sampler.engines, home.loop.post, home.clock)
            scout.replaceable = lambda: sampler.roster.replaceable

            async def look() -> Any:
                await scout.look()
                await home.tick(30)
                return (await home.tick(0.1)).engines

            assert [(e.id, e.up) for e in await look()] == [("vllm", True)]
            assert states(home.loop.snapshot) == {"a": State.LOADED}
            await first.stop()
            assert [(e.id, e.refuses) for e in await look()] == [("vllm", True)]
            await second.stop()
            second.port = first.port
            await second.start()
            for _ in range(4):
                engines = await look()
            assert [(e.id, e.kind, e.up) for e in engines] == [("sglang", "sglang", True)]
            assert states(home.loop.snapshot) == {"b": State.LOADED}
            assert set(sampler.health) & {"engine vllm", "engine sglang"} == {"engine sglang"}
            assert sampler.roster.replaceable == frozenset()

    run(story)


def test_what_answers_in_the_place_of_a_named_engine_has_its_name_and_none_of_its_models() -> None:
    async def story() -> None:
        async with (
            FakeVllm(["a"]) as first,
            FakeSgLang(["b"]) as second,
            house({"main": first}) as home,
        ):
            assert states(await home.tick()) == {"a": State.LOADED}
            await first.stop()
            await home.tick()
            await second.stop()
            second.port = first.port
            await second.start()
            while not home.sampler.roster.replaceable:
                await home.tick()
            other = ENGINES["sglang"](EngineId("main"), first.url, home.client, None)
            home.loop.post(EnginesFound((other,)))
            seen = set()
            for _ in range(4):
                seen |= states(await home.tick(0.1)).keys()
            assert seen == {"b"}
            assert [(e.id, e.kind, e.up) for e in home.loop.snapshot.engines] == [
                ("main", "sglang", True)
            ]

    run(story)


def test_nobody_takes_the_place_of_an_engine_that_answers() -> None:
    async def story() -> None:
        async with FakeVllm(["a"]) as server, house({"mine": server}) as home:
            await home.tick()
            other = ENGINES["sglang"](EngineId("sglang"), server.url, home.client, None)
            home.loop.post(EnginesFound((other,)))
            assert [e.id for e in (await home.tick()).engines] == ["mine"]
            server.fault = "hang"
            home.sampler.roster.call_timeout = Seconds(0.01)
            for _ in range(3):
                await home.tick()
                home.loop.post(EnginesFound((other,)))
            assert [e.id for e in (await home.tick()).engines] == ["mine"]

    run(story)


@story
async def test_what_is_said_of_memory_is_as_old_as_its_reading_while_an_engine_is_waited_for() -> (
    None
):
    async with gate(models("a", 4), models("b", 4)) as at:
        await at.clock.advance(2)
        engine, began = at.engines[EngineId("two")], at.clock()
        engine.fault = Fault.HANGS
        looks = asyncio.create_task(at.world.loop.look())
        await at.clock.advance(0.5)
        at.machine.start("game", {GPU0: gib(9)})
        await at.clock.advance(3)
        seen = looks.result()
        assert seen.taken_at - began == CALL_TIMEOUT
        assert seen.as_of - began < 0.5
        assert seen.free(GPU0) > gib(20), "it was read before the game came"
        assert at.world.loop.snapshot.free(GPU0) < gib(20), "and once more since"
