"""What every adapter does with an engine that lives: loads, unloads, sleeps, is busy, lies."""

import asyncio
from contextlib import suppress

import pytest

from supervisor.core.snapshot import Ability, ModelId, State
from supervisor.engines import ENGINES, wire
from supervisor.engines.base import (
    EngineRefused,
    Proof,
    WhenBusy,
)
from tests.engines.contract import (
    able,
    engine,
    kinds,
    kinds_with,
)
from tests.engines.fakes import FAKES


def on_socket(kind, story, models=("a", "b")):
    """What `story` returns, of (the engine's adapter, the fake behind a real socket)."""

    async def play():
        async with FAKES[kind](models) as server, wire.client() as client:
            return await story(engine(kind, client, server.url), server)

    return asyncio.run(play())


async def states(made):
    """The models that hold memory, and how."""
    return {m.id: m.state for m in await made.list() if m.state is not None}


@kinds
def test_a_model_lives_its_whole_life_over_a_real_socket(kind):
    abilities = ENGINES[kind].abilities

    async def live(made, fake):
        a = fake.models[0]
        assert await made.identify() is not None
        there, gone = {a: State.LOADED}, {}
        assert await states(made) == (there if fake.starts_loaded else gone)
        if Ability.LOAD in abilities:
            for _ in range(2):
                await made.load(ModelId(a))
                assert await states(made) == there
        else:
            fake.take(a)
            assert await states(made) == there
        assert fake.loaded == [a]
        if Ability.UNLOAD in abilities:
            for _ in range(2):
                await made.unload(ModelId(a))
                assert await states(made) == gone
            assert fake.loaded == []

    on_socket(kind, live)


@kinds_with(Ability.UNLOAD)
def test_an_unload_reaches_nobody_but_the_model_that_is_named(kind):
    async def live(made, fake):
        if len(fake.models) < 2:
            return  # it has one name for all that it holds
        a, b = fake.models
        fake.take(b)
        await made.unload(ModelId(a))
        assert fake.loaded == [b]
        with pytest.raises(EngineRefused):
            await made.unload(ModelId("nobody"))
        assert fake.loaded == [b]

    on_socket(kind, live)


@kinds_with(Ability.UNLOAD)
def test_an_engine_that_only_says_that_it_has_unloaded_is_found_out_by_its_own_list(kind):
    async def live(made, fake):
        a = fake.models[0]
        fake.take(a)
        fake.lies = True
        with suppress(EngineRefused):
            await made.unload(ModelId(a))
        assert await states(made) == {a: State.LOADED}

    on_socket(kind, live)


@kinds_with(Ability.UNLOAD)
def test_an_unload_of_a_busy_model_does_what_the_adapter_says_of_it(kind):
    async def live(made, fake):
        a = fake.models[0]
        fake.take(a)
        fake.busy[a] = 1
        if ENGINES[kind].when_busy is WhenBusy.REFUSES:
            with pytest.raises(EngineRefused):
                await made.unload(ModelId(a))
            assert fake.loaded == [a]
        else:
            await made.unload(ModelId(a))

    on_socket(kind, live)


@kinds_with(Ability.IN_FLIGHT)
def test_an_engine_that_counts_requests_says_how_many_are_in_flight(kind):
    async def live(made, fake):
        a = fake.models[0]
        fake.take(a)
        seen = []
        for count in (0, 1, 0):
            fake.busy[a] = count
            (model,) = [m for m in await made.list() if m.id == a]
            seen.append((await made.activity(model)).in_flight)
        assert seen == [0, 1, 0]

    on_socket(kind, live)


SLEEPERS = [(kind, False) for kind in able(Ability.SLEEP)]
SLEEPERS += [(kind, True) for kind in able(Ability.DEEP_SLEEP)]


@pytest.mark.parametrize(("kind", "deep"), SLEEPERS)
def test_a_model_that_can_sleep_sleeps_and_wakes(kind, deep):
    async def live(made, fake):
        a = ModelId(fake.models[0])
        fake.take(a)
        await made.identify()
        await made.list()
        for _ in range(2):  # twice is once
            await made.sleep(a, deep=deep)
            assert await states(made) == {a: State.SLEEPING}
        assert fake.asleep == {a: deep}
        for _ in range(2):
            await made.wake(a)
            assert await states(made) == {a: State.LOADED}
        assert fake.asleep == {}
        with pytest.raises(EngineRefused):
            await made.sleep(ModelId("nobody"), deep=deep)

    on_socket(kind, live)


@kinds
def test_the_wrong_key_is_told_from_an_engine_that_is_not_there(kind):
    async def live(made, fake):
        if fake.keyless:
            return
        fake.key = "the right one"
        with pytest.raises(EngineRefused) as no:
            await made.list()
        assert no.value.status in (401, 403)
        async with wire.client() as client:
            right = engine(kind, client, fake.url, fake.key)
            assert await right.identify() is not None
            await right.list()

    on_socket(kind, live)


@kinds
def test_the_process_described_is_the_one_that_runs(kind):
    async def described(made, fake):
        for model in fake.models:
            fake.take(model)
        models = [m for m in await made.list() if m.state is not None]
        pids = [fake.pids.get(m.id) for m in models]
        return [m.process for m in models], [fake.argv(m.id) for m in models], pids

    def fits(process, argv, pid):
        if process.whole or process.pid is not None:
            return process.pid == pid or process.whole
        return all(
            any(tuple(argv[i : i + len(run)]) == run for i in range(len(argv)))
            for run in process.argv
        )

    processes, argvs, pids = on_socket(kind, described)
    if ENGINES[kind].proof is Proof.PROCESS or any(processes):
        one = [[fits(p, argv, pid) for argv, pid in zip(argvs, pids)] for p in processes]  # noqa: B905
        assert one == [[i == j for j in range(len(pids))] for i in range(len(processes))]


@kinds_with(Ability.CANCEL)
def test_requests_that_are_cancelled_end_and_the_model_stays(kind):
    async def story(made, fake):
        (model,) = (ModelId(m) for m in fake.models[:1])
        assert await made.identify() is not None
        fake.take(model)
        before = await states(made)
        fake.busy[model] = 2
        await made.cancel(model)
        assert not fake.busy[model]
        assert await states(made) == before

    on_socket(kind, story, ("a",))
