"""LM Studio, by the shapes that its documentation gives."""

import asyncio
import copy

import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.core.types import ModelType
from supervisor.engines import wire
from supervisor.engines.base import EngineModel, EngineRefused, Identity
from supervisor.engines.lmstudio import LMStudio
from tests.engines.fakes.lmstudio import FakeLMStudio
from tests.engines.replay import Replay, capture

CHAT, EMBEDDING = ModelType.CHAT, ModelType.EMBEDDING

V1, V0 = capture("lmstudio-0.4"), capture("lmstudio-0.3")
QWEN, NOMIC = ModelId("qwen/qwen3-8b"), ModelId("nomic-ai/nomic-embed-text-v1.5")


def lmstudio(told):
    replay = Replay(told)
    return LMStudio(EngineId("lm"), "http://127.0.0.1:1234", replay.client(), None), replay


def with_instances(*ids):
    """The capture, with these instances of its first model."""
    told = copy.deepcopy(V1)
    (models,) = (r["body"]["models"] for r in told["replies"] if r["call"] == "GET /api/v1/models")
    models[0]["loaded_instances"] = [{"id": i} for i in ids]
    return told


def states(told):
    return {m.id: m.state for m in asyncio.run(lmstudio(told)[0].list())}


def test_a_loaded_model_tells_its_context_and_the_size_of_its_file_alone():
    assert asyncio.run(lmstudio(V1)[0].list()) == (
        EngineModel(QWEN, State.LOADED, file_size=5030000000, context=8192, type=CHAT),
        EngineModel(NOMIC, file_size=84106624, type=EMBEDDING),
    )


def test_each_instance_is_a_model_of_its_own():
    assert states(with_instances(QWEN, f"{QWEN}:2")) == {
        QWEN: State.LOADED,
        f"{QWEN}:2": State.LOADED,
        NOMIC: None,
    }


def test_an_instance_may_have_a_name_of_its_own():
    assert states(with_instances("mine")) == {"mine": State.LOADED, NOMIC: None}


def test_an_instance_is_unloaded_by_its_own_name():
    told = with_instances(QWEN, f"{QWEN}:2")
    ok = {"call": "POST /api/v1/models/unload", "status": 200, "body": {"instance_id": f"{QWEN}:2"}}
    told["replies"].insert(0, ok)
    engine, replay = lmstudio(told)
    asyncio.run(engine.unload(ModelId(f"{QWEN}:2")))
    assert replay.asked == [("POST /api/v1/models/unload", {"instance_id": f"{QWEN}:2"})]


def refusing(status, told):
    no = {"call": "POST /api/v1/models/unload", "status": status, "body": {"error": "not so"}}
    return told | {"replies": [no, *told["replies"]]}


@pytest.mark.parametrize("status", [200, 400, 404])
@pytest.mark.parametrize("name", [QWEN, f"{QWEN}:2"])
def test_an_instance_that_has_gone_has_been_unloaded_however_that_is_said(status, name):
    asyncio.run(lmstudio(refusing(status, with_instances()))[0].unload(ModelId(name)))


@pytest.mark.parametrize("status", [200, 400, 404, 500])
def test_a_refusal_to_unload_what_is_still_loaded_is_a_refusal(status):
    with pytest.raises(EngineRefused, match="not so"):
        asyncio.run(lmstudio(refusing(status, V1))[0].unload(QWEN))


def test_a_model_that_is_loaded_is_not_loaded_once_more():
    async def twice():
        async with FakeLMStudio(["a"]) as server, wire.client() as client:
            engine = LMStudio(EngineId("lm"), server.url, client, None)
            await engine.load(ModelId("a"))
            await engine.load(ModelId("a"))
            return server.loaded, server.calls("POST /api/v1/models/load")

    assert asyncio.run(twice()) == (["a"], [{"model": "a"}])


def test_a_load_that_fails_says_why():
    async def fail():
        async with FakeLMStudio(["a"]) as server, wire.client() as client:
            server.fails_loads = True
            await LMStudio(EngineId("lm"), server.url, client, None).load(ModelId("a"))

    with pytest.raises(EngineRefused, match="500 Failed to load model"):
        asyncio.run(fail())


@pytest.mark.parametrize(("told", "version"), [(V1, "API v1"), (V0, "API v0")])
def test_it_is_known_by_its_greeting_and_told_by_its_api(told, version):
    assert asyncio.run(lmstudio(told)[0].identify()) == Identity(version)


def test_whoever_answers_everything_with_200_is_not_taken_for_it():
    greeting = {"call": "GET /lmstudio-greeting", "status": 200, "body": {"lmstudio": "yes"}}
    assert asyncio.run(lmstudio(V1 | {"replies": [greeting]})[0].identify()) is None
    assert asyncio.run(lmstudio(V1 | {"replies": []})[0].identify()) is None


def test_an_older_one_lists_its_models_and_can_be_told_nothing():
    engine, replay = lmstudio(V0)

    async def look():
        await engine.identify()
        return await engine.list()

    assert asyncio.run(look()) == (
        EngineModel(ModelId("qwen3-8b"), State.LOADED, context=8192, type=CHAT),
        EngineModel(ModelId("text-embedding-nomic-embed-text-v1.5"), type=EMBEDDING),
    )
    assert engine.abilities == {Ability.LIST}
    asked = len(replay.asked)
    for call in (engine.load, engine.unload):
        with pytest.raises(EngineRefused, match="cannot be told"):
            asyncio.run(call(ModelId("qwen3-8b")))
    assert len(replay.asked) == asked


def test_one_that_was_brought_up_to_date_can_be_told_again():
    engine, replay = lmstudio(V0)
    asyncio.run(engine.identify())
    replay.replies = V1["replies"]
    asyncio.run(engine.identify())
    assert Ability.UNLOAD in engine.abilities


def test_a_state_that_nobody_knows_is_not_taken_for_gone():
    told = copy.deepcopy(V0)
    (data,) = (r["body"]["data"] for r in told["replies"] if r["call"] == "GET /api/v0/models")
    data[1]["state"] = "unloading"
    engine, _ = lmstudio(told)

    async def look():
        await engine.identify()
        return [m.state for m in await engine.list()]

    assert asyncio.run(look()) == [State.LOADED, State.UNKNOWN]


@pytest.mark.parametrize("just_in_time", [True, False])
def test_loading_whatever_a_client_names_is_a_habit(just_in_time):
    async def look():
        async with FakeLMStudio(["a", "b"]) as server, wire.client() as client:
            server.just_in_time = just_in_time
            server.take("a")
            return await LMStudio(EngineId("lm"), server.url, client, None).habits()

    habits = asyncio.run(look())
    assert len(habits) == just_in_time
    for habit in habits:
        assert "idle for an hour" in habit.what
        assert "Auto-Evict" in habit.remedy


def test_the_habit_of_an_older_one_is_seen_too():
    engine, _ = lmstudio(V0)

    async def look():
        await engine.identify()
        return await engine.habits()

    assert len(asyncio.run(look())) == 1
