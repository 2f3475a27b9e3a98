"""The fake engines behave as the real ones were seen to; else what they test proves nothing."""

import asyncio
import json

import pytest

from supervisor.core.snapshot import EngineId, ModelId, State
from supervisor.engines import wire
from supervisor.engines.base import EngineConfused, EngineDown, EngineRefused
from supervisor.engines.llamacpp import LlamaCpp
from supervisor.engines.ollama import Ollama
from tests.engines.fake import FakeLlamaRouter, FakeOllama

A = ModelId("a")
PAIRS = pytest.mark.parametrize(
    ("fake", "adapter"), [(FakeLlamaRouter, LlamaCpp), (FakeOllama, Ollama)]
)


def play(fake, adapter, scene, **options):
    """Run `scene(server, engine, client)` and return what it returns."""

    async def run():
        async with fake(["a", "b"], **options) as server, wire.client() as client:
            return await scene(server, adapter(EngineId("e"), server.url, client, None), client)

    return asyncio.run(run())


async def states(engine):
    return {m.id: m.state for m in await engine.list()}


@PAIRS
def test_it_can_lie_about_an_unload(fake, adapter):
    given = []

    async def scene(server, engine, client):
        server.take("a")
        server.lies = True
        await engine.unload(A)
        return await states(engine)

    assert play(fake, adapter, scene, on_unload=given.append)["a"] is State.LOADED
    assert given == []


@PAIRS
def test_it_can_forget_a_model_and_keep_its_memory(fake, adapter):
    given = []

    async def scene(server, engine, client):
        server.take("a")
        server.keeps = True
        await engine.unload(A)
        return await states(engine)

    assert play(fake, adapter, scene, on_unload=given.append)["a"] is None
    assert given == []


@PAIRS
def test_it_keeps_its_port_when_it_comes_back(fake, adapter):
    async def scene(server, engine, client):
        await server.stop()
        with pytest.raises(EngineDown):
            await engine.list()
        await server.start()
        return await states(engine)

    assert set(play(fake, adapter, scene)) == {"a", "b"}


@PAIRS
@pytest.mark.parametrize(
    ("fault", "error"),
    [("garbage", EngineConfused), ("error", EngineRefused), ("redirect", EngineConfused)],
)
def test_it_can_be_out_of_order(fake, adapter, fault, error):
    async def scene(server, engine, client):
        server.fault = fault
        with pytest.raises(error):
            await engine.list()

    play(fake, adapter, scene)


def test_a_router_answers_a_load_before_it_is_done():
    async def scene(server, engine, client):
        server.slow_loads = True
        await engine.load(A)
        under_way = (await states(engine))["a"]
        server.finish("a")
        return under_way, (await states(engine))["a"]

    assert play(FakeLlamaRouter, LlamaCpp, scene) == (State.LOADING, State.LOADED)


def test_a_router_whose_child_dies_says_so_only_in_its_list():
    async def scene(server, engine, client):
        server.fails_loads = True
        await engine.load(A)
        return (await states(engine))["a"]

    assert play(FakeLlamaRouter, LlamaCpp, scene) is None


def test_ollama_answers_a_load_when_it_is_done():
    async def scene(server, engine, client):
        server.slow_loads = True
        load = asyncio.create_task(engine.load(A), name="load")
        while "a" not in server.loading:
            await engine.identify()
        under_way, answered = (await states(engine))["a"], load.done()
        server.finish("a")
        await load
        return under_way, answered, (await states(engine))["a"]

    assert play(FakeOllama, Ollama, scene) == (None, False, State.LOADED)


def test_ollama_says_at_once_that_a_load_failed():
    async def scene(server, engine, client):
        server.fails_loads = True
        with pytest.raises(EngineRefused, match="out of memory"):
            await engine.load(A)

    play(FakeOllama, Ollama, scene)


def test_a_request_loads_its_model_and_is_in_flight_until_it_is_answered():
    async def scene(server, engine, client):
        server.gate.clear()
        body = {"model": "a", "stream": True}
        words, seen = [], []
        async with client.stream("POST", f"{server.url}/v1/chat/completions", json=body) as reply:
            async for line in reply.aiter_lines():
                if line.startswith("data: {"):
                    model, _ = await engine.list()
                    seen.append((await engine.activity(model)).in_flight)
                    server.gate.set()
                    words.append(json.loads(line[6:])["choices"][0]["delta"]["content"])
        return "".join(words), seen[0], (await engine.activity(model)).in_flight

    assert play(FakeLlamaRouter, LlamaCpp, scene) == ("the empty space", 1, 0)


def test_ollamas_mark_moves_when_a_request_ends():
    async def scene(server, engine, client):
        marks = []
        for _ in range(2):
            await client.post(f"{server.url}/api/chat", json={"model": "a", "stream": False})
            marks.append((await engine.list())[0].mark)
        return marks

    first, second = play(FakeOllama, Ollama, scene)
    assert first != second
