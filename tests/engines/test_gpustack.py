"""GPUStack, by the shapes of its 2.2.3."""

import asyncio
import copy

import pytest

from supervisor.core.snapshot import EngineId, ModelId, State
from supervisor.engines.base import EngineConfused, EngineModel, EngineRefused, Habit, Process
from supervisor.engines.gpustack import GPUStack
from tests.engines.replay import Replay, capture

TOLD = capture("gpustack-2.2.3")
ALL = "GET /v2/model-instances?page=-1"
MODELS = "GET /v2/models?page=-1"


def gpustack(client):
    return GPUStack(EngineId("g"), "http://127.0.0.1", client, "gpustack_key")


def reply(told, call):
    return next(r for r in told["replies"] if r["call"] == call)


def with_instances(*changes):
    """The capture, with an instance of the first model for each of `changes`."""
    told = copy.deepcopy(TOLD)
    items = reply(told, ALL)["body"]["items"]
    items[:] = [items[0] | change for change in changes]
    return told


def with_model(**members):
    told = copy.deepcopy(TOLD)
    for call in (MODELS, "GET /v2/models/1"):
        body = reply(told, call)["body"]
        (body["items"][0] if "items" in body else body).update(members)
    return told


def listed(told):
    return {m.id: m for m in asyncio.run(gpustack(Replay(told).client()).list())}


def asks(told, call):
    replay = Replay(told)
    engine = gpustack(replay.client())
    asyncio.run(call(engine))
    return [(what, body) for what, body in replay.asked if what.startswith("PUT")]


def test_a_running_model_carries_the_schedulers_estimate_and_where_its_backend_listens():
    assert listed(TOLD)["qwen3-8b"] == EngineModel(
        ModelId("qwen3-8b"),
        State.LOADED,
        file_size=22333829939,
        process=Process(argv=(("--host", "127.0.0.1"), ("--port", "40001"))),
    )


def test_a_model_without_replicas_is_installed_and_no_more():
    assert listed(TOLD)["gemma-3-4b"] == EngineModel(ModelId("gemma-3-4b"))


@pytest.mark.parametrize(
    ("state", "seen"),
    [
        ("pending", State.LOADING),
        ("analyzing", State.LOADING),
        ("scheduled", State.LOADING),
        ("initializing", State.LOADING),
        ("downloading", State.LOADING),
        ("starting", State.LOADING),
        ("running", State.LOADED),
        ("unreachable", State.UNKNOWN),
        ("error", None),
        ("something new", State.UNKNOWN),
    ],
)
def test_each_state_of_an_instance(state, seen):
    model = listed(with_instances({"state": state}))["qwen3-8b"]
    assert model.state is seen
    assert (model.process is None) == (seen is None)


@pytest.mark.parametrize(
    ("states", "seen"),
    [
        (("error", "running"), State.LOADED),
        (("starting", "running"), State.LOADED),
        (("error", "pending"), State.LOADING),
        (("unreachable", "error"), State.UNKNOWN),
    ],
)
def test_a_model_of_several_instances_is_as_far_as_the_furthest(states, seen):
    model = listed(with_instances(*({"state": state} for state in states)))["qwen3-8b"]
    assert model.state is seen
    assert model.file_size == 2 * 22333829939
    assert model.process is None  # there is more than one


def test_an_instance_on_another_machine_holds_nothing_here():
    model = listed(with_instances({"worker_ip": "192.0.2.7"}))["qwen3-8b"]
    assert model == EngineModel(ModelId("qwen3-8b"))


def test_an_instance_that_has_no_machine_yet_is_on_its_way():
    pending = {"worker_ip": None, "port": None, "state": "pending", "computed_resource_claim": None}
    model = listed(with_instances(pending))["qwen3-8b"]
    assert model == EngineModel(ModelId("qwen3-8b"), State.LOADING)


@pytest.mark.parametrize(
    ("claim", "size"),
    [
        ({"ram": 5, "vram": {"0": 3, "1": 4}}, 7),
        ({"ram": 5, "vram": {}}, 5),
        ({"ram": 5, "vram": None}, 5),
        ({"ram": 0, "vram": None}, None),
        ({}, None),
    ],
)
def test_what_is_claimed_of_gpus_is_the_estimate_and_of_ram_where_there_is_none(claim, size):
    model = listed(with_instances({"computed_resource_claim": claim}))["qwen3-8b"]
    assert model.file_size == size


