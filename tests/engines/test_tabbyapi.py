"""TabbyAPI: loads whose errors come with status 200, unloads that name nobody."""

import asyncio
import json

import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines import wire
from supervisor.engines.base import EngineConfused, EngineModel, EngineRefused, Identity, Process
from supervisor.engines.tabbyapi import TabbyApi
from tests.engines.altered import altered
from tests.engines.fakes.tabbyapi import FakeTabby
from tests.engines.replay import Replay, capture

TABBY = capture("tabbyapi-2026.08")
USER = capture("tabbyapi-user-2026.08")
QWEN, LLAMA = ModelId("Qwen3-8B-exl3-4.0bpw"), ModelId("Llama-3.3-70B-exl3-3.5bpw")
LOAD = "POST /v1/model/load"
NOBODY = {"detail": "No models are currently loaded."}


def tabby(told):
    replay = Replay(told)
    return TabbyApi(EngineId("t"), "http://127.0.0.1:5000", replay.client(), "admin"), replay


def posts(replay):
    return [call for call, _ in replay.asked if call.startswith("POST")]


def events(*told):
    return "".join(f"data: {json.dumps(event)}\r\n\r\n" for event in told)


def load(text):
    asyncio.run(tabby(altered(TABBY, LOAD, text=text))[0].load(LLAMA))


def test_the_engine_holds_its_loaded_model_and_no_other():
    models = {m.id: m for m in asyncio.run(tabby(TABBY)[0].list())}
    whole = Process(whole=True)
    loaded = EngineModel(QWEN, State.LOADED, process=whole, context=32768)
    assert models == {QWEN: loaded, LLAMA: EngineModel(LLAMA)}


def test_with_nothing_loaded_nothing_is():
    models = asyncio.run(tabby(altered(TABBY, "GET /v1/model", NOBODY, status=503))[0].list())
    assert [m.state for m in models] == [None, None]


def test_another_trouble_of_the_same_status_is_not_taken_for_that():
    told = altered(TABBY, "GET /v1/model", {"detail": "Shutting down"}, status=503)
    with pytest.raises(EngineRefused, match="Shutting down"):
        asyncio.run(tabby(told)[0].list())


def identified(told):
    made, _ = tabby(told)
    return asyncio.run(made.identify()), made.abilities


def test_with_the_admin_key_it_loads_and_unloads():
    everything = {Ability.LIST, Ability.LOAD, Ability.UNLOAD}
    assert identified(TABBY) == (Identity("not told"), everything)


def test_with_another_key_it_only_lists_what_is_loaded():
    assert identified(USER) == (Identity("not told"), {Ability.LIST})
    assert asyncio.run(tabby(USER)[0].list()) == ()


def test_without_its_key_it_is_known_and_its_list_says_what_is_wrong():
    async def story():
        async with FakeTabby(["a"]) as fake, wire.client() as client:
            fake.key = "right"
            made = TabbyApi(EngineId("t"), fake.url, client, "wrong")
            with pytest.raises(EngineRefused, match="401 Invalid API key"):
                await made.list()
            return await made.identify()

    assert asyncio.run(story()) == Identity("not told")


@pytest.mark.parametrize("name", ["KoboldCpp", None, 7])
def test_others_have_the_same_page_about_themselves(name):
    told = altered(TABBY, "GET /.well-known/serviceinfo", {"software": {"name": name}})
    assert asyncio.run(tabby(told)[0].identify()) is None


def test_a_load_is_done_when_the_events_end():
    made, replay = tabby(TABBY)
    asyncio.run(made.load(LLAMA))  # its draft model is finished first
    assert replay.asked == [(LOAD, {"model_name": LLAMA})]


def test_an_error_among_the_events_is_a_refusal():
    bad = events(
        {"model_type": "draft", "module": 4, "modules": 4, "status": "finished"},
        {"error": {"message": "CUDA out of memory.", "trace": None}},
    )
    with pytest.raises(EngineRefused, match=r"CUDA out of memory\.") as no:
        load(bad)
    assert no.value.status == 500


@pytest.mark.parametrize(
    "text",
    [
        "",
        events({"model_type": "model", "module": 1, "modules": 9, "status": "processing"}),
        events([1, 2]),
        events({"error": {"message": 7}}),
        "null",
    ],
)
def test_a_load_that_does_not_come_to_its_end_is_not_one(text):
    with pytest.raises(EngineConfused):
        load(text)


def test_an_unload_reaches_the_model_that_is_named_or_nobody():
    made, replay = tabby(TABBY)
    asyncio.run(made.unload(LLAMA))  # not loaded: already gone
    assert posts(replay) == []
    asyncio.run(made.unload(QWEN))
    assert posts(replay) == ["POST /v1/model/unload"]


def test_a_load_that_fails_is_told_over_a_real_socket():
    async def story():
        async with FakeTabby(["a", "b"]) as fake, wire.client() as client:
            made = TabbyApi(EngineId("t"), fake.url, client, None)
            fake.take("a")
            fake.fails_loads = True
            with pytest.raises(EngineRefused, match="out of memory"):
                await made.load(ModelId("b"))
            return [m.state for m in await made.list()]

    assert asyncio.run(story()) == [None, None]  # the old one went first
