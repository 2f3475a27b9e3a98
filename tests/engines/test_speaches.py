"""speaches, by the shapes of its 0.9 and of those before."""

import asyncio
import copy

import pytest

from supervisor.core.snapshot import EngineId, ModelId, State
from supervisor.engines import wire
from supervisor.engines.base import EngineDown, EngineModel, EngineRefused, Identity
from supervisor.engines.speaches import INSTALLED_INTERVAL, Speaches
from tests.engines.fakes.speaches import FakeSpeaches
from tests.engines.replay import Replay, capture

TOLD = capture("speaches-0.9.0-rc.3")
OLD = capture("speaches-0.7")
A = ModelId("a")
WHISPER, KOKORO = "Systran/faster-whisper-small", "speaches-ai/Kokoro-82M-v1.0-ONNX"


def speaches(client):
    return Speaches(EngineId("s"), "http://127.0.0.1:8000", client, None)


def changed(call, body, told=TOLD):
    told = copy.deepcopy(told)
    next(r for r in told["replies"] if r["call"] == call)["body"] = body
    return told


def listed(told):
    return {m.id: m.state for m in asyncio.run(speaches(Replay(told).client()).list())}


def asks(told, call):
    replay = Replay(told)
    asyncio.run(call(speaches(replay.client())))
    return [asked for asked, _ in replay.asked]


def play(story):
    """What `story` returns, of (the adapter, the fake behind a real socket)."""

    async def run():
        async with FakeSpeaches(["a", "b"]) as server, wire.client() as client:
            return await story(Speaches(EngineId("s"), server.url, client, None), server)

    return asyncio.run(run())


async def states(engine):
    return {m.id: m.state for m in await engine.list()}


def test_it_lists_what_is_on_disk_and_what_of_that_is_loaded():
    assert listed(TOLD) == {WHISPER: State.LOADED, KOKORO: None}


def test_a_loaded_model_that_is_not_on_disk_any_more_is_listed():
    told = changed("GET /v1/models", {"data": []})
    assert listed(told) == {WHISPER: State.LOADED}


def test_it_says_nothing_of_what_a_model_holds_or_does():
    (model, _) = asyncio.run(speaches(Replay(TOLD).client()).list())
    assert model == EngineModel(ModelId(WHISPER), State.LOADED)


def test_the_disk_is_searched_once_in_a_while_and_the_loaded_are_asked_for_each_time():
    replay = Replay(TOLD)
    engine = speaches(replay.client())
    now = 1000.0
    engine.clock = lambda: now

    async def look():
        nonlocal now
        for step in (0, 1, INSTALLED_INTERVAL - 2, 1):
            now += step
            await engine.list()
        return [call for call, _ in replay.asked]

    asked = asyncio.run(look())
    assert asked.count("GET /api/ps") == 4
    assert asked.count("GET /v1/models") == 2


def test_a_disk_that_is_slow_hides_no_loaded_model(monkeypatch):
    monkeypatch.setattr("supervisor.engines.base.CALL_TIMEOUT", 0.5)

    async def look(engine, server):
        server.take("a")
        server.faults["GET /v1/models"] = "hang"
        return await states(engine)

    assert play(look) == {"a": State.LOADED}


def test_names_with_a_slash_stay_in_one_piece():
    seen = []
    replay = Replay(TOLD)
    client = replay.client()
    client.event_hooks["request"].append(_record(seen))
    asyncio.run(speaches(client).load(ModelId(KOKORO)))
    assert seen == [b"/api/ps/speaches-ai%2FKokoro-82M-v1.0-ONNX"]


def _record(seen):
    async def hook(request):
        seen.append(request.url.raw_path)

    return hook


@pytest.mark.parametrize(("told", "version"), [(TOLD, "0.8.3"), (OLD, "0.1.0")])
def test_it_is_known_by_its_own_description(told, version):
    assert asyncio.run(speaches(Replay(told).client()).identify()) == Identity(version)


@pytest.mark.parametrize("models", [[{"name": "qwen3:8b"}], "none", None, [WHISPER, 3]])
def test_others_are_not_even_asked_to_describe_themselves(models):
    told = changed("GET /api/ps", {"models": models})
    assert asks(told, lambda engine: engine.identify()) == ["GET /api/ps"]
    assert asyncio.run(speaches(Replay(told).client()).identify()) is None


@pytest.mark.parametrize(
    "about", [{}, {"info": {"title": "Speaches"}, "paths": {"/api/ps": {}}}, [], {"paths": 3}]
)
def test_an_empty_list_alone_makes_no_speaches(about):
    told = changed("GET /openapi.json", about, changed("GET /api/ps", {"models": []}))
    assert asyncio.run(speaches(Replay(told).client()).identify()) is None


def test_older_ones_answer_a_load_without_a_word():
    asked = asks(OLD, lambda engine: engine.load(ModelId(WHISPER)))
    assert asked == [f"POST /api/ps/{WHISPER}"]


def test_a_busy_model_is_refused_and_forgotten_though_it_is_there():
    async def live(engine, server):
        server.take("a")
        server.busy["a"] = 1
        with pytest.raises(EngineRefused, match=r"still in use.*keeps its memory") as no:
            await engine.unload(A)
        return no.value.status, (await states(engine))["a"], server.loaded

    assert play(live) == (409, None, ["a"])


def test_a_load_that_failed_leaves_an_entry_that_an_unload_takes_away():
    async def live(engine, server):
        server.fails_loads = True
        with pytest.raises(EngineRefused) as no:
            await engine.load(A)
        before = (await states(engine))["a"]
        await engine.unload(A)
        return no.value.status, before, (await states(engine))["a"]

    assert play(live) == (500, State.LOADED, None)


def test_an_unload_of_what_is_nobodys_says_so():
    async def live(engine, server):
        with pytest.raises(EngineRefused, match="nobody is not loaded") as no:
            await engine.unload(ModelId("nobody"))
        await engine.unload(A)  # installed, and not loaded
        return no.value.status

    assert play(live) == 404


def test_one_that_goes_down_between_two_questions_is_down():
    async def live(engine, server):
        await engine.list()
        await server.stop()
        with pytest.raises(EngineDown):
            await engine.list()

    play(live)
