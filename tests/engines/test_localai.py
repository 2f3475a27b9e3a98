"""LocalAI, by the shapes of its 4.9 and what its source says of older ones."""

import asyncio

import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines import localai as module
from supervisor.engines.base import EngineModel, EngineRefused, Identity
from supervisor.engines.localai import LocalAI
from tests.engines.replay import Replay, capture

NEW, OLD = capture("localai-4.9.0"), capture("localai-3.8.0")


def localai(told):
    replay = Replay(told)
    return LocalAI(EngineId("la"), "http://127.0.0.1:8080", replay.client(), None), replay


def answering(call, status, body, told=NEW):
    replies = [{"call": call, "status": status, "body": body}, *told["replies"]]
    return told | {"replies": replies}


def settings(**changed):
    (own,) = (r["body"] for r in NEW["replies"] if r["call"] == "GET /api/settings")
    return answering("GET /api/settings", 200, own | changed)


def test_models_are_listed_without_a_word_on_what_they_hold():
    engine, _ = localai(NEW)
    assert asyncio.run(engine.list()) == (
        EngineModel(ModelId("qwen3-8b"), State.LOADED),
        EngineModel(ModelId("whisper-1")),
    )


@pytest.mark.parametrize("loaded", [None, []])
def test_nothing_loaded_is_written_in_two_ways(loaded):
    told = answering("GET /system", 200, {"backends": [], "loaded_models": loaded})
    assert {m.state for m in asyncio.run(localai(told)[0].list())} == {None}


def test_a_model_that_is_loaded_and_no_longer_installed_is_listed():
    told = answering("GET /v1/models", 200, {"data": []})
    (model,) = asyncio.run(localai(told)[0].list())
    assert (model.id, model.state) == ("qwen3-8b", State.LOADED)


@pytest.mark.parametrize(
    ("told", "version"), [(NEW, "v4.9.0 (82c191af)"), (OLD, "v3.8.0 (c0ffee00)")]
)
def test_it_is_known_at_every_age(told, version):
    assert asyncio.run(localai(told)[0].identify()) == Identity(version)


@pytest.mark.parametrize("body", [{"loaded_models": []}, {"backends": []}, {"backends": {}}, []])
def test_the_system_of_somebody_else_is_not_taken_for_its_own(body):
    told = answering("GET /system", 200, body, OLD)
    assert asyncio.run(localai(told)[0].identify()) is None


@pytest.mark.parametrize(
    ("version", "loads"),
    [("v4.5.9", False), ("v4.6.0 (x)", True), ("v4.10.0", True), ("v10.0.0", True), ("dev", True)],
)
def test_one_before_4_6_cannot_be_told_to_load(version, loads):
    told = answering("GET /.well-known/localai.json", 200, {"version": version, "endpoints": {}})
    engine, replay = localai(told)
    asyncio.run(engine.identify())
    assert (Ability.LOAD in engine.abilities) is loads
    if not loads:
        with pytest.raises(EngineRefused, match="cannot be told"):
            asyncio.run(engine.load(ModelId("whisper-1")))
        assert not any(call.startswith("POST") for call, _ in replay.asked)


def test_a_name_that_is_not_installed_is_never_tried_with_every_backend():
    engine, replay = localai(NEW)
    with pytest.raises(EngineRefused, match="no model nope") as no:
        asyncio.run(engine.load(ModelId("nope")))
    assert no.value.status == 404
    assert [call for call, _ in replay.asked] == ["GET /v1/models"]


def test_a_load_that_fails_says_why():
    failed = {"loaded": [], "message": "failed to load model: out of memory"}
    told = answering("POST /backend/load", 500, failed)
    with pytest.raises(EngineRefused, match="out of memory"):
        asyncio.run(localai(told)[0].load(ModelId("whisper-1")))


@pytest.mark.parametrize("told", [NEW, OLD], ids=["not found", "a failure"])
def test_what_is_not_loaded_has_been_unloaded_however_that_is_said(told):
    engine, replay = localai(told)
    asyncio.run(engine.unload(ModelId("whisper-1")))
    assert replay.asked[0] == ("POST /backend/shutdown", {"model": "whisper-1"})


def test_a_model_that_stays_busy_is_a_refusal():
    busy = {"error": {"code": 500, "message": "model qwen3-8b is still busy", "type": ""}}
    told = answering("POST /backend/shutdown", 500, busy)
    with pytest.raises(EngineRefused, match="still busy") as no:
        asyncio.run(localai(told)[0].unload(ModelId("qwen3-8b")))
    assert no.value.status == 500


def test_an_unload_is_given_longer_than_it_waits_for_requests():
    assert module.CONTROL_TIMEOUT > 30


def test_nothing_is_a_habit_where_it_leaves_models_alone():
    assert asyncio.run(localai(NEW)[0].habits()) == ()


@pytest.mark.parametrize(
    ("changed", "what", "remedy"),
    [
        ({"watchdog_idle_enabled": True}, "idle for 15m", "LOCALAI_WATCHDOG_IDLE=false"),
        ({"watchdog_busy_enabled": True}, "busy for 5m", "LOCALAI_WATCHDOG_BUSY=false"),
        ({"max_active_backends": 2}, "more than 2", "LOCALAI_MAX_ACTIVE_BACKENDS=0"),
        ({"single_backend": True}, "more than 1", "LOCALAI_MAX_ACTIVE_BACKENDS=0"),
        ({"memory_reclaimer_enabled": True}, "nearly full", "memory_reclaimer_enabled"),
    ],
)
def test_each_thing_that_it_does_of_its_own_accord_is_a_habit(changed, what, remedy):
    (habit,) = asyncio.run(localai(settings(**changed))[0].habits())
    assert what in habit.what
    assert remedy in habit.remedy
    assert habit.model is None


def test_without_its_settings_no_habit_is_known():
    assert asyncio.run(localai(OLD)[0].habits()) == ()


def test_settings_that_only_an_administrator_may_read_are_not_taken_for_harmless():
    told = answering("GET /api/settings", 403, {"error": {"message": "Admin access required"}})
    with pytest.raises(EngineRefused, match="Admin access required"):
        asyncio.run(localai(told)[0].habits())
