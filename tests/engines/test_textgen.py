"""text-generation-webui: one model, whose name may outlive it."""

import asyncio

import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines import wire
from supervisor.engines.base import EngineModel, EngineRefused, Identity, Process
from supervisor.engines.textgen import TextGen
from tests.engines.altered import altered
from tests.engines.fakes.textgen import FakeTextGen
from tests.engines.replay import Replay, capture

TEXTGEN = capture("textgen-4.7.3")
QWEN, GEMMA = ModelId("Qwen3-8B-Q4_K_M.gguf"), ModelId("gemma-3-4b-it-Q4_K_M.gguf")
INFO, LIST = "GET /v1/internal/model/info", "GET /v1/internal/model/list"
NOBODY = {"model_name": "None", "lora_names": [], "loader": None}


def textgen(told):
    replay = Replay(told)
    return TextGen(EngineId("tg"), "http://127.0.0.1:5000", replay.client(), None), replay


def posts(told, call):
    made, replay = textgen(told)
    asyncio.run(call(made))
    return [(c, body) for c, body in replay.asked if c.startswith("POST")]


def test_the_engine_and_its_children_hold_the_loaded_model_and_no_other():
    whole = Process(whole=True)
    assert asyncio.run(textgen(TEXTGEN)[0].list()) == (
        EngineModel(QWEN, State.LOADED, process=whole),
        EngineModel(GEMMA),
    )


def test_none_is_nobodys_name():
    models = asyncio.run(textgen(altered(TEXTGEN, INFO, NOBODY))[0].list())
    assert models == (EngineModel(QWEN), EngineModel(GEMMA))


@pytest.mark.parametrize("told", [TEXTGEN, altered(TEXTGEN, INFO, NOBODY)])
def test_it_is_known_with_and_without_a_model(told):
    assert asyncio.run(textgen(told)[0].identify()) == Identity("not told")


def test_without_the_admin_key_the_loaded_model_is_all_that_is_known():
    made, _ = textgen(altered(TEXTGEN, LIST, {"detail": "Unauthorized"}, status=401))
    (model,) = asyncio.run(made.list())
    assert (model.id, model.state) == (QWEN, State.LOADED)
    assert made.abilities == {Ability.LIST, Ability.CANCEL}


def test_with_the_right_key_at_last_it_can_do_everything_again():
    made, replay = textgen(altered(TEXTGEN, LIST, {"detail": "Unauthorized"}, status=401))
    asyncio.run(made.list())
    replay.replies = TEXTGEN["replies"]
    asyncio.run(made.list())
    assert made.abilities == TextGen.abilities


def test_a_list_that_breaks_is_not_a_key_that_is_missing():
    with pytest.raises(EngineRefused, match="500"):
        asyncio.run(textgen(altered(TEXTGEN, LIST, status=500, text="oops"))[0].list())


def test_a_model_that_is_there_is_not_loaded_anew():
    assert posts(TEXTGEN, lambda made: made.load(QWEN)) == []
    body = {"model_name": GEMMA}
    assert posts(TEXTGEN, lambda made: made.load(GEMMA)) == [("POST /v1/internal/model/load", body)]


def test_a_load_of_an_unknown_model_does_not_cost_the_one_that_is_there():
    async def story():
        async with FakeTextGen(["a", "b"]) as fake, wire.client() as client:
            made = TextGen(EngineId("tg"), fake.url, client, None)
            fake.take("a")
            with pytest.raises(EngineRefused) as no:
                await made.load(ModelId("c"))
            assert no.value.status == 404
            return fake.loaded

    assert asyncio.run(story()) == ["a"]


def test_a_load_that_fails_says_so():
    told = altered(
        TEXTGEN,
        "POST /v1/internal/model/load",
        {"detail": "Failed to load the model."},
        status=500,
    )
    with pytest.raises(EngineRefused, match="Failed to load"):
        asyncio.run(textgen(told)[0].load(GEMMA))


def test_an_unload_reaches_the_model_that_is_named_or_nobody():
    assert posts(TEXTGEN, lambda made: made.unload(GEMMA)) == []
    found = posts(TEXTGEN, lambda made: made.unload(QWEN))
    assert found == [("POST /v1/internal/model/unload", {})]
