"""The demo's engines keep to the protocol of real ones, faults included."""

import asyncio

import pytest

from collectors.reading import RAM, gib, mib
from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.demo.clock import Clock, run
from supervisor.demo.engines import (
    ComfyLike,
    DemoEngine,
    DemoModel,
    Fault,
    LlamaCppLike,
    OllamaLike,
    Unload,
)
from supervisor.demo.machine import GPU0, DemoMachine
from supervisor.engines.base import Engine, EngineConfused, EngineDown, EngineError, EngineRefused

M = ModelId("m")
kinds = pytest.mark.parametrize("kind", [DemoEngine, OllamaLike, LlamaCppLike, ComfyLike])


class Stage:
    def __init__(self, kind=DemoEngine, **script):
        self.clock = Clock()
        self.machine = DemoMachine(self.clock)
        self.model = DemoModel(M, {GPU0: gib(4), RAM: mib(400)}, **script)
        self.engine: Engine = kind(EngineId("e"), self.machine, self.clock.sleep, self.model)

    async def loaded(self):
        self.engine.serve(M, 0)  # the way that every kind has
        await self.clock.advance(self.model.load)

    async def state(self):
        (listed,) = await self.engine.list()
        return listed.state


@kinds
def test_a_load_takes_its_seconds_and_its_bytes(kind):
    async def main():
        stage = Stage(kind, load=4.0)
        assert await stage.state() is None
        stage.engine.serve(M, 0)
        await stage.clock.advance(2)
        assert await stage.state() is State.LOADING
        assert 0 < stage.machine.held(GPU0) < gib(4)
        await stage.clock.advance(2)
        assert await stage.state() is State.LOADED
        assert stage.machine.held(GPU0) == gib(4)

    run(main())


@kinds
def test_an_unload_is_answered_at_once_and_frees_later(kind):
    async def main():
        stage = Stage(kind, free=1.0)
        await stage.loaded()
        before = stage.clock()
        await stage.engine.unload(M)
        assert stage.clock() - before < 0.5
        assert stage.machine.held(GPU0) == gib(4)
        await stage.clock.advance(1.0)
        assert stage.machine.held(GPU0) == 0
        assert await stage.state() is None

    run(main())


@kinds
def test_a_stuck_unload_is_answered_and_nothing_happens(kind):
    async def main():
        stage = Stage(kind, unload=Unload.STUCK)
        await stage.loaded()
        await stage.engine.unload(M)
        await stage.clock.advance(60)
        assert await stage.state() is State.LOADED
        assert stage.machine.held(GPU0) == gib(4)

    run(main())


@kinds
def test_a_leaking_unload_keeps_the_memory_of_a_model_that_is_gone(kind):
    async def main():
        stage = Stage(kind, unload=Unload.LEAKS)
        await stage.loaded()
        await stage.engine.unload(M)
        await stage.clock.advance(60)
        assert await stage.state() is None
        assert stage.machine.held(GPU0) == gib(4)

    run(main())


@kinds
def test_a_model_is_found_among_the_processes_and_its_bytes_are_measured(kind):
    async def main():
        stage = Stage(kind)
        await stage.loaded()
        (listed,) = await stage.engine.list()
        processes = stage.machine.processes()
        assert listed.process is not None
        pid = listed.process.pid
        if pid is None:
            (run_of_words,) = listed.process.argv
            (pid,) = [p for p, argv in processes.commands().items() if run_of_words[1] in argv]
        assert processes.read([pid])[pid].anonymous == mib(400)

    run(main())


def test_requests_are_counted_while_they_run():
    async def main():
        stage = Stage()
        await stage.loaded()
        stage.engine.serve(M, 5, count=3)
        (listed,) = await stage.engine.list()
        busy = await stage.engine.activity(listed)
        await stage.clock.advance(5)
        idle = await stage.engine.activity(listed)
        assert (busy.in_flight, idle.in_flight) == (3, 0)
        assert busy.mark != idle.mark

    run(main())


def test_an_unload_cuts_the_requests_that_are_under_way():
    async def main():
        stage = Stage()
        await stage.loaded()
        stage.engine.serve(M, 60)
        await stage.engine.unload(M)
        (listed,) = await stage.engine.list()
        assert (await stage.engine.activity(listed)).in_flight == 0

    run(main())


def test_the_ollama_like_one_says_bytes_and_no_requests():
    async def main():
        stage = Stage(OllamaLike)
        assert Ability.IN_FLIGHT not in stage.engine.abilities
        await stage.loaded()
        (listed,) = await stage.engine.list()
        assert (listed.reported, listed.reported_gpu) == (gib(4) + mib(400), gib(4))
        assert (await stage.engine.activity(listed)).in_flight is None

    run(main())


def test_the_comfy_like_one_loads_by_a_job_and_no_other_way():
    async def main():
        stage = Stage(ComfyLike)
        assert Ability.LOAD not in stage.engine.abilities
        with pytest.raises(EngineRefused):
            await stage.engine.load(M)
        assert stage.machine.held(GPU0) == 0

    run(main())


def test_a_load_that_does_not_fit_is_refused_and_takes_nothing():
    async def main():
        stage = Stage()
        stage.machine.start("game", {GPU0: gib(21)})
        with pytest.raises(EngineRefused, match="out of memory"):
            await stage.engine.load(M)
        assert stage.machine.held(GPU0) == gib(21)
        assert await stage.state() is None

    run(main())


def test_a_model_that_is_still_leaving_is_loaded_again_when_it_is_gone():
    async def main():
        stage = Stage(free=1.5)
        await stage.loaded()
        first = stage.model.tenant
        await stage.engine.unload(M)
        await stage.engine.load(M)
        await stage.clock.advance(stage.model.load)
        assert await stage.state() is State.LOADED
        assert stage.model.tenant is not first
        assert stage.machine.held(GPU0) == gib(4)

    run(main())


@pytest.mark.parametrize(
    ("fault", "error"), [(Fault.DOWN, EngineDown), (Fault.GARBAGE, EngineConfused)]
)
def test_an_engine_that_fails_raises_the_protocols_errors_and_no_others(fault, error):
    async def main():
        stage = Stage()
        await stage.loaded()
        (listed,) = await stage.engine.list()
        stage.engine.fault = fault
        engine = stage.engine
        calls = [engine.identify(), engine.list(), engine.activity(listed)]
        for call in [*calls, engine.load(M), engine.unload(M)]:
            with pytest.raises(error):
                await call

    run(main())


def test_an_engine_that_hangs_answers_nobody():
    async def main():
        stage = Stage()
        stage.engine.fault = Fault.HANGS
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await stage.engine.list()

    run(main())


@pytest.mark.parametrize("call", ["load", "unload"])
def test_a_model_that_the_engine_does_not_have_is_refused(call):
    async def main():
        stage = Stage()
        with pytest.raises(EngineError, match="not found"):
            await getattr(stage.engine, call)(ModelId("nope"))

    run(main())


def test_a_model_that_is_not_loaded_cannot_be_unloaded():
    async def main():
        stage = Stage()
        with pytest.raises(EngineRefused, match="not running"):
            await stage.engine.unload(M)

    run(main())
