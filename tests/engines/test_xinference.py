"""Xinference, by the shapes of its 3.2.1."""

import asyncio
import copy

import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines import wire
from supervisor.engines.base import EngineConfused, EngineModel, EngineRefused
from supervisor.engines.xinference import Xinference
from tests.engines.fakes.xinference import FakeXinference
from tests.engines.replay import Replay, capture

TOLD = capture("xinference-3.2.1")
LOCKED = capture("xinference-locked-3.2.1")
OLD = capture("xinference-1.0.0")
MODELS, INSTANCES, CACHE = "/v1/models", "/v1/models/instances", "/v1/cache/models"


def xinference(client, url="http://127.0.0.1:9997"):
    return Xinference(EngineId("x"), url, client, None)


def listed(told):
    return {m.id: m for m in asyncio.run(xinference(Replay(told).client()).list())}


def reply(told, call):
    return next(r for r in told["replies"] if r["call"] == call)


def changed(call, told=TOLD, **reply_of):
    """The capture, with something else in its reply to `call`."""
    told = copy.deepcopy(told)
    found = reply(told, call)
    if "text" in reply_of:
        found.pop("body", None)
    found |= reply_of
    return told


def with_status(status, *, running=True):
    told = copy.deepcopy(TOLD)
    reply(told, f"GET {INSTANCES}")["body"][1]["status"] = status
    if not running:
        data = reply(told, f"GET {MODELS}")["body"]["data"]
        data[:] = [m for m in data if m["id"] != "qwen3"]
    return told


def posted(told, model):
    """What a load of `model` sends."""
    replay = Replay(told)
    asyncio.run(xinference(replay.client()).load(ModelId(model)))
    return [body for call, body in replay.asked if call == f"POST {MODELS}"]


def test_a_loaded_model_carries_what_it_was_measured_to_hold_of_the_gpus():
    work = "48/47"  # requests and answers, but for launches
    assert listed(TOLD)["qwen3"] == EngineModel(
        ModelId("qwen3"), State.LOADED, reported=6931087360, reported_gpu=6931087360, mark=work
    )


def test_a_model_on_two_gpus_holds_the_sum_of_both():
    text = reply(TOLD, "GET /metrics")["text"]
    line = next(x for x in text.splitlines() if x.endswith("6931087360"))
    more = line.replace('gpu_index="0"', 'gpu_index="1"')
    told = changed("GET /metrics", text=text.replace(line, f"{line}\n{more}"))
    assert listed(told)["qwen3"].reported == 2 * 6931087360


def test_what_is_not_measured_yet_is_not_zero():
    text = reply(TOLD, "GET /metrics")["text"]
    told = changed("GET /metrics", text=text.replace("6931087360", "0"))
    assert listed(told)["qwen3"].reported is None


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("CREATING", State.LOADING),
        ("LOADING", State.LOADING),
        ("READY", State.LOADED),
        ("TERMINATING", State.UNKNOWN),
        ("ERROR", State.UNKNOWN),
        ("something new", State.LOADED),
    ],
)
def test_what_is_listed_is_as_far_as_its_launch_is(status, state):
    assert listed(with_status(status))["qwen3"].state is state


@pytest.mark.parametrize(
    ("status", "state"), [("CREATING", State.LOADING), ("ERROR", None), ("TERMINATING", None)]
)
def test_a_launch_that_is_not_listed_holds_memory_only_while_it_is_under_way(status, state):
    models = listed(with_status(status, running=False))
    found = models.get("qwen3") or models["qwen3--8B--ggufv2--Q4_K_M"]
    assert found.state is state


def test_what_is_on_disk_is_named_as_a_launch_would_name_it_or_by_its_version():
    idle = {m for m, found in listed(TOLD).items() if found.state is None}
    assert idle == {"qwen2.5-instruct", "glm-4", "whisper-tiny", "qwen3--14B--pytorch--none"}