@pytest.mark.parametrize("vram", [[3], 7, "x"])
def test_a_claim_of_another_shape_confuses(vram):
    with pytest.raises(EngineConfused, match="vram"):
        listed(with_instances({"computed_resource_claim": {"vram": vram}}))


def test_two_organizations_models_of_one_name_are_told_apart():
    told = copy.deepcopy(TOLD)
    reply(told, MODELS)["body"]["items"][1]["name"] = "qwen3-8b"
    models = listed(told)
    assert {m: found.state for m, found in models.items()} == {
        "qwen3-8b#1": State.LOADED,
        "qwen3-8b#2": None,
    }
    replay = Replay(told)
    asyncio.run(gpustack(replay.client()).unload(ModelId("qwen3-8b#1")))
    assert replay.asked[-1][0] == "PUT /v2/models/1"


def test_an_unload_sends_the_whole_model_back_but_for_what_is_the_servers_own():
    ((call, body),) = asks(TOLD, lambda engine: engine.unload(ModelId("qwen3-8b")))
    assert call == "PUT /v2/models/1"
    assert body["replicas"] == 0
    assert body["backend_parameters"] == ["--max-model-len=8192"]
    assert not body.keys() & {"id", "created_at", "updated_at", "ready_replicas"}
    assert "owner_principal_id" not in body


def test_a_load_brings_back_as_many_replicas_as_there_were():
    told = with_model(replicas=3)
    replay = Replay(told)
    engine = gpustack(replay.client())

    async def live():
        await engine.unload(ModelId("qwen3-8b"))
        replay.replies = with_model(replicas=0)["replies"]
        put = {"call": "PUT /v2/models/1", "status": 200, "body": {"replicas": 3}}
        replay.replies.insert(0, put)
        await engine.load(ModelId("qwen3-8b"))

    asyncio.run(live())
    assert replay.asked[-1][1]["replicas"] == 3


def test_what_is_there_already_is_not_asked_for_again():
    assert asks(TOLD, lambda engine: engine.load(ModelId("qwen3-8b"))) == []
    assert asks(TOLD, lambda engine: engine.unload(ModelId("gemma-3-4b"))) == []


def test_a_load_of_a_model_whose_instances_fail_says_why():
    failed = {"state": "error", "state_message": "CUDA out of memory"}
    with pytest.raises(EngineRefused, match="CUDA out of memory") as no:
        asks(with_instances(failed), lambda engine: engine.load(ModelId("qwen3-8b")))
    assert no.value.status == 409


def test_an_unload_that_a_schedule_overrules_is_refused():
    told = copy.deepcopy(TOLD)
    reply(told, "PUT /v2/models/1")["body"]["replicas"] = 1
    with pytest.raises(EngineRefused, match="scaling schedule") as no:
        asks(told, lambda engine: engine.unload(ModelId("qwen3-8b")))
    assert no.value.status == 409


def habits(told):
    return asyncio.run(gpustack(Replay(told).client()).habits())


def test_a_scheduler_that_chooses_the_gpus_is_a_habit():
    (habit,) = habits(TOLD)
    assert "scheduler" in habit.what
    assert habit.model is None
    assert habits(with_model(gpu_selector={"gpu_ids": ["box:cuda:0"]})) == ()
    assert habits(with_model(replicas=0)) == ()


def test_a_scaling_schedule_is_a_habit_of_its_model():
    chosen = {"gpu_selector": {"gpu_ids": ["box:cuda:0"]}}
    for enabled, found in ((True, 1), (False, 0)):
        told = with_model(scaling_schedule={"enabled": enabled, "rules": []}, **chosen)
        assert len(habits(told)) == found
    assert habits(with_model(scaling_schedule={"enabled": True}, **chosen)) == (
        Habit(
            "it is started and stopped by a scaling schedule of its own",
            "switch its scaling schedule off",
            ModelId("qwen3-8b"),
        ),
    )


def test_it_is_known_without_a_key_but_tells_nothing():
    engine = gpustack(Replay(capture("gpustack-locked-2.2.3")).client())
    assert asyncio.run(engine.identify()).version == "2.2.3"
    with pytest.raises(EngineRefused) as no:
        asyncio.run(engine.list())
    assert no.value.status == 401


def test_others_tell_their_version_in_the_same_words():
    told = copy.deepcopy(TOLD)
    told["replies"] = [r for r in told["replies"] if "perPage" not in r["call"]]
    assert asyncio.run(gpustack(Replay(told).client()).identify()) is None
