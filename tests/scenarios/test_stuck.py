"""Requests that get nowhere, and models that nobody uses: the watchdogs, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from collectors.reading import Seconds, gib
from supervisor.core.policy import Watchdog
from supervisor.core.snapshot import Ability, EngineId
from supervisor.core.steps import Step
from tests.engines.fake import FakeLlamaRouter
from tests.engines.fakes.koboldcpp import FakeKobold
from tests.engines.fakes.sglang import FakeSgLang
from tests.scenarios.house import House, house
from tests.scenarios.shelf import POLICY, later, run, shelf

pytestmark = pytest.mark.slow

# -- stuck


@asynccontextmanager
async def stuck(
    server: Any, *steps: Step, timeout: float = 60, interval: float = 30, **more: Any
) -> AsyncIterator[House]:
    """One model at work on a request, for `timeout` seconds by now."""
    dog = Watchdog(False, Seconds(1), True, Seconds(timeout), steps or None, Seconds(interval))
    async with server:
        model = server.models[0]
        server.take(model)
        policy = replace(POLICY, watchdog=dog, **more)
        async with house({"engine": server}, policy=policy) as home:
            home.children.anonymous[server.pids[model]] = gib(1)
            await home.tick()
            server.busy[model] = 1
            home.children.cpu[server.pids[model]] = 50.0
            await later(home, int(timeout), 5)
            assert home.decisions() == []
            yield home


def triggers(home: House) -> list[tuple[str, list[str], list[str]]]:
    return [
        (d["trigger"], [a["action"] for a in d["actions"]], [o["result"] for o in d["outcomes"]])
        for d in home.decisions()
    ]


def test_a_model_whose_tokens_flow_is_not_stuck_however_long_it_takes() -> None:
    async def story(flows: bool) -> None:
        server = FakeLlamaRouter(["a"])
        async with stuck(server, timeout=60) as home:
            for turn in range(30):
                if flows:
                    server.written = turn + 1
                await home.tick(5)
                if home.loop.runs:
                    await home.settle()
            assert (server.loaded == ["a"]) is flows
            assert ("stuck", "engine/a") not in home.findings()

    run(story(flows=True))
    run(story(flows=False))


def test_reported_then_cancelled_then_unloaded_each_when_the_one_before_did_not_help() -> None:
    async def story() -> None:
        server = FakeKobold(["a"])
        server.deaf = True  # it says that it has ended them
        async with stuck(server, Step.REPORT, Step.CANCEL, Step.UNLOAD) as home:
            await later(home, 10, 5)
            assert ("stuck", "engine/a") in home.findings()
            assert server.calls("POST /api/extra/abort") == []
            await later(home, 30, 5)
            assert len(server.calls("POST /api/extra/abort")) == 1
            assert server.loaded == ["a"]
            await later(home, 40, 5)
            assert server.loaded == []
            assert [actions for _, actions, _ in triggers(home)] == [["cancel"], ["evict"]]
            assert {t for t, _, _ in triggers(home)} == {"busy"}

    run(story())


def test_a_cancel_that_helps_is_all_that_is_done() -> None:
    async def story() -> None:
        server = FakeSgLang(["a"])
        async with stuck(server, Step.CANCEL, Step.UNLOAD) as home:
            await later(home, 10, 5)
            assert server.busy["a"] == 0
            await later(home, 200, 10)
            assert server.loaded == ["a"]
            assert triggers(home) == [("busy", ["cancel"], ["done"])]
            assert home.loop.counts.cancels == {("engine", "done"): 1}

    run(story())


def test_a_cancel_that_fails_is_followed_by_the_unload() -> None:
    async def story() -> None:
        server = FakeKobold(["a"])
        server.faults["POST /api/extra/abort"] = "error"
        async with stuck(server, Step.CANCEL, Step.UNLOAD) as home:
            await later(home, 10, 5)
            assert triggers(home) == [("busy", ["cancel"], ["failed"])]
            await later(home, 40, 5)
            assert server.loaded == []

    run(story())


def test_an_engine_that_cannot_cancel_is_passed_over_to_the_next_step() -> None:
    async def story() -> None:
        server = FakeLlamaRouter(["a"])
        async with stuck(server, Step.CANCEL, Step.UNLOAD) as home:
            await later(home, 10, 5)
            assert server.loaded == []
            assert [actions for _, actions, _ in triggers(home)] == [["evict"]]

    run(story())


def test_who_makes_progress_again_begins_at_the_first_step_the_next_time() -> None:
    async def story() -> None:
        server = FakeKobold(["a"])
        server.deaf = True
        async with stuck(server, Step.CANCEL, Step.UNLOAD, interval=60) as home:
            await later(home, 10, 5)
            assert len(server.calls("POST /api/extra/abort")) == 1
            server.busy["a"] = 0
            await later(home, 10, 5)
            server.busy["a"] = 1
            await later(home, 75, 5)
            assert len(server.calls("POST /api/extra/abort")) == 2
            assert server.loaded == ["a"]

    run(story())


def test_report_alone_is_a_finding_and_no_more() -> None:
    async def story() -> None:
        server = FakeLlamaRouter(["a"])
        async with stuck(server, Step.REPORT) as home:
            await later(home, 300, 10)
            assert ("stuck", "engine/a") in home.findings()
            assert home.decisions() == []
            assert server.loaded == ["a"]

    run(story())


def test_the_engine_is_restarted_at_last_though_another_of_its_models_is_stuck_too() -> None:
    async def story(working: bool) -> None:
        server = FakeLlamaRouter(["a", "b"])
        server.lies = True  # it says that it has unloaded them, and has not
        service = Service(server)
        async with stuck(server, Step.UNLOAD, Step.RESTART) as home:
            server.take("b")
            server.busy["b"] = 1
            engine = EngineId("engine")
            home.sampler.roster.services = {engine: "engine.service"}
            assert home.executor.force is not None
            home.executor.force.services = {engine: service}  # type: ignore[dict-item]
            for _ in range(30):
                server.worked["b"] += working  # b does one request after the other
                await home.tick(5)
                if home.loop.runs:
                    await home.settle()
            assert service.calls == ([] if working else ["stop", "start"])

    run(story(working=False))
    run(story(working=True))


class Service:
    def __init__(self, server: FakeLlamaRouter) -> None:
        self.server = server
        self.calls: list[str] = []

    async def stop(self) -> None:
        self.calls.append("stop")
        self.server.busy.clear()
        for model in list(self.server.loaded):
            self.server.drop(model)

    async def start(self) -> None:
        self.calls.append("start")


# -- the idle watchdog


@asynccontextmanager
async def idle(timeout: float = 60) -> AsyncIterator[tuple[House, FakeLlamaRouter]]:
    dog = Watchdog(True, Seconds(timeout), False, Seconds(1))
    async with shelf(replace(POLICY, watchdog=dog), a=1) as (home, _, server):
        server.worked["a"] += 1
        home.children.cpu[server.pids["a"]] = 50.0
        await home.tick()
        yield home, server


@pytest.mark.parametrize("how", ["it leaves by itself", "its engine ends", "it is unloaded"])
def test_who_comes_back_has_its_whole_time_whichever_way_it_went(how: str) -> None:
    async def story() -> None:
        async with idle() as (home, server):
            await later(home, 50, 10)
            if how == "it leaves by itself":
                server.drop("a")
            elif how == "it is unloaded":
                asked = asyncio.create_task(home.door.evict(["a"]))
                while not asked.done():
                    await home.tick(0.1)
            else:
                await server.stop()
                await home.tick(1)
                server.drop("a")
                server.pids["a"] = 8001
                await server.start()
            await home.tick(2)
            decided = len(home.decisions())
            server.take("a")
            await later(home, 50, 10)
            assert server.loaded == ["a"]
            assert len(home.decisions()) == decided
            await later(home, 40, 10)
            assert server.loaded == []

    run(story())


def test_an_engine_that_restarts_between_two_looks_gives_its_model_its_whole_time() -> None:
    async def story() -> None:
        async with idle() as (home, server):
            home.children.anonymous[8001] = gib(1)
            await later(home, 50, 10)
            server.pids["a"] = 8001  # the same model, in another process
            await home.sampler.sample(thorough=True)
            await later(home, 50, 10)
            assert server.loaded == ["a"]
            await later(home, 30, 10)
            assert server.loaded == []

    run(story())


def test_a_request_as_the_watchdog_fires_keeps_the_model_and_starts_its_time_anew() -> None:
    async def story() -> None:
        async with idle() as (home, server):
            await later(home, 50, 10)
            real = home.executor.sample

            async def a_request_arrives() -> Any:
                server.worked["a"] += 1  # it came and has ended, just before the unload
                return await real()

            home.executor.sample = a_request_arrives  # type: ignore[assignment]
            await later(home, 12, 2)
            home.executor.sample = real
            assert server.loaded == ["a"]
            (decision,) = home.decisions()
            assert [o["result"] for o in decision["outcomes"]] == ["skipped"]
            await later(home, 50, 10)
            assert server.loaded == ["a"]
            await later(home, 20, 5)
            assert server.loaded == []

    run(story())


def test_what_cannot_be_cancelled_is_told_by_its_abilities() -> None:
    async def story() -> None:
        for kind, can in ((FakeKobold, True), (FakeLlamaRouter, False)):
            async with stuck(kind(["a"]), Step.REPORT) as home:
                assert home.loop.snapshot is not None
                (engine,) = home.loop.snapshot.engines
                assert (Ability.CANCEL in engine.abilities) is can

    run(story())


def test_a_request_that_ends_just_before_it_is_to_be_cancelled_is_let_be() -> None:
    async def story() -> None:
        server = FakeKobold(["a"])
        async with stuck(server, Step.CANCEL, Step.UNLOAD) as home:
            real = home.executor.sample

            async def it_ends() -> Any:
                server.busy["a"] = 0
                return await real()

            home.executor.sample = it_ends  # type: ignore[assignment]
            await later(home, 10, 5)
            assert triggers(home) == [("busy", ["cancel"], ["skipped"])]
            assert server.calls("POST /api/extra/abort") == []

    run(story())