def test_a_model_that_was_launched_under_another_name_is_found_under_it_again():
    told = copy.deepcopy(TOLD)
    reply(told, f"GET {MODELS}")["body"]["data"][0]["id"] = "my-qwen"
    replay = Replay(told)
    engine = xinference(replay.client())

    async def live():
        await engine.list()
        replay.replies = changed(f"GET {MODELS}", body={"object": "list", "data": []})["replies"]
        idle = {m.id for m in await engine.list()}
        with pytest.raises(EngineRefused, match="No available slot"):
            await engine.load(ModelId("my-qwen"))
        await engine.load(ModelId("bge-m3"))  # its type and its engine are known now
        return idle

    assert asyncio.run(live()) >= {"my-qwen", "bge-m3"}
    launches = [body for call, body in replay.asked if call == f"POST {MODELS}"]
    assert launches == [
        {
            "model_uid": "my-qwen",
            "model_name": "qwen3",
            "model_type": "LLM",
            "model_engine": "llama.cpp",
            "model_format": "ggufv2",
            "model_size_in_billions": 8,
            "quantization": "Q4_K_M",
        },
        {
            "model_uid": "bge-m3",
            "model_name": "bge-m3",
            "model_type": "embedding",
            "model_engine": "sentence_transformers",
            "model_format": "pytorch",
            "quantization": "none",
        },
    ]


def with_cache(*names):
    """The capture with these variants of qwen3 in its cache, as (billions, format)."""
    told = copy.deepcopy(TOLD)
    entries = reply(told, f"GET {CACHE}")["body"]["list"]
    one = next(e for e in entries if e["model_name"] == "qwen3")
    entries[:] = [
        one
        | {"model_size_in_billions": size, "model_format": form, "model_version": f"{size}--{form}"}
        for size, form in names
    ]
    return told


def test_a_variant_on_disk_has_its_models_name_only_where_nothing_else_has():
    alone = with_cache((32, "ggufv2"))
    assert set(listed(alone)) == {"qwen3", "bge-m3", "32--ggufv2"}  # another qwen3 is running
    reply(alone, f"GET {MODELS}")["body"]["data"] = []
    assert set(listed(alone)) == {"qwen3"}
    two = with_cache((32, "ggufv2"), (14, "ggufv2"))
    reply(two, f"GET {MODELS}")["body"]["data"] = []
    assert set(listed(two)) == {"32--ggufv2", "14--ggufv2"}


def test_a_model_that_was_unloaded_and_removed_from_disk_is_forgotten():
    replay = Replay(TOLD)
    engine = xinference(replay.client())

    async def live():
        await engine.list()
        gone = changed(f"GET {MODELS}", body={"object": "list", "data": []})
        replay.replies = changed(f"GET {CACHE}", gone, body={"list": []})["replies"]
        return await engine.list()

    assert asyncio.run(live()) == ()


@pytest.mark.parametrize(
    ("model", "status", "detail"),
    [
        ("qwen2.5-instruct", 500, "model not found, says a worker that is not found itself"),
        ("qwen2.5-instruct", 400, "out of order"),
        ("qwen3", 400, "Model not found in the model list, uid: qwen3"),  # and still listed
    ],
)
def test_an_unload_that_failed_is_not_taken_for_one_that_was_not_needed(model, status, detail):
    told = changed(f"DELETE {MODELS}/{model}", status=status, body={"detail": detail})
    told["replies"] = [
        {k: v for k, v in r.items() if k != "text" or "metrics" in r["call"]}
        for r in told["replies"]
    ]
    with pytest.raises(EngineRefused) as no:
        asyncio.run(xinference(Replay(told).client()).unload(ModelId(model)))
    assert no.value.status == status


def test_a_cached_llm_is_launched_on_the_one_engine_that_can_run_it():
    (body,) = posted(TOLD, "qwen2.5-instruct")
    assert body == {
        "model_uid": "qwen2.5-instruct",
        "model_name": "qwen2.5-instruct",
        "model_type": "LLM",
        "model_engine": "llama.cpp",
        "model_format": "ggufv2",
        "model_size_in_billions": "0_5",
        "quantization": "q8_0",
    }


@pytest.mark.parametrize(
    ("model", "why", "status"),
    [
        ("glm-4", "Transformers or vLLM could run it", 400),
        ("qwen3--14B--pytorch--none", "no installed engine runs it", 400),
        ("whisper-tiny", "does not say what type of model whisper-tiny is", 400),
        ("nope", "its cache has no model nope", 404),
    ],
)
def test_a_load_that_would_need_to_be_told_more_is_refused_in_plain_words(model, why, status):
    replay = Replay(TOLD)
    with pytest.raises(EngineRefused, match=why) as no:
        asyncio.run(xinference(replay.client()).load(ModelId(model)))
    assert no.value.status == status
    assert not any(call.startswith("POST") for call, _ in replay.asked)


def test_a_model_that_is_there_is_not_launched_again():
    assert posted(TOLD, "qwen3") == []


