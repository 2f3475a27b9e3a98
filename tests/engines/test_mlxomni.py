"""mlx-omni-server, by the source of its 0.5.3."""

import asyncio
import copy

import pytest

from supervisor.core.snapshot import EngineId, ModelId, State
from supervisor.engines import wire
from supervisor.engines.base import EngineConfused, EngineModel, EngineRefused, Process
from supervisor.engines.mlxomni import MlxOmni
from tests.engines.fakes.mlxomni import FakeMlxOmni
from tests.engines.replay import Replay, capture

TOLD = capture("mlxomni-0.5.3")
QWEN = "mlx-community/Qwen3-8B-4bit"
GEMMA = "mlx-community/gemma-3-4b-it-4bit"


def omni(client, url="http://127.0.0.1:10240"):
    return MlxOmni(EngineId("m"), url, client, None)


def key(model, adapter=None):
    return f"WrapperCacheKey(model_id={model!r}, adapter_path={adapter!r}, draft_model_id=None)"


def with_cache(**members):
    told = copy.deepcopy(TOLD)
    next(r for r in told["replies"] if r["call"] == "GET /v1/cache")["body"].update(members)
    return told


def listed(told):
    return {m.id: m for m in asyncio.run(omni(Replay(told).client()).list())}


def test_a_cached_model_tells_when_it_leaves():
    assert listed(TOLD) == {
        QWEN: EngineModel(
            ModelId(QWEN),
            State.LOADED,
            process=Process(whole=True),
            mark="1787390300.500",
            keep_alive=300.0,
            expires_at=1787390300.5,
        ),
        GEMMA: EngineModel(ModelId(GEMMA)),
    }


def test_a_cache_without_a_limit_of_time_has_no_expiry():
    model = listed(with_cache(ttl_seconds=0, ttl_info=[]))[QWEN]
    assert (model.mark, model.keep_alive, model.expires_at) == (None, None, None)


def test_a_model_with_two_adapters_is_one_model_that_leaves_with_the_later():
    keys = [key(QWEN), key(QWEN, "/adapters/one")]
    ttl = [{"key": k, "expires_at": 100.0 + i} for i, k in enumerate(keys)]
    models = listed(with_cache(cached_keys=keys, ttl_info=ttl[::-1]))
    assert len(models) == 2
    assert models[QWEN].expires_at == 101.0
    assert models[QWEN].process == Process(whole=True)


def test_models_that_share_a_process_have_none_of_their_own():
    models = listed(with_cache(cached_keys=[key(QWEN), key(GEMMA)], ttl_info=[]))
    assert {m.process for m in models.values()} == {None}
    assert {m.state for m in models.values()} == {State.LOADED}


@pytest.mark.parametrize("name", ["it's", 'a "quoted" one', "/models/mlx one", "a\\b", "ünï"])
def test_a_name_is_read_out_of_a_printed_object(name):
    assert listed(with_cache(cached_keys=[key(name)], ttl_info=[]))[name].state is State.LOADED


@pytest.mark.parametrize(
    "words", ["something else", "model_id=None", "", r"model_id='\x'", r"model_id='a\nb'"]
)
def test_a_key_that_names_no_model_confuses(words):
    with pytest.raises(EngineConfused, match="GET /v1/cache"):
        listed(with_cache(cached_keys=[words]))


def test_an_unload_that_would_take_another_model_along_is_refused():
    async def live():
        async with FakeMlxOmni(["a", "b"]) as fake, wire.client() as client:
            fake.take("a")
            fake.take("b")
            engine = omni(client, fake.url)
            with pytest.raises(EngineRefused, match="unload b too") as no:
                await engine.unload(ModelId("a"))
            assert no.value.status == 409
            assert fake.loaded == ["a", "b"]
            fake.drop("b")
            await engine.unload(ModelId("a"))
            assert fake.loaded == []

    asyncio.run(live())


def test_an_unknown_model_is_refused_and_nothing_is_cleared():
    replay = Replay(TOLD)
    with pytest.raises(EngineRefused) as no:
        asyncio.run(omni(replay.client()).unload(ModelId("nope")))
    assert no.value.status == 404
    assert not any(call.startswith("POST") for call, _ in replay.asked)


def test_a_request_moves_the_mark_of_its_model():
    async def live():
        async with FakeMlxOmni(["a"]) as fake, wire.client() as client:
            fake.take("a")
            before = (await omni(client, fake.url).list())[0].mark
            fake.worked["a"] += 1
            return before, (await omni(client, fake.url).list())[0].mark

    before, after = asyncio.run(live())
    assert before != after


@pytest.mark.parametrize(
    ("most", "ttl", "words"),
    [
        (1, 300, ["not asked for 300 s", "1 at most"]),
        (4, 0, ["4 at most"]),
        (0, 0, ["anew for each request"]),
    ],
)
def test_what_its_cache_does_by_itself_is_a_habit(most, ttl, words):
    told = with_cache(max_size=most, ttl_seconds=ttl)
    habits = asyncio.run(omni(Replay(told).client()).habits())
    assert len(habits) == len(words)
    assert all(word in habit.what for word, habit in zip(words, habits, strict=True))
    assert all("--model-cache" in habit.remedy for habit in habits)