def test_a_model_that_is_on_its_way_out_is_not_launched():
    with pytest.raises(EngineRefused, match="being stopped") as no:
        posted(with_status("TERMINATING"), "qwen3")
    assert no.value.status == 409


def test_engines_that_are_no_object_confuse():
    call = "GET /v1/engines/LLM/qwen2.5-instruct?enable_virtual_env=false"
    with pytest.raises(EngineConfused, match="GET /v1/engines"):
        posted(changed(call, body=[]), "qwen2.5-instruct")


def test_an_unload_of_a_model_that_is_being_launched_is_refused():
    async def live():
        async with FakeXinference(["a"]) as fake, wire.client() as client:
            fake.slow_loads = True
            engine = xinference(client, fake.url)
            loading = asyncio.create_task(engine.load(ModelId("a")))
            while not fake.loading:
                await asyncio.sleep(0)
            (found,) = await engine.list()
            assert found.state is State.LOADING
            await engine.load(ModelId("a"))  # it is on its way
            with pytest.raises(EngineRefused, match="is launching") as no:
                await engine.unload(ModelId("a"))
            assert no.value.status == 400
            fake.finish("a")
            await loading
            assert fake.loaded == ["a"]

    asyncio.run(live())


def test_a_load_that_fails_says_why():
    async def live():
        async with FakeXinference(["a"]) as fake, wire.client() as client:
            fake.fails_loads = True
            await xinference(client, fake.url).load(ModelId("a"))

    with pytest.raises(EngineRefused, match="No available slot") as no:
        asyncio.run(live())
    assert no.value.status == 503


def test_work_moves_the_mark_of_every_loaded_model_for_it_is_not_told_whose_it_is():
    async def live():
        async with FakeXinference(["a", "b"]) as fake, wire.client() as client:
            engine = xinference(client, fake.url)
            seen = []
            fake.take("a")
            fake.take("b")
            for busy, worked in ((0, 0), (1, 0), (0, 1)):
                fake.busy["a"], fake.worked["a"] = busy, worked
                seen.append({m.mark for m in await engine.list()})
            return seen

    marks = asyncio.run(live())
    assert all(len(found) == 1 for found in marks)
    assert len(set.union(*marks)) == 3
    assert Ability.IN_FLIGHT not in Xinference.abilities


def test_a_key_that_sees_less_can_do_less():
    engine = xinference(Replay(LOCKED).client())
    (model,) = asyncio.run(engine.list())
    assert (model.id, model.state) == ("qwen3", State.LOADED)
    assert engine.abilities == Xinference.abilities - {Ability.LOAD}


def test_without_metrics_nobody_knows_the_bytes():
    engine = xinference(Replay(OLD).client())
    (model,) = asyncio.run(engine.list())
    assert (model.reported, model.mark) == (None, None)
    assert engine.abilities == Xinference.abilities - {Ability.BYTES}


@pytest.mark.parametrize("text", ["<html>", "no { metrics", "x" * 20])
def test_metrics_that_cannot_be_read_cost_the_bytes_alone(text):
    assert listed(changed("GET /metrics", text=text))["qwen3"].reported is None


@pytest.mark.parametrize(
    ("told", "version"),
    [
        (TOLD, "3.2.1"),
        (OLD, "1.0.0"),
        (LOCKED, "3.2.1"),
        (changed("GET /metrics", LOCKED, text=""), "not told"),
    ],
)
def test_its_version_is_told_to_an_administrator_or_by_the_metrics(told, version):
    identity = asyncio.run(xinference(Replay(told).client()).identify())
    assert identity.version == version


@pytest.mark.parametrize("body", [{"auth": "yes"}, {"auth": True, "user": 1}, {}, []])
def test_others_have_an_auth_page_too(body):
    told = changed("GET /v1/cluster/auth", body=body)
    assert asyncio.run(xinference(Replay(told).client()).identify()) is None


def test_a_model_without_a_name_of_its_own_does_not_spoil_the_list():
    told = copy.deepcopy(TOLD)
    del reply(told, f"GET {MODELS}")["body"]["data"][1]["model_name"]
    assert listed(told)["bge-m3"].state is State.LOADED


@pytest.mark.parametrize("count", ["NaN", "x", ""])
def test_a_count_that_is_no_number_is_not_counted(count):
    text = reply(TOLD, "GET /metrics")["text"].replace("} 41", f"}} {count}")
    model = listed(changed("GET /metrics", text=text))["qwen3"]
    assert model.mark in ("7/47", "0/47")
    assert model.reported == 6931087360
